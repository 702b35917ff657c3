"""ORPO by hand: probabilities, odds and the supervised term of each pair."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from preference_run import score

if TYPE_CHECKING:
    from preference_run import Scores, World
    from torch import Tensor


def oracle(world: World, o: Any, scores: Scores) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Return both terms and what is said."""
    pairs = [
        (b, group[0], group[1])
        for b, group in enumerate(world.answers)
        if group[0] and group[1] and not (o.drop_identical and group[0] == group[1])
    ]
    odds_term, targets = scores.nothing, []
    said: dict[str, list[float]] = {}
    for b, chosen, rejected in pairs:
        logps = [scores.policy(b, chosen), scores.policy(b, rejected)]
        likely = [values.mean().exp() for values in logps]
        ratio = (likely[0] / (1 - likely[0])) / (likely[1] / (1 - likely[1]))
        odds_term = odds_term + o.coef * (1 + 1 / ratio).log() / len(pairs)  # - log s(log ratio)
        prompt = world.prompts[b]
        whole = score(scores.model, prompt[:1], prompt[1:] + chosen, dropout=True)
        targets.append(whole if o.nll_on == "prompt_and_answer" else logps[0])
        numbers = {
            "log_odds_ratio": float(torch.log(ratio).detach()),
            "rewards/accuracies": float(ratio > 1),
            "logps/chosen": float(logps[0].mean().detach()),
            "logps/rejected": float(logps[1].mean().detach()),
        }
        for name, number in numbers.items():
            said.setdefault(name, []).append(number)
    supervised, tokens = scores.nothing, sum(len(target) for target in targets)
    for target in targets:
        if o.nll_reduction == "token_mean":
            supervised = supervised - target.sum() / tokens
        elif o.nll_reduction == "seq_mean":
            supervised = supervised - target.mean() / len(targets)
        else:
            supervised = supervised - target.sum() / len(targets)
    return {"sft": supervised, "orpo": odds_term}, {name: sum(row) / len(row) for name, row in said.items()}
