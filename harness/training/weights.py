"""A model's weights: their digest, and what is done to them and to layers before training."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

import torch

from harness.training.sharding import is_divided, whole

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import nn

#: How many sums stand for a model's weights.
SUMS: Final = 16
#: Bytes to which torch aligns the tensors it makes.
_ALIGNMENT = 64


def align(model: nn.Module) -> None:
    """Move weights that lie where a file was mapped into memory of their own, as all tensors that torch makes have it.

    Matrix products round differently when an operand does not begin at a multiple of 64 bytes, so a loaded checkpoint
    would not go on bit for bit like the model that was saved.
    """
    for parameter in model.parameters():
        if not is_divided(parameter) and parameter.data_ptr() % _ALIGNMENT:
            parameter.data = parameter.data.clone()


def recompute_activations(model: Any) -> None:
    """Turn on gradient checkpointing, under the name that this release of transformers has for it."""
    if hasattr(model, "activation_checkpointing_enable"):
        model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    else:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})


def sums(parameters: Iterable[nn.Parameter]) -> tuple[float, ...]:
    """Return sums over weights, ``SUMS`` of them, in float64: a linear sketch of the weights.

    Weight i of a tensor, its numbers in a row, is in sum i modulo ``SUMS``. So the sums of a difference are those of
    one side less those of the other, and for differences without a pattern their length is about the difference's own:
    its expected square is, for each sum adds independent terms.
    """
    total = torch.zeros(SUMS, dtype=torch.float64)
    for parameter in parameters:
        numbers = whole(parameter.detach()).reshape(-1)
        even = len(numbers) // SUMS * SUMS
        total += numbers[:even].view(-1, SUMS).sum(0, dtype=torch.float64).cpu()
        total[: len(numbers) - even] += numbers[even:].double().cpu()
    return tuple(total.tolist())


def module_digest(module: nn.Module) -> str:
    """Return the sha256 of a module's parameters and buffers, names and bytes."""
    state = hashlib.sha256()
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        state.update(f"{name}\x00{tensor.dtype}\x00{tuple(tensor.shape)}\x00".encode())
        state.update(whole(tensor.detach()).cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return state.hexdigest()
