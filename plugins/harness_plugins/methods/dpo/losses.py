"""The losses of DPO and its variants as functions of tensors. b pairs of a part."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor


def pair_losses(
    chosen: Tensor,
    rejected: Tensor,
    lengths: Tensor,
    *,
    beta: float,
    loss_type: Literal["sigmoid", "robust", "hinge", "ipo", "ipo_summed"] = "sigmoid",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Return the loss of each pair, (b,).

    With the margin D = chosen - rejected and e for ``label_smoothing``::

        sigmoid      -(1 - e) log s(beta D) - e log s(-beta D)                  Rafailov et al. 2023, Eq. 7 where e = 0
        robust      (-(1 - e) log s(beta D) + e log s(-beta D)) / (1 - 2 e)     Chowdhury et al. 2024 (arXiv:2403.00409)
        hinge       max(0, 1 - beta D)                                          Liu et al. 2023 (arXiv:2309.06657)
        ipo         (D' - 1 / (2 beta))^2, D' of ratios a token                 Azar et al. 2023 (2310.12036), Eq. 17
        ipo_summed  (D - 1 / (2 beta))^2

    Args:
        chosen: (b,) log p(chosen) / p_ref(chosen), summed over the answer's tokens.
        rejected: (b,) the same of the rejected answer.
        lengths: (b, 2) int64, tokens of the chosen and of the rejected answer; read by ``ipo`` alone.
        beta: see the options.
        loss_type: see the options.
        label_smoothing: see the options.
    """
    if loss_type == "ipo":
        tokens = lengths.clamp(min=1).to(chosen.dtype)
        chosen, rejected = chosen / tokens[:, 0], rejected / tokens[:, 1]
    margin = chosen - rejected
    if loss_type in {"ipo", "ipo_summed"}:
        return (margin - 1 / (2 * beta)).square()
    if loss_type == "hinge":
        return functional.relu(1 - beta * margin)
    right, flipped = -functional.logsigmoid(beta * margin), -functional.logsigmoid(-beta * margin)
    if loss_type == "robust":
        return ((1 - label_smoothing) * right - label_smoothing * flipped) / (1 - 2 * label_smoothing)
    return (1 - label_smoothing) * right + label_smoothing * flipped
