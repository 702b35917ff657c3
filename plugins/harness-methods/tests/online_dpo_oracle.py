"""Online DPO by hand: pairs of a prompt's rewarded answers, then the loss of each pair."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from methods.fake_run import EOS

if TYPE_CHECKING:
    from preference_run import Scores, World
    from torch import Tensor


def reward_of(world: World, o: Any, b: int, j: int) -> float:
    """Return a reward as pairs are ordered by it."""
    reward = world.rewards[b][j]
    assert reward is not None
    cut = world.answers[b][j][-1] != EOS
    return reward - (o.missing_eos_penalty if cut and o.missing_eos_penalty is not None else 0.0)


def pairs(world: World, o: Any) -> list[tuple[int, int, int]]:
    """Return prompt, preferred and other answer of each pair."""
    found = []
    for b, group in enumerate(world.answers):
        known = [j for j, answer in enumerate(group) if answer and world.rewards[b][j] is not None]
        couples = [(i, j) for i in known for j in known if i < j]
        rewards = {j: reward_of(world, o, b, j) for j in known}
        if o.pairing == "first_two":
            couples = couples[:1]
        if o.pairing == "best_worst" and couples:
            top, bottom = max(rewards.values()), min(rewards.values())
            best = next(j for j in known if rewards[j] == top)
            worst = next(j for j in reversed(known) if rewards[j] == bottom)
            couples = [(best, worst)]
        for i, j in couples:
            if rewards[i] > rewards[j] or (rewards[i] == rewards[j] and o.ties == "first"):
                found.append((b, i, j))
            elif rewards[i] < rewards[j]:
                found.append((b, j, i))
    return found


def oracle(world: World, o: Any, scores: Scores) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Return the loss and what is said."""
    chosen = pairs(world, o)
    beta = o.beta[0] if isinstance(o.beta, tuple) else o.beta
    loss, margins = scores.nothing, []
    for b, best, worst in chosen:
        x = scores.ratio(b, world.answers[b][best]) - scores.ratio(b, world.answers[b][worst])
        margins.append(float(x.detach()))
        term = (1 + torch.exp(-beta * x)).log() if o.loss_type == "sigmoid" else (x - 0.5 / beta) ** 2
        loss = loss + term / len(chosen)
    said = {"pairs": len(chosen) / len(world.prompts)}
    if chosen:
        gaps = [reward_of(world, o, b, i) - reward_of(world, o, b, j) for b, i, j in chosen]
        said["reward_margin"] = sum(gaps) / len(chosen)
        said["rewards/margins"] = beta * sum(margins) / len(chosen)
        said["rewards/accuracies"] = sum(x > 1e-12 for x in margins) / len(chosen)
    return {"online_dpo": loss}, said
