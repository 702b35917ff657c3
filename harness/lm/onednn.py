"""Products of oneDNN, with weights that stand still for a while and are put in its own order once.

On a CPU a few rows times a weight that is not in the nearest cache is where BLAS does worst, and decoding does little
else. For 16 rows on one core, against torch's product: the same time at 128 x 512 numbers, 0.8 of it at 192 x 576, 0.6
at 256 x 1,024 and at 512 x 1,536. What oneDNN spends on a call, 15 microseconds, is more than all of a smaller product.

Of many rows it is the faster one where the weight is long, such as a head's, packed or not: 0.7 to 0.8 of BLAS's time
for 300 rows and 8,192 x 192 or 8,192 x 512 numbers, 0.6 for 50,257 x 768; among a layer's weights, 0.85 to 0.95.

It also applies an activation on the way. torch's GELU costs half as much as the product before it: both together take
0.75 of the time at 128 x 512 numbers and 16 rows, 0.6 at 160 rows or at 192 x 768 numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

import torch
from torch.nn.functional import gelu, relu

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

    from harness.lm.policy import Policy

#: Numbers of a weight from which on oneDNN's product is the faster one, alone ...
_NUMBERS = 100_000
#: ... and with an activation ...
_ACTIVATED = 50_000
#: ... and rows.
ROWS = 2


@dataclass(frozen=True)
class Activation:
    """An activation that oneDNN applies to a product."""

    name: str
    algorithm: str
    alone: Callable[[Tensor], Tensor]
    """The same by itself."""


RELU: Final = Activation("relu", "", relu)
#: By torch's name of the approximation.
GELU: Final[Mapping[str, Activation]] = {
    name: Activation("gelu", name, partial(gelu, approximate=name)) for name in ("none", "tanh")
}


def fits(weight: Tensor, policy: Policy, *, activated: bool = False) -> bool:
    """Tell whether oneDNN's product with ``weight`` (out, in) is to be had and faster: in float32, on a CPU."""
    return bool(
        weight.numel() >= (_ACTIVATED if activated else _NUMBERS)
        and weight.device.type == "cpu"
        and weight.dtype == torch.float32
        and policy.dtype == "float32"
        and cast("Any", torch.backends.mkldnn).is_available()
        and hasattr(_onednn(), "_reorder_linear_weight")
        and hasattr(_onednn(), "_linear_pointwise")
    )


def pack(weight: Tensor) -> Tensor:
    """Return ``weight`` (out, in) in oneDNN's order."""
    # what is contiguous is reordered several times as fast
    return cast("Tensor", _onednn()._reorder_linear_weight(weight.detach().contiguous()))  # noqa: SLF001  # what torch.compile calls


def product(inputs: Tensor, weight: Tensor, bias: Tensor | None, activation: Activation | None = None) -> Tensor:
    """Return ``inputs`` (N, in) times a weight, packed or not, (N, out), after its activation if there is one."""
    name, algorithm = ("none", "") if activation is None else (activation.name, activation.algorithm)
    return cast("Tensor", _onednn()._linear_pointwise(inputs, weight, bias, name, [], algorithm))  # noqa: SLF001  # as above


def _onednn() -> Any:
    return cast("Any", torch.ops.mkldnn)
