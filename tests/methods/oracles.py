"""What each method's loss and its slope in every token's log-prob are, from the papers' formulas, in plain Python.

Nothing here is shared with the methods: no tensor, no padding, no mask. A group is one prompt. ``Terms`` holds for each
named term its value and d(value)/d(log p of token t of candidate j of group b); candidate -1 is the demonstration.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

Place = tuple[int, int, int]


@dataclass
class Answer:
    """One completion: the log-prob of each of its tokens, EOS last if it has one."""

    logps: list[float]
    finished: bool
    reward: float | None = None
    ratio: float = 1.0
    """p(answer at temperature 1) / p(answer at the temperature that drew it)."""

    @property
    def words(self) -> int:
        return len(self.logps) - (1 if self.finished else 0)


@dataclass
class Group:
    """One prompt with its demonstration and candidates."""

    prompt_length: int
    demonstration: Answer
    candidates: list[Answer]
    greedy: float | None = None
    """Reward of the greedy answer (DRL)."""


@dataclass
class Terms:
    """Named terms of a loss."""

    values: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    slopes: dict[str, dict[Place, float]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(float)))

    def add(self, name: str, value: float) -> None:
        self.values[name] += value

    def slope(self, name: str, b: int, j: int, t: int, value: float) -> None:
        self.slopes[name][b, j, t] += value


def supervised(groups: list[Group], o: Any, *, scale: float = 1.0) -> Terms:
    """Eq. 1 under each reduction, on the demonstrations."""
    return _likelihood([(g.demonstration, b, -1) for b, g in enumerate(groups)], o, scale)


def _likelihood(targets: list[tuple[Answer | None, int, int]], o: Any, scale: float = 1.0) -> Terms:
    """``targets``: for each prompt its target (None: none), the group's number and the candidate's."""
    terms = Terms()
    terms.add("sft", 0.0)
    rows = [(a if a is not None and a.logps else None, b, j) for a, b, j in targets]
    micro = [rows[i : i + o.compat.micro_batch_size] for i in range(0, len(rows), o.compat.micro_batch_size)]
    micro = [part for part in micro if any(a is not None for a, _, _ in part)]
    for part in micro:
        tokens_here = sum(len(a.logps) for a, _, _ in part if a is not None)
        for a, b, j in part:
            if a is None:
                continue
            if o.compat.token_mean_micro and o.sft_reduction == "token_mean":
                weight = 1 / tokens_here / len(micro)
            elif o.sft_reduction == "token_mean":
                weight = 1 / sum(len(x.logps) for x, _, _ in rows if x is not None)
            elif o.sft_reduction == "seq_sum":
                weight = 1 / sum(1 for x, _, _ in rows if x is not None)
            else:
                weight = 1 / len(a.logps) / sum(1 for x, _, _ in rows if x is not None)
            for t, logp in enumerate(a.logps):
                terms.add("sft", -scale * weight * logp)
                terms.slope("sft", b, j, t, -scale * weight)
    return terms


def tokens_that_count(a: Answer, o: Any) -> list[int]:
    """Places of the tokens whose log-probs enter a candidate's loss."""
    if o.mask_truncated and not a.finished:
        return []
    if o.compat.empty_completion == "zero" and a.words == 0:
        return []
    return list(range(len(a.logps) if o.compat.include_eos_in_logp else a.words))


def members(group: Group, o: Any) -> list[int]:
    """Candidates that belong to the group at all."""
    return [
        j
        for j, a in enumerate(group.candidates)
        if a.reward is not None and a.logps and not (o.compat.empty_completion == "drop" and a.words == 0)
    ]


def eso(groups: list[Group], o: Any) -> Terms:
    """Eq. 10 and 11, with the gate and the corrections that the options ask for."""
    terms = supervised(groups, o) if o.use_sft_term else Terms()
    terms.add("eso", 0.0)
    means = []
    for group in groups:
        rewards = [group.candidates[j].reward or 0.0 for j in members(group, o)]
        means.append(sum(rewards) / len(rewards) if rewards else 0.0)
    for b, group in enumerate(groups):
        if o.reward_threshold is None:
            outer = 1 / len(groups)
        elif not o.compat.official_gate:
            outer = 1 / sum(u > o.reward_threshold for u in means) if means[b] > o.reward_threshold else 0.0
        else:  # the released code's broadcast, written out: sum over i and m of nes_i * mask_m, over the sum of masks
            size = o.compat.micro_batch_size
            first = b // size * size
            masks = [1.0 if u > o.reward_threshold else 0.0 for u in means[first : first + size]]
            count = math.ceil(len(groups) / size)
            outer = sum(masks) / sum(masks) / count if any(masks) else 0.0
        inside = members(group, o)
        if len({group.candidates[j].reward for j in inside}) < 2:
            continue
        for j in inside:
            a = group.candidates[j]
            counted = tokens_that_count(a, o)
            if not counted:
                continue
            assert a.reward is not None
            inner = (means[b] - a.reward) * (1 / len(inside) if o.k_reduction == "mean" else 1)
            inner /= len(counted) if o.length_norm else 1
            inner *= {"none": 1.0, "exact": a.ratio, "truncated": min(a.ratio, o.is_cap)}[o.is_correction]
            for t in counted:
                terms.add("eso", o.coef * outer * inner * a.logps[t])
                terms.slope("eso", b, j, t, o.coef * outer * inner)
    return terms


def unlikelihood(groups: list[Group], o: Any) -> Terms:
    """-log(1 - p), or log p, of the worst candidate's tokens."""
    terms = supervised(groups, o) if o.use_sft_term else Terms()
    terms.add("unlikelihood", 0.0)
    for b, group in enumerate(groups):
        inside = members(group, o)
        if len(inside) < 2:
            continue
        rewards = {j: group.candidates[j].reward or 0.0 for j in inside}
        lowest = min(rewards.values())
        worst = [j for j in inside if rewards[j] == lowest]
        if o.compat.ties == "first":
            worst = worst[:1]
        elif len(worst) == len(inside):
            continue
        for j in worst:
            a = group.candidates[j]
            counted = tokens_that_count(a, o)
            weight = o.coef / len(groups) / len(worst) / (len(counted) if o.length_norm and counted else 1)
            for t in counted:
                logp = a.logps[t]
                if o.loss == "logp_down":
                    low = o.min_logp_per_token
                    terms.add("unlikelihood", weight * (logp if low is None else max(logp, low)))
                    terms.slope("unlikelihood", b, j, t, weight if low is None or logp >= low else 0.0)
                else:
                    p = math.exp(logp)
                    terms.add("unlikelihood", -weight * math.log(max(1 - p, o.min_one_minus_p)))
                    terms.slope("unlikelihood", b, j, t, weight * p / (1 - p) if 1 - p >= o.min_one_minus_p else 0.0)
    return terms


def drl(groups: list[Group], o: Any) -> Terms:
    """(r(greedy) - r(sample)) log p(sample), mixed with the supervised term."""
    terms = supervised(groups, o, scale=1 - o.coef if o.mix == "gamma" else 1.0) if o.use_sft_term else Terms()
    terms.add("drl", 0.0)
    for b, group in enumerate(groups):
        inside = members(group, o)
        if o.baseline == "greedy" and group.greedy is None:
            continue
        if o.baseline == "mean" and len({group.candidates[j].reward for j in inside}) < 2:
            continue
        for j in inside:
            a = group.candidates[j]
            if o.baseline == "greedy":
                against = group.greedy or 0.0
            elif o.baseline == "mean":
                against = sum(group.candidates[i].reward or 0.0 for i in inside) / len(inside)
            else:
                against = 0.0
            assert a.reward is not None
            counted = tokens_that_count(a, o)
            weight = o.coef * (against - a.reward) / len(inside) / len(groups)
            weight /= len(counted) if o.length_norm and counted else 1
            for t in counted:
                terms.add("drl", weight * a.logps[t])
                terms.slope("drl", b, j, t, weight)
    return terms


def rrhf(groups: list[Group], o: Any) -> Terms:
    """The sum over r_i < r_j of max(0, p_i - p_j), and the fine-tuning term.

    With ``rank_demonstration`` the demonstration is candidate 0 of the group.
    """
    terms = Terms()
    terms.add("rrhf", 0.0)
    targets: list[tuple[Answer | None, int, int]] = []
    rows: list[int] = []
    for b, group in enumerate(groups):
        counted = {j: tokens_that_count(a, o) for j, a in enumerate(group.candidates)}
        if o.rank_demonstration:
            demonstration = group.candidates[0]
            counted[0] = list(range(len(demonstration.logps) if o.compat.include_eos_in_logp else demonstration.words))
            if o.compat.empty_completion == "zero" and demonstration.words == 0:
                counted[0] = []
        inside = [j for j in members(group, o) if counted[j]]
        row = group.prompt_length + max([len(group.candidates[j].logps) for j in inside], default=0)
        rows.append(row)
        divisor = {
            j: float(row if o.compat.rank_padded_bug else len(counted[j])) ** o.length_penalty if o.length_norm else 1.0
            for j in inside
        }
        p = {j: sum(group.candidates[j].logps[t] for t in counted[j]) / divisor[j] for j in inside}
        reward = {j: group.candidates[j].reward or 0.0 for j in inside}
        pairs = [(i, j) for i in inside for j in inside if reward[i] < reward[j]]
        if o.compat.pair_set == "upper_triangle":
            pairs = [(i, j) for i, j in pairs if i < j]
        for i, j in pairs:
            if p[i] <= p[j]:
                continue
            weight = o.coef / len(groups) / (len(pairs) if o.pair_reduction == "mean" else 1)
            terms.add("rrhf", weight * (p[i] - p[j]))
            for t in counted[i]:
                terms.slope("rrhf", b, i, t, weight / divisor[i])
            for t in counted[j]:
                terms.slope("rrhf", b, j, t, -weight / divisor[j])
        if o.ft_target == "reference":
            targets.append((group.demonstration, b, -1))
        elif inside:
            best = max(inside, key=lambda j: (reward[j], -j))
            targets.append((group.candidates[best], b, best))
        else:
            targets.append((None, b, 0))
    if o.use_sft_term and o.compat.ft_padded_bug:
        terms.add("sft", 0.0)
        for (a, b, j), row in zip(targets, rows, strict=True):
            for t, logp in enumerate(a.logps if a is not None else []):
                terms.add("sft", -logp / row / len(groups))
                terms.slope("sft", b, j, t, -1 / row / len(groups))
    elif o.use_sft_term:
        likelihood = _likelihood(targets, o)
        terms.values.update(likelihood.values)
        terms.slopes.update(likelihood.slopes)
    return terms
