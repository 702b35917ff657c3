"""SimPO and CPO by hand, one pair after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from preference_run import Scores, World
    from torch import Tensor

Said = dict[str, float]


def smoothed(z: Tensor, e: float) -> Tensor:
    """Return - (1 - e) log s(z) - e log s(-z)."""
    return (1 - e) * (1 + torch.exp(-z)).log() + e * (1 + torch.exp(z)).log()


def whole_pairs(world: World, scores: Scores) -> list[tuple[Tensor, Tensor]]:
    """Return the token log-probs of the answers of each pair that has both."""
    return [
        (scores.policy(b, group[0]), scores.policy(b, group[1]))
        for b, group in enumerate(world.answers)
        if group[0] and group[1]
    ]


def logged(rewards: list[tuple[float, float]]) -> Said:
    """Return what is logged of pairs with these rewards."""
    if not rewards:
        return {}
    size = len(rewards)
    return {
        "rewards/chosen": sum(w for w, _ in rewards) / size,
        "rewards/rejected": sum(x for _, x in rewards) / size,
        "rewards/margins": sum(w - x for w, x in rewards) / size,
        "rewards/accuracies": sum(w > x for w, x in rewards) / size,
    }


def simpo(world: World, o: Any, scores: Scores) -> tuple[dict[str, Tensor], Said]:
    """Return SimPO's terms and what is logged."""
    pairs = whole_pairs(world, scores)
    loss, supervised, rewards = scores.nothing, scores.nothing, []
    tokens = sum(len(chosen) for chosen, _ in pairs)
    for chosen, rejected in pairs:
        both = o.beta * chosen.mean(), o.beta * rejected.mean()
        lead = both[0] - both[1] - o.gamma
        loss = loss + (smoothed(lead, o.label_smoothing) if o.loss_type == "sigmoid" else torch.relu(1 - lead)) / len(
            pairs
        )
        supervised = supervised - o.sft_weight * chosen.sum() / tokens
        rewards.append((float(both[0].detach()), float(both[1].detach())))
    return {"simpo": loss, **({"sft": supervised} if o.sft_weight else {})}, logged(rewards)


def cpo(world: World, o: Any, scores: Scores) -> tuple[dict[str, Tensor], Said]:
    """Return CPO's terms and what is logged."""
    pairs = whole_pairs(world, scores)
    loss, supervised, rewards = scores.nothing, scores.nothing, []
    tokens = sum(len(chosen) for chosen, _ in pairs)
    for pair in pairs:
        w, x = (values.mean() if o.loss_type in {"ipo", "simpo"} else values.sum() for values in pair)
        if o.alphapo:
            w, x = ((1 - torch.exp(value) ** -o.alphapo) / o.alphapo for value in (w, x))
        margin = w - x
        if o.loss_type == "hinge":
            value = torch.relu(1 - o.beta * margin)
        elif o.loss_type == "ipo":
            value = (margin - 1 / (2 * o.beta)) ** 2
        else:
            gamma = o.simpo_gamma if o.loss_type == "simpo" else 0.0
            value = smoothed(o.beta * margin - gamma, o.label_smoothing)
        loss = loss + value / len(pairs)
        supervised = supervised - o.alpha * pair[0].sum() / (tokens if o.nll_reduction == "token_mean" else len(pairs))
        rewards.append((o.beta * float(w.detach()), o.beta * float(x.detach())))
    return {"cpo": loss, **({"sft": supervised} if o.alpha else {})}, logged(rewards)
