"""AdamW, Adam and plain gradient descent over named parameters, with moments that are saved by name as safetensors."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from harness.errors import StageError
from harness.lm.cuda.fused import fused
from harness.training.sharding import divided_like, whole

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from torch import Tensor, nn

    from harness.spec.recipe import StepSettings

#: What torch keeps for each parameter.
_STATE = ("exp_avg", "exp_avg_sq", "step")
#: Metadata key of a file of moments: the parameters that have none, as a JSON list.
_WITHOUT = "without"


def decays(parameter: nn.Parameter) -> bool:
    """Return whether weight decay pulls on a parameter.

    Matrices and embeddings decay; biases and the scales of norms, which have one dimension, do not. This is the rule of
    the official recipe (biases and LayerNorm excluded), told by shape, since every family names its norms differently.
    """
    return parameter.dim() >= 2


class Optimiser:
    """One optimiser over the policy and whatever modules a method added."""

    def __init__(self, recipe: StepSettings) -> None:
        """Prepare an optimiser without parameters (see :meth:`add`)."""
        self._recipe = recipe
        self._optimizer: torch.optim.Optimizer | None = None
        self._own_peaks: list[float | None] = []
        self.parameters: dict[str, nn.Parameter] = {}

    def add(self, named: Mapping[str, nn.Parameter], *, learning_rate: float | None = None) -> None:
        """Train these parameters too; ``learning_rate`` is a peak of their own on the common schedule."""
        for decay in (True, False):
            members = [parameter for parameter in named.values() if decays(parameter) is decay]
            if not members:
                continue
            group: dict[str, Any] = {
                "params": members,
                "weight_decay": self._recipe.weight_decay if decay else 0.0,
                "lr": 0.0,
            }
            if self._optimizer is None:
                self._optimizer = _optimizer(self._recipe, group)
            else:
                self._optimizer.add_param_group(group)
            self._own_peaks.append(learning_rate)
        self.parameters |= named

    def step(self, learning_rate: float, *, peak: float) -> None:
        """Take one step along the gradients; a parameter without one stays as it is.

        Args:
            learning_rate: what the schedule says for this step.
            peak: the schedule's peak, which groups with a peak of their own replace.
        """
        assert self._optimizer is not None
        for group, own in zip(self._optimizer.param_groups, self._own_peaks, strict=True):
            group["lr"] = learning_rate if own is None else own * (learning_rate / peak if peak else 0.0)
        self._optimizer.step()

    def clear(self) -> None:
        """Forget all gradients."""
        for parameter in self.parameters.values():
            parameter.grad = None

    def moments(self) -> dict[str, Tensor]:
        """Return the moments, each under ``<kind>.<parameter's name>``; of divided weights whole, to all ranks."""
        assert self._optimizer is not None
        state = self._optimizer.state
        return {
            f"{kind}.{name}": whole(state[parameter][kind]).contiguous()
            for name, parameter in self.parameters.items()
            if parameter in state
            for kind in _STATE
        }

    def save(self, path: Path, moments: Mapping[str, Tensor]) -> None:
        """Write :meth:`moments` as safetensors."""
        assert self._optimizer is not None
        state = self._optimizer.state
        without = [name for name, parameter in self.parameters.items() if parameter not in state]
        # one entry only: several would stand in the header in an order that changes from process to process
        save_file(dict(moments), path, metadata={_WITHOUT: json.dumps(without)})

    def load(self, path: Path, names: Collection[str]) -> None:
        """Take back the moments of the parameters in ``names``; moments of other parameters are left alone.

        Raises:
            StageError: the file is missing or broken, or a parameter's moments are missing, halved or of another shape.
                (One that never had a gradient has none, and the file says so.)
        """
        assert self._optimizer is not None
        try:
            with safe_open(path, framework="pt") as file:
                without = json.loads(file.metadata()[_WITHOUT])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is not a mapping
        except Exception as error:  # the library raises errors of its own, OSError and more
            raise StageError(f"the optimiser's moments cannot be read: {error}", where=str(path)) from error
        for name in names:
            parameter = self.parameters[name]
            moments = {kind: tensors[key] for kind in _STATE if (key := f"{kind}.{name}") in tensors}
            if not moments and name in without:
                continue
            if len(moments) < len(_STATE) or any(moments[kind].shape != parameter.shape for kind in _STATE[:2]):
                raise StageError("the optimiser's moments do not fit the model", where=str(path), got=name)
            self._optimizer.state[parameter] = {
                kind: value.to(parameter.device, torch.float32, copy=True)
                if kind == "step"
                else divided_like(value.to(parameter.device, parameter.dtype, copy=True), parameter)
                for kind, value in moments.items()
            }


def _optimizer(recipe: StepSettings, group: dict[str, Any]) -> torch.optim.Optimizer:
    kinds: dict[str, Any] = {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW, "adam": torch.optim.Adam}
    kind, device = kinds[recipe.optimizer], group["params"][0].device
    # without momentum SGD keeps nothing between steps
    options = {} if recipe.optimizer == "sgd" else {"betas": recipe.betas, "eps": recipe.epsilon}
    made: torch.optim.Optimizer = kind([group], lr=0.0, fused=fused(kind, device, options), **options)
    return made
