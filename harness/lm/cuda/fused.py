"""Whether an optimiser steps all parameters in one kernel: on CUDA, unless a switch or a trial speaks against it."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, cast

import torch

from harness.errors import first_line
from harness.lm.switches import FUSED

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Of a toy's parameters, after some steps, in float32.
_TOLERANCE = 1e-6


def fused(kind: type[torch.optim.Optimizer], device: torch.device, options: Mapping[str, Any]) -> bool:
    """Tell whether ``kind`` is to be made with ``fused=True`` for parameters on ``device``."""
    if device.type != "cuda":
        return True
    return not FUSED.on and not _why_not(cast("Any", kind), device, tuple(sorted(options.items())))


@functools.cache
def _why_not(kind: Any, device: torch.device, options: tuple[tuple[str, Any], ...]) -> str:
    return why_not(kind, device, dict(options))


def why_not(kind: type[torch.optim.Optimizer], device: torch.device, options: Mapping[str, Any]) -> str:
    """Return why a fused step cannot be used, empty if it can: what a toy shows beside a loop over parameters."""
    make: Any = kind
    generator = torch.Generator().manual_seed(0)
    starts = [torch.randn(shape, generator=generator) for shape in ((7, 5), (3,))]
    slopes = [[torch.randn(start.shape, generator=generator) for start in starts] for _ in range(3)]
    ends = []
    try:
        for how in ({"fused": True}, {"foreach": False, "fused": False}):
            parameters = [torch.nn.Parameter(start.to(device, copy=True)) for start in starts]
            optimiser = make([{"params": parameters, "lr": 0.1, "weight_decay": 0.05}], **options, **how)
            for each in slopes:
                for parameter, slope in zip(parameters, each, strict=True):
                    parameter.grad = slope.to(device, copy=True)
                optimiser.step()
            ends.append(torch.cat([parameter.detach().flatten() for parameter in parameters]))
    except Exception as error:  # noqa: BLE001  # whatever a device does not support
        return first_line(error)
    same = torch.allclose(ends[0], ends[1], rtol=0, atol=_TOLERANCE)
    return "" if same else "a fused step led elsewhere than a loop over parameters"
