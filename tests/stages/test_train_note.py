"""What a training stage says while it goes on."""

from __future__ import annotations

from report.synthetic import step

from harness.spec.results.train import TrainStep
from harness.stages.train import _note


def test_losses_and_the_reward_are_said_where_there_are_some() -> None:
    line = step("eso")
    assert _note([]) == ""
    assert _note([TrainStep.model_validate(line)]) == "sft 1.000, eso 0.500, reward 0.300"
    assert _note([TrainStep.model_validate({**line, "loss": {}})]) == "reward 0.300"  # as of evolution strategies
    without = {**line, "reward": {"missing": 8}}
    assert _note([TrainStep.model_validate(without)]) == "sft 1.000, eso 0.500"
