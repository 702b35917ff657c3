"""The methods on the real services: a small GPT-2 in float64 that samples, is scored, and is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest
import torch
from methods import oracles
from methods.cases import NAMES, make, registration
from methods.oracles import Answer, Group

from harness.testing import check_method
from harness.testing.bench import train_tiny
from harness.testing.tiny import tiny_policy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

    from harness.api import Batch, Completions, Method, Rewards, Run, State

#: Beside the defaults, which are held to the contract with every other plugin that ships.
CONTRACT: list[tuple[str, dict[str, Any]]] = [
    ("eso", {"is_correction": "truncated", "sampler": "temperatures", "use_sft_term": False}),
    ("rrhf", {"candidate_source": "reference", "sampler": "diverse_beam", "ft_target": "best_candidate"}),
]


def label(case: tuple[str, dict[str, Any]]) -> str:
    return "-".join([case[0], *case[1]])


@pytest.mark.long
@pytest.mark.parametrize(("name", "raw"), CONTRACT, ids=[label(case) for case in CONTRACT])
def test_the_contract_of_methods_holds(name: str, raw: dict[str, Any]) -> None:
    check_method(registration(name), raw)


@pytest.mark.long
def test_the_contract_holds_for_the_released_reading() -> None:
    offered = registration("eso")
    # rounding to bfloat16 is no equality in float64
    official = offered.presets["official"].options
    compat = {**official["compat"], "micro_batch_size": 2, "logprob_dtype": "float32"}
    raw = {**official, "compat": compat}
    check_method(offered, raw, excused={"order": "it averages over micro-batches of its own: consecutive rows"})


def equal_reward(completion_ids: Sequence[Sequence[int]], **_: Any) -> list[float | None]:
    return [0.1 + 0.2 for _ in completion_ids]


def whole_reward(completion_ids: Sequence[Sequence[int]], **_: Any) -> list[float | None]:
    """Depends on every token."""
    return [sum((place + 1) * token for place, token in enumerate(ids)) % 101 / 100 for ids in completion_ids]


def patchy_reward(completion_ids: Sequence[Sequence[int]], **_: Any) -> list[float | None]:
    """Absent for one answer in four."""
    values = whole_reward(completion_ids)
    return [value if sum(ids) % 4 else None for value, ids in zip(values, completion_ids, strict=True)]


class Spy:
    """A run that remembers what was drawn and scored."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self.batch: Batch
        self.drawn: list[Completions] = []
        self.rewards: Rewards
        self.rewarded: Completions

    def __getattr__(self, name: str) -> Any:
        return getattr(self._run, name)

    def reward(self, batch: Batch, completions: Completions) -> Rewards:
        self.batch, self.rewarded = batch, completions
        self.rewards = self._run.reward(batch, completions)
        return self.rewards


class Spied:
    """A method whose first step is watched."""

    def __init__(self, inner: Method) -> None:
        self.inner = inner
        self.spy: Spy

    def setup(self, run: Run) -> None:
        self.inner.setup(run)

    def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
        self.spy = Spy(run)
        return self.inner.step(cast("Run", self.spy), batch)

    def state_dict(self) -> Mapping[str, State]:
        return {}

    def load_state_dict(self, state: Mapping[str, State]) -> None:
        pass


ORACLES: list[tuple[str, dict[str, Any], Callable[[list[Group], Any], oracles.Terms]]] = [
    ("eso", {}, oracles.eso),
    ("eso", {"compat.include_eos_in_logp": False, "sft_reduction": "seq_sum", "length_norm": True}, oracles.eso),
    ("unlikelihood", {}, oracles.unlikelihood),
    ("unlikelihood", {"loss": "logp_down", "compat.ties": "first"}, oracles.unlikelihood),
    ("drl", {"n_samples": 2}, oracles.drl),
    ("rrhf", {}, oracles.rrhf),
    (
        "rrhf",
        {"compat.rank_padded_bug": True, "compat.ft_padded_bug": True, "ft_target": "best_candidate"},
        oracles.rrhf,
    ),
]


@pytest.mark.parametrize(("name", "raw", "oracle"), ORACLES, ids=[label((name, raw)) for name, raw, _ in ORACLES])
@pytest.mark.parametrize("tokens", [1, 1_000_000])
def test_loss_and_gradient_norm_of_a_real_step_equal_the_oracle(
    name: str, raw: dict[str, Any], oracle: Callable[[list[Group], Any], oracles.Terms], tokens: int
) -> None:
    """Each sequence is scored by itself, by the bare model, without padding, packing or cache."""
    method, options = make(name, **raw)
    spied = Spied(method)
    # with one greedy answer a prompt, too few groups would be left of those that a patchy reward leaves whole
    reward = whole_reward if name == "drl" else patchy_reward
    (row,) = train_tiny(spied, reward=reward, tokens=tokens, steps=1).log
    batch, completions, rewards = spied.spy.batch, spied.spy.rewarded, spied.spy.rewards
    model: Any = tiny_policy().model
    scored: dict[tuple[int, int], Tensor] = {}

    def logps(prompt: list[int], answer: list[int]) -> Tensor:
        logits = model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1, :257]
        values: Tensor = logits.log_softmax(-1).gather(1, torch.tensor(answer)[:, None])[:, 0]
        return values

    def answer(b: int, j: int, source: Completions, column: int, reward: float | None) -> Answer:
        ids = source.ids[b, column, : source.lengths[b, column]].tolist()
        prompt = batch.prompts.ids[b, : batch.prompts.lengths[b]].tolist()
        scored[b, j] = logps(prompt, ids)
        return Answer(scored[b, j].tolist(), bool(source.finished[b, column]), reward)

    first = 1 if name == "drl" else 0
    groups = []
    for b in range(len(batch)):
        given = [
            float(value) if there else None
            for value, there in zip(rewards.values[b], rewards.present[b].tolist(), strict=True)
        ]
        groups.append(
            Group(
                int(batch.prompts.lengths[b]),
                answer(b, -1, batch.demonstrations, 0, None),
                [answer(b, j - first, completions, j, given[j]) for j in range(first, len(given))],
                given[0] if first else None,
            )
        )
    terms = oracle(groups, options)
    assert any(abs(value) > 1e-6 for term, value in terms.values.items() if term != "sft")
    for term, value in terms.values.items():
        assert row["loss"][term] == pytest.approx(value, rel=1e-9, abs=1e-9)
        model.zero_grad()
        surrogate = torch.stack([slope * scored[b, j][t] for (b, j, t), slope in terms.slopes[term].items()]).sum()
        surrogate.backward(retain_graph=True)  # type: ignore[no-untyped-call]  # torch has no types here
        norm = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).norm()
        assert row["grad_norms"][term] == pytest.approx(float(norm), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "sft"])
def test_the_log_says_which_term_moved_a_weight(name: str) -> None:
    method, _ = make(name)
    log = train_tiny(method).log
    assert any(row["moved"][name] for row in log)
    assert all(row["moved"]["sft"] for row in log)
    for idle, reward in ((make(name, coef=0.0)[0], whole_reward), (make(name)[0], equal_reward)):
        log = train_tiny(idle, reward=reward, steps=2).log
        assert not any(row["moved"][name] for row in log)


def test_a_batch_without_any_worst_candidate_is_no_error() -> None:
    """All rewards equal and no supervised term: nothing is scored at all."""
    method, _ = make("unlikelihood", use_sft_term=False)
    (row,) = train_tiny(method, reward=equal_reward, steps=1).log
    assert row["loss"] == {"unlikelihood": 0.0}
    assert row["moved"] == {"unlikelihood": False}


def test_bfloat16_log_probs_are_close_to_float32s() -> None:
    losses = {}
    for dtype in ("float32", "bfloat16"):
        method, _ = make("eso", **{"compat.logprob_dtype": dtype})
        losses[dtype] = train_tiny(method, steps=1).log[0]["loss"]["eso"]
    assert losses["float32"] != losses["bfloat16"]
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.05, abs=0.02)
