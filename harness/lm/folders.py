"""A model folder on disk: whether it is safe and whole, and what fixes its content. Needs no torch."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from harness.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Settings of a ``config.json`` that would load code, or weights that are not the plain ones of the folder.
REFUSED_SETTINGS = {
    "auto_map": "code of its own, which is never run",
    "quantization_config": "quantised weights, which cannot be trained here",
    "transformers_weights": "weights under a name of its own",
    "fusion_config": "fused modules",
}
#: Parts of a config.json that change nothing about what the model computes.
IDLE_SETTINGS = frozenset(
    {"transformers_version", "_name_or_path", "architectures", "dtype", "torch_dtype", "use_cache", "is_local"}
)


def check_folder(folder: Path, *, where: str) -> None:
    """Raise InputError unless ``folder`` has a configuration without code and safetensors weights."""
    if not folder.is_dir():
        raise InputError("no such folder", where=where, expected="a model in Hugging Face format")
    config = read_json(folder / "config.json", where=where)
    for name, what in REFUSED_SETTINGS.items():
        if config.get(name):
            raise InputError(f"config.json sets {name}: {what}", where=where)
    for name, value in config.items():
        if "implementation" in name and isinstance(value, str) and "/" in value:
            raise InputError(f"config.json sets {name}: code from the hub, which is never run", where=where, got=value)
    if (folder / "adapter_config.json").exists():
        raise InputError("this is an adapter, not a model", where=where, hint="merge it into its base model first")
    if any((folder / name).exists() for name in ("model.safetensors", "model.safetensors.index.json")):
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
        raise InputError(f"{path.name} holds no JSON object", where=where, got=type(value).__name__)
    return value


def weights_digest(folder: Path | str) -> str:
    """Return the sha256 (64 hex digits) of the weights of a model folder: names, types, shapes and numbers.

    Shards, their order and the files' remarks do not count.
    """
    folder = Path(folder)
    files = _weight_files(folder)
    found: dict[str, tuple[Path, int, Mapping[str, Any]]] = {}
    for file in files:
        start, header = _safetensors_header(file)
        for name, tensor in header.items():
            if name != "__metadata__":
                found[name] = (file, start, tensor)
    total = hashlib.sha256()
    for name in sorted(found):
        file, start, tensor = found[name]
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


def _weight_files(folder: Path) -> list[Path]:
    """Return the files that transformers would load: the single one, or the shards that the index names."""
    if (folder / "model.safetensors").is_file():
        return [folder / "model.safetensors"]
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        raise InputError("the model folder has no weights", where=str(folder), expected="model.safetensors")
    shards = read_json(index, where=str(folder)).get("weight_map")
    names = sorted(set(map(str, shards.values()))) if isinstance(shards, dict) else []
    for name in names:
        if Path(name).name != name or not (folder / name).is_file():
            raise InputError("the index names a file that is not in the folder", where=str(index), got=name)
    return [folder / name for name in names]


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
