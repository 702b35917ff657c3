"""A reward model's stages: shared by rows and seeds, and in the ids of what asks it and of nothing else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from plan.files import Planner, asked, small

from harness.errors import InputError
from harness.plan import build_plan
from harness.plan.estimate import Estimate
from harness.spec.schedule import Position

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from harness.plan import Plan, Stage

PAIRS = {"columns": {"chosen": "completion", "rejected": "prompt"}}


def judged(data: Path, section: Mapping[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    pairs = {"dataset": "files", "path": str(data), **PAIRS}
    whole = {"use": "bradley-terry", "train": pairs, "test": {**pairs, "split": "test"}, **(section or {})}
    return small(data, reward="reward-model", reward_model=whole, metrics=["rouge", "reward-model"], **changes)


def asking(plan: Plan) -> list[Stage]:
    return [stage for stage in plan.stages.values() if "reward_model" in stage.parents and stage.kind != "precompute"]


def test_one_for_all_rows_and_seeds(planner: Planner, data: Path) -> None:
    plan = planner.plan(planner.load(judged(data)))
    (stages,) = plan.reward_models.values()
    made = [stage for stage in plan.stages.values() if "reward model" in stage.label]
    assert made == [stages.model, stages.statistics]
    assert stages.model.kind == "train"
    assert asked(stages.model).seed == 0
    first = next(row for row in plan.rows if (row.label, row.seed) == ("sft", 0))
    assert stages.model.parents["start"] is first.checkpoint
    assert {stage.parents["reward_model"].key for stage in asking(plan)} == {stages.model.key}
    kinds = {(stage.kind, next((use.name for _, use in stage.config.plugins()), None)) for stage in asking(plan)}
    assert kinds == {("train", "eso"), ("score", "reward-model")}
    estimate = Estimate(plan)
    assert all((estimate.seconds(stage) or 0) > 0 for stage in made)


def test_one_for_each_model(planner: Planner, data: Path) -> None:
    models = [{**small(data)["models"][0], "label": label, "dtype": dtype}
              for label, dtype in (("one", "float32"), ("two", "float64"))]  # fmt: skip
    plan = planner.plan(planner.load(judged(data, models=models)))
    assert set(plan.reward_models) == {"one", "two"}
    for row in plan.rows:
        for cell in row.cells:
            assert cell.scores["reward-model"].parents["reward_model"] is plan.reward_models[row.model].model
    one, two = (asked(stages.model).loading.dtype for stages in plan.reward_models.values())
    assert (one, two) == ("float32", "float64")


def test_it_starts_where_the_file_says(planner: Planner, data: Path) -> None:
    plan = planner.plan(planner.load(judged(data, {"start": "base"})))
    (stages,) = plan.reward_models.values()
    assert stages.model.parents["start"].config.kind == "new-model"
    assert asked(stages.model.parents["start"]).seed == 0
    assert asked(stages.model).fresh_optimizer
    assert (asked(stages.model).first, asked(stages.model).last) == (Position(epochs=0), Position(epochs=1))


def test_what_does_not_ask_it_does_not_know_it(planner: Planner, data: Path) -> None:
    with_it = planner.ids(planner.load(judged(data)))
    without = planner.ids(planner.load(small(data, methods=["sft"])))
    shared = {label for label in without if label in with_it and "/sft/" in label}
    assert shared
    assert {label for label in shared if with_it[label] != without[label]} == set()


@pytest.mark.parametrize(
    ("section", "changed"),
    [
        ({"recipe": {"learning_rate": 1e-6}}, {"train", "precompute", "score"}),
        ({"margin": 1.0}, {"train", "precompute", "score"}),
        ({"normalise": "shift"}, {"train", "precompute", "score"}),
        ({"test": None}, {"precompute"}),
    ],
)
def test_its_settings_change_what_asks_it_and_held_out_pairs_do_not(
    planner: Planner, data: Path, section: dict[str, Any], changed: set[str]
) -> None:
    before = planner.ids(planner.load(judged(data)))
    after = planner.ids(planner.load(judged(data, section)))
    assert before.keys() - after.keys() == set()
    differ = {label for label in before if before[label] != after[label] and not label.startswith("prepare")}
    assert {label.partition(" ")[0] for label in differ} == changed | ({"generate"} if "train" in changed else set())
    assert not any("/sft/" in label and label.startswith(("train", "generate")) for label in differ)


def folder_of(tmp_path: Path, **config: Any) -> Path:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2", **config}), encoding="utf-8")
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    return tmp_path


def test_one_that_exists_is_found_before_anything_is_trained(planner: Planner, data: Path, tmp_path: Path) -> None:
    folder = folder_of(tmp_path, num_labels=1)
    content = small(data, reward="reward-model", reward_model={"model": "judge", "path": str(folder)})
    plan = planner.plan(planner.load(content))
    (stages,) = plan.reward_models.values()
    assert (stages.model.kind, stages.model.config.kind, stages.rows) == ("prepare", "classifier", None)
    assert stages.model.content is not None
    (tmp_path / "model.safetensors").write_bytes(b"other weights")


@pytest.mark.parametrize(
    ("config", "got"),
    [({}, 2), ({"num_labels": 3}, 3), ({"id2label": {"0": "bad", "1": "good"}}, 2)],
)
def test_several_outputs_are_refused_while_planning(
    planner: Planner, data: Path, tmp_path: Path, config: dict[str, Any], got: int
) -> None:
    folder = folder_of(tmp_path, **config)
    content = small(data, reward="reward-model", reward_model={"model": "judge", "path": str(folder)})
    with pytest.raises(InputError, match=rf"reward model judge .*several outputs, got {got}; expected .*one label"):
        build_plan(planner.load(content), planner.registry, planner.store)
