"""The modules of a model of which no gradient is wanted, applied with little around them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn
from torch.nn.functional import embedding, gelu, linear
from transformers.pytorch_utils import Conv1D

from harness.lm import onednn
from harness.lm.layers import as_they_are
from harness.lm.native.activation import gelu_tanh

if TYPE_CHECKING:
    from torch import Tensor

    from harness.lm.layers import Apply
    from harness.lm.model.policy import Policy


class Modules:
    """Implements :class:`harness.lm.layers.Bind` with the kernels of modules, and their weights as they are now.

    A module's own call costs as much as what it computes for a few rows, and knows of no better product.
    """

    def __init__(self, policy: Policy, *, often: bool) -> None:
        """Apply modules of ``policy``'s model, ``often`` and to few rows at a time, or now and then to many."""
        self._policy = policy
        self._often = often

    def __call__(self, module: Any, then: Any = None) -> Apply:
        """Return what applies ``module``, and ``then`` to the outcome."""
        if then is None:
            return self._kernel(module)
        activation = _activation(then)
        if activation is not None and not _listened(module):
            fused = self._product(module, then, activation)
            if fused is not None:
                return fused
        first, second = self._kernel(module), self._kernel(then)
        return lambda inputs: second(first(inputs))

    def _kernel(self, module: Any) -> Apply:
        kind = type(module)
        if _listened(module):
            return cast("Apply", module)
        if kind is nn.Embedding and module.max_norm is None:
            weight = module.weight
            return lambda ids: embedding(ids, weight)
        if kind is nn.LayerNorm:
            shape, weight, bias, eps = tuple(module.normalized_shape), module.weight, module.bias, module.eps
            return lambda inputs: torch.layer_norm(inputs, shape, weight, bias, eps)
        if kind is nn.GELU:
            return gelu_tanh if module.approximate == "tanh" else partial(gelu, approximate=module.approximate)
        if kind in {nn.Linear, Conv1D}:
            return self._product(module) or _plain(module)
        return cast("Apply", module)  # an adapter, another activation

    def _product(self, module: Any, then: Any = None, activation: onednn.Activation | None = None) -> Apply | None:
        """Return oneDNN's product, with an activation ``then`` if one is given; None where it would not be faster."""
        kind = type(module)
        if kind not in {nn.Linear, Conv1D}:
            return None
        if not (self._often or activation):  # of many rows, BLAS makes as good a product
            return None
        weight = module.weight if kind is nn.Linear else module.weight.t()
        least = onednn.least_rows(weight, self._policy, activated=activation is not None)
        if least is None:
            return None
        ready = onednn.pack(weight) if self._often else onednn.once(weight)
        plain, bias = _plain(module), module.bias
        after = None if then is None else self._kernel(then)

        def product(inputs: Tensor) -> Tensor:
            if len(inputs) >= least:
                return onednn.product(inputs, ready, bias, activation)
            found = plain(inputs)
            return found if after is None else after(found)

        return product


def while_training(module: Any, then: Any = None) -> Apply:
    """Implement :class:`harness.lm.layers.Bind` by the modules' own calls, but for GELU by the tangent."""
    if type(then) is nn.GELU and then.approximate == "tanh" and not _listened(then):
        return lambda inputs: gelu_tanh(module(inputs))
    return as_they_are(module, then)


def _plain(module: Any) -> Apply:
    if type(module) is nn.Linear:
        return partial(linear, weight=module.weight, bias=module.bias)
    return partial(torch.addmm, module.bias, mat2=module.weight)


def _activation(module: Any) -> onednn.Activation | None:
    """Return how oneDNN knows an activation, None where it does not."""
    if _listened(module):
        return None
    if type(module) is nn.GELU:
        return onednn.GELU[module.approximate]
    return onednn.RELU if type(module) is nn.ReLU else None


def _listened(module: Any) -> bool:
    """Tell whether somebody wants to hear of a module's call."""
    return bool(module._forward_hooks or module._forward_pre_hooks)  # noqa: SLF001  # torch has no public question for hooks
