"""Every optimisation on and off: the same rows, losses, answers and scores, through the stages of a whole benchmark."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from plan.files import Planner, small, write_rows

from harness.lm.model import packed_linear
from harness.lm.switches import DEVICE_LIMITS, FLEX, FUSED, GENERAL_WAY, GRAPHS, PLAIN_LINEAR, STATIC, SWITCHES, Switch
from harness.plan import build_plan
from harness.plugins.loader import load_registry
from harness.spec.results.generate import Answer
from harness.spec.results.score import ScoreMeans
from harness.spec.results.train import TrainStep
from harness.stages.request import Parent, StageRequest
from harness.stages.run import run_stage
from harness.stages.setup import make_room

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness.store.records import Record

pytestmark = [
    pytest.mark.usefixtures("torch_as_it_was"),
    pytest.mark.timeout(900),
]  # on a machine that does ten other things

#: Of ways that only a GPU takes.
ON_A_GPU = (GRAPHS, FLEX, FUSED, DEVICE_LIMITS)
#: The type in which a model is computed for a switch: float64, where rounding hides nothing, unless the optimisation
#: leaves such models alone.
DTYPES = {GENERAL_WAY.variable: "float64", PLAIN_LINEAR.variable: "float32"}


@pytest.fixture(autouse=True)
def as_a_new_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for switch in SWITCHES:
        monkeypatch.delenv(switch.variable, raising=False)
    make_room()
    yield
    make_room()


def made(folder: Path, dtype: str, **recipe: Any) -> dict[str, Record]:
    """Run every stage of a small benchmark; return what each left, by kind and label."""
    planner = Planner(folder, load_registry())
    content = small(write_rows(folder / "data"), seeds=[0], execution={"threads": 1, "device": "cpu"})
    content["models"][0]["dtype"] = dtype
    content["recipe"] |= {"epochs": 2, "learning_rate": 1e-2, "generate_length": 8, **recipe}
    content["decoding"] = {"t1": {"max_new_tokens": packed_linear.USES, "draws": 1}}
    planner.plan(planner.load(content))
    plan = build_plan(planner.load(content), planner.registry, planner.store)
    records = {}
    for stage in plan.stages.values():
        parents = {name: Parent(of.kind, plan.stages[of.key].id or "") for name, of in stage.parents.items()}
        request = StageRequest(stage.id or "", stage.label, stage.config, parents, stage.runtime, planner.store.root)
        records[f"{stage.kind} {stage.label}"] = run_stage(request, lambda _done, _total, _unit, _note: None)
    return records


def alike(one: dict[str, Record], other: dict[str, Record], tolerance: float) -> None:
    """Compare all numbers to a tolerance, and all texts letter by letter."""
    assert {name: record.id for name, record in one.items()} == {name: record.id for name, record in other.items()}
    kinds = [name.partition(" ")[0] for name in one]
    assert (kinds.count("train"), kinds.count("generate"), kinds.count("score")) == (3, 3, 3)
    for name, mine in one.items():
        theirs = other[name]
        if mine.kind == "train":
            for row, its in zip(mine.lines(TrainStep), theirs.lines(TrainStep), strict=True):
                assert row.loss == pytest.approx(its.loss, rel=tolerance, abs=tolerance)
                assert row.grad_norm == pytest.approx(its.grad_norm, rel=tolerance)
                assert row.digests == its.digests
        elif mine.kind == "generate":
            for answer, its_answer in zip(mine.lines(Answer), theirs.lines(Answer), strict=True):
                assert answer.entropy == pytest.approx(its_answer.entropy, rel=tolerance, abs=tolerance)
                assert answer.model_copy(update={"entropy": its_answer.entropy}) == its_answer
        elif mine.kind == "score":
            assert mine.read(ScoreMeans) == theirs.read(ScoreMeans)


@pytest.mark.parametrize("switches", [(GENERAL_WAY,), (PLAIN_LINEAR,), (STATIC,), ON_A_GPU],
                         ids=lambda switches: "-".join(switch.recorded_as for switch in switches))  # fmt: skip
def test_a_switch_changes_rounding_alone(
    switches: tuple[Switch, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed_linear, "NUMBERS", 1)  # so that the weights of so small a model are packed
    dtype = DTYPES.get(switches[0].variable, "float64")
    usual = made(tmp_path / "usual", dtype)
    make_room()
    for switch in switches:
        monkeypatch.setenv(switch.variable, switch.value)
    switched = made(tmp_path / "switched", dtype)
    environments = [record.json("environment.json") for record in switched.values()]
    for switch in switches:  # it was in force
        assert switch.value in {environment.get(switch.recorded_as) for environment in environments}
    alike(usual, switched, 1e-9 if dtype == "float64" else 1e-4)


def test_no_switch_is_forgotten() -> None:
    assert set(SWITCHES) == {GENERAL_WAY, PLAIN_LINEAR, STATIC, *ON_A_GPU}


def test_activations_that_are_computed_again_change_rounding_alone(tmp_path: Path) -> None:
    usual = made(tmp_path / "usual", "float64")
    make_room()
    alike(usual, made(tmp_path / "again", "float64", gradient_checkpointing=True), 1e-9)
