"""Stages are shared between rows, and nothing that stands beside a stage changes its id."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from plan.files import Planner, asked, small

from harness.errors import InputError
from harness.plan import build_plan
from harness.plugins.loader import load_registry
from harness.spec.stages.score import ModelScoreConfig
from harness.store.stages import Store
from harness.testing.distributions import installed, write_distribution

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from harness.plan import Plan

FIVE = ["sft", "unlikelihood", "drl", "rrhf", "eso"]


def trained(plan: Plan) -> list[str]:
    return [stage.label for stage in plan.stages.values() if stage.kind == "train"]


def shared_labels(before: Mapping[str, str], after: Mapping[str, str]) -> bool:
    return all(after[label] == known for label, known in before.items())


@pytest.mark.parametrize("schedule", ["continue", "restart"])
def test_the_supervised_epochs_are_trained_once_for_all_methods(planner: Planner, data: Path, schedule: str) -> None:
    recipe = {**small(data)["recipe"], "epochs": 5, "method_schedule": schedule}
    plan = planner.plan(planner.load(small(data, methods=FIVE, recipe=recipe, seeds=[0])))
    assert len(trained(plan)) == 6  # four epochs once, then one epoch for each row
    starts = {row.chain[0].id for row in plan.rows if row.chain}
    assert len(starts) == 1
    assert [len(row.chain) for row in plan.rows] == [0, 2, 2, 2, 2, 2]


def test_a_method_that_starts_afterwards_starts_from_the_supervised_row(planner: Planner, data: Path) -> None:
    methods = ["sft", {"use": "eso", "start": "after", "recipe": {"batch_size": 4, "learning_rate": 1e-5}}]
    plan = planner.plan(planner.load(small(data, methods=methods, seeds=[0])))
    supervised, after = (row for row in plan.rows if row.chain)
    assert after.chain[:-1] == supervised.chain
    assert asked(after.chain[-1]).fresh_optimizer
    assert asked(after.chain[-1]).recipe.batch_size == 4
    assert asked(supervised.chain[0]).recipe.batch_size == 2


def test_rows_with_other_recipes_share_nothing_they_must_not(planner: Planner, data: Path) -> None:
    methods = ["sft", "eso", {"use": "eso", "label": "slow", "recipe": {"weight_decay": 0.0}}]
    plan = planner.plan(planner.load(small(data, methods=methods, seeds=[0])))
    _, sft, eso, slow = plan.rows
    assert sft.chain[0] == eso.chain[0]
    assert slow.chain[0] != sft.chain[0]


def test_the_supervised_row_is_there_also_where_the_file_lists_none(planner: Planner, data: Path) -> None:
    alone = planner.plan(planner.load(small(data, methods=["eso"], seeds=[0])))
    both = planner.plan(planner.load(small(data, methods=["sft", "eso"], seeds=[0])))
    assert [row.label for row in alone.rows] == ["base", "sft", "eso"]
    assert {s.id for s in alone.stages.values()} == {s.id for s in both.stages.values()}


@pytest.mark.parametrize(
    "more",
    [
        {"methods": [*FIVE, {"use": "eso", "label": "more", "coef": 0.5}]},
        {"metrics": ["length", "rouge", "gleu"]},
        {"seeds": [0, 1, 2]},
        {"decoding": {"greedy": {"temperature": 0.0, "max_new_tokens": 24}, "t1": {"max_new_tokens": 24, "draws": 2}}},
        {"tables": ["timing"]},
    ],
)
def test_what_is_added_changes_no_id_that_was_there(planner: Planner, data: Path, more: dict[str, Any]) -> None:
    before = planner.ids(planner.load(small(data, methods=FIVE)))
    after = planner.ids(planner.load(small(data, **{"methods": FIVE, **more})))
    assert shared_labels(before, after)
    assert len(after) > len(before) or "tables" in more


def test_another_evaluation_changes_no_id_that_was_there(planner: Planner, data: Path) -> None:
    content = small(data)
    before = planner.ids(planner.load(content))
    other = {"dataset": "generated-instructions", "split": "test", "limit": 3, "label": "other"}
    after = planner.ids(planner.load({**content, "evaluate": [other, *content["evaluate"]]}))
    assert shared_labels(before, after)


@pytest.mark.parametrize("name", ["methods", "metrics", "evaluate"])
def test_order_does_not_matter(planner: Planner, data: Path, name: str) -> None:
    other = {"dataset": "generated-instructions", "split": "test", "limit": 3, "label": "other"}
    content = small(data, methods=FIVE, metrics=["rouge", "gleu"], evaluate=[*small(data)["evaluate"], other])
    turned = {**content, name: content[name][::-1]}
    assert planner.ids(planner.load(turned)) == planner.ids(planner.load(content))


def test_labels_and_titles_do_not_matter(planner: Planner, data: Path) -> None:
    content = small(data)
    renamed = small(
        data,
        benchmark="renamed",
        title="Renamed",
        models=[{**content["models"][0], "name": "renamed", "label": "Renamed"}],
        evaluate=[{**content["evaluate"][0], "label": "renamed"}],
        decoding={"renamed": content["decoding"]["t1"]},
        methods=[{"use": "sft", "label": "a"}, {"use": "eso", "label": "b"}],
    )
    before, after = planner.ids(planner.load(content)), planner.ids(planner.load(renamed))
    assert before.keys() != after.keys()
    assert sorted(before.values()) == sorted(after.values())


def test_evaluations_may_be_called_like_the_other_splits(planner: Planner, data: Path) -> None:
    content = small(data, validation={"dataset": "files", "path": str(data)})
    content["evaluate"] = [{**content["evaluate"][0], "label": label} for label in ("train", "validation")]
    plan = planner.plan(planner.load(content))
    assert asked(plan.train).split == "train"
    assert plan.validation is not None
    assert asked(plan.validation).split == "validation"
    assert {asked(stage).split for stage in plan.evaluations.values()} == {"test"}


def test_two_models_of_one_name_keep_their_own_weights(planner: Planner, data: Path, tmp_path: Path) -> None:
    folders = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.json").write_text("{}", encoding="utf-8")
        (folder / "model.safetensors").write_bytes(name.encode())
        folders.append(folder)
    models = [{"name": "same", "label": folder.name, "path": str(folder)} for folder in folders]
    plan = planner.plan(planner.load(small(data, models=models, seeds=[0])))
    one, two = (row.checkpoint for row in plan.rows if row.kind == "base")
    assert one.content != two.content
    assert [one.runtime.path, two.runtime.path] == [str(folder) for folder in folders]


SUPERVISED = """
from harness.api import MethodRegistration, NoOptions, hookimpl

@hookimpl
def harness_register_methods():
    return [MethodRegistration(
        name="aaa", summary="Supervised too", options=NoOptions, build="aaa_method:Method", supervised=True)]
"""


def test_an_installed_plugin_changes_nothing(planner: Planner, data: Path, tmp_path: Path) -> None:
    benchmark = planner.load(small(data, methods=["eso"]))
    before = planner.ids(benchmark)
    write_distribution(tmp_path, "aaa", entry_points={"method-aaa": "aaa"}, modules={"aaa.py": SUPERVISED})
    with installed(tmp_path):
        registry = load_registry()
        assert "aaa" in registry.names("method")
        with_it = Planner(planner.folder, registry)
        assert with_it.ids(with_it.load(small(data, methods=["eso"]))) == before


def test_which_supervised_method_starts_is_never_guessed(planner: Planner, data: Path, tmp_path: Path) -> None:
    for name in ("aaa", "bbb"):
        modules = {f"{name}.py": SUPERVISED.replace("aaa", name), f"{name}_method.py": "class Method: ..."}
        write_distribution(tmp_path, name, entry_points={f"method-{name}": name}, modules=modules)
    with installed(tmp_path):
        registry = load_registry(blocked=("method-sft",))
        assert "sft" not in registry.names("method")
        without = Planner(planner.folder, registry)
        benchmark = without.load(small(data, methods=["eso"]))
        with pytest.raises(InputError, match=r"it is not clear which.*one of aaa, bbb"):
            build_plan(benchmark, registry, without.store)
        listed = without.load(small(data, methods=["eso", "bbb"]))
        rows = build_plan(listed, registry, without.store).rows
        assert [(row.label, row.kind) for row in rows[:3]] == [("base", "base"), ("eso", "method"), ("bbb", "start")]


def test_without_any_supervised_method_nothing_can_start(planner: Planner, data: Path) -> None:
    registry = load_registry(blocked=("method-sft",))
    without = Planner(planner.folder, registry)
    benchmark = without.load(small(data, methods=["eso"]))
    with pytest.raises(InputError, match="no installed plugin offers a supervised method"):
        build_plan(benchmark, registry, without.store)


def test_ids_are_unknown_until_the_data_is_prepared(planner: Planner, data: Path, tmp_path: Path) -> None:
    benchmark = planner.load(small(data))
    fresh = build_plan(benchmark, planner.registry, Store(tmp_path))
    known = {stage.label for stage in fresh.stages.values() if stage.id is not None}
    assert known == {"files/train", "files/test"}
    assert not fresh.settled
    assert planner.plan(benchmark).settled
    assert {stage.key for stage in planner.plan(benchmark).stages.values()} == set(fresh.stages)
    assert {stage.short for stage in fresh.stages.values() if stage.id is None} == {"?"}


def test_a_scorer_is_loaded_as_its_own_entry_says(planner: Planner, data: Path) -> None:
    """Its attention and type are those of its own entry; one that is not listed is loaded as the policy is."""
    config = {"model_type": "gpt2", "n_layer": 1, "n_head": 2, "n_embd": 8, "n_positions": 96}
    one = {"name": "one", "config": config, "vocab_size": 300}
    models = [one, {**one, "name": "two", "attention": "eager", "dtype": "float64"}]
    content = small(data, models=models, metrics=["perplexity"], scorer={"model": "two"})
    plan = build_plan(planner.load(content), planner.registry, planner.store)
    asked = {
        (stage.config.asking.loading.attention, stage.config.scorer.attention, stage.config.scorer.dtype)
        for stage in plan.stages.values()
        if isinstance(stage.config, ModelScoreConfig) and stage.config.scorer is not None
    }
    assert asked == {("sdpa", "eager", "float64"), ("eager", "eager", "float64")}
