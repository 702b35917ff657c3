from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from harness.errors import StageError
from harness.spec.recipe import Recipe
from harness.training.optimiser import Optimiser

if TYPE_CHECKING:
    from pathlib import Path


def network() -> nn.Module:
    made = nn.Sequential(nn.Embedding(5, 4), nn.LayerNorm(4), nn.Linear(4, 3)).double()
    numbers = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=numbers, dtype=torch.float64))
    return made


def optimiser(module: nn.Module, **recipe: Any) -> Optimiser:
    made = Optimiser(Recipe(weight_decay=0.1, betas=(0.8, 0.9), **recipe))
    made.add(dict(module.named_parameters()))
    return made


def push(module: nn.Module, step: int, but: tuple[str, ...] = ()) -> None:
    for place, (name, parameter) in enumerate(module.named_parameters()):
        if name not in but:
            source = torch.Generator().manual_seed(100 * step + place)
            parameter.grad = torch.randn(parameter.shape, generator=source, dtype=torch.float64)


def values(module: nn.Module) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in module.parameters()]


def by_hand(kind: str, rates: list[float]) -> list[torch.Tensor]:
    """Adam (Kingma and Ba 2015) and AdamW (Loshchilov and Hutter 2019), written out."""
    module = network()
    moments = {name: (0.0, 0.0) for name, _ in module.named_parameters()}
    weights = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}
    for step, rate in enumerate(rates):
        push(module, step)
        for name, parameter in module.named_parameters():
            gradient: Any = parameter.grad
            decay = 0.1 if name in {"0.weight", "2.weight"} else 0.0
            if kind == "adam":
                gradient = gradient + decay * weights[name]
            else:
                weights[name] = weights[name] * (1 - rate * decay)
            first = 0.8 * moments[name][0] + 0.2 * gradient
            second = 0.9 * moments[name][1] + 0.1 * gradient**2
            moments[name] = (first, second)
            there = first / (1 - 0.8 ** (step + 1))
            spread = (second / (1 - 0.9 ** (step + 1))) ** 0.5 + 1e-8
            weights[name] = weights[name] - rate * there / spread
    return list(weights.values())


@pytest.mark.parametrize("kind", ["adam", "adamw"])
def test_formula_and_what_decays(kind: str) -> None:
    """Embeddings and matrices decay; biases and LayerNorm's scale do not."""
    module, rates = network(), [0.1, 0.05, 0.01]
    made = optimiser(module, optimizer=kind)
    for step, rate in enumerate(rates):
        push(module, step)
        made.step(rate, peak=0.1)
    for mine, expected in zip(values(module), by_hand(kind, rates), strict=True):
        torch.testing.assert_close(mine, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["adam", "adamw"])
def test_a_rate_of_zero_keeps_every_bit(kind: str) -> None:
    module = network().float()
    before = values(module)
    made = optimiser(module, optimizer=kind)
    for step in range(3):
        for parameter in module.parameters():
            parameter.grad = torch.full_like(parameter, step - 1.5)
        made.step(0.0, peak=0.0)
    assert all(one.equal(other) for one, other in zip(values(module), before, strict=True))


def test_a_peak_of_its_own_follows_the_common_schedule() -> None:
    module, head = network(), nn.Linear(2, 1).double()
    made = optimiser(module)
    made.add({f"modules/head.{name}": p for name, p in head.named_parameters()}, learning_rate=1.0)
    before = values(head)
    for parameter in head.parameters():
        parameter.grad = torch.ones_like(parameter)
    made.step(0.025, peak=0.1)  # a quarter of the peak, so a quarter of 1.0
    moved = [
        float((a - b * (1 - 0.25 * 0.1 * (b.dim() == 2))).abs().max())
        for a, b in zip(values(head), before, strict=True)
    ]
    assert moved == pytest.approx([0.25, 0.25])


def test_saved_moments_go_on_bit_for_bit(tmp_path: Path) -> None:
    through, broken = network(), network()
    whole, first = optimiser(through), optimiser(broken)
    for step in range(4):
        push(through, step, but=("1.bias",))
        whole.step(0.1, peak=0.1)
    for step in range(2):
        push(broken, step, but=("1.bias",))
        first.step(0.1, peak=0.1)
    first.save(tmp_path / "m.safetensors", first.moments())
    second = optimiser(broken)
    second.load(tmp_path / "m.safetensors", list(second.parameters))
    for step in range(2, 4):
        push(broken, step, but=("1.bias",))
        second.step(0.1, peak=0.1)
    assert all(one.equal(other) for one, other in zip(values(through), values(broken), strict=True))


def saved(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    module = network()
    made = optimiser(module)
    push(module, 0)
    made.step(0.1, peak=0.1)
    made.save(path, made.moments())
    with safe_open(path, framework="pt") as file:
        return load_file(path), file.metadata()


def test_moments_are_named_after_their_parameters(tmp_path: Path) -> None:
    tensors, metadata = saved(tmp_path / "m.safetensors")
    names = [name for name, _ in network().named_parameters()]
    assert set(tensors) == {f"{kind}.{name}" for kind in ("exp_avg", "exp_avg_sq", "step") for name in names}
    assert metadata == {"without": "[]"}  # with more entries the file would not be the same twice


@pytest.mark.parametrize("kind", ["exp_avg", "exp_avg_sq", "step", ""])
@pytest.mark.parametrize("name", [name for name, _ in network().named_parameters()])
def test_no_piece_may_be_missing(tmp_path: Path, kind: str, name: str) -> None:
    path = tmp_path / "m.safetensors"
    tensors, metadata = saved(path)
    gone = {key for key in tensors if (key == f"{kind}.{name}" if kind else key.endswith(f".{name}"))}
    save_file({key: value for key, value in tensors.items() if key not in gone}, path, metadata=metadata)
    made = optimiser(network())
    with pytest.raises(StageError, match=f"do not fit the model, got '{name}'"):
        made.load(path, list(made.parameters))


def test_a_file_that_is_missing_or_broken(tmp_path: Path) -> None:
    made = optimiser(network())
    with pytest.raises(StageError, match="cannot be read"):
        made.load(tmp_path / "none.safetensors", list(made.parameters))
    (tmp_path / "half.safetensors").write_bytes(b"\x10\x00\x00")
    with pytest.raises(StageError, match="cannot be read"):
        made.load(tmp_path / "half.safetensors", list(made.parameters))


def test_moments_of_another_shape(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    tensors, metadata = saved(path)
    tensors["exp_avg.2.bias"] = torch.zeros(4, dtype=torch.float64)
    save_file(tensors, path, metadata=metadata)
    made = optimiser(network())
    with pytest.raises(StageError, match=r"do not fit the model, got '2\.bias'"):
        made.load(path, list(made.parameters))
