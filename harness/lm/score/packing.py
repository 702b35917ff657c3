"""Rows of a scoring forward: packed into one on the fast way, padded on the general one.

``[prompt][completion 1] … [completion K]`` is a tree: every completion sees the prompt and itself, and its positions
restart where the prompt ends, so each token gets the hidden state it would have in a sequence of its own. K sequences
of prompt + completion tokens become prompt + K completions. The trees of a batch lie in one row without padding. A
completion's last token predicts nothing and is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from harness.lm.attention import KEYWORD, NAME
from harness.lm.score.trees import Forest, Tree

if TYPE_CHECKING:
    from torch import Tensor

    from harness.api import Completions, Prompts


@dataclass(frozen=True)
class Packed:
    """R rows of L tokens, and where in them the N scored tokens are predicted."""

    input_ids: Tensor
    """(R, L) int64; 0 where padded."""
    position_ids: Tensor
    """(R, L) int64."""
    sources: Tensor
    """(N,) int64: flat index into (R, L) of the position that predicts each scored token."""
    targets: Tensor
    """(N,) int64: the scored tokens."""
    places: Tensor
    """(N,) int64: flat index of each scored token into (B, K, T)."""
    shape: tuple[int, int, int]
    """(B, K, T)."""
    forest: Forest | None = None
    """Who sees whom in the only row of trees; None where causal attention of each row is right."""

    def inputs(self) -> dict[str, Any]:
        """Return the arguments of a model's forward, under transformers' names."""
        given = {"input_ids": self.input_ids, "position_ids": self.position_ids}
        return given if self.forest is None else {**given, KEYWORD: self.forest}

    @property
    def attention(self) -> str | None:
        """The name of the attention that this asks for, None for the model's own."""
        return None if self.forest is None else NAME

    def place(self, values: Tensor) -> Tensor:
        """Spread (N, …) of the scored tokens over (B, K, T, …), 0 elsewhere."""
        batch, group, width = self.shape
        flat = values.new_zeros(batch * group * width, *values.shape[1:]).index_put((self.places,), values)
        return flat.view(batch, group, width, *values.shape[1:])


def pack(prompts: Prompts, completions: Completions) -> Packed:
    """Put each prompt with all its completions, and all prompts, into one row.

    Args:
        prompts: B prompts of at least one token.
        completions: (B, K, T); absent ones (length 0) take no room.
    """
    _check(prompts, completions)
    device = prompts.ids.device
    batch, group, _ = completions.ids.shape
    inner = (completions.lengths - 1).clamp(min=0)
    starts = prompts.lengths[:, None] + inner.cumsum(1) - inner
    totals = prompts.lengths + inner.sum(1)
    origins = totals.cumsum(0) - totals
    row, candidate, place = completions.mask.nonzero(as_tuple=True)
    source = torch.where(place == 0, prompts.lengths[row] - 1, starts[row, candidate] + place - 1)

    ids = torch.zeros(int(totals.sum()), dtype=torch.int64, device=device)
    positions = torch.zeros_like(ids)
    columns = torch.arange(prompts.ids.shape[1], device=device)
    b, p = (columns < prompts.lengths[:, None]).nonzero(as_tuple=True)
    head = origins[b] + p
    ids[head], positions[head] = prompts.ids[b, p], p
    fed = place < inner[row, candidate]
    r, k, t = row[fed], candidate[fed], place[fed]
    tail = origins[r] + starts[r, k] + t
    ids[tail], positions[tail] = completions.ids[r, k, t], prompts.lengths[r] + t
    sizes = zip(prompts.lengths.tolist(), inner.tolist(), strict=True)
    forest = Forest(tuple(Tree(prompt, tuple(size for size in each if size)) for prompt, each in sizes))
    return Packed(
        ids[None],
        positions[None],
        origins[row] + source,
        completions.ids[row, candidate, place],
        (row * group + candidate) * completions.ids.shape[2] + place,
        (batch, group, completions.ids.shape[2]),
        forest,
    )


def pad(prompts: Prompts, completions: Completions) -> Packed:
    """Put each prompt with one completion into a row of its own: R = B x K.

    Padding stands at the right end, where a causal model does not look: it needs no mask.
    """
    _check(prompts, completions)
    device = prompts.ids.device
    batch, group, _ = completions.ids.shape
    heads = prompts.lengths.repeat_interleave(group)
    inner = (completions.lengths - 1).clamp(min=0).view(-1)
    width = int((heads + inner).max())
    row, candidate, place = completions.mask.nonzero(as_tuple=True)
    flat = row * group + candidate
    places = torch.arange(width, device=device).expand(batch * group, width)
    ids = torch.zeros(batch * group, width, dtype=torch.int64, device=device)
    span = min(width, prompts.ids.shape[1])
    wide = prompts.ids[:, :span].repeat_interleave(group, 0)
    ids[:, :span] = torch.where(places[:, :span] < heads[:, None], wide, 0)
    fed = place < inner[flat]
    ids[flat[fed], heads[flat[fed]] + place[fed]] = completions.ids[row[fed], candidate[fed], place[fed]]
    return Packed(
        ids,
        places,
        flat * width + heads[flat] + place - 1,
        completions.ids[row, candidate, place],
        flat * completions.ids.shape[2] + place,
        (batch, group, completions.ids.shape[2]),
    )


def _check(prompts: Prompts, completions: Completions) -> None:
    if len(prompts) != len(completions):
        raise ValueError("as many groups of completions as prompts")
    if len(prompts) and int(prompts.lengths.min()) < 1:
        raise ValueError("a prompt without a token predicts nothing")
