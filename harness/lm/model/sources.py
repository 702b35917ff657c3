"""Where the models of a benchmark come from: the hub, a folder, or a configuration with random weights.

No torch is imported until weights are drawn.
"""

from __future__ import annotations

import dataclasses
import glob
import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

from harness.errors import InputError, MachineError, suggest
from harness.lm.model.architectures import check_architecture, not_loaded
from harness.lm.model.folders import WEIGHTS_INDEX, check_folder, shards

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from harness.lm.text.tokenise import Tokeniser
    from harness.spec.model import Model

#: What a model folder needs from the hub: weights as safetensors, configuration, tokenizer; no code, no pickle. Shards
#: have the names that the index gives them.
HUB_FILES = (
    "config.json", "generation_config.json", "model.safetensors", WEIGHTS_INDEX, "tokenizer.json",
    "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt",
    "tokenizer.model",
)  # fmt: skip
#: The special token of a new tokenizer: begins, ends and pads; id 0.
END_OF_TEXT = "<|endoftext|>"
#: Settings of a configuration that are not the user's to give, and who sets them.
SET_ELSEWHERE = {
    "bos_token_id": "the tokenizer",
    "eos_token_id": "the tokenizer",
    "pad_token_id": "nobody: padding is told by lengths",
    "use_cache": "the harness",
    "dtype": "the model's own dtype",
    "torch_dtype": "the model's own dtype",
}
#: Older spellings that transformers turns into ``rope_parameters``.
ROTARY_SPELLINGS = ("rotary_pct", "rotary_emb_base", "rope_theta", "rope_scaling", "partial_rotary_factor")


class Resolved(NamedTuple):
    """A model folder on this machine and where it came from."""

    folder: Path
    origin: Literal["hub", "file"]
    revision: str | None
    """The hub's commit (40 hex digits); None for a folder of the user's."""


def resolve(spec: Model, sources: Mapping[str, str]) -> Resolved:
    """Return the local folder of a model, fetching it from the hub where the file gives no folder.

    Args:
        spec: a model without ``config``.
        sources: name or label of a model to the folder where it lies (``-o sources.NAME=PATH``); comes first.

    Raises:
        InputError: the folder is no model, or the hub has no such model, revision or safetensors weights.
        MachineError: the hub cannot be reached and its cache on this machine lacks the model.
    """
    path = sources.get(spec.name) or (sources.get(spec.label) if spec.label else None) or spec.path
    if path is not None:
        folder = Path(path).expanduser()
        check_folder(folder, where=f"model {spec.name} ({path})")
        return Resolved(folder, "file", None)
    folder = _fetch(spec)
    try:
        check_folder(folder, where=f"model {spec.name} (hub, {folder.name[:12]})")
    except InputError as error:
        if error.hint is None:
            error.hint = (
                "only safetensors are fetched; if the hub has a converted revision name it with `revision:`, "
                "or convert the model yourself and name the folder with `path:`"
            )
        raise
    return Resolved(folder, "hub", folder.name)


def _fetch(spec: Model) -> Path:
    from huggingface_hub import errors, snapshot_download

    where = f"model {spec.name}"
    revision = f" at revision {spec.revision}" if spec.revision else ""
    try:
        folder = Path(snapshot_download(spec.name, revision=spec.revision, allow_patterns=list(HUB_FILES)))
        if (folder / WEIGHTS_INDEX).is_file() and not (folder / "model.safetensors").is_file():
            names = [glob.escape(name) for name in shards(folder, where=where)]
            folder = Path(snapshot_download(spec.name, revision=folder.name, allow_patterns=names))
    except InputError:  # of the index
        raise
    except errors.GatedRepoError:
        raise InputError(
            "the model is gated", where=where, hint="accept its terms on the hub and log in: hf auth login"
        ) from None
    except errors.RevisionNotFoundError:
        raise InputError("the hub's model has no such revision", where=where, got=spec.revision) from None
    except (errors.RepositoryNotFoundError, errors.HFValidationError):
        raise InputError(
            "the hub has no such model, or not for you",
            where=where,
            got=spec.name,
            expected="a hub name such as openai-community/gpt2, or a local folder under `path:`",
        ) from None
    except Exception as error:  # whatever the connection, a proxy or the disk did
        cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
        raise MachineError(
            f"the model{revision} could not be fetched from the hub ({type(cause).__name__}: {_first_line(cause)})",
            where=where,
            hint=f"offline, name a local copy: -o sources.{spec.name}=PATH, or `path:` beside `name:` in the file; "
            "or fetch it once with a connection, and the hub's cache serves it from then on",
        ) from error
    return folder


def train_bpe(texts: Iterable[str], vocab_size: int, folder: Path | str) -> Tokeniser:
    """Train a byte-level BPE (Sennrich et al. 2016, over bytes as in GPT-2) and write it as a tokenizer folder.

    The result depends on the texts alone, not on their order. The special token ``<|endoftext|>`` is id 0 and serves
    as BOS, EOS and pad, which no text can become. Fewer entries result where the texts do not fill ``vocab_size``.

    Raises:
        InputError: ``vocab_size`` has no room for the 256 bytes and the special token, or there is no text.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    from harness.lm.text.tokenise import Tokeniser

    if vocab_size < 257:
        raise InputError("vocab_size is too small", got=vocab_size, expected="at least 257: 256 bytes and EOS")
    empty = True

    def nonempty() -> Iterator[str]:
        nonlocal empty
        for text in texts:
            empty = empty and not text
            yield text

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        nonempty(),
        trainers.BpeTrainer(
            vocab_size=vocab_size,
            min_frequency=2,
            special_tokens=[END_OF_TEXT],
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        ),
    )
    if empty:
        raise InputError("there is no text to train a tokenizer on")
    names = {"bos_token": END_OF_TEXT, "eos_token": END_OF_TEXT, "pad_token": END_OF_TEXT}
    cast("Any", PreTrainedTokenizerFast)(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    return Tokeniser.load(folder)


def initialise(spec: Model, tokeniser: Tokeniser, seed: int, folder: Path | str) -> None:
    """Write a checkpoint with random weights, a function of ``spec``, the tokenizer's size and ``seed`` alone.

    Each architecture's own initialisation draws the weights, in float32 and on the CPU, whatever the device and the
    thread count. Torch's own random state is as it was afterwards.

    Raises:
        InputError: ``spec`` has no configuration, or transformers does not accept it.
    """
    import torch
    from transformers import AutoModelForCausalLM

    from harness.lm.model.policy import Policy

    where = f"model {spec.name}, config"
    config = _configuration(spec, tokeniser, where)
    check_architecture(config, where=where)
    with torch.random.fork_rng(devices=[]):
        # Initialisers of transformers draw from torch's global generator and take no other; the fork puts it back.
        torch.default_generator.manual_seed(_weights_seed(seed))
        with torch.device("cpu"):
            try:
                model = cast("Any", AutoModelForCausalLM).from_config(
                    config, dtype=torch.float32, attn_implementation=spec.attention, trust_remote_code=False
                )
            except Exception as error:  # a combination of sizes that the architecture refuses, in its own words
                what = "the model cannot be built"
                raise not_loaded(error, what, kind=config.model_type, attention=spec.attention, where=where) from error
    _check_built(model, where)
    Policy(model, tokeniser, where=where).save(folder)


def _check_built(model: Any, where: str) -> None:
    """Refuse what transformers builds without a word and nobody can use."""
    layers = getattr(model.config, "num_hidden_layers", 1)
    if layers < 1:
        raise InputError("the model has no layers", where=where, got=layers, expected="at least 1")
    spoilt = next((name for name, weight in model.named_parameters() if not bool(weight.isfinite().all())), None)
    if spoilt is not None:
        raise InputError("its own initialisation draws weights that are not finite", where=where, got=spoilt)


def _weights_seed(seed: int) -> int:
    return int.from_bytes(hashlib.sha256(f"initial weights {seed}".encode()).digest()[:8], "big") >> 1


def _configuration(spec: Model, tokeniser: Tokeniser, where: str) -> Any:
    """Return the transformers configuration of a new model; every argument must be one that it knows."""
    from transformers import CONFIG_MAPPING, PreTrainedConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    given = dict(spec.config or {})
    model_type = given.pop("model_type", None)
    if model_type is None:
        raise InputError("no model_type", where=where, expected="gpt2, opt, gpt_neox or another of transformers")
    causal = list(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    if model_type not in causal:
        raise InputError(
            "not a causal language model of transformers",
            where=where,
            got=model_type,
            expected="gpt2, opt, gpt_neox or another",
            did_you_mean=suggest(str(model_type), causal),
        )
    kind = cast("Any", CONFIG_MAPPING)[model_type]
    known = {item.name for item in dataclasses.fields(kind)} | set(kind.attribute_map)
    known -= {item.name for item in dataclasses.fields(cast("Any", PreTrainedConfig))}  # names of classes, dtype, …
    if "rope_parameters" in known:
        known |= set(ROTARY_SPELLINGS)
    for name, value in given.items():
        if name in SET_ELSEWHERE:
            raise InputError(f"{name} is set by {SET_ELSEWHERE[name]}", where=where, got=value)
        if "drop" in name and name in known:
            raise InputError(f"{name} is set by recipe.dropout", where=where, got=value)
        if name not in known:
            raise InputError(
                f"{model_type} has no setting {name}", where=where, did_you_mean=suggest(name, sorted(known))
            )
    width = given.setdefault("vocab_size", tokeniser.size)
    if isinstance(width, int) and width < tokeniser.size:
        raise InputError(
            "vocab_size is smaller than the tokenizer's", where=where, got=width, expected=f"at least {tokeniser.size}"
        )
    ids = {"bos_token_id": tokeniser.bos_id, "eos_token_id": tokeniser.eos_id, "pad_token_id": None}
    try:
        return kind(**given, **ids)
    except Exception as error:  # transformers' own validation
        raise InputError(f"not a valid configuration: {_all_lines(error)}", where=where) from error


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _all_lines(error: Exception) -> str:
    return re.sub(r"\s+", " ", str(error)).strip()
