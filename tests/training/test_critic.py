"""A critic with a backbone of its own: values, training, saving, and what can go wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn
from training.runs import Plain, go, plan, same_bits
from training.test_services import services

from harness.errors import PluginError, StageError
from harness.lm.model.backbone import head
from harness.testing.tiny import tiny_batch, tiny_policy
from harness.training.critic import Critic

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

    from harness.api import Batch, Run

WIDTH = 8


def some_head(seed: int = 0) -> nn.Linear:
    made = nn.Linear(WIDTH, 1, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return made


@pytest.fixture
def batch() -> Batch:
    return tiny_batch(tiny_policy())


def test_a_value_is_read_off_the_state_before_each_token(batch: Batch) -> None:
    run = services(load_reference=lambda: tiny_policy(1))
    run.add_critic("critic", start="policy", head=some_head())
    samples = batch.demonstrations.join(run.sample(batch, [1.0]))
    values = run.critic_values("critic", batch, samples)
    assert values.shape == samples.ids.shape
    assert not values.requires_grad
    assert not values[~samples.mask].any()
    body: Any = tiny_policy(1).model
    for b in range(len(batch)):
        prompt = batch.prompts.ids[b, : batch.prompts.lengths[b]].tolist()
        for k in range(2):
            answer = samples.ids[b, k, : samples.lengths[b, k]].tolist()
            with torch.no_grad():
                states = body.base_model(torch.tensor([prompt + answer])).last_hidden_state[0, len(prompt) - 1 : -1]
                expected = some_head()(states)[:, 0]
            torch.testing.assert_close(values[b, k, : len(answer)], expected, rtol=0, atol=1e-12)


def test_micro_batches_change_nothing_and_no_rows_are_no_error(batch: Batch) -> None:
    found = []
    for tokens in (1, 1_000_000):
        run = services(plan(tokens_per_micro_batch=tokens))
        run.add_critic("critic", start="policy", head=some_head())
        found.append(run.critic_values("critic", batch, batch.demonstrations))
        assert run.critic_values("critic", batch[[]], batch.demonstrations[[]]).shape[0] == 0
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=1e-12)


def test_without_a_head_all_values_are_zero(batch: Batch) -> None:
    run = services()
    run.add_critic("critic", start="policy")
    assert not run.critic_values("critic", batch, batch.demonstrations).any()


def test_a_critic_may_start_as_the_reward_model(batch: Batch) -> None:
    run = services(load_reward_model=lambda: (tiny_policy(2), some_head(1)))
    run.add_critic("critic", start="reward_model")
    policy = tiny_policy(2)
    assert head(policy.model) is not None
    expected = Critic(policy, some_head(1)).values(batch, batch.demonstrations)
    found = run.critic_values("critic", batch, batch.demonstrations)
    torch.testing.assert_close(found, expected.detach(), rtol=0, atol=1e-12)
    with pytest.raises(PluginError, match="has its head already"):
        run.add_critic("other", start="reward_model", head=some_head())


def test_what_is_missing_is_said(batch: Batch) -> None:
    run = services()
    with pytest.raises(StageError, match="starts as the reward model, and none was given"):
        run.add_critic("critic", start="reward_model")
    run.add_module("value", some_head())
    for name in ("critic", "value"):
        with pytest.raises(PluginError, match=f"there is no critic called '{name}'"):
            run.critic_values(name, batch, batch.demonstrations)


class Judged(Plain):
    """Trains a critic to say 1 of everything, beside a supervised term."""

    def setup(self, run: Run) -> None:
        run.add_critic("critic", start="policy", head=some_head(), learning_rate=0.02)

    def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
        tokens = run.total(batch.demonstrations.lengths.sum())

        def loss(batch: Batch) -> dict[str, Tensor]:
            values = run.critic_values("critic", batch, batch.demonstrations)
            wrong = torch.where(batch.demonstrations.mask, values - 1, 0.0).square().sum()
            return {"sft": -run.logprobs(batch, batch.demonstrations).sum().sum() / tokens, "value": wrong / tokens}

        return run.update(loss, batch=batch)


@pytest.mark.parametrize("recompute", [False, True])
def test_it_is_trained_counted_saved_and_taken_up_again(tmp_path: Path, recompute: bool) -> None:  # noqa: FBT001
    settings = {"gradient_checkpointing": recompute}
    whole = go(plan("judged", **settings), Judged(), tmp_path / "whole")
    assert whole.summary["active"] == {"sft": True, "value": True}
    assert whole.log[-1]["loss"]["value"] < whole.log[0]["loss"]["value"]
    body: Any = tiny_policy().model
    count = sum(p.numel() for p in body.base_model.parameters()) + WIDTH + 1
    held = {model["role"]: model for model in whole.summary["models_held"]}
    assert held["module critic"] == {"role": "module critic", "parameters": count, "bytes": 8 * count}
    first = go(plan("judged", last=1, **settings), Judged(), tmp_path / "first")
    then = go(
        plan("judged", first=1, previous=first.folder, **settings), Judged(), tmp_path / "then", policy=first.policy
    )
    assert same_bits(whole.weights, then.weights)
    one, other = ((tmp_path / name / "modules.safetensors").read_bytes() for name in ("whole", "then"))
    assert one == other


def test_checkpointing_of_activations_changes_nothing(tmp_path: Path) -> None:
    plain = go(plan("judged"), Judged(), tmp_path / "plain")
    other = go(plan("judged", gradient_checkpointing=True), Judged(), tmp_path / "other")
    for name, weight in plain.weights.items():
        torch.testing.assert_close(other.weights[name], weight, rtol=0, atol=1e-9)  # sums in another order


def test_its_gradient_does_not_reach_the_policy(tmp_path: Path) -> None:
    class Alone(Judged):
        def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
            def loss(batch: Batch) -> dict[str, Tensor]:
                return {"value": run.critic_values("critic", batch, batch.demonstrations).square().sum()}

            return run.update(loss, batch=batch)

    result = go(plan("alone", last=1), Alone(), tmp_path)
    assert result.summary["active"] == {"value": True}
    assert same_bits(result.weights, dict(tiny_policy().model.named_parameters()))
