"""Modules applied with little around them against the modules' own call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from lm.families import FAMILIES
from torch import nn
from transformers.pytorch_utils import Conv1D

from harness.lm import onednn
from harness.lm.modules import Modules

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness.lm.model.policy import Policy


def leaves(policy: Policy) -> list[nn.Module]:
    return [module for module in policy.model.modules() if not list(module.children())]


@pytest.mark.parametrize("often", [True, False])
@pytest.mark.parametrize("numbers", [0, 1 << 30])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("family", FAMILIES)
def test_outcomes_are_the_modules_own(
    make_policy: Callable[..., Policy],
    onednn_from: Callable[..., None],
    family: str,
    dtype: str,
    numbers: int,
    often: bool,  # noqa: FBT001  # a parameter of the test
) -> None:
    onednn_from(numbers)
    policy = make_policy(family, dtype=dtype)
    bind = Modules(policy, often=often)
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
                torch.testing.assert_close(bind(module)(inputs), module(inputs), rtol=0, atol=1e-5)
    assert {"LayerNorm"} < tried


def test_who_listens_to_a_module_hears_it(make_policy: Callable[..., Policy]) -> None:
    policy = make_policy("opt")
    linear = next(module for module in leaves(policy) if isinstance(module, nn.Linear))
    heard: list[int] = []
    linear.register_forward_hook(lambda *_: heard.append(1))
    Modules(policy, often=True)(linear)(torch.zeros(3, linear.in_features, dtype=torch.float64))
    assert heard == [1]


class Doubled(nn.Module):
    """An activation that oneDNN does not know."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs * 2


@pytest.mark.parametrize("often", [True, False])
@pytest.mark.parametrize("kind", ["linear", "conv1d"])
@pytest.mark.parametrize("then", [nn.GELU(), nn.GELU(approximate="tanh"), nn.ReLU(), nn.SiLU(), Doubled()])
@pytest.mark.parametrize(("numbers", "rows"), [(0, 2), (0, 64), (1 << 30, 2)])
def test_an_activation_follows(
    make_policy: Callable[..., Policy],
    monkeypatch: pytest.MonkeyPatch,
    onednn_from: Callable[..., None],
    kind: str,
    then: nn.Module,
    numbers: int,
    rows: int,
    often: bool,  # noqa: FBT001  # a parameter of the test
) -> None:
    onednn_from(numbers, activated_rows=rows)
    fused: list[int] = []
    product = onednn.product

    def heard(inputs: torch.Tensor, *others: Any) -> torch.Tensor:
        fused.append(len(inputs))
        return product(inputs, *others)

    monkeypatch.setattr(onednn, "product", heard)
    torch.manual_seed(1)  # noqa: TID251  # a layer draws its weights from the global generator
    conv1d: Any = Conv1D  # without types
    module: Any = nn.Linear(24, 40) if kind == "linear" else conv1d(40, 24)
    nn.init.normal_(module.bias)
    policy = make_policy(dtype="float32")
    for count in (1, 7, 70):
        inputs = torch.randn(count, 24)
        with torch.no_grad():
            found = Modules(policy, often=often)(module, then)(inputs)
            torch.testing.assert_close(found, then(module(inputs)), rtol=0, atol=1e-5)
    expected = [] if numbers else [70] if rows > 7 else [7, 70]
    assert fused == (expected if isinstance(then, (nn.GELU, nn.ReLU)) else [])


@pytest.mark.parametrize("listened", ["module", "activation"])
def test_who_listens_to_either_hears_it(
    make_policy: Callable[..., Policy], onednn_from: Callable[..., None], listened: str
) -> None:
    onednn_from(0)
    module, activation = nn.Linear(8, 8), nn.ReLU()
    heard: list[int] = []
    (module if listened == "module" else activation).register_forward_hook(lambda *_: heard.append(1))
    with torch.no_grad():
        Modules(make_policy(dtype="float32"), often=True)(module, activation)(torch.ones(3, 8))
    assert heard == [1]


def test_the_processors_maker_decides(tmp_path: Path) -> None:
    described = tmp_path / "cpuinfo"
    elsewhere = onednn.Worth.here(described)  # nothing describes it
    described.write_text("processor\t: 0\nvendor_id\t: AuthenticAMD\n", "utf-8")
    assert onednn.Worth.here(described) == elsewhere
    described.write_text("processor\t: 0\nvendor_id\t: GenuineIntel\n", "utf-8")
    intel = onednn.Worth.here(described)
    assert (intel.few, intel.rows) > (elsewhere.few, elsewhere.rows)


@pytest.mark.parametrize("many", [True, False])
def test_a_large_weight_is_not_read_across(monkeypatch: pytest.MonkeyPatch, *, many: bool) -> None:
    monkeypatch.setattr(onednn, "_LARGE", 1 if many else 1 << 30)
    weight = torch.randn(24, 40).t()
    ready = onednn.once(weight)
    assert ready.is_contiguous() == many
    assert torch.equal(ready, weight)
