"""PPO's step: against a slow oracle, and what must hold whatever the options are."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import pytest
import torch
from methods.cases import grouped, make, random_case, registration
from methods.fake_run import FakeRun, TinyModel
from methods.ppo_oracle import Answer, Oracle
from methods.test_real_run import patchy_reward, whole_reward
from training.runs import farthest, go, plan, same_bits

from harness.testing import check_method
from harness.testing.bench import train_tiny

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

    from harness.api import Batch, Completions, Method, Rewards, Run, State

#: Options that between them use every branch.
CASES: list[dict[str, Any]] = [
    {"compat.value_init": "normal"},
    {"critic": "shared", "num_generations": 2, "whiten_rewards": True, "compat.value_init": "normal",
     "compat.end_state": True},
    {"critic": "detached", "num_mini_batches": 3, "num_ppo_epochs": 2, "kl_controller": "adaptive", "kl_coef": 0.4,
     "kl_target": 0.1, "kl_horizon": 20.0, "missing_eos_penalty": 1.0, "compat.missing_eos": "replace",
     "compat.whitening_variance": "biased"},
    {"num_mini_batches": 2, "num_ppo_epochs": 2, "num_generations": 3, "kl_estimator": "k3", "missing_eos_penalty": 0.5,
     "gamma": 0.9, "cliprange": 0.02, "cliprange_value": 0.01, "vf_coef": 1.0, "temperature": 1.3,
     "value_learning_rate": 0.05, "compat.include_eos_in_logp": False},
    {"critic": "shared", "cliprange_value": None, "lam": 1.0, "num_ppo_epochs": 1, "kl_coef": 1.0,
     "compat.end_state": True},
]  # fmt: skip


def label(raw: Mapping[str, Any]) -> str:
    return "-".join(f"{name}={value}" for name, value in raw.items()) or "defaults"


class Spy:
    """A run that remembers what was drawn, how it was rewarded and how it was shuffled."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.batch: Batch
        self.drawn: Completions
        self.rewards: Rewards
        self.passes: list[list[tuple[str, ...]]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.run, name)

    def reward(self, batch: Batch, completions: Completions) -> Rewards:
        self.batch, self.drawn = batch, completions
        self.rewards = self.run.reward(batch, completions)
        return self.rewards

    def shuffle(self, rows: Mapping[str, Any], parts: int, purpose: str) -> Any:
        made = list(self.run.shuffle(rows, parts, purpose))
        self.passes.append([part["batch"].ids for part in made])
        return made


class Spied:
    """A method whose steps are watched, and repeated by the oracle."""

    def __init__(self, inner: Method, options: Any) -> None:
        self.inner, self.options = inner, options
        self.oracle: Oracle
        self.metrics: list[tuple[Mapping[str, float], dict[str, float]]] = []
        self.critic: dict[str, Tensor] = {}

    def setup(self, run: Run) -> None:
        self.inner.setup(run)
        modules = cast("Any", run).modules
        head = modules["critic"] if self.options.critic != "policy" else modules["critic"].head
        self.oracle = Oracle(self.options, head, weight_decay=0.05, learning_rate=0.01)

    def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
        spy = Spy(run)
        said = self.inner.step(cast("Run", spy), batch)
        answers = [
            Answer(
                name,
                batch.prompts.ids[b, : batch.prompts.lengths[b]].tolist(),
                spy.drawn.ids[b, k, : spy.drawn.lengths[b, k]].tolist(),
                bool(spy.drawn.finished[b, k]),
                float(spy.rewards.values[b, k]) if spy.rewards.present[b, k] else None,
            )
            for b, name in enumerate(batch.ids)
            for k in range(spy.drawn.lengths.shape[1])
        ]
        self.oracle.step(answers, spy.passes or [[batch.ids]] * self.options.num_ppo_epochs)
        self.metrics.append((said, dict(self.oracle.metrics)))
        self.critic = {name: p.detach().clone() for name, p in cast("Any", run).modules["critic"].named_parameters()}
        return said

    def state_dict(self) -> Mapping[str, State]:
        return self.inner.state_dict()

    def load_state_dict(self, state: Mapping[str, State]) -> None:
        self.inner.load_state_dict(state)


@pytest.mark.parametrize(
    ("raw", "tokens"),
    [pytest.param(raw, tokens, id=label(raw)) for raw, tokens in zip(CASES, (40, 1_000_000, 60, 80, 40), strict=True)],
)
def test_two_steps_equal_the_oracle_s(raw: dict[str, Any], tokens: int) -> None:
    """Weights of policy and critic after all passes of two steps, and what is logged; some answers have no reward."""
    method, options = make("ppo", **raw)
    spied = Spied(method, options)
    outcome = train_tiny(spied, reward=patchy_reward, tokens=tokens)
    oracle = spied.oracle
    theirs = dict(oracle.policy.named_parameters())
    for name, weight in outcome.weights.items():
        torch.testing.assert_close(weight, theirs[name].detach(), rtol=0, atol=1e-10, msg=name)
    if oracle.body is None:
        known = dict(oracle.head.named_parameters())
    else:
        known = {f"backbone.{name}": p for name, p in oracle.body.named_parameters()}
        known |= {f"head.{name}": p for name, p in oracle.head.named_parameters()}
    assert spied.critic.keys() == known.keys()
    for name, weight in spied.critic.items():
        torch.testing.assert_close(weight, known[name].detach(), rtol=0, atol=1e-10, msg=name)
    for said, wanted in spied.metrics:
        assert {name: said[name] for name in wanted} == {n: pytest.approx(x, abs=1e-9) for n, x in wanted.items()}
    assert method.state_dict()["kl_coef"] == pytest.approx(oracle.kl_coef, abs=1e-12)
    if options.kl_controller == "adaptive":
        assert oracle.kl_coef != options.kl_coef


@pytest.mark.long
#: The defaults are held to the contract with every other plugin that ships.
@pytest.mark.parametrize("raw", CASES[2:4], ids=label)
def test_the_contract_of_methods_holds(raw: dict[str, Any]) -> None:
    check_method(registration("ppo"), grouped(raw))


@pytest.mark.long
def test_the_contract_holds_with_a_supervised_term() -> None:
    check_method(registration("ppo"), {"sft_coef": 0.3, "critic": "shared", "num_ppo_epochs": 1})


@pytest.mark.parametrize("critic", ["policy", "shared"])
def test_the_first_update_starts_at_ratio_1_and_kl_0_with_dropout_in_the_model(tmp_path: Path, critic: str) -> None:
    method, _ = make("ppo", critic=critic, num_ppo_epochs=1, num_generations=2, temperature=0.8)
    row = go(plan("ppo", last=1, dropout=0.1, tokens_per_micro_batch=60), method, tmp_path).log[0]
    said = row["method"]
    assert said["val/ratio"] == pytest.approx(1, abs=1e-12)
    assert said["policy/approxkl"] == pytest.approx(0, abs=1e-20)
    assert said["objective/kl"] == pytest.approx(0, abs=1e-12)
    assert said["policy/clipfrac"] == said["val/clipfrac"] == said["val/ratio_var"] == 0
    assert said["explained_variance"] == 0
    assert row["micro_batches"] > 1


@pytest.mark.long
def test_a_large_kl_coefficient_keeps_the_policy_at_the_reference(tmp_path: Path) -> None:
    far = {}
    for kl_coef in (0.0, 100.0):
        method, _ = make("ppo", kl_coef=kl_coef, num_ppo_epochs=1, temperature=1.0, num_generations=4)
        log = go(plan("ppo", diagnose_every=1, peak=3e-3), method, tmp_path / str(kl_coef)).log
        far[kl_coef] = log[-1]["kl"]
    assert 0 <= far[100.0] < 0.5 * far[0.0]


@pytest.mark.long
def test_it_learns_a_reward_that_it_can_reach(tmp_path: Path) -> None:
    def short(*, completion_ids: list[list[int]], **_: Any) -> list[float | None]:
        return [1.0 if len(ids) < 3 else 0.0 for ids in completion_ids]

    from harness.training.rewards import CombinedReward, Part

    method, _ = make("ppo", kl_coef=0.01, temperature=1.0, num_generations=4, critic="shared")
    reward = CombinedReward([Part("short", short)])
    log = go(plan("ppo", last=12, of=12, peak=3e-3, batch_size=8), method, tmp_path, reward=reward).log
    first, last = (sum(row["reward"]["mean"] for row in rows) / 4 for rows in (log[:4], log[-4:]))
    assert last > first + 0.2


def test_an_interrupted_run_goes_on_with_coefficient_and_critic_bit_for_bit(tmp_path: Path) -> None:
    """Over a cut between segments; the check of the contract does the same for a run that is stopped and resumed."""
    raw = {"kl_controller": "adaptive", "kl_target": 0.5, "kl_horizon": 30.0, "num_mini_batches": 2}
    start = make("ppo", **raw)[0]
    whole = go(plan("ppo", last=2, of=2), start, tmp_path / "whole")
    first = go(plan("ppo", last=1, of=2), make("ppo", **raw)[0], tmp_path / "first")
    method = make("ppo", **raw)[0]
    what = plan("ppo", first=1, last=2, of=2, previous=first.folder)
    then = go(what, method, tmp_path / "then", policy=first.policy)
    assert same_bits(whole.weights, then.weights)
    one, other = ((tmp_path / name / "modules.safetensors").read_bytes() for name in ("whole", "then"))
    assert one == other
    assert method.state_dict() == start.state_dict() != make("ppo", **raw)[0].state_dict()


@pytest.mark.parametrize("raw", CASES, ids=label)
def test_an_answer_without_a_reward_is_as_if_it_had_never_been_drawn(raw: dict[str, Any]) -> None:
    if raw.get("num_mini_batches", 1) > 1:
        raw = {**raw, "num_mini_batches": 1}  # another number of prompts is cut otherwise
    count = raw.get("num_generations", 1)
    case = random_case(11, size=5, count=count, missing=0, absent=0)
    case.rewards[1] = [None] * count
    method, options = make("ppo", **raw)
    found: list[dict[str, Any]] = []
    for rows in ([0, 1, 2, 3, 4], [0, 2, 3, 4]):
        run = case.run("ppo", options, model=TinyModel(3))
        method = make("ppo", **raw)[0]
        method.setup(cast("Any", run))
        said = method.step(cast("Any", run), case.batch[rows])
        found.append({"shares": run.shares, "said": dict(said), "slopes": run.gradient()})
    assert found[0]["shares"] == pytest.approx(found[1]["shares"], abs=1e-12)
    assert found[0]["said"] == pytest.approx(found[1]["said"], abs=1e-12)
    for one, other in zip(found[0]["slopes"], found[1]["slopes"], strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_no_reward_at_all_moves_nothing() -> None:
    def none(*, completions: list[str], **_: Any) -> list[float | None]:
        return [None for _ in completions]

    method, _ = make("ppo", kl_controller="adaptive")
    outcome = train_tiny(method, reward=none)
    from harness.testing.tiny import tiny_policy

    assert same_bits(outcome.weights, dict(tiny_policy().model.named_parameters()))
    assert outcome.log[0]["method"]["objective/scores"] == 0
    assert method.state_dict() == {"kl_coef": 0.05}


def test_more_padding_and_garbage_in_it_change_nothing() -> None:
    """On both sides of what is real: columns behind the prompts, and behind the answers."""
    raw = {"critic": "shared", "num_generations": 2, "compat.end_state": True, "compat.value_init": "normal"}
    found = []
    for width, part in ((0, None), (9, None), (9, 1)):
        case = replace(random_case(4, size=4, count=2, missing=0.2), width=width)
        method, options = make("ppo", **raw)
        run = case.run("ppo", options, part=part)
        method.setup(cast("Any", run))
        said = method.step(cast("Any", run), case.batch)
        found.append((run.shares, dict(said), run.gradient()))
    for shares, said, slopes in found[1:]:
        assert shares == pytest.approx(found[0][0], abs=1e-12)
        assert said == pytest.approx(found[0][1], abs=1e-12)
        for one, other in zip(slopes, found[0][2], strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_temperature_holds_in_rollout_reference_and_update() -> None:
    """The first ratio is 1 and the first KL 0 at any temperature, and log-probs are those at the temperature."""
    entropies = {}
    for temperature in (0.5, 1.0, 2.0):
        method, _ = make("ppo", temperature=temperature, num_ppo_epochs=1)
        case = random_case(8, size=4, count=1, missing=0, absent=0)
        run = case.run("ppo", None, model=TinyModel(2))
        method.setup(cast("Any", run))
        said = method.step(cast("Any", run), case.batch)
        assert said["val/ratio"] == pytest.approx(1, abs=1e-12)
        assert said["objective/kl"] == pytest.approx(0, abs=1e-12)
        entropies[temperature] = said["objective/entropy"]
    assert len(set(entropies.values())) == 3


def test_mini_batches_are_a_partition_of_the_batch() -> None:
    method, options = make("ppo", num_mini_batches=3, num_ppo_epochs=2)
    case = random_case(8, size=5, count=1, missing=0, absent=0)
    run = FakeRun(model=TinyModel(2), table=case.table("ppo", options), samples=case.samples, ids=case.batch.ids)
    spy = Spy(cast("Any", run))
    method.setup(cast("Any", spy))
    method.step(cast("Any", spy), case.batch)
    assert len(spy.passes) == 2
    for parts in spy.passes:
        assert len(parts) == 3
        assert sorted(name for part in parts for name in part) == sorted(case.batch.ids)
    assert spy.passes[0] != spy.passes[1]


def test_every_step_logs_what_users_of_ppo_look_for() -> None:
    method, _ = make("ppo")
    names = defaultdict(set)
    for row in train_tiny(method, reward=whole_reward).log:
        names[row["step"]] = set(row["method"])
    expected = {
        "objective/kl", "objective/entropy", "objective/non_score_reward", "objective/rlhf_reward", "objective/scores",
        "policy/approxkl", "policy/clipfrac", "loss/policy", "loss/value", "val/clipfrac", "val/ratio", "val/ratio_var",
        "explained_variance", "kl_coef", "eos_rate",
    }  # fmt: skip
    assert all(found == expected for found in names.values())


def test_micro_batches_equal_the_whole_batch(tmp_path: Path) -> None:
    """With a critic of its own, and mini-batches."""
    runs = [
        go(
            plan("ppo", last=1, of=1, tokens_per_micro_batch=tokens),
            make("ppo", num_mini_batches=2)[0],
            tmp_path / str(tokens),
        )
        for tokens in (1, 100_000)
    ]
    assert farthest(runs[0].weights, runs[1].weights) < 1e-9
