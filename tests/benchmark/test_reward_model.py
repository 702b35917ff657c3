"""The section ``reward_model``: what it comes to, and every mistake with its line."""
# ruff: noqa: E501  # messages stand on one line, as a terminal shows them

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from benchmark.invented import REGISTRATIONS, SMALL, nothing
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from harness.api import Column, MethodRegistration, MetricRegistration, Options, RewardRegistration
from harness.benchmark import json_schema, load_benchmark
from harness.errors import InputErrors
from harness.plugins.registry import Plugin, Registry

if TYPE_CHECKING:
    from pathlib import Path

    from harness.api import Kind, Registration
    from harness.spec.benchmark import Benchmark, RewardModel


class LearnOptions(Options):
    margin: float = 0.0


MORE: list[tuple[Kind, Registration]] = [
    ("method", MethodRegistration(
        name="learn", summary="s", build=nothing, options=LearnOptions, trains="reward_model",
        needs=frozenset({"preferences"}))),
    ("method", MethodRegistration(name="critic", summary="s", build=nothing, needs=frozenset({"reward_model"}))),
    ("reward", RewardRegistration(name="judged", summary="s", build=nothing, needs=frozenset({"reward_model"}))),
    ("metric", MetricRegistration(
        name="worth", summary="s", build=nothing, columns=(Column("worth", "W"),), needs=frozenset({"reward_model"}))),
]  # fmt: skip
REGISTRY = Registry(
    Plugin(kind, one.name, f"{kind}-{one.name}", "invented", "1.0", "invented", "ok", registration=one)
    for kind, one in [*REGISTRATIONS, *MORE]
)
PAIRS = SMALL.replace("train: tales", "train: choices")
TRAINED = "reward_model: {use: learn, test: {dataset: choices, split: test}}\n"


def load(tmp_path: Path, text: str, *overrides: str, profile: str | None = None) -> Benchmark:
    path = tmp_path / "file.yaml"
    path.write_text(text, encoding="utf-8")
    return load_benchmark(path, registry=REGISTRY, overrides=overrides, profile=profile)


def section(tmp_path: Path, text: str, *overrides: str, profile: str | None = None) -> RewardModel:
    found = load(tmp_path, text, *overrides, profile=profile).reward_model
    assert found is not None
    return found


def mistakes(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(InputErrors) as caught:
        load(tmp_path, text)
    return [str(error).replace(f"{tmp_path}/file.yaml:", "") for error in caught.value.errors]


def test_what_is_not_said_comes_from_the_file(tmp_path: Path) -> None:
    found = section(tmp_path, PAIRS + TRAINED)
    assert (found.use, found.options, found.start, found.normalise) == ("learn", {"margin": 0.0}, "supervised", "none")
    assert found.train is not None
    assert (found.train.dataset, found.train.split) == ("choices", "train")
    assert found.recipe.learning_rate == 1e-3
    assert found.recipe.epochs == 1  # not the file's three


def test_its_own_keys_win(tmp_path: Path) -> None:
    text = SMALL + "reward_model: {use: learn, margin: 2.0, train: choices, recipe: {epochs: 2, learning_rate: 1e-5}}"
    found = section(tmp_path, text)
    assert found.options == {"margin": 2.0}
    assert found.train is not None
    assert found.train.dataset == "choices"
    assert (found.recipe.epochs, found.recipe.learning_rate) == (2, 1e-5)


def test_settings_on_the_command_line_reach_it(tmp_path: Path) -> None:
    found = section(tmp_path, PAIRS + TRAINED, "reward_model.recipe.epochs=4", "reward_model.test.limit=9",
                    "recipe.epochs=7")  # fmt: skip
    assert found.recipe.epochs == 4
    assert found.test is not None
    assert found.test.limit == 9


def test_a_bare_name_is_the_method(tmp_path: Path) -> None:
    assert section(tmp_path, PAIRS + "reward_model: learn\n").use == "learn"


def test_one_that_exists(tmp_path: Path) -> None:
    (tmp_path / "judge").mkdir()
    text = SMALL + "reward_model: {model: org/judge, path: judge, normalise: zscore, test: choices}"
    found = section(tmp_path, text)
    assert found.model is not None
    assert (found.model.name, found.model.path) == ("org/judge", str(tmp_path / "judge"))
    assert (found.use, found.normalise) == (None, "zscore")
    whole = SMALL + "reward_model: {model: {name: org/judge, dtype: bfloat16}}"
    found = section(tmp_path, whole)
    assert found.model is not None
    assert found.model.dtype == "bfloat16"


def test_sources_say_where_it_lies(tmp_path: Path) -> None:
    (tmp_path / "judge").mkdir()
    found = section(tmp_path, SMALL + "reward_model: {model: judge}\n", f"sources.judge={tmp_path / 'judge'}")
    assert found.model is not None
    assert found.model.path == str(tmp_path / "judge")


def test_a_profile_may_name_another_one(tmp_path: Path) -> None:
    text = PAIRS + TRAINED + "profiles: {p: {reward_model: {model: org/judge}}, q: {reward_model: {normalise: shift}}}"
    found = section(tmp_path, text, profile="p")
    assert found.use is None
    assert found.model is not None
    found = section(tmp_path, text, profile="q")
    assert (found.use, found.normalise) == ("learn", "shift")


@pytest.mark.parametrize(
    ("there", "messages"),
    [
        ("{}", ["15:1: reward_model: names no reward model; expected use: METHOD, or model: NAME"]),
        ("{use: learn, model: org/judge}", [
            "15:1: reward_model: names both a method that trains it and a model that exists; expected use: METHOD, or model: NAME",
        ]),
        ("{use: tune}", [
            "15:21: reward_model.use: method tune trains no reward model; expected one of learn",
        ]),
        ("{use: lern}", [
            '15:21: reward_model.use: there is no method of this name, got "lern"; expected one of critic, fragile, learn, pair, push, tune; did you mean \'learn\'?',
        ]),
        ("{use: learn, margn: 1.0, normalise: mean}", [
            "15:28: reward_model.margn: unknown option of method learn; did you mean 'margin'?",
            "15:51: reward_model.normalise: is wrong, got \"mean\"; expected 'none', 'shift' or 'zscore'",
        ]),
        ("{use: learn, path: x}", ["15:34: reward_model.path: is for a model that exists; expected model: beside it"]),
        ("{use: learn, recipe: {method_epochs: 1}}", [
            "15:52: reward_model.recipe.method_epochs: means nothing for a reward model\n  a reward model is trained for epochs",
        ]),
        ("{use: learn, train: tales}", [
            "15:35: reward_model.train: a reward model is judged by preferences, and tales provides demonstrations; expected a data set of preferences",
        ]),
        ("{use: learn, test: {dataset: choices, split: train}}", [
            "15:34: reward_model.test: is the split that it is trained on\n  choose another split",
        ]),
        ("{model: org/judge, start: base}", [
            "15:41: reward_model.start: is for a reward model that is trained here; expected use: METHOD instead of model:",
        ]),
        ("{model: org/judge, margin: 1.0}", ["15:34: reward_model.margin: unknown key"]),
        ("{model: {name: a, config: {model_type: gpt2}, vocab_size: 300}}", [
            "15:23: reward_model.model.config: a reward model from random weights says nothing; expected use: METHOD, which trains one",
        ]),
        ("3", ["15:15: reward_model: is wrong, got 3; expected a mapping: key: value"]),
    ],
)  # fmt: skip
def test_every_mistake_has_its_line(tmp_path: Path, there: str, messages: list[str]) -> None:
    assert mistakes(tmp_path, PAIRS + f"reward_model: {there}") == messages


def test_the_files_own_rows_must_be_preferences(tmp_path: Path) -> None:
    assert mistakes(tmp_path, SMALL + "reward_model: learn") == [
        "15:1: reward_model.train: a reward model is judged by preferences, and tales provides demonstrations; expected a data set of preferences"
    ]


def test_it_is_no_row_of_a_table(tmp_path: Path) -> None:
    assert mistakes(tmp_path, SMALL.replace("- tune", "- learn")) == [
        "12:5: methods.learn.use: method learn trains a reward model, which is not a row of a table; expected reward_model: {use: learn}"
    ]


@pytest.mark.parametrize(
    ("there", "instead", "message"),
    [
        (
            "{use: match, variant: whole}",
            "judged",
            "7:9: reward: reward judged needs a reward model, and the file has none",
        ),
        (
            "{use: match, variant: whole}",
            "{parts: [match, judged]}",
            "7:25: reward: reward judged needs a reward model, and the file has none",
        ),
        (
            "[overlap]",
            "[overlap, worth]",
            "14:20: metrics.worth: metric worth needs a reward model, and the file has none",
        ),
        ("- tune", "- critic", "12:5: methods.critic: method critic needs a reward model, and the file has none"),
    ],
)
def test_whoever_needs_one_says_so(tmp_path: Path, there: str, instead: str, message: str) -> None:
    expected = "reward_model: at the top of the file, with use: METHOD or model: NAME"
    assert mistakes(tmp_path, SMALL.replace(there, instead)) == [f"{message}; expected {expected}"]


def test_who_takes_it_over_needs_its_own_tokens(tmp_path: Path) -> None:
    text = SMALL.replace("- tune", "- critic") + "reward_model: {model: org/judge}"
    assert mistakes(tmp_path, text) == [
        "12:5: methods.critic: method critic takes over the reward model, whose tokens must be the policy's; expected reward_model: {use: METHOD}, which is trained here"
    ]


def test_editors_know_it() -> None:
    validator = Draft202012Validator(json_schema(REGISTRY))

    def wrong(text: str) -> list[str]:
        data: Any = YAML(typ="safe", pure=True).load(text)
        return ["/".join(map(str, error.absolute_path)) for error in validator.iter_errors(data)]

    assert wrong(PAIRS + TRAINED) == []
    assert wrong(PAIRS + "reward_model: learn\n") == []
    assert wrong(SMALL + "reward_model: {model: org/judge, normalise: shift}\n") == []
    assert wrong(PAIRS + "reward_model: {use: tune}\n") == ["reward_model/use"]
    assert wrong(PAIRS + "reward_model: {use: learn, margin: x}\n") == ["reward_model/margin"]
    assert wrong(SMALL.replace("- tune", "- learn")) == ["methods/0"]
    assert wrong(PAIRS + "profiles: {p: {reward_model: {normalise: shift}}}\n" + TRAINED) == []
