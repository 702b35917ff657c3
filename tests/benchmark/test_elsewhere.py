"""Entries of ``methods`` for rows that were trained elsewhere, and files without a method."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from benchmark.invented import SMALL

from harness.plan.elsewhere import model_elsewhere
from harness.plan.segments import method_segments, supervised_segments

if TYPE_CHECKING:
    from pathlib import Path

    from benchmark.invented import Load, Mistakes

METHODS = """\
methods:
  - tune
  - {use: push, coef: 0.5}
"""


def with_methods(entries: str) -> str:
    return SMALL.replace(METHODS, f"methods:\n{entries}")


def test_rows_from_elsewhere_stand_beside_methods(load: Load, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "answers.jsonl").touch()
    loaded = load(
        with_methods(
            "  - tune\n  - {use: checkpoint, path: theirs}\n  - {use: answers, path: answers.jsonl, label: ours}\n"
            "  - {use: checkpoint, name: org/model, revision: abc}\n"
        )
    )
    assert [entry.label for entry in loaded.methods] == ["tune"]
    told = [(entry.use, entry.label, entry.path, entry.name, entry.model) for entry in loaded.elsewhere]
    assert told == [
        ("checkpoint", "theirs", str(tmp_path / "theirs"), None, "tiny"),
        ("answers", "ours", str(tmp_path / "answers.jsonl"), None, "tiny"),
        ("checkpoint", "model", None, "org/model", "tiny"),
    ]


def test_an_adapter_may_name_its_base(load: Load, tmp_path: Path) -> None:
    for name in ("mine", "below"):
        (tmp_path / name).mkdir()
    one = "{use: checkpoint, path: mine, base: below}"
    two = "{use: checkpoint, path: mine, base: org/below, label: other}"
    loaded = load(with_methods(f"  - tune\n  - {one}\n  - {two}\n"))
    assert [entry.base for entry in loaded.elsewhere] == [str(tmp_path / "below"), "org/below"]
    found = model_elsewhere(loaded.elsewhere[0], loaded.models[0])
    assert (found.path, found.base) == (str(tmp_path / "mine"), str(tmp_path / "below"))


def test_no_method_at_all_is_a_benchmark_too(load: Load) -> None:
    assert load(SMALL.replace(METHODS, "methods: []\n")).methods == ()


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("{use: checkpoint}", "methods.checkpoint: names no checkpoint; expected path: FOLDER, or name: OWNER/NAME"),
        ("{use: checkpoint, path: ., name: org/m}", "methods.checkpoint: names both a folder and a model of the hub"),
        ("{use: checkpoint, path: gone}", 'methods.checkpoint.path: no such file or folder, got "gone"'),
        ("{use: checkpoint, path: ., revision: abc}", "methods.checkpoint.revision: a revision is a commit on the hub"),
        ("{use: checkpoint, name: ../x}", 'methods.checkpoint.name: is not a name, got "../x"'),
        ("{use: answers}", "methods.answers.path: is missing; expected path: FILE.jsonl"),
        ("{use: answers, path: ., name: org/m}", "methods.answers.name: is for a checkpoint"),
        ("{use: answers, path: ., base: org/m}", "methods.answers.base: is for a checkpoint"),
        ("{use: checkpoint, path: ., base: ../gone}", 'base: is neither a folder nor a hub name, got "../gone"'),
        ("{use: checkpoint, name: org/m, base: org/b}", "base: is what an adapter on disk goes on; expected path"),
        ("{use: answers, path: ., coef: 1}", "methods.answers.coef: unknown key"),
        ("{use: checkpoint, path: ., label: base}", "base is the label of the untrained model's row"),
        ("{use: checkpoint, path: ., label: tune}", "tune is the label of the row of the shared start"),
        ("{use: checkpoint, path: ., label: push}", "a second method is called push"),
        ("{use: checkpoint, path: ., model: big}", 'no model of this file has this label, got "big"; expected tiny'),
    ],
)
def test_mistakes_of_rows_from_elsewhere(mistakes: Mistakes, entry: str, said: str) -> None:
    found = mistakes(SMALL.replace(METHODS, f"{METHODS}  - {entry}\n"))
    assert len(found) == 1
    assert said in found[0]


def test_with_several_models_it_says_whose_tables(mistakes: Mistakes) -> None:
    text = SMALL.replace("[org/tiny]", "[org/tiny, org/big]").replace(
        METHODS, f"{METHODS}  - {{use: answers, path: .}}\n"
    )
    (said,) = mistakes(text)
    assert (
        "methods.answers.model: does not say in which model's tables it stands; expected model: one of tiny, big"
        in said
    )


@pytest.mark.parametrize("entry", ["{use: answers, path: ., label: theirs}", "{use: checkpoint, name: org/theirs}"])
def test_prompts_are_not_dropped_beside_rows_from_elsewhere(load: Load, mistakes: Mistakes, entry: str) -> None:
    dropping = SMALL.replace("evaluate: [tales]", "evaluate:\n  - {dataset: tales, overlong: drop}")
    (said,) = mistakes(dropping.replace(METHODS, f"{METHODS}  - {entry}\n"))
    assert said.endswith(
        "file.yaml:7:32: evaluate.tales.overlong: the prompts that are too long need not be the same for what was "
        'trained elsewhere (theirs), got "drop"; expected overlong: cut, or no row from elsewhere'
    )
    assert load(dropping).evaluate[0].overlong == "drop"


def test_a_budget_takes_the_place_of_method_epochs(load: Load) -> None:
    recipe = "recipe: {epochs: 3, learning_rate: 1e-3, budget: {unit: steps, amount: 40, checkpoints: [0.5]}}"
    loaded = load(SMALL.replace("recipe: {epochs: 3, learning_rate: 1e-3}", recipe))
    push = loaded.methods[1]
    assert push.recipe.budget is not None
    assert (push.recipe.budget.unit, push.recipe.budget.amount) == ("steps", 40.0)
    start, own = method_segments(push, loaded.recipe)
    assert (start.active, start.last.step(10), start.budget) == (False, 30, None)
    assert (own.active, own.first.step(10), own.budget, own.fresh) == (True, 30, push.recipe.budget, False)
    assert supervised_segments(loaded.recipe)[0].curve == start.curve  # they share the stage
    overridden = load(SMALL.replace("recipe: {epochs: 3, learning_rate: 1e-3}", recipe), "recipe.budget.amount=50")
    assert overridden.recipe.budget is not None
    assert overridden.recipe.budget.amount == 50


def test_an_entry_says_a_part_of_the_adapter_otherwise(load: Load) -> None:
    recipe = "recipe: {epochs: 3, learning_rate: 1e-3, adapter: {rank: 8, alpha: 16, targets: [c_attn]}}"
    text = SMALL.replace("recipe: {epochs: 3, learning_rate: 1e-3}", recipe)
    loaded = load(text.replace("use: push", "use: push, recipe: {adapter: {rank: 64}}"))
    adapter = loaded.methods[1].recipe.adapter
    assert adapter is not None
    assert (adapter.rank, adapter.alpha, adapter.targets) == (64, 16.0, ("c_attn",))
    assert loaded.methods[0].recipe.adapter == loaded.recipe.adapter != adapter


def test_a_budget_of_sampled_tokens_leaves_the_supervised_row_at_the_start(load: Load) -> None:
    recipe = "recipe: {epochs: 2, learning_rate: 1e-3, budget: {unit: sampled_tokens, amount: 1e6}}"
    loaded = load(SMALL.replace("recipe: {epochs: 3, learning_rate: 1e-3}", recipe))
    assert [segment.budget for segment in supervised_segments(loaded.recipe)] == [None]
    after = loaded.methods[1].model_copy(update={"start": "after"})
    assert [segment.fresh for segment in method_segments(after, loaded.recipe)] == [True]


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ("epochs: 2, method_epochs: 1, budget: {unit: steps, amount: 4}", "recipe.method_epochs: a budget says when"),
        ("epochs: 2, max_steps: 9, budget: {unit: steps, amount: 4}", "recipe.max_steps: a budget says when"),
        (
            "method_schedule: continue, budget: {unit: steps, amount: 4}",
            "recipe.method_schedule: under a budget the num",
        ),
        ("epochs: 0", "recipe.epochs: must be 1 or more without a budget, got 0"),
        (
            "epochs: 0, budget: {unit: sampled_tokens, amount: 4}",
            "recipe.epochs: the supervised row, which samples not",
        ),
        ("budget: {unit: words, amount: 4}", 'recipe.budget.unit: is wrong, got "words"'),
        ("budget: {unit: steps}", "recipe.budget.amount: is missing"),
        ("budget: {unit: steps, amount: 2.5}", "recipe.budget: steps come whole"),
    ],
)
def test_mistakes_of_budgets(mistakes: Mistakes, recipe: str, said: str) -> None:
    found = mistakes(SMALL.replace("recipe: {epochs: 3, learning_rate: 1e-3}", f"recipe: {{{recipe}}}"))
    assert found
    assert [one for one in found if said not in one] == []


def test_a_budget_is_for_methods_that_are_active_last(mistakes: Mistakes) -> None:
    text = SMALL.replace("learning_rate: 1e-3}", "learning_rate: 1e-3, budget: {unit: steps, amount: 4}}")
    (said,) = mistakes(text.replace("coef: 0.5}", "coef: 0.5, active: all}"))
    assert "methods.push.active: under a budget a method is active from the end of the shared start" in said
