"""What a training stage leaves behind: weights in Hugging Face format, moments, added modules, the method's state.

In the stage's folder: ``checkpoint/`` (a model folder), ``optimizer.safetensors``, ``modules.safetensors`` where a
method added modules, ``method.json`` and, where its state holds tensors, ``method.safetensors``. No pickle.
"""

from __future__ import annotations

import json
import math
import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from harness import disk
from harness.errors import PluginError, StageError, StorageError
from harness.spec.results.files import METHOD, METHOD_TENSORS, MODULES, OPTIMIZER
from harness.store.files import cannot_write, exhausted, machine_errors, write_json
from harness.training.sharding import divided_like, whole

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from torch import Tensor, nn

    from harness.api import Method, State
    from harness.training.optimiser import Optimiser

#: The weights of an unfinished segment.
WEIGHTS = "weights.safetensors"


@dataclass
class Trained:
    """What changes while training."""

    parameters: Mapping[str, nn.Parameter]
    """The policy's, by name."""
    modules: Mapping[str, nn.Module]
    """Those a method added."""
    optimiser: Optimiser
    method: Method
    method_name: str


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what goes wrong while writing into one message."""
    with machine_errors(path):
        try:
            yield
        except SafetensorError as error:
            number = exhausted(error)
            if number is not None:
                raise cannot_write(path, OSError(number, os.strerror(number))) from error
            raise StorageError(f"cannot write: {error}", where=str(path), hint="is the disk full?") from error


@dataclass
class Whole:
    """All that is kept but the policy's weights, and those where they are asked for; divided weights whole."""

    moments: Mapping[str, Tensor]
    modules: Mapping[str, Tensor]
    weights: Mapping[str, Tensor]

    @classmethod
    def of(cls, trained: Trained, *, weights: bool = False) -> Whole:
        """Put it together; all ranks must."""
        modules = {name: _whole(tensor) for name, tensor in _module_tensors(trained.modules).items()}
        parameters = trained.parameters if weights else {}
        return cls(trained.optimiser.moments(), modules, {name: _whole(one) for name, one in parameters.items()})


def save_state(folder: Path, trained: Trained, kept: Whole | None = None) -> None:
    """Write what is ``kept`` of what is trained, and the method's state, into ``folder``."""
    kept = kept or Whole.of(trained)
    with writing(folder):
        with disk.by_library(folder):
            trained.optimiser.save(folder / OPTIMIZER, kept.moments)
            if kept.modules:
                save_file(dict(kept.modules), folder / MODULES)
        if kept.weights:
            save_weights(folder / WEIGHTS, kept.weights)
        tensors: dict[str, Tensor] = {}
        state = {name: _pack(value, name, tensors) for name, value in trained.method.state_dict().items()}
        write_json(folder / METHOD, {"method": trained.method_name, "state": state})
        if tensors:
            with disk.by_library(folder):
                save_file(tensors, folder / METHOD_TENSORS)


def load_moments(folder: Path, trained: Trained, *, modules: bool) -> None:
    """Take back the optimiser's moments: the policy's, and with ``modules`` those of the added modules."""
    names = trained.optimiser.parameters if modules else trained.parameters
    trained.optimiser.load(folder / OPTIMIZER, list(names))


def written_by(folder: Path) -> str:
    """Return the name of the method that a state belongs to."""
    return str(_read(folder / METHOD)["method"])


def load_method(folder: Path, trained: Trained) -> None:
    """Take back added modules and the method's state.

    Raises:
        StageError: a file is missing or broken, or does not fit the modules.
    """
    wanted = _module_tensors(trained.modules)
    if wanted:
        saved = _tensors(folder / MODULES)
        if {n: t.shape for n, t in wanted.items()} != {n: t.shape for n, t in saved.items()}:
            raise StageError("the added modules are not those that were saved", where=str(folder / MODULES))
        with torch.no_grad():
            for name, tensor in wanted.items():
                tensor.copy_(divided_like(saved[name], tensor))
    tensors = _tensors(folder / METHOD_TENSORS) if (folder / METHOD_TENSORS).exists() else {}
    try:
        state = {name: _unpack(value, tensors) for name, value in _read(folder / METHOD)["state"].items()}
    except KeyError as error:
        raise StageError(f"the method's state lacks {error}", where=str(folder)) from error
    trained.method.load_state_dict(state)


def save_weights(path: Path, weights: Mapping[str, Tensor]) -> None:
    """Write weights by name, without configuration or tokenizer."""
    with writing(path), disk.by_library(path.parent):
        save_file({name: tensor.detach().contiguous() for name, tensor in weights.items()}, path)


def load_weights(path: Path, parameters: Mapping[str, nn.Parameter]) -> None:
    """Take back weights."""
    saved = _tensors(path)
    if saved.keys() != parameters.keys():
        raise StageError("the weights are not those of this model", where=str(path))
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(divided_like(saved[name], parameter))


def _module_tensors(modules: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    frozen = {id(p) for module in modules.values() for p in module.parameters() if not p.requires_grad}
    return {
        f"{name}.{key}": tensor
        for name, module in modules.items()
        for key, tensor in module.state_dict(keep_vars=True).items()
        if id(tensor) not in frozen  # what is not trained is as it was loaded
    }


def _whole(tensor: Tensor) -> Tensor:
    return whole(tensor).detach().contiguous()


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise StageError(f"cannot be read: {error}", where=str(path)) from error


def _read(path: Path) -> dict[str, Any]:
    try:
        value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StageError(f"cannot be read: {error}", where=str(path)) from error
    return value


def _pack(value: State, name: str, tensors: dict[str, Tensor]) -> Any:
    """Return the JSON form of a state, with its tensors put aside under ``name``."""
    if isinstance(value, torch.Tensor):
        tensors[name] = value.detach().cpu().contiguous().clone()
        return {"tensor": name}
    if isinstance(value, list):
        return [_pack(item, f"{name}.{place}", tensors) for place, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    if isinstance(value, (bool, int, float, str)):
        return value
    raise PluginError(
        f"state_dict() holds something that cannot be kept under {name!r}",
        got=type(value).__name__,
        expected="a tensor, a bool, an int, a float, a string or a list of these",
    )


def _unpack(value: Any, tensors: Mapping[str, Tensor]) -> State:
    if isinstance(value, list):
        return [_unpack(item, tensors) for item in value]
    if isinstance(value, dict):
        return tensors[value["tensor"]] if "tensor" in value else float(value["float"])
    plain: State = value
    return plain
