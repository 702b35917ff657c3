"""Modules applied with little around them against the modules' own call."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from lm.families import FAMILIES
from torch import nn

from harness.lm import onednn
from harness.lm.modules import Modules

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.lm.policy import Policy


def leaves(policy: Policy) -> list[nn.Module]:
    return [module for module in policy.model.modules() if not list(module.children())]


@pytest.mark.parametrize("numbers", [0, 1 << 30])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("family", FAMILIES)
def test_outcomes_are_the_modules_own(
    make_policy: Callable[..., Policy], monkeypatch: pytest.MonkeyPatch, family: str, dtype: str, numbers: int
) -> None:
    monkeypatch.setattr(onednn, "_NUMBERS", numbers)
    policy = make_policy(family, dtype=dtype)
    apply = Modules(policy)
    exact = getattr(torch, dtype)
    tried = set()
    with torch.inference_mode():
        for module in leaves(policy):
            if isinstance(module, (nn.Embedding, nn.Dropout)) or "Rotary" in type(module).__name__:
                continue
            tried.add(type(module).__name__)
            weight = getattr(module, "weight", torch.empty(8, 8))
            width = weight.shape[0] if type(module).__name__ == "Conv1D" else weight.shape[-1]
            for rows in (1, 5):
                inputs = torch.randn(rows, width, generator=torch.Generator().manual_seed(rows), dtype=exact)
                torch.testing.assert_close(apply(module, inputs), module(inputs), rtol=0, atol=1e-5)
    assert {"LayerNorm"} < tried


def test_who_listens_to_a_module_hears_it(make_policy: Callable[..., Policy]) -> None:
    policy = make_policy("opt")
    linear = next(module for module in leaves(policy) if isinstance(module, nn.Linear))
    heard: list[int] = []
    linear.register_forward_hook(lambda *_: heard.append(1))
    Modules(policy)(linear, torch.zeros(3, linear.in_features, dtype=torch.float64))
    assert heard == [1]
