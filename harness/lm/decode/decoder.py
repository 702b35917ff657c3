"""What decodes rows together: the protocol of both ways, and the trial that each is put to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

import torch

from harness.errors import InputError
from harness.lm.model import backbone

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from harness.api import Prompts
    from harness.lm.model.policy import Policy

#: Each trial of a model is made on up to three toys, told apart by the lowest id among their tokens, and one that
#: passes will do: a router that hesitates between two experts may let rounding decide, with some tokens.
FIRST_IDS: Final = (2, 7, 12)


class Decoder(Protocol):
    """Rows that are decoded together; row ``b * repeats + k`` continues prompt b until rows leave."""

    logits: Tensor
    """(N, V): of each row's next token, over the ids that have a token."""

    def step(self, tokens: Tensor) -> None:
        """Feed each row a token (N,), which makes new :attr:`logits`."""

    def select(self, rows: Tensor) -> None:
        """Keep the rows that the index ``rows`` names, in the order in which they stand, each once."""

    def inherit(self, rows: Tensor) -> None:
        """Give row i what row ``rows[i]``, of the same prompt, generated; before any row has left."""


def check_prompts(policy: Policy, prompts: Prompts, max_new_tokens: int, ids: Sequence[str] | None = None) -> None:
    """Raise InputError where a prompt is empty, or leaves less context than ``max_new_tokens``."""
    if len(prompts) == 0:
        return
    least, most = int(prompts.lengths.argmin()), int(prompts.lengths.argmax())
    if int(prompts.lengths[least]) < 1:
        raise InputError(
            "a prompt has no tokens", where=None if ids is None else f"example {ids[least]}", expected="at least one"
        )
    policy.check_fits(int(prompts.lengths[most]), max_new_tokens, where=None if ids is None else f"example {ids[most]}")


def probe(
    policy: Policy,
    make: Callable[[Policy, Tensor, Tensor, int, int], Decoder],
    prompts: tuple[int, int] = (3, 2),
    *,
    first: int = 2,
) -> bool:
    """Try on a toy that rows which continue prompts get the logits of whole rows.

    Args:
        policy: the model, in evaluation mode.
        make: makes a decoder of policy, prompts (B, P), lengths (B,), rows a prompt, and most steps.
        prompts: tokens of the two prompts.
        first: the lowest id among them.
    """
    width = max(prompts) + 2
    ids = torch.arange(first, first + 2 * width, device=policy.device).view(2, width) % policy.vocab_size
    lengths = torch.tensor(prompts, device=policy.device)
    tail = ids[:, -2:].repeat_interleave(2, 0)
    tail[1::2] = tail[1::2].flip(1)
    rows = make(policy, ids, lengths, 2, 2)
    for tokens in tail.unbind(1):
        rows.step(tokens)
    rows.select(torch.tensor([1, 3], device=policy.device))
    expected = []
    for prompt, row in ((0, 1), (1, 3)):
        whole = torch.cat((ids[prompt, : lengths[prompt]], tail[row]))[None]
        with policy.autocast():
            logits = policy.model(input_ids=whole, use_cache=False).logits
        expected.append(policy.restrict(logits[:, -1]))
    return backbone.alike(policy.model, rows.logits, torch.cat(expected))
