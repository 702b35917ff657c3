"""Products of oneDNN, with weights that stand still for a while and are put in its own order once.

On a CPU a few rows times a weight that is not in the nearest cache is where BLAS does worst, and decoding does little
else. For 16 rows on one core, against torch's product: the same time at 128 x 512 numbers, 0.8 of it at 192 x 576, 0.6
at 256 x 1,024 and at 512 x 1,536. What oneDNN spends on a call, 15 microseconds, is more than all of a smaller product.

Of many rows it is the faster one where the weight is long, such as a head's, packed or not: 0.7 to 0.8 of BLAS's time
for 300 rows and 8,192 x 192 or 8,192 x 512 numbers, 0.6 for 50,257 x 768; among a layer's weights, 0.85 to 0.95.

It also applies an activation on the way. torch's GELU costs half as much as the product before it: both together take
0.75 of the time at 128 x 512 numbers and 16 rows, 0.6 at 160 rows or at 192 x 768 numbers.

So it is on an AMD EPYC. BLAS here is MKL, which does better on processors of its own maker. On an Intel Xeon (Sapphire
Rapids) oneDNN needs 1.3 to 2 times MKL's time for 16 rows and up to 192 x 768 numbers, and 0.7 to 0.85 of it from 512 x
2,048 numbers on; with an activation it is the faster one from 64 rows on; a head's logits of 300 rows take 1.2 times as
long. On two cores, decoding 16 rows at a width of 192 takes 0.85 of the time without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from harness.lm.model.policy import Policy

#: Rows below which a product is a matter of reading the weight, which BLAS does as well.
_ROWS = 2
#: Numbers of a weight that no cache near a core holds.
_LARGE = 1_000_000


@dataclass(frozen=True)
class Worth:
    """From which size on oneDNN's product is the faster one."""

    few: int
    """Numbers of a weight, of which a few rows are multiplied at a time."""
    many: int
    """The same for hundreds of rows."""
    activated: int
    """Numbers of a weight whose product is activated ..."""
    rows: int
    """... and rows, unless the weight is worth it for a few of them."""

    @classmethod
    def here(cls, described: Path = Path("/proc/cpuinfo")) -> Worth:
        """Return what holds for this processor: by its maker's name, as what is measured could differ from run to run.

        Args:
            described: where the system describes it, if it does.
        """
        try:
            intel = "GenuineIntel" in described.read_text(encoding="utf-8")
        except OSError:
            intel = False
        if intel:
            return cls(few=_LARGE, many=1 << 62, activated=50_000, rows=64)
        return cls(few=100_000, many=100_000, activated=50_000, rows=_ROWS)


WORTH = Worth.here()


@dataclass(frozen=True)
class Activation:
    """An activation that oneDNN applies to a product."""

    name: str
    algorithm: str


RELU: Final = Activation("relu", "")
#: By torch's name of the approximation.
GELU: Final[Mapping[str, Activation]] = {name: Activation("gelu", name) for name in ("none", "tanh")}


def least_rows(weight: Tensor, policy: Policy, *, activated: bool = False) -> int | None:
    """Return from how many rows on oneDNN's product with ``weight`` (out, in) is the faster one, None for never."""
    if not _takes(weight, policy):
        return None
    if weight.numel() >= WORTH.few:
        return _ROWS
    return WORTH.rows if activated and weight.numel() >= WORTH.activated else None


def many_fit(weight: Tensor, policy: Policy) -> bool:
    """Tell whether oneDNN's product of hundreds of rows with ``weight`` (out, in) is the faster one."""
    return _takes(weight, policy) and weight.numel() >= WORTH.many


def _takes(weight: Tensor, policy: Policy) -> bool:
    return bool(
        weight.device.type == "cpu"
        and weight.dtype == torch.float32
        and policy.dtype == "float32"
        and cast("Any", torch.backends.mkldnn).is_available()
        and hasattr(_onednn(), "_reorder_linear_weight")
        and hasattr(_onednn(), "_linear_pointwise")
    )


def once(weight: Tensor) -> Tensor:
    """Return ``weight`` (out, in) for a product that is made once."""
    # read across, 3,072 x 768 numbers take twice as long as the copy and the product together
    return weight.detach().contiguous() if weight.numel() >= _LARGE else weight.detach()


def pack(weight: Tensor) -> Tensor:
    """Return ``weight`` (out, in) in oneDNN's order, for many products."""
    # what is contiguous is reordered several times as fast
    return cast("Tensor", _onednn()._reorder_linear_weight(weight.detach().contiguous()))  # noqa: SLF001  # what torch.compile calls


def product(inputs: Tensor, weight: Tensor, bias: Tensor | None, activation: Activation | None = None) -> Tensor:
    """Return ``inputs`` (N, in) times a weight, packed or not, (N, out), after its activation if there is one."""
    name, algorithm = ("none", "") if activation is None else (activation.name, activation.algorithm)
    return cast("Tensor", _onednn()._linear_pointwise(inputs, weight, bias, name, [], algorithm))  # noqa: SLF001  # as above


def _onednn() -> Any:
    return cast("Any", torch.ops.mkldnn)
