"""A GGUF file, as llama.cpp and Ollama have models: dequantised once into a folder of transformers' own form."""

from __future__ import annotations

import importlib.util
import math
from typing import TYPE_CHECKING, Any, Final, cast

from harness.errors import InputError, first_line

if TYPE_CHECKING:
    from pathlib import Path

#: The first bytes of every such file.
MAGIC: Final = b"GGUF"

#: Metadata keys of the tokens that end an answer: of a text, of a turn, and of a message.
_ENDS: Final = (
    "tokenizer.ggml.eos_token_id",
    "tokenizer.ggml.eot_token_id",
    "tokenizer.ggml.eom_token_id",
)


def is_gguf(path: Path) -> bool:
    """Tell whether a file is one by its first bytes; False for a folder, and for what cannot be read."""
    try:
        with path.open("rb") as stream:
            return stream.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def check_installed(where: str | None = None) -> None:
    """Raise InputError, with the command that installs it, where the package gguf is missing."""
    if importlib.util.find_spec("gguf") is None:
        raise InputError(
            "GGUF files need the package gguf, which is not installed",
            where=where,
            hint="pip install 'posttune-harness[gguf]'",
        )


def dequantise(file: Path, folder: Path, *, where: str) -> str:
    """Write a GGUF file's model as float32 safetensors, with configuration, tokenizer, chat template and stop tokens.

    Returns:
        what the weights were made from, such as ``dequantised from Q4_1``.

    Raises:
        InputError: the package gguf is missing, the file is broken, or transformers does not read its architecture.
    """
    check_installed(where)
    import torch
    import transformers
    from transformers import AutoModelForCausalLM, GenerationConfig

    cast("Any", transformers.utils.logging).disable_progress_bar()
    try:
        types, ends = _described(file)
        loaded: Any = cast("Any", AutoModelForCausalLM).from_pretrained(
            file.parent, gguf_file=file.name, dtype=torch.float32, local_files_only=True
        )
        tokenizer = _tokenizer(file)
    except Exception as error:  # whatever the library meets in a foreign file
        raise InputError(f"the GGUF file cannot be read: {first_line(error)}", where=where) from error
    config = loaded.config.to_dict()
    config.pop("quantization_config", None)  # transformers would refuse to save what was quantised
    with torch.device("meta"):
        plain: Any = type(loaded)(type(loaded.config)(**config))
    plain.load_state_dict(loaded.state_dict(), assign=True)
    plain.tie_weights()
    stops = [id_ for id_ in dict.fromkeys([tokenizer.eos_token_id, *ends]) if id_ is not None]
    plain.config.architectures = [type(loaded).__name__]
    plain.generation_config = cast("Any", GenerationConfig)(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=stops if len(stops) > 1 else next(iter(stops), None),
        pad_token_id=tokenizer.pad_token_id,
    )
    plain.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return f"dequantised from {types}"


def write_tokenizer(file: Path, folder: Path, *, where: str) -> None:
    """Write a GGUF file's tokenizer alone, with its chat template; see :func:`dequantise`."""
    check_installed(where)
    try:
        _tokenizer(file).save_pretrained(folder)
    except Exception as error:  # whatever the library meets in a foreign file
        raise InputError(f"the GGUF file cannot be read: {first_line(error)}", where=where) from error


def _tokenizer(file: Path) -> Any:
    from transformers import AutoTokenizer

    return cast("Any", AutoTokenizer).from_pretrained(file.parent, gguf_file=file.name, local_files_only=True)


def _described(file: Path) -> tuple[str, list[int]]:
    """Return the types of the weights, those of most numbers first, and the ids that end an answer."""
    from gguf import GGUFReader

    reader = GGUFReader(file)
    numbers: dict[str, int] = {}
    for tensor in reader.tensors:
        name = tensor.tensor_type.name
        numbers[name] = numbers.get(name, 0) + math.prod(int(size) for size in tensor.shape)
    whole = sum(numbers.values()) or 1
    listed = sorted(numbers, key=lambda name: -numbers[name])
    types = " and ".join(name for name in listed if numbers[name] >= 0.01 * whole)  # norms are kept as they were
    ends = [int(field.contents()) for key in _ENDS if (field := reader.get_field(key)) is not None]
    return types, ends
