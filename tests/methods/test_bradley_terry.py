"""Bradley-Terry: golden numbers, what the loss must not depend on, and an oracle of loops in float64."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from training.runs import go, plan

from harness.api import InputError
from harness.execution.tiny import MAX_COMPLETION, MAX_PROMPT, TEMPLATE, TINY, tiny_examples, tiny_policy
from harness.lm.model.policy import Policy
from harness.lm.score.logprobs import final_states
from harness.lm.score.reward_model import RewardModel, load_head
from harness.plugins.loader import load_registry
from harness.text.encode import EncodingParams, collate, encode
from harness.text.formats import answer_text
from harness_plugins.methods.bradley_terry import BradleyTerryOptions
from harness_plugins.methods.bradley_terry.losses import bradley_terry_losses, centring_losses
from harness_plugins.methods.bradley_terry.method import BradleyTerry

if TYPE_CHECKING:
    from pathlib import Path


#: Rewards of the chosen and the rejected answers of two pairs.
CHOSEN, REJECTED = torch.tensor([1.2, -0.3], dtype=torch.float64), torch.tensor([0.2, 0.5], dtype=torch.float64)


@pytest.mark.parametrize(
    ("margin", "expected"),
    [(0.0, [0.31326168751822286, 1.1711006659477778]), (0.5, [0.4740769841801067, 1.5410084538329922])],
)
def test_golden_numbers(margin: float, expected: list[float]) -> None:
    found = bradley_terry_losses(CHOSEN, REJECTED, torch.full_like(CHOSEN, margin))
    assert found.tolist() == pytest.approx(expected, abs=1e-15)


def test_the_gradient_is_how_wrong_it_is() -> None:
    chosen, rejected = CHOSEN.clone().requires_grad_(), REJECTED.clone().requires_grad_()
    torch.autograd.backward(bradley_terry_losses(chosen, rejected, torch.zeros_like(chosen)).sum())
    wrong = torch.sigmoid(REJECTED - CHOSEN)
    assert chosen.grad is not None
    assert rejected.grad is not None
    assert torch.allclose(chosen.grad, -wrong, rtol=0, atol=1e-15)
    assert torch.allclose(rejected.grad, wrong, rtol=0, atol=1e-15)


def test_a_constant_is_not_seen_by_the_loss_and_by_the_centring_alone() -> None:
    none = torch.zeros_like(CHOSEN)
    plain = bradley_terry_losses(CHOSEN, REJECTED, none)
    assert torch.allclose(bradley_terry_losses(CHOSEN + 7, REJECTED + 7, none), plain, rtol=0, atol=1e-14)
    assert centring_losses(CHOSEN, REJECTED).tolist() == pytest.approx([1.4**2, 0.2**2])
    assert centring_losses(CHOSEN - 0.7, REJECTED - 0.7)[0] == pytest.approx(0.0)


def test_far_apart_rewards_stay_finite() -> None:
    far = torch.tensor([1e4, -1e4], dtype=torch.float64)
    assert bradley_terry_losses(far, -far, torch.zeros_like(far)).tolist() == [0.0, 2e4]


def encoded(policy: Policy, columns: dict[str, float] | None = None) -> list[Any]:
    examples = [
        replace(example, columns={**example.columns, "lead": (columns or {}).get(example.id, 0.25)})
        for example in tiny_examples()
    ]
    return list(
        encode(
            examples,
            policy.tokeniser,
            TEMPLATE,
            EncodingParams(max_prompt=MAX_PROMPT, max_completion=MAX_COMPLETION, training=True),
        ).rows
    )


def first_rewards(folder: Path, **options: Any) -> tuple[list[list[float]], Any]:
    """Train for a step at a rate of nearly 0; return the rewards (8, 2), by a forward for each answer, and the log."""
    policy = tiny_policy()
    method = BradleyTerry(BradleyTerryOptions(**options))
    settings = plan("bradley-terry", last=1, of=1, peak=1e-12, batch_size=8)
    result = go(settings, method, folder, rows=encoded(policy))
    head = load_head(folder / "modules.safetensors")
    rewards = []
    for row in encoded(policy):
        sides = []
        for answer in (row.chosen, row.rejected):
            ids = torch.tensor([[*row.prompt.tolist(), *answer.ids.tolist()]])
            model: Any = policy.model
            with torch.no_grad():
                sides.append(float(head(model.transformer(input_ids=ids).last_hidden_state[0, -1])))
        rewards.append(sides)
    return rewards, result.log


@pytest.mark.parametrize(
    "options",
    [{}, {"margin": 0.7}, {"margin": "lead"}, {"center_rewards_coefficient": 0.3, "margin": "lead"}],
)
def test_a_step_is_that_of_loops_over_pairs(tmp_path: Path, options: dict[str, Any]) -> None:
    rewards, log = first_rewards(tmp_path, **options)
    margin = {"lead": 0.25}.get(options.get("margin", 0.0), options.get("margin", 0.0))
    leads = [chosen - rejected for chosen, rejected in rewards]
    expected = {"bt": math.fsum(math.log1p(math.exp(margin - lead)) for lead in leads) / len(leads)}
    if weight := options.get("center_rewards_coefficient"):
        expected["centring"] = weight * math.fsum((c + r) ** 2 for c, r in rewards) / len(rewards)
    (row,) = log
    assert row["loss"] == {name: pytest.approx(value, rel=1e-9) for name, value in expected.items()}
    said = row["method"]
    assert said["accuracy"] == sum(lead > 0 for lead in leads) / len(leads)
    assert said["margin"] == pytest.approx(math.fsum(leads) / len(leads), rel=1e-8)
    assert said["reward_chosen"] == pytest.approx(math.fsum(c for c, _ in rewards) / len(rewards), rel=1e-8)
    assert said["reward_rejected"] == pytest.approx(math.fsum(r for _, r in rewards) / len(rewards), rel=1e-8)


def test_the_head_starts_small_and_the_same(tmp_path: Path) -> None:
    heads = []
    for name in ("one", "other"):
        folder = tmp_path / name
        first_rewards(folder)
        heads.append(load_head(folder / "modules.safetensors"))
    assert torch.equal(heads[0].weight, heads[1].weight)
    width = heads[0].weight.shape[1]
    assert 0 < float(heads[0].weight.abs().max()) < 4 / math.sqrt(width + 1)
    assert abs(float(heads[0].bias)) < 1e-9


def test_training_and_use_give_one_text_one_score(tmp_path: Path) -> None:
    """What training read for a pair is what everybody reads later, blanks and all; the EOS is the padding's id."""
    policy = tiny_policy()
    rows = encoded(policy)
    settings = plan("bradley-terry", last=2, of=2, peak=1e-2, batch_size=4)
    go(settings, BradleyTerry(BradleyTerryOptions()), tmp_path, rows=rows)
    loaded = Policy.load(tmp_path / "checkpoint", spec=TINY)
    model = RewardModel.trained(loaded, tmp_path / "modules.safetensors", template=TEMPLATE, max_prompt=MAX_PROMPT)
    trained: Any = model.network
    judged = [
        replace(example, chosen=answer_text("say it:", example.chosen or ""), rejected=None, completion=None)
        for example in tiny_examples()
    ]
    again = encode(
        judged,
        policy.tokeniser,
        TEMPLATE,
        EncodingParams(max_prompt=MAX_PROMPT, max_completion=MAX_COMPLETION, training=True),
    ).rows
    batch = collate(again, policy.device)
    from harness.text.encode import _completions

    completions = _completions([row.chosen for row in again], policy.device)
    with torch.no_grad():
        states = final_states(trained.policy, batch.prompts, completions, dropout=False)
        expected = trained.head(states)[:, 0, 0].tolist()
    texts = [f"  {example.chosen} " for example in tiny_examples()]
    assert model.score(batch.prompts.texts, texts) == pytest.approx(expected, abs=1e-9)


def test_it_learns_which_answers_are_preferred(tmp_path: Path) -> None:
    settings = plan("bradley-terry", last=12, of=12, peak=2e-2, batch_size=4)
    result = go(settings, BradleyTerry(BradleyTerryOptions()), tmp_path, rows=encoded(tiny_policy()))
    assert result.log[-1]["method"]["accuracy"] == 1.0
    assert result.log[-1]["method"]["margin"] > 1.0
    held = {entry["role"]: entry["parameters"] for entry in result.summary["models_held"]}
    assert held["module reward_head"] == 9


def test_rows_that_are_no_preferences_are_refused(tmp_path: Path) -> None:
    rows = [replace(row, chosen=None, rejected=None) for row in encoded(tiny_policy())]
    with pytest.raises(InputError, match="the training rows are not preferences"):
        go(plan("bradley-terry", last=1, of=1), BradleyTerry(BradleyTerryOptions()), tmp_path, rows=rows)


@pytest.mark.parametrize(
    ("column", "text"),
    [("weight", "the pairs have no such column, got 'weight'"), ("category", "the margin of a pair is not a number")],
)
def test_margins_must_be_there(tmp_path: Path, column: str, text: str) -> None:
    method = BradleyTerry(BradleyTerryOptions(margin=column))
    with pytest.raises(InputError, match=text):
        go(plan("bradley-terry", last=1, of=1), method, tmp_path, rows=encoded(tiny_policy()))


def test_it_is_registered_for_its_place() -> None:
    registration: Any = load_registry().get("method", "bradley-terry")
    assert registration.trains == "reward_model"
    assert registration.needs == {"preferences"}
    assert registration.options(margin="lead").margin == "lead"
    with pytest.raises(ValueError, match="center_rewards_coefficient"):
        registration.options(center_rewards_coefficient=-1.0)
