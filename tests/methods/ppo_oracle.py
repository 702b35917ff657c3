"""One step of PPO from the formulas: sequence by sequence, token by token, a bare model, no service of the harness."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from harness.testing.tiny import tiny_policy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn

#: Ids that have a token.
IDS = 257


@dataclass
class Answer:
    """One sampled answer."""

    row: str
    """The id of its prompt's row."""
    prompt: list[int]
    ids: list[int]
    finished: bool
    score: float | None
    logp: list[float] | None = None
    values: list[float] | None = None
    advantages: list[float] | None = None
    returns: list[float] | None = None


class Oracle:
    """A policy, a critic and their optimiser."""

    def __init__(self, options: Any, head: nn.Linear, *, weight_decay: float, learning_rate: float) -> None:
        """Start from the tiny policy and a value head; the optimiser is the one of the contract's test runs."""
        self.options = options
        self.policy: Any = tiny_policy().model
        self.reference: Any = tiny_policy().model
        self.head = copy.deepcopy(head)
        self.body: Any = copy.deepcopy(self.reference.base_model) if options.critic == "policy" else None
        self.kl_coef: float = options.kl_coef
        self.metrics: dict[str, float] = {}
        trained = [*self.policy.parameters(), *self.head.parameters()]
        trained += list(self.body.parameters()) if self.body is not None else []
        rate = options.value_learning_rate or learning_rate
        critic = {id(p) for p in trained} - {id(p) for p in self.policy.parameters()}
        groups = [
            {
                "params": [p],
                "weight_decay": weight_decay if p.dim() > 1 else 0.0,
                "lr": rate if id(p) in critic else learning_rate,
            }
            for p in trained
        ]
        self.optimiser = torch.optim.AdamW(groups, betas=(0.9, 0.999), eps=1.0)

    def logps(self, model: Any, answer: Answer) -> list[Tensor]:
        """Log-prob of each token at the options' temperature."""
        logits = model(torch.tensor([answer.prompt + answer.ids])).logits[0, :, :IDS] / self.options.temperature
        first = len(answer.prompt) - 1
        return [logits[first + t].log_softmax(-1)[token] for t, token in enumerate(answer.ids)]

    def states(self, answer: Answer) -> list[Tensor]:
        """Value of the state before each token, and of that behind the EOS where the options give it one."""
        body = self.policy.base_model if self.body is None else self.body
        hidden = body(torch.tensor([answer.prompt + answer.ids])).last_hidden_state[0]
        if self.options.critic == "detached":
            hidden = hidden.detach()
        count = len(answer.ids) + (self.options.compat.end_state and answer.finished)
        return [self.head(hidden[len(answer.prompt) - 1 + t])[0] for t in range(count)]

    def acting(self, answer: Answer) -> int:
        """Tokens the policy is trained on: all, or all but the EOS."""
        return len(answer.ids) - (answer.finished and not self.options.compat.include_eos_in_logp)

    def step(self, answers: Sequence[Answer], passes: Sequence[Sequence[Sequence[str]]]) -> None:
        """Judge the answers, then take one optimiser step for each part (rows by id) of each pass."""
        kept = [answer for answer in answers if answer.score is not None]
        self._judge(kept)
        ratios = []
        for parts in passes:
            for part in parts:
                chosen = [answer for answer in kept if answer.row in part]
                if not chosen:
                    continue
                loss, ratio = self._loss(chosen)
                ratios.append(ratio)
                self.optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]  # torch has no types here
                self.optimiser.step()
        self.metrics["val/ratio"] = sum(ratios) / len(ratios)

    def _judge(self, kept: list[Answer]) -> None:
        options = self.options
        kls, scores, rewards = [], [], []
        for answer in kept:
            with torch.no_grad():
                answer.logp = [float(x) for x in self.logps(self.policy, answer)]
                reference = [float(x) for x in self.logps(self.reference, answer)]
                answer.values = [float(x) for x in self.states(answer)]
            kl = [0.0] * len(answer.values)
            for t in range(self.acting(answer)):
                x = answer.logp[t] - reference[t]
                kl[t] = x if options.kl_estimator == "k1" else math.exp(-x) - 1 + x
            score = answer.score
            assert score is not None
            if options.missing_eos_penalty is not None and not answer.finished:
                cut = options.missing_eos_penalty
                score = -cut if options.compat.missing_eos == "replace" else score - cut
            reward = [-self.kl_coef * x for x in kl]
            reward[-1] += score
            kls.append(sum(kl))
            scores.append(score)
            rewards.append(reward)
        if options.whiten_rewards:
            flat = [r for reward in rewards for r in reward]
            mean, deviation = self._moments(flat)
            rewards = [[(r - mean) / deviation + mean for r in reward] for reward in rewards]
        for answer, reward in zip(kept, rewards, strict=True):
            assert answer.values is not None
            values = [*answer.values, 0.0]
            answer.advantages = [0.0] * len(reward)
            behind = 0.0
            for t in reversed(range(len(reward))):
                error = reward[t] + options.gamma * values[t + 1] - values[t]
                behind = error + options.gamma * options.lam * behind
                answer.advantages[t] = behind
            answer.returns = [a + v for a, v in zip(answer.advantages, answer.values, strict=True)]
        mean, deviation = self._moments(
            [a for answer in kept for a in (answer.advantages or [])[: self.acting(answer)]]
        )
        for answer in kept:
            answer.advantages = [(a - mean) / deviation for a in answer.advantages or []]
        count = len(kept)
        self.metrics = {
            "objective/kl": sum(kls) / count,
            "objective/scores": sum(scores) / count,
            "objective/rlhf_reward": (sum(scores) - self.kl_coef * sum(kls)) / count,
            "objective/entropy": -sum(sum((a.logp or [])[: self.acting(a)]) for a in kept) / count,
            "eos_rate": sum(a.finished for a in kept) / count,
            "kl_coef": self.kl_coef,
        }
        if options.kl_controller == "adaptive":
            error = max(-0.2, min(0.2, self.metrics["objective/kl"] / options.kl_target - 1))
            self.kl_coef *= 1 + error * count / options.kl_horizon

    def _moments(self, flat: list[float]) -> tuple[float, float]:
        mean = sum(flat) / len(flat)
        squares = sum((x - mean) ** 2 for x in flat)
        return mean, math.sqrt(squares / (len(flat) - (self.options.compat.whitening_variance == "unbiased")) + 1e-8)

    def _loss(self, chosen: list[Answer]) -> tuple[Tensor, float]:
        options = self.options
        policy, value = [], []
        ratios = []
        for answer in chosen:
            assert answer.logp is not None
            assert answer.advantages is not None
            assert answer.values is not None
            assert answer.returns is not None
            logps = self.logps(self.policy, answer)
            for t in range(self.acting(answer)):
                ratio = (logps[t] - answer.logp[t]).exp()
                ratios.append(float(ratio.detach()))
                inside = ratio.clamp(1 - options.cliprange, 1 + options.cliprange)
                policy.append(-torch.minimum(answer.advantages[t] * ratio, answer.advantages[t] * inside))
            for v, old, aim in zip(self.states(answer), answer.values, answer.returns, strict=True):
                worst = (v - aim) ** 2
                if options.cliprange_value is not None:
                    near = v.clamp(old - options.cliprange_value, old + options.cliprange_value)
                    worst = torch.maximum(worst, (near - aim) ** 2)
                value.append(0.5 * worst)
        loss = torch.stack(policy).mean() + options.vf_coef * torch.stack(value).mean()
        return loss, sum(ratios) / len(ratios)
