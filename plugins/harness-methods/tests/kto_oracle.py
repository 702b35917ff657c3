"""KTO by hand: the labels, the mismatched answers one by one, and the loss of each answer."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from preference_run import Scores, World
    from torch import Tensor


def labelled(world: World, o: Any) -> list[list[bool | None]]:
    """Return the label of each answer, None for one that has none and takes no part."""
    rows: list[list[bool | None]] = []
    for b, group in enumerate(world.answers):
        if o.labels == "data":
            labels: list[bool | None] = [world.labels[b]]
        elif o.labels == "pairs":
            labels = [True, False]
        else:
            known = [Fraction(reward) for reward in world.rewards[b] if reward is not None]
            bar = Fraction(o.threshold)
            if o.labels == "group_mean" and known:
                bar = Fraction(sum(known)) / len(known)
            labels = [None if r is None or Fraction(r) == bar else Fraction(r) > bar for r in world.rewards[b]]
        rows.append([label if answer else None for label, answer in zip(labels, group, strict=False)])
    return rows


def mismatched(world: World, o: Any, scores: Scores) -> list[float]:
    """Return the log-ratio of each answer to another prompt."""
    labels, size = labelled(world, o), len(world.prompts)
    terms = []
    for i in range(size):
        others = [(i + o.kl_shift * distance) % size for distance in range(1, size)]
        other = next((j for j in others if world.prompts[j] != world.prompts[i]), None)
        for k, label in enumerate(labels[i]):
            if other is not None and label is not None and labels[other][k] is not None:
                terms.append(float(scores.ratio(i, world.answers[other][k], dropout=False).detach()))
    return terms


def oracle(world: World, o: Any, scores: Scores) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Return the loss and what is said."""
    labels = labelled(world, o)
    rows = [(b, k, label) for b, group in enumerate(labels) for k, label in enumerate(group) if label is not None]
    z = {True: 0.0, False: 0.0}
    if o.loss == "kto_pair":
        for side in (True, False):
            places = [(b, world.answers[b][k]) for b, k, label in rows if label != side]
            others = [float(scores.ratio(b, answer, dropout=False).detach()) for b, answer in places]
            z[side] = max(0.0, sum(others) / max(1, len(others)))
    elif o.loss == "kto":
        terms = mismatched(world, o, scores)
        count = sum(term != 0 for term in terms) if o.kl_divisor == "nonzero" else len(terms)
        total = sum(terms[:-1]) if o.kl_divisor == "printed" else sum(terms)
        z = dict.fromkeys(z, max(0.0, total / max(1, count)))
    loss = scores.nothing
    rewards: dict[bool, list[float]] = {True: [], False: []}
    for b, k, label in rows:
        h = scores.ratio(b, world.answers[b][k])
        rewards[label].append(o.beta * float(h.detach()))
        if label:
            value = o.desirable_weight * (1 - 1 / (1 + torch.exp(-o.beta * (h - z[True]))))
        else:
            value = o.undesirable_weight * (1 - 1 / (1 + torch.exp(-o.beta * (z[False] - h))))
        loss = loss + value / len(rows)
    said = {"kl": z[True]}
    for name, label in (("rewards/chosen", True), ("rewards/rejected", False)):
        if rewards[label]:
            said[name] = sum(rewards[label]) / len(rewards[label])
    return {"kto": loss}, said
