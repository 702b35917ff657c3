"""Training until a budget is spent: where it ends, what it leaves at points on the way, and going on after a kill."""

from __future__ import annotations

import itertools
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from faults.disks import Disk, read
from faults.watchers import Recorder
from training.runs import Evolution, Supervised, go, logged_step, plan, same_bits

from harness.disk import watched
from harness.errors import InputError
from harness.execution.tiny import tiny_policy
from harness.lm.model.policy import Policy
from harness.spec.budget import Budget
from harness.spec.model import Model
from harness.spec.results.files import CHECKPOINT, POINTS
from harness.spec.results.train import StepTokens
from harness.spec.schedule import Curve, Position
from harness.training.extent import Spending, missed
from harness.training.points import PointCheckpoints
from harness.training.schedule import LearningRate
from harness.training.stop import Stopped
from harness.training.unfinished import Unfinished

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from harness.api import Batch, Run

BEGIN = Position(epochs=0)


def curve(kind: Any = "linear", warmup: int = 0, floor: float = 0.0) -> Curve:
    return Curve(kind=kind, peak=1e-2, floor=floor, warmup_steps=warmup, first=BEGIN, last=BEGIN)


def budgeted(unit: Any, amount: float, **settings: Any) -> Any:
    """A plan that a budget ends."""
    own = {name: settings.pop(name) for name in ("checkpoints", "steps") if name in settings}
    budget = Budget(unit=unit, amount=amount, **own)
    return plan(first=0, last=0, budget=budget, **{"curve": curve(), **settings})


class Many(Evolution):
    """Four times as many candidates a prompt."""

    temperatures = (*Evolution.temperatures * 4,)  # type: ignore[assignment]  # as long as it likes


def test_methods_of_very_different_cost_end_at_the_same_amount(tmp_path: Path) -> None:
    amount = 2_000
    few = go(budgeted("sampled_tokens", amount), Evolution(), tmp_path / "few")
    many = go(budgeted("sampled_tokens", amount), Many(), tmp_path / "many")
    for result in (few, many):
        assert result.summary["tokens_generated"] == result.summary["budget"][0]["spent"]
        most = max(row["tokens"]["generated"] for row in result.log)
        assert abs(result.summary["tokens_generated"] - amount) < 0.75 * most  # at the step that ends nearest to it
    assert few.summary["steps"] > 3 * many.summary["steps"]


def test_trained_tokens_and_steps(tmp_path: Path) -> None:
    tokens = go(budgeted("trained_tokens", 2_000), Supervised(), tmp_path / "tokens")
    assert abs(tokens.summary["tokens_trained"] / 2_000 - 1) < 0.02
    steps = go(budgeted("steps", 7), Supervised(), tmp_path / "steps")
    assert steps.summary["steps"] == steps.summary["budget"][0]["steps"] == 7
    assert [row["epoch"] for row in steps.log] == [0, 0, 1, 1, 2, 2, 3]  # data go on, epoch after epoch


def test_seconds_end_training_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.count()  # a clock of its own: the first step of a busy machine may take longer than any budget
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks) / 64)
    result = go(budgeted("seconds", 2.0), Supervised(), tmp_path)
    end = result.summary["budget"][0]
    assert end["spent"] == pytest.approx(sum(sum(row["seconds"].values()) for row in result.log))
    assert end["steps"] == len(result.log) > 1
    assert end["spent"] >= 2.0


def test_the_learning_rate_falls_with_what_is_spent(tmp_path: Path) -> None:
    result = go(budgeted("trained_tokens", 1_500, curve=curve(floor=1e-3)), Supervised(), tmp_path)
    spent = 0
    for row in result.log:
        assert row["learning_rate"] == pytest.approx(1e-3 + 9e-3 * (1 - spent / 1_500))
        spent += row["tokens"]["trained"]
    warm = LearningRate.of(curve("cosine", warmup=4), 2)
    assert [warm.rate_by_share(0.0, behind) for behind in range(5)] == pytest.approx([2.5e-3, 5e-3, 7.5e-3, 1e-2, 1e-2])
    assert warm.rate_by_share(1.0, 9) == pytest.approx(0.0, abs=1e-12)
    assert LearningRate.of(curve("constant"), 2).rate_by_share(0.9, 0) == 1e-2


def test_a_schedule_by_steps_is_that_of_as_many_steps(tmp_path: Path) -> None:
    by_budget = go(budgeted("steps", 6), Evolution(), tmp_path / "a")
    last = Position(epochs=3)
    straight = Curve(kind="linear", peak=1e-2, floor=0.0, warmup_steps=0, first=BEGIN, last=last)
    by_epochs = go(plan(first=0, last=3, curve=straight), Evolution(), tmp_path / "b")
    assert same_bits(by_budget.weights, by_epochs.weights)


def test_points_are_the_weights_on_the_way(tmp_path: Path) -> None:
    still = curve("constant")
    whole = go(budgeted("steps", 4, checkpoints=(0.25, 0.5, 1.0), steps=(3,), curve=still), Evolution(), tmp_path / "a")
    names = [(one["name"], one["steps"], one["reached"]) for one in whole.summary["budget"]]
    assert names == [("100 %", 4, True), ("25 %", 1, True), ("50 %", 2, True), ("step 3", 3, True)]
    for folder, steps in (("share-0.25", 1), ("share-0.5", 2), ("step-3", 3)):
        alone = go(budgeted("steps", steps, curve=still), Evolution(), tmp_path / folder)
        assert same_bits(weights(tmp_path / "a" / POINTS / folder), alone.weights)
    assert sorted(path.name for path in (tmp_path / "a" / POINTS).iterdir()) == ["share-0.25", "share-0.5", "step-3"]


def weights(folder: Path) -> dict[str, Tensor]:
    policy = Policy.load(folder, spec=Model(name="point", dtype="float64"))
    return {name: weight.detach() for name, weight in policy.model.named_parameters()}


def test_steps_that_the_budget_does_not_reach_are_told(tmp_path: Path) -> None:
    result = go(budgeted("trained_tokens", 300, steps=(1, 500)), Supervised(), tmp_path)
    told = {one["name"]: one["reached"] for one in result.summary["budget"]}
    assert told == {"100 %": True, "step 1": True, "step 500": False}
    assert same_bits(weights(tmp_path / POINTS / "step-500"), weights(tmp_path / CHECKPOINT))


@pytest.mark.parametrize("killed_after", [1, 3, 6])
def test_a_killed_run_goes_on_to_the_bit(tmp_path: Path, killed_after: int) -> None:
    asked = budgeted("sampled_tokens", 1_600, checkpoints=(0.3, 0.6))
    whole = go(asked, Evolution(), tmp_path / "whole")
    assert whole.summary["steps"] > 6
    stops = iter([0] * (killed_after - 1) + [15])
    place: dict[str, Any] = {"unfinished": tmp_path / "unfinished"}
    with pytest.raises(Stopped):
        go(asked, Evolution(), tmp_path / "killed", stop=lambda: next(stops, 0), **place)
    again = go(asked, Evolution(), tmp_path / "again", **place)
    assert same_bits(again.weights, whole.weights)
    assert not (tmp_path / "unfinished").exists()
    for name in ("share-0.3", "share-0.6"):
        assert same_bits(weights(tmp_path / "again" / POINTS / name), weights(tmp_path / "whole" / POINTS / name))
    ended, others = ([{k: v for k, v in one.items() if k != "seconds"} for one in r.summary["budget"]]
                     for r in (again, whole))  # fmt: skip
    assert ended == others
    assert [row["learning_rate"] for row in again.log] == [row["learning_rate"] for row in whole.log]


@pytest.mark.parametrize("links", [True, False])
def test_a_run_killed_while_its_end_is_written_goes_on_with_its_points(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, links: bool
) -> None:
    asked = budgeted("steps", 4, checkpoints=(0.5,))
    whole = go(asked, Evolution(), tmp_path / "whole")
    place: dict[str, Any] = {"unfinished": tmp_path / "unfinished", "keep": lambda: True}
    if not links:
        monkeypatch.setattr(Path, "hardlink_to", refuse)
    with monkeypatch.context() as killed:
        killed.setattr(Unfinished, "discard", refuse)
        with pytest.raises(OSError, match="killed"):
            go(asked, Evolution(), tmp_path / "killed", **place)
    shutil.rmtree(tmp_path / "killed")
    said: list[str] = []
    again = go(asked, Evolution(), tmp_path / "again", note=said.append, **place)
    assert said == ["going on at step 3"]
    assert same_bits(again.weights, whole.weights)
    half, expected = (weights(tmp_path / folder / POINTS / "share-0.5") for folder in ("again", "whole"))
    assert same_bits(half, expected)
    assert not list(tmp_path.glob("unfinished*"))


def test_points_outlive_a_power_failure_as_the_state_does_that_is_kept_after_them(tmp_path: Path) -> None:
    recorder, disk = Recorder(tmp_path), Disk({})
    with watched(recorder):
        PointCheckpoints(tmp_path / "unfinished").save(
            Budget(unit="steps", amount=4, checkpoints=(0.5,)).points, tiny_policy()
        )
    for change in recorder.made:
        disk.make(change)
    assert disk.state("names") == read(tmp_path)
    assert any(path.endswith("model.safetensors") for path in read(tmp_path))


def test_points_that_another_run_clears_away_are_left_out(tmp_path: Path) -> None:
    points = PointCheckpoints(tmp_path / "unfinished")
    (half,) = Budget(unit="steps", amount=4, checkpoints=(0.5,)).points
    policy = tiny_policy()
    points.save([half], policy)
    kept = Unfinished(tmp_path / "unfinished", {})

    class Finishing:
        """What is saved while another run finishes the stage."""

        def save(self, folder: Path, state: Any) -> None:
            policy.save(folder, state)
            kept.discard()

    points.save([half], Finishing())  # type: ignore[arg-type]  # as much of a policy as is asked for
    points.hand_over(tmp_path)
    assert not list(tmp_path.iterdir())


def refuse(*_: object) -> None:
    raise OSError("killed")


def test_a_budget_that_nothing_spends_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="method 'evolution': 3 steps running spent no sampled_tokens: the budget wo"):
        go(budgeted("sampled_tokens", 100), Supervised(), tmp_path)


def test_a_step_that_is_too_much_is_told() -> None:
    spending = Spending(Budget(unit="trained_tokens", amount=100), 0, LearningRate.of(curve(), 2), patience=3, where="")
    assert not spending.over(0)
    row = logged_step(0).model_copy(update={"tokens": StepTokens(generated=0, trained=70)})
    spending.take(row)
    assert spending.over(1)  # 70 is nearer than 140
    said = missed(Budget(unit="trained_tokens", amount=100), spending.now)
    assert said == "training ended 30.0 % below its budget of 100 trained_tokens: a single step spends 70"
    assert missed(Budget(unit="trained_tokens", amount=71), spending.now) == ""


def test_progress_goes_by_what_is_spent(tmp_path: Path) -> None:
    class Watching(Supervised):
        def __init__(self) -> None:
            self.seen: list[tuple[float, int]] = []

        def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
            self.seen.append((run.progress.fraction, run.progress.total_steps))
            return super().step(run, batch)

    method = Watching()
    result = go(budgeted("trained_tokens", 1_000), method, tmp_path)
    fractions = [fraction for fraction, _ in method.seen]
    assert fractions[0] == 0.0
    assert fractions == sorted(fractions)
    assert fractions[-1] < 1.0
    assert method.seen[-1][1] == pytest.approx(result.summary["steps"], abs=1)
    assert result.log[-1]["kl"] is not None  # the last step is one that is looked at


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"unit": "steps", "amount": 2.5}, "steps come whole"),
        ({"unit": "steps", "amount": 5, "steps": (6,)}, "steps must be within the amount of 5 steps"),
        ({"unit": "seconds", "amount": 5, "checkpoints": (0.5, 0.5)}, "checkpoints has an entry twice"),
        ({"unit": "words", "amount": 5}, "Input should be 'sampled_tokens'"),
        ({"unit": "steps", "amount": 5, "checkpoints": (1.5,)}, "less than or equal to 1"),
    ],
)
def test_budgets_that_are_none(settings: dict[str, Any], what: str) -> None:
    with pytest.raises(ValueError, match=what):
        Budget(**settings)
