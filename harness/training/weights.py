"""A model's weights: their digest, and what is done to them and to layers before training."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import nn

#: Bytes to which torch aligns the tensors it makes.
_ALIGNMENT = 64


def align(model: nn.Module) -> None:
    """Move weights that lie where a file was mapped into memory of their own, as all tensors that torch makes have it.

    Matrix products round differently when an operand does not begin at a multiple of 64 bytes, so a loaded checkpoint
    would not go on bit for bit like the model that was saved.
    """
    for parameter in model.parameters():
        if parameter.data_ptr() % _ALIGNMENT:
            parameter.data = parameter.data.clone()


def recompute_activations(model: Any) -> None:
    """Turn on gradient checkpointing, under the name that this release of transformers has for it."""
    if hasattr(model, "activation_checkpointing_enable"):
        model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    else:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})


def module_digest(module: nn.Module) -> str:
    """Return the sha256 of a module's parameters and buffers, names and bytes."""
    state = hashlib.sha256()
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        state.update(f"{name}\x00{tensor.dtype}\x00{tuple(tensor.shape)}\x00".encode())
        state.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return state.hexdigest()
