"""The modules of a model that stands still for a while, applied to many small batches with little around them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn
from torch.nn.functional import gelu, linear
from transformers.pytorch_utils import Conv1D

from harness.lm import onednn

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from harness.lm.policy import Policy


class Modules:
    """Applies modules with their weights as they were when each was first met. See ``apply`` of a walk.

    A module's own call costs as much as what it computes for a few rows, and knows of no better product.
    """

    def __init__(self, policy: Policy) -> None:
        """Apply modules of ``policy``'s model."""
        self._policy = policy
        self._known: dict[Any, Callable[[Tensor], Tensor]] = {}

    def __call__(self, module: Any, inputs: Tensor) -> Tensor:
        """Return the outcome (N, out) of ``module`` for ``inputs`` (N, in)."""
        if module not in self._known:
            self._known[module] = self._way(module)
        return self._known[module](inputs)

    def _way(self, module: Any) -> Callable[[Tensor], Tensor]:
        kind = type(module)
        if module._forward_hooks or module._forward_pre_hooks:  # noqa: SLF001  # torch has no public question for hooks
            return cast("Callable[[Tensor], Tensor]", module)  # what others listen to
        if kind is nn.LayerNorm:
            shape = tuple(module.normalized_shape)
            return lambda inputs: torch.layer_norm(inputs, shape, module.weight, module.bias, module.eps)
        if kind is nn.GELU:
            return partial(gelu, approximate=module.approximate)
        if kind is nn.Linear:
            return self._product(partial(linear, weight=module.weight, bias=module.bias), module.weight, module.bias)
        if kind is Conv1D:
            plain = partial(torch.addmm, module.bias, mat2=module.weight)
            return self._product(plain, module.weight.t(), module.bias)
        return cast("Callable[[Tensor], Tensor]", module)  # an adapter, another activation

    def _product(
        self, plain: Callable[[Tensor], Tensor], weight: Tensor, bias: Tensor | None
    ) -> Callable[[Tensor], Tensor]:
        packed = onednn.pack(weight, self._policy)
        if packed is None:
            return plain
        return lambda inputs: plain(inputs) if len(inputs) < onednn.ROWS else onednn.product(inputs, packed, bias)
