"""The Bradley-Terry loss of pairs of rewards."""

from __future__ import annotations

import torch
from torch import Tensor


def bradley_terry_losses(chosen: Tensor, rejected: Tensor, margins: Tensor) -> Tensor:
    """Return -log sigmoid(r_w - r_l - m) of each pair.

    Args:
        chosen: (b,) reward of the preferred answer.
        rejected: (b,) reward of the other.
        margins: (b,) what the lead is measured against.
    """
    return -torch.nn.functional.logsigmoid(chosen - rejected - margins)


def centring_losses(chosen: Tensor, rejected: Tensor) -> Tensor:
    """Return (r_w + r_l)^2 of each pair (Eisenstein et al. 2023, arXiv:2312.09244)."""
    return (chosen + rejected).square()
