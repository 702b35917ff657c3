from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn
from training.runs import Plain, logged_step, recipe

from harness.errors import MachineError, PluginError, StageError
from harness.spec.results.train import TrainStep
from harness.training import checkpoint, memo
from harness.training.checkpoint import Trained
from harness.training.memo import Memo
from harness.training.optimiser import Optimiser
from harness.training.unfinished import MANIFEST, Unfinished, logged

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from harness.api import State


class Keeper(Plain):
    def __init__(self, state: Mapping[str, Any]) -> None:
        self.state = dict(state)

    def state_dict(self) -> Mapping[str, State]:
        return self.state

    def load_state_dict(self, state: Mapping[str, State]) -> None:
        self.state = dict(state)


def trained(state: Mapping[str, Any], modules: Mapping[str, nn.Module] | None = None) -> Trained:
    body = nn.Linear(3, 2).double()
    optimiser = Optimiser(recipe())
    parameters = dict(body.named_parameters())
    optimiser.add(parameters)
    for name, module in (modules or {}).items():
        optimiser.add({f"modules/{name}.{key}": value for key, value in module.named_parameters()})
    for parameter in optimiser.parameters.values():
        parameter.grad = torch.ones_like(parameter)
    optimiser.step(0.1, peak=0.1)
    return Trained(parameters, modules or {}, optimiser, Keeper(state), "keeper")


STATE: dict[str, Any] = {
    "beta": 0.1, "count": 3, "on": True, "name": "κ", "best": -math.inf, "tiny": 5e-324,
    "mean": torch.tensor([1.5, 2.5], dtype=torch.float64), "ids": torch.tensor([[1, 2], [3, 4]]),
    "mixed": [1, 2.5, ["a", torch.tensor(7.0)], math.inf, False],
}  # fmt: skip


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and one.equal(other)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


def test_a_method_gets_back_exactly_what_it_gave(tmp_path: Path) -> None:
    checkpoint.save_state(tmp_path, trained(STATE))
    again = trained({})
    checkpoint.load_method(tmp_path, again)
    assert isinstance(again.method, Keeper)
    assert list(again.method.state) == list(STATE)
    assert all(same(STATE[name], again.method.state[name]) for name in STATE)
    assert checkpoint.written_by(tmp_path) == "keeper"
    json.loads((tmp_path / "method.json").read_text(), parse_constant=pytest.fail)  # no NaN, no Infinity
    assert {path.name for path in tmp_path.iterdir()} == {"method.json", "method.safetensors", "optimizer.safetensors"}


@pytest.mark.parametrize("value", [{"a": 1}, None, {1, 2}, (1, 2), b"x"])
def test_what_cannot_be_kept(tmp_path: Path, value: Any) -> None:
    with pytest.raises(PluginError, match="cannot be kept under 'x', got"):
        checkpoint.save_state(tmp_path, trained({"x": value}))


def test_added_modules_come_back_bit_for_bit(tmp_path: Path) -> None:
    source = trained({}, {"head": nn.Linear(2, 1)})
    checkpoint.save_state(tmp_path, source)
    again = trained({}, {"head": nn.Linear(2, 1)})
    checkpoint.load_method(tmp_path, again)
    checkpoint.load_moments(tmp_path, again, modules=True)
    for name, value in source.modules["head"].state_dict().items():
        assert value.equal(again.modules["head"].state_dict()[name])
    with pytest.raises(StageError, match="not those that were saved"):
        checkpoint.load_method(tmp_path, trained({}, {"head": nn.Linear(2, 2)}))
    with pytest.raises(StageError, match=r"do not fit the model, got 'modules/other\.weight'"):
        checkpoint.load_moments(tmp_path, trained({}, {"other": nn.Linear(2, 1)}), modules=True)
    # another method takes the policy's moments and nothing else
    checkpoint.load_moments(tmp_path, trained({}), modules=False)


@pytest.mark.parametrize("name", ["method.json", "method.safetensors", "modules.safetensors", "optimizer.safetensors"])
@pytest.mark.parametrize("damage", ["missing", "broken"])
def test_a_file_that_is_missing_or_broken_is_an_error(tmp_path: Path, name: str, damage: str) -> None:
    modules = {"head": nn.Linear(2, 1)}
    checkpoint.save_state(tmp_path, trained(STATE, modules))
    if damage == "missing":
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(b"\x00{")
    again = trained({}, modules)

    def load() -> None:
        checkpoint.load_moments(tmp_path, again, modules=True)
        checkpoint.load_method(tmp_path, again)

    with pytest.raises(StageError):
        load()


def test_weights_by_name(tmp_path: Path) -> None:
    one, other = trained({}), trained({})
    checkpoint.save_weights(tmp_path / "w.safetensors", one.parameters)
    checkpoint.load_weights(tmp_path / "w.safetensors", other.parameters)
    assert all(value.equal(other.parameters[name]) for name, value in one.parameters.items())
    with pytest.raises(StageError, match="not those of this model"):
        checkpoint.load_weights(tmp_path / "w.safetensors", {"x": one.parameters["bias"]})


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="cannot write"):
        checkpoint.save_state(tmp_path / "missing", trained({}))


IDENTITY = {"stage": "abc", "environment": {"threads": 1}, "ranks": 1}


def keep(folder: Path, step: int, text: str = "x", identity: Mapping[str, Any] = IDENTITY) -> None:
    rows = [logged_step(n) for n in range(step)]

    def write(place: Path) -> None:
        (place / "w.bin").write_text(text)

    Unfinished(folder, identity).save(step, rows, {"budget": 7}, write)


def test_the_last_state_is_found_and_the_others_are_gone(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    assert Unfinished(folder, IDENTITY).find() is None
    keep(folder, 3)
    keep(folder, 10, "y")
    found = Unfinished(folder, IDENTITY).find()
    assert found is not None
    step, place, extra = found
    assert (step, extra, (place / "w.bin").read_text()) == (10, {"budget": 7}, "y")
    assert logged(place) == [logged_step(n) for n in range(10)]
    assert [path.name for path in folder.iterdir()] == ["10"]
    Unfinished(folder, IDENTITY).discard()
    assert not folder.exists()


@pytest.mark.parametrize("name", [MANIFEST, TrainStep.file, "w.bin"])
@pytest.mark.parametrize("damage", ["missing", "cut", "flipped"])
def test_a_damaged_state_does_not_exist(tmp_path: Path, name: str, damage: str) -> None:
    keep(tmp_path, 3)
    path = tmp_path / "3" / name
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    else:
        at = content.index(b'"budget": 7') + 10 if name == MANIFEST else len(content) // 2  # 7 becomes 6: still JSON
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    assert Unfinished(tmp_path, IDENTITY).find() is None


def test_an_older_whole_state_serves_where_the_newer_is_damaged(tmp_path: Path) -> None:
    keep(tmp_path / "a", 3)
    keep(tmp_path / "b", 5)
    (tmp_path / "b" / "5").rename(tmp_path / "a" / "5")
    (tmp_path / "a" / "5" / "w.bin").unlink()
    found = Unfinished(tmp_path / "a", IDENTITY).find()
    assert found is not None
    assert found[0] == 3


@pytest.mark.parametrize(
    "other",
    [{**IDENTITY, "stage": "abd"}, {**IDENTITY, "environment": {"threads": 2}}, {**IDENTITY, "ranks": 2}],
)
def test_a_state_of_another_stage_or_environment_is_not_used(tmp_path: Path, other: dict[str, Any]) -> None:
    keep(tmp_path, 3, identity=other)
    assert Unfinished(tmp_path, IDENTITY).find() is None
    assert Unfinished(tmp_path, other).find() is not None


def test_a_failed_save_leaves_the_earlier_state(tmp_path: Path) -> None:
    keep(tmp_path, 3)

    def fail(place: Path) -> None:
        (place / "half").write_text("x")
        raise MachineError("disk full")

    with pytest.raises(MachineError):
        Unfinished(tmp_path, IDENTITY).save(5, [], {}, fail)
    assert [path.name for path in tmp_path.iterdir()] == ["3"]


def test_memo_computes_once_and_survives(tmp_path: Path) -> None:
    calls: list[list[int]] = []

    def compute(places: list[int]) -> list[torch.Tensor]:
        calls.append(places)
        return [torch.full((1, place + 1), float(place)) for place in places]

    kept = Memo()
    kept.look_up(["a", "b"], compute)
    found = kept.look_up(["b", "c", "a"], compute)
    assert calls == [[0, 1], [1]]
    assert [value.tolist() for value in found] == [[[1, 1]], [[1, 1]], [[0]]]
    memo.save([{}, kept.content()], tmp_path / "memo.safetensors")
    again, nothing = Memo(), Memo()
    again.load(tmp_path / "memo.safetensors", 1)
    nothing.load(tmp_path / "memo.safetensors", 0)
    assert list(again.content()) == ["a", "b", "c"]
    assert len(nothing) == 0
    assert [value.tolist() for value in again.look_up(["b", "c", "a"], compute)] == [v.tolist() for v in found]
    assert len(calls) == 2


def test_memo_lets_the_oldest_go() -> None:
    kept = Memo(limit=10)
    for name in "abcd":
        kept.look_up([name], lambda _: [torch.zeros(1, 4)])
    assert list(kept.content()) == ["c", "d"]
