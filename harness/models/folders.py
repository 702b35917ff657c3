"""A model folder on disk: whether it is safe and whole, and what fixes its content. Needs no torch."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from harness.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Where a folder says which file has which weight.
WEIGHTS_INDEX = "model.safetensors.index.json"
#: Settings of a ``config.json`` that would load code, or weights that are not the plain ones of the folder.
REFUSED_SETTINGS = {
    "auto_map": "custom code, which is never run, and transformers has none of its own for this model",
    "quantization_config": "quantised weights, which cannot be trained here",
    "transformers_weights": "weights under another name",
    "fusion_config": "fused modules",
}
#: What to do with an adapter.
MERGE = "merge it into its base model first (PEFT: merge_and_unload, then save_pretrained)"
#: Parts of a config.json that change nothing about what the model computes.
IDLE_SETTINGS = frozenset(
    {"transformers_version", "_name_or_path", "architectures", "dtype", "torch_dtype", "use_cache", "is_local"}
)


def check_folder(folder: Path, *, where: str) -> None:
    """Raise InputError unless ``folder`` has a configuration without code and safetensors weights."""
    if not folder.is_dir():
        raise InputError("no such folder", where=where, expected="a model in Hugging Face format")
    if (folder / "adapter_config.json").exists():
        raise InputError("this is an adapter, not a model", where=where, hint=MERGE)
    config = read_json(folder / "config.json", where=where)
    for name, what in REFUSED_SETTINGS.items():
        if config.get(name) and not (name == "auto_map" and _has_own_code(config)):
            raise InputError(f"config.json sets {name}: {what}", where=where)
    for name, value in config.items():
        if "implementation" in name and isinstance(value, str) and "/" in value:
            raise InputError(f"config.json sets {name}: code from the hub, which is never run", where=where, got=value)
    if any((folder / name).exists() for name in ("model.safetensors", WEIGHTS_INDEX)):
        weight_files(folder, where=where)
        return
    pickled = sorted(path.name for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt") for path in folder.glob(pattern))
    if pickled:
        raise InputError(
            "the weights are pickled, and loading a pickle can run code",
            where=where,
            got=pickled[0],
            expected="model.safetensors",
            hint="save the model again with transformers' save_pretrained, which writes safetensors",
        )
    raise InputError("the model folder has no weights", where=where, expected="model.safetensors")


def _has_own_code(config: Mapping[str, Any]) -> bool:
    """Tell whether transformers itself knows a kind of model that also came with code of its authors."""
    from transformers import CONFIG_MAPPING

    return config.get("model_type") in CONFIG_MAPPING


def check_one_label(folder: Path, *, where: str) -> None:
    """Raise InputError unless a classifier's configuration says that it has one output."""
    config = read_json(folder / "config.json", where=where)
    labels = config.get("id2label")
    count = len(labels) if isinstance(labels, dict) else config.get("num_labels", 2)  # 2 is what transformers assumes
    if count != 1:
        raise InputError(
            "a reward model gives one number, and this classifier has several outputs",
            where=where,
            got=count,
            expected="a sequence classifier with one label (num_labels: 1, or one entry in id2label of config.json)",
        )


def read_json(path: Path, *, where: str) -> dict[str, Any]:
    """Read a JSON object of a model folder; InputError where it is missing or broken."""
    try:
        value = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path.name} is missing", where=where, expected="a model in Hugging Face format") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path.name} cannot be read: {error}", where=where) from None
    if not isinstance(value, dict):
        raise InputError(f"{path.name} is not a JSON object", where=where, got=type(value).__name__)
    return value


def weights_digest(folder: Path | str) -> str:
    """Return the sha256 (64 hex digits) of the weights of a model folder: names, types, shapes and numbers.

    Shards, their order and the files' remarks do not count.
    """
    folder = Path(folder)
    files = weight_files(folder, where=str(folder))
    tensors: dict[str, tuple[Path, int, Mapping[str, Any]]] = {}
    for file in files:
        start, header = _safetensors_header(file)
        for name, tensor in header.items():
            if name != "__metadata__":
                tensors[name] = (file, start, tensor)
    total = hashlib.sha256()
    for name in sorted(tensors):
        file, start, tensor = tensors[name]
        try:
            first, last = tensor["data_offsets"]
            described = json.dumps([name, tensor["dtype"], tensor["shape"]])
            left = int(last) - int(first)
        except (KeyError, TypeError, ValueError):
            _broken(file)
        total.update(described.encode())
        with file.open("rb") as stream:
            stream.seek(start + first)
            while left > 0:
                block = stream.read(min(left, 1 << 22))
                if not block:
                    _broken(file)
                total.update(block)
                left -= len(block)
    return total.hexdigest()


def config_digest(folder: Path | str) -> str:
    """Return the sha256 (64 hex digits) of what a folder's config.json says of the computation.

    Versions, names and the stored type are left out, and so is every dropout, which the recipe sets.
    """
    config = read_json(Path(folder) / "config.json", where=str(folder))
    kept = {name: value for name, value in config.items() if name not in IDLE_SETTINGS and "drop" not in name}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def weight_files(folder: Path, *, where: str) -> list[Path]:
    """Return the files that transformers would load: the single one, or the shards that the index names.

    Raises:
        InputError: there are no weights, or a shard is missing.
    """
    for name in ("model.safetensors", "adapter_model.safetensors"):
        if (folder / name).is_file():
            return [folder / name]
    if not (folder / WEIGHTS_INDEX).is_file():
        raise InputError("the model folder has no weights", where=where, expected="model.safetensors")
    names = shards(folder, where=where)
    for name in names:
        if not (folder / name).is_file():
            raise InputError("the index names a file that is not in the folder", where=where, got=name)
    return [folder / name for name in names]


def count_numbers(folder: Path) -> int:
    """Return how many numbers the weights of a model folder are, from the headers of its files alone."""
    return sum(
        math.prod(tensor["shape"])
        for file in weight_files(folder, where=str(folder))
        for name, tensor in _safetensors_header(file)[1].items()
        if name != "__metadata__"
    )


def shards(folder: Path, *, where: str) -> list[str]:
    """Return the names of the files that the index of a folder names, whatever they are called.

    Raises:
        InputError: the index is broken, or names what is not a safetensors file beside it.
    """
    named = read_json(folder / WEIGHTS_INDEX, where=where).get("weight_map")
    names = sorted(set(map(str, named.values()))) if isinstance(named, dict) else []
    if not names:
        raise InputError(f"{WEIGHTS_INDEX} names no file", where=where, expected="weight_map: a file for each weight")
    for name in names:
        if Path(name).name != name:
            raise InputError("the index names a file that is not in the folder", where=where, got=name)
        if not name.endswith(".safetensors"):
            raise InputError("the index names a file that is not a safetensors file", where=where, got=name)
    return names


def _safetensors_header(file: Path) -> tuple[int, dict[str, Any]]:
    """Return where a file's data starts, and its header: 8 bytes of length, then JSON."""
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if not 2 <= length <= min(file.stat().st_size, 100_000_000):
            _broken(file)
        try:
            header = json.loads(stream.read(length))
        except ValueError:
            _broken(file)
    if not isinstance(header, dict):
        _broken(file)
    return 8 + length, header


def _broken(file: Path) -> NoReturn:
    raise InputError("not a whole safetensors file", where=str(file))
