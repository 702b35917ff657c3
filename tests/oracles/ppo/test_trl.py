"""PPO against TRL 1.12, the last release that has it: its functions, and its trainer on one batch of given answers.

Not part of the normal run: ``tox -e oracle-ppo`` has an environment of its own.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
import torch
import trl
from oracles.ppo.theirs import SLACK, Scripted, train
from training.runs import farthest, go, plan
from trl.experimental.ppo import PPOConfig, ppo_trainer

from harness.api import Batch, Completions, Example
from harness.spec.model import Template
from harness.testing.tiny import tiny_policy
from harness.text.encode import EncodingParams, encode
from harness.training.rewards import CombinedReward, Part
from harness_plugins.methods.ppo import PPOOptions
from harness_plugins.methods.ppo.losses import whiten
from harness_plugins.methods.ppo.method import PPO
from harness_plugins.methods.ppo.rollout import actions, with_end_state, without

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor, nn

    from harness.api import Rewards, Run

pytestmark = pytest.mark.filterwarnings("default")  # those of an old release are its own

EOS, WIDTH = 256, 8
RATE, DECAY = 1e-2, 0.05
PROMPTS = ["say", "tell me", "what is it", "a", "why is that so", "no", "count to ten", "go on"]

#: Of every option that both sides have: values other than the defaults too.
SETTINGS: list[dict[str, Any]] = [
    {},
    {"num_ppo_epochs": 1, "kl_coef": 0.5},
    {"kl_estimator": "k3", "kl_coef": 0.3, "whiten_rewards": True},
    {"cliprange": 0.01, "cliprange_value": 0.02, "vf_coef": 1.0, "gamma": 0.9, "lam": 0.5},
    {"missing_eos_penalty": 1.0, "temperature": 1.3},
]


def test_it_is_the_release_that_is_meant() -> None:
    assert trl.__version__ == "1.12.0"


def test_the_defaults_are_theirs(tmp_path: Path) -> None:
    theirs = PPOConfig(output_dir=str(tmp_path), bf16=False, use_cpu=True)
    ours = PPOOptions().model_dump()
    common = {name: value for name, value in ours.items() if hasattr(theirs, name)}
    assert len(common) == 12
    assert common == {name: getattr(theirs, name) for name in common}


@pytest.mark.parametrize("shift_mean", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_whitening(seed: int, shift_mean: bool) -> None:  # noqa: FBT001
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(5, 7, generator=generator, dtype=torch.float64)
    mask = torch.rand(5, 7, generator=generator) < 0.6
    theirs = ppo_trainer.masked_whiten(x, mask, shift_mean=shift_mean)
    ours = whiten(x, mask, torch.as_tensor, unbiased=True, shift_mean=shift_mean)
    # their n / (n - 1) is computed in float32
    torch.testing.assert_close(ours, theirs.masked_fill(~mask, 0), rtol=0, atol=5e-7)
    assert float(theirs[mask].std()) == pytest.approx(1)


def script(seed: int = 0) -> list[Scripted]:
    """Answers that end before the width, or are cut at it."""
    generator = torch.Generator().manual_seed(seed)

    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high, (), generator=generator))

    rows = []
    for number, text in enumerate(PROMPTS):
        cut = number % 3 == 2
        words = [draw(1, EOS) for _ in range(WIDTH if cut else draw(0, WIDTH - 1))]
        score = float(torch.randn((), generator=generator, dtype=torch.float64))
        rows.append(Scripted(tiny_policy().tokeniser.prompt(text), words if cut else [*words, EOS], score))
    return rows


@pytest.mark.parametrize("pad_id", [0, EOS])
def test_which_tokens_count(pad_id: int) -> None:
    """Their lengths and masks follow from the padding; where it is the EOS, that trains no decision to stop."""
    rows = script()
    responses = torch.tensor([row.answer + [pad_id] * (WIDTH - len(row.answer)) for row in rows])
    done = ppo_trainer.truncate_response(EOS, pad_id, responses)
    assert done.equal(responses)
    last = ppo_trainer.first_true_indices(done == pad_id) - 1
    samples = given(rows)
    end_state = pad_id != EOS
    places = with_end_state(samples, EOS) if end_state else samples
    acting = actions(samples, WIDTH, include_eos=end_state)[:, 0]
    assert acting.equal(torch.arange(WIDTH) <= last[:, None])
    # beyond the width they look at nothing
    assert places.mask[:, 0, :WIDTH].equal(torch.arange(WIDTH) <= last[:, None] + 1)


def given(rows: list[Scripted]) -> Completions:
    ids = torch.tensor([[row.answer + [0] * (WIDTH - len(row.answer))] for row in rows])
    lengths = torch.tensor([[len(row.answer)] for row in rows])
    return Completions(ids, lengths, torch.tensor([[row.answer[-1] == EOS] for row in rows]))


class Given:
    """A run whose answers and scores are given."""

    def __init__(self, run: Run, rows: Mapping[tuple[int, ...], Scripted]) -> None:
        self.run, self.rows = run, rows

    def __getattr__(self, name: str) -> Any:
        return getattr(self.run, name)

    def sample(self, batch: Batch, _temperatures: Any) -> Completions:
        return given(self.chosen(batch))

    def reward(self, batch: Batch, completions: Completions) -> Rewards:
        found = self.run.reward(batch, completions)
        found.values.copy_(torch.tensor([[row.score] for row in self.chosen(batch)], dtype=torch.float64))
        return found

    def chosen(self, batch: Batch) -> list[Scripted]:
        lengths = batch.prompts.lengths.tolist()
        return [self.rows[tuple(row[:n])] for row, n in zip(batch.prompts.ids.tolist(), lengths, strict=True)]


class Watched(PPO):
    """PPO on given answers, from a given value head."""

    def __init__(self, options: PPOOptions, rows: list[Scripted], head: nn.Linear) -> None:
        super().__init__(options)
        self.rows = {tuple(row.prompt): row for row in rows}
        self.start = head
        self.critic: dict[str, Tensor] = {}

    def setup(self, run: Run) -> None:
        run.add_critic("critic", start="policy", head=copy.deepcopy(self.start))

    def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
        said = super().step(Given(run, self.rows), batch)  # type: ignore[arg-type]  # it is all that a run is
        modules: Any = run
        self.critic = {name: p.detach().clone() for name, p in modules.modules["critic"].named_parameters()}
        return said


def optimiser(named: list[tuple[str, nn.Parameter]]) -> torch.optim.Optimizer:
    groups = [{"params": [p], "weight_decay": DECAY if p.dim() > 1 else 0.0} for _, p in named]
    return torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.999), eps=1.0)


def nothing(*, completions: list[str], **_: Any) -> list[float | None]:
    return [0.0 for _ in completions]


@pytest.mark.parametrize("pad_id", [0, EOS])
@pytest.mark.parametrize("place", range(len(SETTINGS)))
def test_a_whole_step_of_the_trainer(place: int, pad_id: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights of policy and critic after all passes, and what is logged.

    Where padding is no EOS, the state behind an EOS has a value (``compat.end_state``); where it is, the EOS itself is
    no action (``compat.include_eos_in_logp: false``).
    """
    raw = SETTINGS[place]
    rows = script(place)
    generator = torch.Generator().manual_seed(place)
    head = torch.nn.Linear(8, 1, dtype=torch.float64)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    reading = {"compat": {"include_eos_in_logp": False} if pad_id == EOS else {"end_state": True}}
    temperature = raw.get("temperature", 0.7) + SLACK
    method = Watched(PPOOptions(**{**raw, **reading, "temperature": temperature}), rows, head)
    policy = tiny_policy()
    examples = [Example(id=str(n), fields={"text": text}, completion="x") for n, text in enumerate(PROMPTS)]
    template = Template(text="{text}", truncate="text")
    encoded = encode(
        examples, policy.tokeniser, template, EncodingParams(max_prompt=32, max_completion=WIDTH, training=True)
    )
    what = plan(
        "ppo", last=1, of=1, batch_size=len(rows), peak=RATE, weight_decay=DECAY, epsilon=1.0, max_grad_norm=0.0,
        max_completion_length=WIDTH,
    )  # fmt: skip
    reward = CombinedReward([Part("nothing", nothing)])
    mine = go(what, method, tmp_path / "mine", policy=policy, rows=encoded.rows, reward=reward)
    trainer = train(
        rows, head, tmp_path / "theirs", monkeypatch, pad_id=pad_id, width=WIDTH, optimiser=optimiser, **raw
    )
    model: Any = trainer.model
    for name, weight in dict(model.policy.named_parameters()).items():
        torch.testing.assert_close(mine.weights[name], weight.detach(), rtol=0, atol=1e-9, msg=name)
    names = {"score": "head", "transformer": "backbone"}
    for name, weight in dict(model.value_model.named_parameters()).items():
        first, _, rest = name.partition(".")
        torch.testing.assert_close(
            method.critic[f"{names[first]}.{rest}"], weight.detach(), rtol=0, atol=1e-9, msg=name
        )
    assert farthest(mine.weights, {n: p.detach() for n, p in tiny_policy().model.named_parameters()}) > 1e-4
    said = mine.log[0]["method"]
    theirs = trainer.said
    for name in ("kl", "entropy", "non_score_reward", "rlhf_reward", "scores"):
        assert said[f"objective/{name}"] == pytest.approx(theirs[f"objective/{name}"], abs=1e-9), name
    # theirs are kept in float32
    for ours, wanted in {
        "policy/clipfrac": "policy/clipfrac_avg", "val/clipfrac": "val/clipfrac_avg",
        "loss/policy": "loss/policy_avg", "loss/value": "loss/value_avg",
    }.items():  # fmt: skip
        assert said[ours] == pytest.approx(theirs[wanted], rel=1e-5, abs=1e-6), ours


def test_absent_answers_change_no_mask() -> None:
    samples = given(script())
    kept = without(samples, samples.lengths > 2)
    assert kept.mask.equal(samples.mask & (samples.lengths > 2)[..., None])
