"""The loss of a reference's next token behind its own beginning, and behind a drawn beginning of the same length.

One forward over the drawn answer gives the distribution behind each of its beginnings; what is read off it is the
reference's token at that position.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from harness.in_parts import Batcher, at_once
from harness.lm.cuda.memory import training_tokens
from harness.lm.score.logprobs import score, score_instead
from harness.text.encode import Answer, collate
from harness.training.budget import HINT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.in_parts import Keep
    from harness.lm.model.policy import Policy
    from harness.text.encode import EncodedRow


def prefix_losses(
    policy: Policy,
    references: Sequence[EncodedRow],
    answers: Sequence[Sequence[int]],
    tell: Callable[[int, int], None] = lambda _done, _total: None,
    keep: Keep = at_once,
) -> list[list[tuple[float, float]]]:
    """Return, for each pair, ``(own, drawn)`` in nats for each position that both have, the first included.

    At position t, ``own`` is -log p(r_t | x, r_<t) and ``drawn`` is -log p(r_t | x, a_<t), for prompt x, reference r
    and answer a. There are min(len(r), len(a) + 1) positions; at the first one nothing was drawn yet, and both are
    equal.

    Args:
        policy: the model that wrote the answers.
        references: prompts with their references as completions (EOS included).
        answers: token ids of the answers, without EOS.
        tell: called with how many pairs are done, and how many there are.
        keep: gives the losses of a batch that it knows, and keeps the others (see :class:`harness.store.parts.Parts`).
    """
    pairs = [(row, _shifted(row, answer, policy.eos_id)) for row, answer in zip(references, answers, strict=True)]
    losses_of: list[list[tuple[float, float]]] = [[] for _ in pairs]
    done = 0
    scored = Batcher(training_tokens(policy), doing="scoring", hint=HINT).kept(
        [2 * _tokens(row) for row, _ in pairs],
        lambda part: _positions(policy, [pairs[place] for place in part]),
        keep=keep,
        key=lambda part: ["prefix", [[place, answers[place]] for place in part]],
    )
    for part, each in scored:
        for place, losses in zip(part, each, strict=True):
            losses_of[place] = [(own, drawn) for own, drawn in losses]
        done += len(part)
        tell(done, len(pairs))
    return losses_of


def _positions(policy: Policy, pairs: Sequence[tuple[EncodedRow, EncodedRow]]) -> list[list[list[float]]]:
    """Return own and drawn loss for each position of each pair."""
    own = collate([replace(row, completion=_cut(row, other)) for row, other in pairs], policy.device)
    drawn = collate([other for _, other in pairs], policy.device)
    with torch.no_grad():
        mine = score(policy, own.prompts, own.demonstrations, dropout=False).values
        theirs = score_instead(policy, drawn.prompts, drawn.demonstrations, own.demonstrations.ids)
    losses = torch.stack((-mine[:, 0], -theirs[:, 0]), -1).double()  # (B, T, 2)
    lengths = own.demonstrations.lengths[:, 0].tolist()
    return [row[:length].tolist() for row, length in zip(losses, lengths, strict=True)]


def _shifted(row: EncodedRow, answer: Sequence[int], eos: int) -> EncodedRow:
    """Return the prompt with the answer and one token more: what stands behind the answer is predicted too."""
    width = min(_length(row), len(answer) + 1)
    ids = np.asarray([*answer[: max(0, width - 1)], eos][:width], dtype=np.int32)
    return replace(row, completion=Answer(ids, finished=False))


def _cut(row: EncodedRow, other: EncodedRow) -> Answer:
    completion: Any = row.completion
    return Answer(completion.ids[: _length(other)], finished=False)


def _length(row: EncodedRow) -> int:
    return 0 if row.completion is None else len(row.completion.ids)


def _tokens(row: EncodedRow) -> int:
    return len(row.prompt) + _length(row)
