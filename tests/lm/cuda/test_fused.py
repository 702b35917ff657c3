"""Whether an optimiser steps in one kernel."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from harness.lm.cuda import fused as module
from harness.lm.cuda.fused import fused, why_not
from harness.lm.switches import FUSED

CPU = torch.device("cpu")
ADAM = {"betas": (0.9, 0.99), "eps": 1e-8}


@pytest.mark.parametrize(
    ("kind", "options"), [(torch.optim.AdamW, ADAM), (torch.optim.Adam, ADAM), (torch.optim.SGD, {})]
)
def test_a_fused_step_is_that_of_a_loop(kind: Any, options: dict[str, Any]) -> None:
    assert why_not(kind, CPU, options) == ""


def test_another_step_and_one_that_cannot_be_taken_are_found_out() -> None:
    class Otherwise(torch.optim.SGD):
        def __init__(self, groups: Any, *, fused: bool = False, foreach: bool | None = None) -> None:
            super().__init__([{**groups[0], "lr": 0.2 if fused else 0.1}], foreach=foreach)

    class Unable(torch.optim.SGD):
        def __init__(self, groups: Any, *, fused: bool = False, **_: Any) -> None:
            if fused:
                raise RuntimeError("no fused kernel for this device\nmore")
            super().__init__(groups)

    assert why_not(Otherwise, CPU, {}) == "a fused step led elsewhere than a loop over parameters"
    assert why_not(Unable, CPU, {}) == "no fused kernel for this device"


@pytest.mark.parametrize("switch", ["", "off"])
@pytest.mark.parametrize("reason", ["", "no kernel"])
def test_when_it_is_taken(switch: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FUSED.variable, switch)
    monkeypatch.setattr(module, "_why_not", lambda *_: reason)
    assert fused(torch.optim.AdamW, torch.device("cuda"), ADAM) is (not switch and not reason)
    assert fused(torch.optim.AdamW, CPU, ADAM)
