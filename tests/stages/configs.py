"""Configurations of stages, whole, with what a test is about given by name."""

from __future__ import annotations

from typing import Any

from harness.spec.decoding import Decoding
from harness.spec.model import Template
from harness.spec.recipe import StepSettings
from harness.spec.schedule import Curve, Position
from harness.spec.stages.base import Asking, Loading, PluginUse, RewardModelUse
from harness.spec.stages.existing_model import FolderSource, ModelConfig
from harness.spec.stages.generate import GenerateConfig
from harness.spec.stages.reward_statistics import RewardStatisticsConfig
from harness.spec.stages.rows import RowsConfig
from harness.spec.stages.score import ModelScoreConfig, ScoreConfig
from harness.spec.stages.train import TrainConfig

TEMPLATE = Template(text="{instruction}:", truncate="instruction")


def plugin(name: str, **options: Any) -> PluginUse:
    return PluginUse(name=name, options=options, fingerprint="1")


def loading(**changes: Any) -> Loading:
    return Loading(**{"dtype": "float32", "attention": "sdpa", **changes})


def asking(**changes: Any) -> Asking:
    usual = {"template": TEMPLATE, "max_prompt_length": 64, "overlong": "cut", "loading": loading()}
    return Asking(**{**usual, **changes})


def rows_config(dataset: str = "tales", **changes: Any) -> RowsConfig:
    usual: dict[str, Any] = {"dataset": plugin(dataset), "identity": {}, "split": "train", "limit": None}
    usual |= {"rows_are": None, "pair_with": None, "train_on_reference": None}
    return RowsConfig(**{**usual, **changes})


def model_config(**changes: Any) -> ModelConfig:
    return ModelConfig(**{"source": FolderSource(files="1"), "loading": loading(), **changes})


def train_config(method: str = "sft", **changes: Any) -> TrainConfig:
    first, last = Position(epochs=0), Position(epochs=1)
    usual: dict[str, Any] = {
        "method": plugin(method),
        "recipe": StepSettings(),
        "sampling": None,
        "first": first,
        "last": last,
        "curve": Curve(kind="constant", peak=1e-4, floor=0.0, warmup_steps=0, first=first, last=last),
        "fresh_optimizer": False,
        "seed": 0,
        "template": TEMPLATE,
        "loading": loading(),
    }
    return TrainConfig(**{**usual, **changes})


def generate_config(**changes: Any) -> GenerateConfig:
    return GenerateConfig(**{"asking": asking(), "decoding": Decoding(), "seed": 0, **changes})


def score_config(metric: str = "rouge", **changes: Any) -> ScoreConfig:
    return ScoreConfig(**{"metric": plugin(metric), **changes})


def model_score_config(metric: str = "perplexity", **changes: Any) -> ModelScoreConfig:
    return ModelScoreConfig(**{"metric": plugin(metric), "asking": asking(), **changes})


def statistics_config(**changes: Any) -> RewardStatisticsConfig:
    use = RewardModelUse(loading=loading(), template=TEMPLATE, max_prompt_length=64)
    return RewardStatisticsConfig(**{"normalise": "none", "reward_model": use, **changes})
