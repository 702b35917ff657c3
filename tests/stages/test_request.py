"""Requests cross process boundaries as plain JSON, whatever the stage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import pytest
from pydantic import ValidationError
from stages import configs

from harness.spec.model import Template
from harness.spec.plugins import PluginSelection
from harness.spec.recipe import RowLimits
from harness.spec.runtime import Runtime
from harness.spec.schedule import Position
from harness.spec.stages.answers import AnswersConfig
from harness.spec.stages.existing_model import ClassifierConfig, HubSource
from harness.spec.stages.kinds import AnyStageConfig, parse_config
from harness.spec.stages.new_model import NewModelConfig, TokenizerConfig
from harness.spec.stages.reference import ReferenceConfig
from harness.spec.stages.train import CombinedRewardUse, RewardPart
from harness.stages.entries import ENTRIES
from harness.stages.request import Parent, StageRequest

if TYPE_CHECKING:
    from harness.spec.stages.base import StageConfig

BEHIND = Position(behind=Position(epochs=2), epochs=1, steps=7)
HUB = HubSource(name="é", revision=None)
EVERY: list[StageConfig] = [
    configs.rows_config(limit=3, rows_are="preferences"),
    TokenizerConfig(vocab_size=300, template=Template(text="{x}")),
    NewModelConfig(architecture={"a": [1, 2.5, None, True]}, seed=3, loading=configs.loading()),
    configs.model_config(),
    ClassifierConfig(source=HUB, loading=configs.loading(dtype="bfloat16")),
    configs.train_config(
        last=BEHIND,
        reward=CombinedRewardUse(parts=(RewardPart(reward=configs.plugin("r"), weight=0.5),), aggregate="after"),
    ),
    ReferenceConfig(recipe=RowLimits(), template=configs.TEMPLATE, loading=configs.loading()),
    configs.statistics_config(),
    configs.generate_config(),
    AnswersConfig(answers="a" * 64, template=configs.TEMPLATE, partial=True),
    configs.score_config(),
    configs.model_score_config(),
]


def test_there_is_one_of_every_kind() -> None:
    classes = {cls.model_fields["kind"].default for cls in get_args(get_args(AnyStageConfig)[0])}
    assert {config.to_json()["kind"] for config in EVERY} == classes == set(ENTRIES)


@pytest.mark.parametrize("config", EVERY, ids=lambda config: config.kind)
def test_a_request_survives_json(config: StageConfig) -> None:
    request = StageRequest(
        id="f" * 64,
        label="é / label",
        config=config,
        parents={"start": Parent("prepare", "0" * 64)},
        runtime=Runtime(threads=2, sources={"a": "b"}, options={"x": [1, None]}),
        results=Path("/somewhere/else"),
        plugins=PluginSelection(blocked=("one", "two"), files=(Path("/one/my_method.py"),)),
    )
    back = StageRequest.from_json(json.loads(json.dumps(request.to_json())))
    assert back == request
    assert type(back.config) is type(config)


@pytest.mark.parametrize("config", EVERY, ids=lambda config: config.kind)
def test_what_a_configuration_does_not_have_is_refused(config: StageConfig) -> None:
    with pytest.raises(ValidationError, match="extra_forbidden"):
        parse_config({**config.to_json(), "surplus": 1})


def test_a_kind_that_is_none_is_refused() -> None:
    with pytest.raises(ValidationError, match="union_tag_invalid"):
        parse_config({**configs.score_config().to_json(), "kind": "guess"})
