"""Best-of-n distillation by hand: what is kept by counting how many answers are better, and the loss token by token."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from methods.fake_run import EOS
from preference_run import score

if TYPE_CHECKING:
    from preference_run import Scores, World
    from torch import Tensor

Place = tuple[int, int]


def kept(world: World, o: Any) -> list[Place]:
    """Return prompt and place of each answer that is trained on."""
    usable: dict[Place, float] = {}
    for b, group in enumerate(world.answers):
        for j, answer in enumerate(group):
            reward = world.rewards[b][j]
            if reward is not None and answer and (answer[-1] == EOS or not o.mask_truncated):
                usable[b, j] = reward
    chosen = []
    for (b, j), reward in usable.items():
        rivals = usable if o.selection == "top_fraction_global" else {p: r for p, r in usable.items() if p[0] == b}
        if o.selection == "above_mean":
            if Fraction(reward) > sum(map(Fraction, rivals.values())) / len(rivals):
                chosen.append((b, j))
            continue
        count = 1
        if o.selection == "top_fraction_global":
            count = math.floor(Fraction(str(o.top_fraction)) * len(rivals))
        better = sum(other > reward for other in rivals.values())
        equal = [place for place, other in rivals.items() if other == reward]
        if {
            "first": better + equal.index((b, j)) < count,
            "all": better < count,
            "skip": better + len(equal) <= count,
        }[o.ties]:
            chosen.append((b, j))
    return chosen


def oracle(world: World, o: Any, scores: Scores) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Return the loss and what is said."""
    chosen = kept(world, o)
    targets = []
    for b, j in chosen:
        answer = list(world.answers[b][j])
        if not o.train_eos and answer[-1] == EOS:
            answer.pop()
        if answer:
            prompt = world.prompts[b]
            before = prompt[1:] if o.train_on_prompt else []
            start = prompt[:1] if o.train_on_prompt else prompt
            targets.append(score(scores.model, start, before + answer, dropout=True))
    loss = scores.nothing
    tokens = sum(len(target) for target in targets)
    for target in targets:
        if o.reduction == "token_mean":
            loss = loss - target.sum() / tokens
        elif o.reduction == "seq_mean":
            loss = loss - target.mean() / len(targets)
        else:
            loss = loss - target.sum() / len(targets)
    said = {"kept": len(chosen) / sum(map(len, world.answers))}
    if chosen:
        said["kept_reward"] = sum(world.rewards[b][j] or 0.0 for b, j in chosen) / len(chosen)
    return {"sft": loss}, said
