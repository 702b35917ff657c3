"""bfloat16 copies of weights with places of their own, made once for a model and filled anew before each use.

Autocast casts a weight in every forward that keeps no gradients: in each step of decoding. Here its copy is kept for as
long as the weight lives, and filled from it whenever :func:`harness.lm.model.packed_linear.packed` is entered, so that
a captured graph finds the weights of today where it read those of yesterday. A model takes half as much memory again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch.nn.functional import linear
from torch.utils.weak import WeakIdKeyDictionary

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

    from torch import Tensor, nn

#: Where weights are bound; on a processor they are packed instead, and given back.
DEVICES = frozenset({"cuda"})

_copies: MutableMapping[Tensor, Tensor] = WeakIdKeyDictionary()


class BoundLinear:
    """The product with a layer's bound weight, as autocast makes it; the layer's own where gradients are on."""

    def __init__(self, plain: Callable[[Tensor], Tensor], weight: Tensor, bias: Tensor | None) -> None:
        """Take the layer's own forward, and the copies: (out, in), and (out,) if there is a bias."""
        self._plain, self._weight, self._bias = plain, weight, bias
        self.reads = (weight.data_ptr(), None if bias is None else bias.data_ptr())
        """What tells a captured graph whether it would read the same places."""

    def __call__(self, inputs: Tensor) -> Tensor:
        """Return (…, out) of inputs (…, in)."""
        if torch.is_grad_enabled() or not torch.is_autocast_enabled(inputs.device.type):
            return self._plain(inputs)
        return linear(inputs.to(self._weight.dtype), self._weight, self._bias)


def bound_forward(module: nn.Module, dtype: torch.dtype) -> BoundLinear:
    """Return what a linear layer (``nn.Linear``, or ``Conv1D`` with its weight the other way round) computes."""
    layer = cast("Any", module)
    turned = not isinstance(module, torch.nn.Linear)
    weight = _copy(layer.weight, dtype, turned=turned)
    return BoundLinear(layer.forward, weight, None if layer.bias is None else _copy(layer.bias, dtype, turned=False))


def _copy(weight: Tensor, dtype: torch.dtype, *, turned: bool) -> Tensor:
    """Return the copy of a weight, filled with what it is now."""
    source = weight.detach().t() if turned else weight.detach()
    copy = _copies.get(weight)
    if copy is None or copy.dtype != dtype or copy.shape != source.shape or copy.device != source.device:
        with torch.inference_mode(mode=False):
            copy = _copies[weight] = torch.empty(source.shape, dtype=dtype, device=source.device)
    copy.copy_(source)
    return copy


def why_not(device: torch.device) -> str:
    """Return why bound weights cannot be used, empty if they can: what a toy shows beside autocast's own casts."""
    generator = torch.Generator().manual_seed(0)
    layer = torch.nn.Linear(64, 48, device="meta").to_empty(device="cpu")  # no random numbers of the process's
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    layer.to(device)
    inputs = torch.randn(8, 64, generator=generator).to(device)
    for _ in range(2):
        with torch.no_grad(), torch.autocast(device.type, dtype=torch.bfloat16):
            expected, found = layer(inputs), bound_forward(layer, torch.bfloat16)(inputs)
        if found.dtype != expected.dtype or not torch.allclose(found, expected, rtol=0.02, atol=0.02):
            return "bound weights gave other products than autocast's"
        with torch.no_grad():
            layer.weight.mul_(1.5)  # as an optimiser does
    return ""
