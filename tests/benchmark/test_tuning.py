# ruff: noqa: E501  # messages stand on one line, as a terminal shows them
"""The ``tune`` section: which rows are given which trials, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from benchmark.invented import SMALL

if TYPE_CHECKING:
    from benchmark.invented import Load, Mistakes

HELD_OUT = SMALL + "validation: {dataset: tales, split: validation}\n"


def tuned(options: str, more: str = "") -> str:
    return f"{HELD_OUT}tune: {{options: {{{options}}}{more}}}\n"


def test_every_method_that_has_the_option_is_given_the_same_trials(load: Load) -> None:
    text = tuned("methods.*.coef: [0.05, 0.2, 5e-1]").replace(
        "  - {use: push", "  - {use: push, label: other}\n  - {use: push"
    )
    found = load(text)
    assert [len(entry.trials) for entry in found.methods] == [0, 3, 3]
    assert found.methods[1].trials == ({"coef": 0.05}, {"coef": 0.2}, {"coef": 0.5})
    assert found.tune is not None
    assert (found.tune.metric, found.tune.seeds) == ("overlap.overlap", (0,))
    assert load(HELD_OUT).tune is None


def test_several_options_are_a_grid_and_values_are_checked_ones(load: Load) -> None:
    text = tuned(
        "methods.push.coef: [1, 2], methods.p*.recipe.method_learning_rate: [1e-5, null]",
        ", metric: overlap, seeds: [1, 0]",
    )
    found = load(text)
    assert found.methods[1].trials == tuple(
        {"coef": coef, "recipe.method_learning_rate": rate} for coef in (1.0, 2.0) for rate in (1e-5, None)
    )
    assert found.tune is not None
    assert found.tune.seeds == (1, 0)


def test_weights_of_the_reward_are_tuned_too(load: Load) -> None:
    (_, push) = load(tuned("methods.*.reward_weights.match: [0, 0.5]")).methods
    assert push.trials == ({"reward_weights.match": 0.0}, {"reward_weights.match": 0.5})


def test_options_within_a_group_are_tuned_too(load: Load) -> None:
    text = tuned("methods.*.schedule.start: [1, 2.5]").replace("coef: 0.5", "schedule: {steps: [3]}")
    (_, push) = load(text).methods
    assert push.trials == ({"schedule.start": 1.0}, {"schedule.start": 2.5})
    assert push.options["schedule"] == {"start": 1.0, "steps": [3]}
    (_, push) = load(tuned("methods.*.schedule: [{}, {steps: [1]}]")).methods
    assert push.trials[1] == {"schedule": {"start": 1.0, "steps": [1]}}


def test_a_label_with_dots_is_a_label(load: Load) -> None:
    text = tuned("methods.push.1.coef: [1, 2]").replace("{use: push,", "{use: push, label: push.1,")
    assert [len(entry.trials) for entry in load(text).methods] == [0, 2]


def test_the_command_line_may_tune(load: Load) -> None:
    found = load(HELD_OUT, "tune.options.methods.*.coef=[1, 2]", "tune.metric=overlap.overlap")
    assert [len(entry.trials) for entry in found.methods] == [0, 2]
    assert load(tuned("methods.*.coef: [1, 2]"), "tune=null").tune is None


@pytest.mark.parametrize(
    ("options", "more", "message"),
    [
        ("methods.*.cof: [1]", "", "file.yaml:16:18: tune.options.methods.*.cof: no method that matches * has this option, got \"cof\"; did you mean 'coef'?"),
        ("methods.pusch.coef: [1]", "", "no method matches, got \"pusch\"; expected *, or one of tune, push; did you mean 'push'?"),
        ("methods.tune.reduction: [sum]", "", "tune.options.methods.tune.reduction: the shared start is trained once and is not tuned"),
        ("coef: [1]", "", "is not an option of methods; expected methods.ROWS.OPTION; did you mean 'methods.*.coef'?"),
        ("methods.*.coef: [1, 1]", "", "has a value twice, got [1, 1]"),
        ("methods.*.coef: []", "", "is wrong, got []; expected a list of values to try"),
        ("methods.*.coef: 1", "", "tune.options.methods.*.coef: is wrong, got 1; expected a list"),
        ("methods.*.coef: [1, a]", "", 'methods.push.coef: is wrong, got "a"; expected a number'),
        ("methods.*.coef: [-1]", "", "file.yaml:16:35: methods.push.coef: is wrong, got -1"),
        ("methods.*.coef: [1], methods.push.coef: [2]", "", "methods.*.coef gives push values of coef already"),
        ("methods.*.recipe.epoch: [1]", "", "no method that matches * has this option, got \"recipe.epoch\"; did you mean 'recipe.epochs'?"),
        ("methods.*.start: [1]", "", "no method that matches * has this option, got \"start\"; did you mean 'schedule.start'?"),
        ("methods.*.reward_weights.mach: [1]", "", "reward_weights.mach: no part of the reward has this label"),
        ("", "", "tune.options: is wrong"),
        ("methods.*.coef: [1]", ", metric: overlp", "tune.metric: no metric of the file has this name, got \"overlp\"; expected one of overlap; did you mean 'overlap'?"),
        ("methods.*.coef: [1]", ", metric: overlap.a", 'tune.metric: metric overlap has no such column, got "a"; expected one of overlap, plain'),
        ("methods.*.coef: [1]", ", metric: overlap.plain", "tune.metric: cannot choose: neither direction is better"),
        ("methods.*.coef: [1]", ", seeds: [7]", "tune.seeds: is not a seed of the file, got 7; expected one of 0, 1"),
        ("methods.*.coef: [1]", ", seeds: [1, 1]", "tune.seeds: has a seed twice"),
        ("methods.*.coef: [1]", ", trials: 3", "tune.trials: unknown key"),
    ],
)  # fmt: skip
def test_mistakes(options: str, more: str, message: str, mistakes: Mistakes) -> None:
    texts = mistakes(tuned(options, more))
    assert any(message in text for text in texts), texts


def test_trials_must_be_as_many_for_every_method(mistakes: Mistakes) -> None:
    text = tuned("methods.push.coef: [1, 2], methods.other.coef: [1]").replace(
        "  - {use: push, coef: 0.5}", "  - {use: push, label: a}\n  - {use: push, label: other}"
    )
    texts = mistakes(text.replace("methods.push.coef", "methods.a.coef"))
    assert texts == [
        "file.yaml:17:42: tune.options.methods.other.coef: is unfair: 1 here, 2 under methods.a.coef; expected as many trials for every method that has coef"
    ]


def test_what_is_swept_is_not_tuned(mistakes: Mistakes) -> None:
    text = tuned("methods.*.coef: [1, 2]").replace("coef: 0.5", "sweep: {coef: [3, 4]}")
    assert any("coef is in a sweep of push too" in each for each in mistakes(text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (tuned("methods.*.coef: [1, 2]").replace("validation: {", "title: x # {"), "tune: settings are chosen on held-out data, and the file names none"),
        (tuned("methods.*.coef: [1, 2]").replace("split: validation", "split: test"), "validation: is the data that tales reports: what is chosen there would be flattered by it"),
        (tuned("methods.*.coef: [1, 2]").replace("split: validation", "split: train"), "validation: is the split that is trained on"),
    ],
)  # fmt: skip
def test_nothing_is_chosen_on_what_is_reported(text: str, message: str, mistakes: Mistakes) -> None:
    texts = mistakes(text)
    assert any(message in each for each in texts), texts
