"""Trials are stages, a choice is read from the store, and what follows from it is held until then."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from plan.files import Planner, asked, small

from harness.plan import build_plan
from harness.plan.graph import Trial
from harness.plan.tuning import best
from harness.spec.benchmark import MethodEntry
from harness.spec.recipe import Recipe
from harness.spec.results.score import ColumnSummary, ScoreSummary
from harness.store.environment import fingerprint

if TYPE_CHECKING:
    from pathlib import Path

    from harness.plan import Plan, Stage
    from harness.plugins.registry import Registry

WHOLE = "rouge.rougeL"


@pytest.fixture
def planner(tmp_path: Path, registry: Registry) -> Planner:
    return Planner(tmp_path, registry)


def tuned(data: Path, **changes: Any) -> dict[str, Any]:
    content = small(
        data, methods=["sft", "eso", "rrhf"], validation={"dataset": "files", "path": str(data)},
        tune={"options": {"methods.*.coef": [0.5, 0.1, 2]}},
    )  # fmt: skip
    return {**content, **changes}


def score(planner: Planner, stage: Stage, value: float | None, **others: float) -> None:
    """Leave behind what a score stage leaves: the mean of ``rougeL``, and of other columns."""
    columns = {
        name: ColumnSummary(present=3, missing=0, mean=mean) for name, mean in {"rougeL": value, **others}.items()
    }
    with planner.store.draft("score", stage.id or "") as draft:
        draft.write(ScoreSummary(metric="rouge", signature="1", corpus={}, columns=columns))
        planner.store.commit(
            draft, config=stage.config.to_json(), environment=fingerprint(threads=1, device="cpu", ranks=1), label="l"
        )


def trial_stages(plan: Plan, row: str) -> list[Stage]:
    return [stage for trial in plan.tuned["new", row].trials for stage in trial.scores]


def chains(plan: Plan, row: str) -> list[list[Stage]]:
    return [list(each.chain) for each in plan.rows if each.label == row]


def test_until_all_trials_are_scored_what_follows_is_held(planner: Planner, data: Path) -> None:
    benchmark = planner.load(tuned(data))
    plan = planner.plan(benchmark)
    waiting = {stage.label for key, stage in plan.stages.items() if key in plan.waiting}
    assert "new/eso/seed 0/epochs 2-3" in waiting
    assert "new/eso/seed 1/test/t1/rouge" in waiting
    assert not any("[" in label or "/sft/" in label or "/base/" in label for label in waiting)
    assert all((stage.id is None) == (key in plan.waiting) for key, stage in plan.stages.items())
    assert [len(plan.tuned["new", row].trials) for row in ("eso", "rrhf")] == [3, 3]
    # trials are trained with the first seed alone, and answer validation prompts under the first decoding
    assert {stage.label for stage in trial_stages(plan, "eso")} == {
        f"new/eso[coef={value}]/seed 0/files/t1/rouge" for value in ("0.5", "0.1", "2.0")
    }
    assert not any("seed 1" in stage.label and "[" in stage.label for stage in plan.stages.values())
    # the supervised start is settled and shared
    assert {chain[0].id for chain in chains(plan, "eso")} == {chain[0].id for chain in chains(plan, "sft")}


@pytest.mark.parametrize(
    ("metric", "chosen"),
    [("rouge.rougeL", 0.1), ("rouge.rouge1", 2), ("diversity.repetition", 0.5), ("diversity.distinct1", 0.1)],
)
def test_the_metric_that_the_file_names_decides(metric: str, chosen: float, planner: Planner, data: Path) -> None:
    tune = {"options": {"methods.eso.coef": [0.5, 0.1, 2]}, "metric": metric}
    benchmark = planner.load(tuned(data, metrics=["rouge", "diversity"], tune=tune))
    stages = trial_stages(planner.plan(benchmark), "eso")
    assert {asked(stage).metric.name for stage in stages} == {metric.partition(".")[0]}
    for stage, whole, words, repeated in zip(stages, (0.1, 0.4, 0.2), (0.1, 0.2, 0.3), (0.0, 0.5, 0.2), strict=True):
        score(planner, stage, whole, rouge1=words, repetition=repeated, distinct1=repeated)  # less repetition is better
    assert build_plan(benchmark, planner.registry, planner.store).tuned["new", "eso"].settings == {"coef": chosen}


def test_a_choice_makes_the_row_what_the_file_would_have_named(planner: Planner, data: Path) -> None:
    benchmark = planner.load(tuned(data))
    plan = planner.plan(benchmark)
    for stage, value in zip(trial_stages(plan, "eso"), (0.1, 0.4, 0.2), strict=True):
        assert chains(build_plan(benchmark, planner.registry, planner.store), "eso")[0][-1].id is None
        score(planner, stage, value)
    plan = build_plan(benchmark, planner.registry, planner.store)
    assert plan.tuned["new", "eso"].settings == {"coef": 0.1}
    assert plan.tuned["new", "rrhf"].chosen is None
    named = tuned(data, methods=["sft", {"use": "eso", "coef": 0.1}, "rrhf"])
    del named["tune"]
    plain = planner.plan(planner.load(named))
    assert [[s.id for s in chain] for chain in chains(plan, "eso")] == [
        [s.id for s in chain] for chain in chains(plain, "eso")
    ]
    assert plan.tuned["new", "eso"].trials[1].scores[0].parents["samples"].parents["checkpoint"].id == (
        chains(plain, "eso")[0][-1].id
    )


def test_another_method_changes_no_trial(planner: Planner, data: Path) -> None:
    one = planner.plan(planner.load(tuned(data, methods=["sft", "eso"])))
    two = planner.plan(planner.load(tuned(data)))
    assert [stage.id for stage in trial_stages(one, "eso")] == [stage.id for stage in trial_stages(two, "eso")]


def test_what_trials_share_is_settled_and_the_rest_is_not(planner: Planner, data: Path) -> None:
    content = tuned(data, tune={"options": {"methods.eso.recipe.learning_rate": [1e-3, 1e-4]}})
    (first, second), _ = chains(planner.plan(planner.load(content)), "eso")
    assert (first.held, second.held) == (True, True)
    content["tune"] = {"options": {"methods.eso.recipe.method_learning_rate": [1e-3, 1e-4]}, "seeds": [0, 1]}
    plan = planner.plan(planner.load(content))
    (first, second), _ = chains(plan, "eso")
    assert (first.held, second.held) == (False, True)
    assert len(trial_stages(plan, "eso")) == 4


def test_failed_trials_are_not_chosen_and_a_row_without_any_has_nothing(planner: Planner, data: Path) -> None:
    benchmark = planner.load(tuned(data))
    stages = trial_stages(planner.plan(benchmark), "eso")
    score(planner, stages[0], 0.1)
    score(planner, stages[2], None)
    plan = build_plan(benchmark, planner.registry, planner.store, failed={stages[1].key})
    assert plan.tuned["new", "eso"].settings == {"coef": 0.5}
    plan = build_plan(benchmark, planner.registry, planner.store, failed={stage.key for stage in stages[1:]})
    assert plan.tuned["new", "eso"].settings == {"coef": 0.5}
    rows = trial_stages(planner.plan(benchmark), "rrhf")
    plan = build_plan(benchmark, planner.registry, planner.store, failed={stage.key for stage in rows})
    assert (plan.tuned["new", "rrhf"].over, plan.tuned["new", "rrhf"].chosen) == (True, None)


def trial(score: float | None, **settings: Any) -> Trial:
    return Trial(settings, MethodEntry(use="m", label="m", recipe=Recipe()), (), score, over=True)


@pytest.mark.parametrize(
    ("trials", "higher", "expected"),
    [
        ([trial(1.0, c=1), trial(2.0, c=2), trial(1.5, c=3)], True, 1),
        ([trial(1.0, c=1), trial(2.0, c=2), trial(1.5, c=3)], False, 0),
        ([trial(1.0, c=3), trial(1.0, c=2), trial(0.5, c=1)], True, 1),
        ([trial(1.0, c=2, d=9), trial(1.0, c=2, d=1), trial(1.0, c=3, d=0)], True, 1),
        ([trial(1.0, c="b"), trial(1.0, c="a")], True, 0),
        ([trial(None, c=1), trial(0.0, c=2)], True, 1),
        ([trial(None, c=1), trial(None, c=2)], True, None),
    ],
)
def test_the_best_is_chosen_and_of_equal_ones_the_smaller(
    trials: list[Trial],
    higher: bool,  # noqa: FBT001  # pytest passes parameters by name
    expected: int | None,
) -> None:
    assert best(trials, higher=higher) == expected


def test_nothing_is_chosen_without_a_trial_whose_score_cannot_be_read(planner: Planner, data: Path) -> None:
    benchmark = planner.load(tuned(data))
    stages = trial_stages(planner.plan(benchmark), "eso")
    for stage, value in zip(stages, (0.1, 0.9, 0.2), strict=True):
        score(planner, stage, value)
    assert planner.plan(benchmark).tuned["new", "eso"].settings == {"coef": 0.1}
    path = planner.store.folder("score", stages[1].id or "") / "metrics.json"
    path.write_bytes(path.read_bytes().replace(b"0.9", b"0.0"))
    plan = planner.plan(benchmark)
    assert (plan.tuned["new", "eso"].chosen, plan.tuned["new", "eso"].over) == (None, False)
    assert plan.damaged[stages[1].key].file == "metrics.json"
    assert not plan.stages[stages[1].key].done
    assert path.exists()
