from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from benchmark.invented import SMALL
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from harness.benchmark import json_schema

if TYPE_CHECKING:
    from harness.plugins.registry import Registry

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def validator(registry: Registry) -> Draft202012Validator:
    schema = json_schema(registry)
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def wrong(validator: Draft202012Validator, text: str) -> list[str]:
    data: Any = YAML(typ="safe", pure=True).load(text)
    return ["/".join(map(str, error.absolute_path)) for error in validator.iter_errors(data)]


FINE = [
    SMALL,
    SMALL.replace("- tune", "- {use: tune, preset: official, recipe: {epochs: 3}, active: 5}"),
    SMALL.replace("coef: 0.5", "sweep: {coef: [0.1], recipe.epochs: [1, 2]}, schedule: {steps: [1]}"),
    SMALL.replace("coef: 0.5", "sweep: {schedule.start: [1, 2]}"),
    SMALL.replace("{use: match, variant: whole}", "{parts: [match, {use: brevity, weight: 2}], aggregate: after}"),
    SMALL.replace("epochs: 3", "epochs: 3, adapter: {rank: 4, targets: [q_proj]}"),
    SMALL.replace("coef: 0.5", "coef: 0.5, recipe: {adapter: {rank: 4}}"),
    SMALL.replace("[org/tiny]", "[{name: a, config: {model_type: gpt2}, vocab_size: 9}]"),
    SMALL.replace("[tales]", "[{dataset: tales, split: test, language: de, limit: 3, label: x}]"),
    SMALL + "profiles: {p: {train: {limit: 3}, reward: {variant: part}, decoding: {t1: null}, validation: null}}",
    SMALL + "overoptimisation: {gold: a.b, proxy: a.c, kl: d.e, form: bon}",
    "benchmark: b\nprofile: p\nprofiles: {p: {seeds: [1]}}",
]


@pytest.mark.parametrize("text", FINE)
def test_what_is_fine(text: str, validator: Draft202012Validator) -> None:
    assert wrong(validator, text) == []


@pytest.mark.parametrize(
    ("there", "instead", "path"),
    [
        ("coef: 0.5", "cof: 0.5", "methods/1"),
        ("coef: 0.5", "coef: -1", "methods/1/coef"),
        ("coef: 0.5", "preset: other", "methods/1/preset"),
        ("coef: 0.5", "sweep: {recipe.epoch: [1]}", "methods/1/sweep"),
        ("coef: 0.5", "sweep: {schedule.stat: [1]}", "methods/1/sweep"),
        ("coef: 0.5", "recipe: {epoch: 1}", "methods/1/recipe"),
        ("- tune", "- tunes", "methods/0"),
        ("variant: whole", "variant: hole", "reward/variant"),
        ("train: tales", "train: {dataset: tales, split: trian}", "train/split"),
        ("train: tales", "train: {dataset: tale}", "train/dataset"),
        ("epochs: 3", 'epochs: "3"', "recipe/epochs"),
        ("epochs: 3", "epochs: 3, adapter: {rnk: 4}", "recipe/adapter"),
        ("recipe:", "recpie:", ""),
        ("seeds: [0, 1]\n", "", ""),
        ("draws: 2", "drafts: 2", "decoding/t1"),
        (
            "metrics: [overlap]",
            "metrics: [overlap]\nprofiles: {p: {train: {limt: 3, dataset: tales}}}",
            "profiles/p/train",
        ),
    ],
)
def test_an_editor_blames_the_right_place(there: str, instead: str, path: str, validator: Draft202012Validator) -> None:
    assert wrong(validator, SMALL.replace(there, instead)) == [path]


def test_every_definition_that_is_referred_to_is_there(registry: Registry) -> None:
    schema = json_schema(registry)
    assert set(re.findall(r'"#/\$defs/([^"]+)"', json.dumps(schema))) <= schema["$defs"].keys()


def test_it_is_plain_json_with_descriptions(registry: Registry) -> None:
    schema = json.loads(json.dumps(json_schema(registry), allow_nan=False))
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert "Prompts per optimiser step" in schema["$defs"]["recipe"]["properties"]["batch_size"]["description"]
    assert "changes" not in json.dumps(schema["$defs"]["recipe"])
