"""What a run costs in time: from earlier runs first, at this machine's rates else, and with more seeds or prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from plan.files import Planner, small
from report.synthetic import ENVIRONMENT, summary
from stages import configs

from harness.plan import build_plan, shapes
from harness.plan.cost import RunCost
from harness.plan.estimate import Estimate
from harness.plan.past import Past
from harness.plan.rates import USUAL, Rates, measured
from harness.plan.reckoning import (
    Size,
    candidates_of,
    decode_seconds,
    generate_seconds,
    load_seconds,
    perturbed,
    train_seconds,
)
from harness.spec.results.generate import GenerateSummary
from harness.spec.results.train import TrainSummary
from harness.store.stages import Store

if TYPE_CHECKING:
    from pathlib import Path

    from harness.plan import Plan, Stage
    from harness.spec.stages.kinds import AnyStageConfig


@pytest.fixture(scope="module")
def plan(planner: Planner, data: Path) -> Plan:
    return planner.plan(planner.load(small(data, methods=["sft", "eso", "drl"])))


def stage(plan: Plan, label: str) -> Stage:
    return next(stage for stage in plan.stages.values() if stage.label == label)


def past(store: Store, plan: Plan, *, threads: int = 1, device: str = "cpu") -> Past:
    return Past(store, plan, USUAL, threads=threads, device=device)


def keep(store: Store, kind: Any, name: str, config: AnyStageConfig, content: Any, **environment: Any) -> None:
    with store.draft(kind, name * 64) as draft:
        draft.write(content)
        made = {**ENVIRONMENT, **environment}
        store.commit(draft, config=config.to_json(), environment=made, label=f"new/{name}/seed 0")


def trained(store: Store, plan: Plan, name: str, of: Stage, pace: float, **other: Any) -> None:
    """Keep a training stage that took so many times what is reckoned of it."""
    size = Estimate(plan).size(of)
    config: Any = of.config
    seconds = pace * train_seconds(config, 40, size)
    told = {
        "models_held": [{"role": "policy", "parameters": other.pop("parameters", size.parameters), "bytes": 4}],
        "seconds": {**dict.fromkeys(summary("sft")["seconds"], 0.0), "sampling": seconds},
    }
    keep(store, "train", name, config, TrainSummary.model_validate({**summary("sft"), **told}), **other)


class TestThePast:
    def test_goes_before_what_is_reckoned_by_method(self, plan: Plan, tmp_path: Path) -> None:
        store = Store(tmp_path)
        eso, sft = stage(plan, "new/eso/seed 0/epochs 2-3"), stage(plan, "new/sft/seed 0/epochs 0-2")
        drl = stage(plan, "new/drl/seed 0/epochs 2-3")
        for name, one, pace in (("a", eso, 7.0), ("b", eso, 9.0), ("c", sft, 3.0)):
            trained(store, plan, name, one, pace)
        found = past(store, plan)
        assert found.counted == {"new": 3}
        assert found.pace(eso) == pytest.approx(8.0)
        assert found.pace(sft) == pytest.approx(3.0)
        assert found.pace(drl) == pytest.approx(8.0)  # not seen; it samples, as eso does
        usual, seen = Estimate(plan), Estimate(plan, past=found)
        load = load_seconds(usual.size(eso))
        assert (seen.seconds(eso) or 0) - load == pytest.approx(8 * ((usual.seconds(eso) or 0) - load))
        assert past(Store(tmp_path / "other"), plan).pace(eso) == 1.0

    def test_of_answers_is_by_their_number(self, plan: Plan, tmp_path: Path) -> None:
        store, generate = Store(tmp_path), stage(plan, "new/eso/seed 0/test/t1")
        config: Any = generate.config
        seconds = 5.0 * generate_seconds(config, 20, Estimate(plan).size(generate))
        counted = {
            "n": 20, "draws": 2, "prompts_cut": 0, "prompts_dropped": 0, "truncated": 0, "empty": 0, "tokens": 9,
            "seconds": seconds, "tokens_per_second": 1.0, "peak_memory_bytes": 1, "concurrent": False,
        }  # fmt: skip
        keep(store, "generate", "a", config, GenerateSummary.model_validate(counted))
        assert past(store, plan).pace(generate) == pytest.approx(5.0)
        assert past(store, plan).pace(stage(plan, "new/sft/seed 1/test/t1")) == pytest.approx(5.0)

    def test_is_converted_between_numbers_of_threads(self, plan: Plan, tmp_path: Path) -> None:
        store, sft = Store(tmp_path), stage(plan, "new/sft/seed 0/epochs 0-2")
        trained(store, plan, "a", sft, 3.0, threads=4)
        assert past(store, plan, threads=2).pace(sft) == pytest.approx(6.0)

    @pytest.mark.parametrize("other", [{"device": "cuda"}, {"parameters": 10**9}])
    def test_of_another_device_or_model_says_nothing(self, plan: Plan, tmp_path: Path, other: dict[str, Any]) -> None:
        store, sft = Store(tmp_path), stage(plan, "new/sft/seed 0/epochs 0-2")
        trained(store, plan, "a", sft, 3.0, **other)
        assert past(store, plan).pace(sft) == 1.0
        assert not past(store, plan).counted

    def test_that_is_damaged_is_passed_over(self, plan: Plan, tmp_path: Path) -> None:
        store, sft = Store(tmp_path), stage(plan, "new/sft/seed 0/epochs 0-2")
        trained(store, plan, "a", sft, 3.0)
        trained(store, plan, "b", sft, 5.0)
        path = store.folder("train", "b" * 64) / "summary.json"
        path.write_bytes(path.read_bytes().replace(b'"steps": ', b'"stepz": '))
        assert past(store, plan).pace(sft) == pytest.approx(3.0)


class TestTheWholeRun:
    def cost(self, plan: Plan, *, done: str = "?", workers: int = 1) -> RunCost:
        todo = {stage.key for stage in plan.stages.values() if done not in stage.label and not stage.done}
        return RunCost(plan, Estimate(plan), todo, seeds=2, workers=workers)

    def test_is_the_sum_of_what_is_left(self, plan: Plan) -> None:
        estimate = Estimate(plan)
        left = [estimate.seconds(stage) or 0 for stage in plan.stages.values() if not stage.done]
        found = self.cost(plan).of()
        assert found is not None
        assert found.work == pytest.approx(sum(left))
        assert found.wall == pytest.approx(found.work)
        two = self.cost(plan, workers=2).of()
        many = self.cost(plan, workers=1000).of()
        assert two is not None
        assert many is not None
        assert two.wall == pytest.approx(found.work / 2)
        assert 0 < many.wall < two.wall  # the longest chain
        partly = self.cost(plan, done="seed 0").of()
        assert partly is not None
        assert partly.work < 0.7 * found.work

    def test_of_more_seeds_and_prompts_is_that_of_such_a_plan(self, planner: Planner, data: Path, plan: Plan) -> None:
        found = self.cost(plan)
        bigger = planner.plan(planner.load(small(data, methods=["sft", "eso", "drl"], seeds=[0, 1, 2, 3])))
        four = RunCost(bigger, Estimate(bigger), {s.key for s in bigger.todo()}, seeds=4, workers=1).of()
        asked = found.of("test", seeds=4)
        assert four is not None
        assert asked is not None
        assert asked.work == pytest.approx(four.work, rel=0.02)
        plain, doubled, other = found.of(), found.of("test", more_prompts=2.0), found.of("else", more_prompts=2.0)
        assert plain is not None
        assert doubled is not None
        assert plain.work < doubled.work < 2 * plain.work
        assert other == plain

    def test_of_more_prompts_takes_no_answer_that_is_there(self, plan: Plan) -> None:
        none, answered = self.cost(plan).of("test", more_prompts=2.0), self.cost(plan, done="/test/t1").of("test")
        again = self.cost(plan, done="/test/t1").of("test", more_prompts=2.0)
        assert none is not None
        assert answered is not None
        assert again is not None
        assert answered.work < again.work
        assert again.work == pytest.approx(none.work)

    def test_is_unknown_while_the_rows_are(self, planner: Planner, data: Path, tmp_path: Path) -> None:
        fresh = build_plan(planner.load(small(data)), planner.registry, Store(tmp_path))
        assert RunCost(fresh, Estimate(fresh), set(), seeds=2, workers=1).of() is None


def test_this_machine_has_rates() -> None:
    rates = measured()
    assert rates.operations > 1e8
    assert rates.bytes > 1e8
    assert rates.of(3) == Rates(3 * rates.operations, 3 * rates.bytes)


def test_decoding_reads_every_weight_at_every_position() -> None:
    slow, fast = Rates(1e15, 1e9), Rates(1e15, 2e9)
    size = Size(10**9, 0)
    assert decode_seconds(size, 10, 0, slow) == pytest.approx(40.0)
    assert decode_seconds(size, 10, 0, fast) == pytest.approx(20.0)


@pytest.mark.parametrize(
    ("method", "options", "answers", "members"),
    [
        ("eso", {"temperatures": [1.0] * 6}, 6, 0),
        ("rloo", {"num_generations": 4}, 4, 0),
        ("best-of-n", {"n_samples": 8}, 8, 0),
        ("parameter-es", {"population": 30}, 30, 30),
        ("sft", {}, 0, 0),
    ],
)
def test_answers_and_members_are_counted_from_options(
    method: str, options: dict[str, Any], answers: int, members: int
) -> None:
    config = configs.train_config(method, seed=0)
    config = config.model_copy(update={"method": config.method.model_copy(update={"options": options}), "reward": None})
    assert (candidates_of(config), perturbed(config)) == (answers, members)


def test_a_frozen_model_is_not_updated() -> None:
    config = configs.train_config("sft", seed=0)
    whole, adapter = Size(10**8, 4), Size(10**8, 4, trained=10**5)
    assert train_seconds(config, 40, adapter) < train_seconds(config, 40, whole)


def test_the_shape_of_a_model_is_looked_up_once(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    usual = shapes._shape

    def noted(stage: Stage) -> Any:
        asked.append(stage.key)
        return usual(stage)

    monkeypatch.setattr(shapes, "_shape", noted)
    estimate = Estimate(plan)
    for one in plan.stages.values():
        estimate.seconds(one)
    assert 0 < len(asked) == len(set(asked))
