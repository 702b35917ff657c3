"""Products of oneDNN with weights that stand still for a while, put in its own order once.

On a CPU a few rows times a weight that is not in the nearest cache is where BLAS does worst, and decoding does little
else. For 16 rows on one core, against torch's product: the same time at 128 x 512 numbers, 0.8 of it at 192 x 576, 0.6
at 256 x 1,024 and at 512 x 1,536. What oneDNN spends on a call, 15 microseconds, is more than all of a smaller product.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from harness.lm.policy import Policy

#: Numbers of a weight from which on oneDNN's product is the faster one ...
_NUMBERS = 100_000
#: ... and rows.
ROWS = 2


def pack(weight: Tensor, policy: Policy) -> Tensor | None:
    """Return ``weight`` (out, in) in oneDNN's order; None where it would not be faster, or not float32."""
    able = (
        weight.numel() >= _NUMBERS
        and weight.device.type == "cpu"
        and weight.dtype == torch.float32
        and policy.dtype == "float32"
        and cast("Any", torch.backends.mkldnn).is_available()
        and hasattr(_onednn(), "_reorder_linear_weight")
        and hasattr(_onednn(), "_linear_pointwise")
    )
    return cast("Tensor", _onednn()._reorder_linear_weight(weight.detach())) if able else None  # noqa: SLF001  # what torch.compile calls


def product(inputs: Tensor, packed: Tensor, bias: Tensor | None) -> Tensor:
    """Return ``inputs`` (N, in) times a packed weight, (N, out)."""
    return cast("Tensor", _onednn()._linear_pointwise(inputs, packed, bias, "none", [], ""))  # noqa: SLF001  # as above


def _onednn() -> Any:
    return cast("Any", torch.ops.mkldnn)
