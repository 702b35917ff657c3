"""Rows for a training forward: a prompt once, with all its completions behind it, under a tree of attention.

``[prompt][completion 1] … [completion K]`` in one row: every completion sees the prompt and itself, and its positions
restart where the prompt ends, so each token gets the hidden state it would have in a sequence of its own. K sequences
of prompt + completion tokens become prompt + K completions. A completion's last token predicts nothing and is left out.
Where attention can be told where trees begin and end, all of them lie in one row, and nothing is padding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

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
    mask: Tensor | None
    """(R, 1, L, L) additive; None where the model's own causal mask is right."""
    sources: Tensor
    """(N,) int64: flat index into (R, L) of the position that predicts each scored token."""
    targets: Tensor
    """(N,) int64: the scored tokens."""
    places: Tensor
    """(N,) int64: flat index of each scored token into (B, K, T)."""
    shape: tuple[int, int, int]
    """(B, K, T)."""
    forest: Forest | None = None
    """What lies in the only row, where attention goes by that."""


def pack(prompts: Prompts, completions: Completions, dtype: torch.dtype, *, flat: bool = False) -> Packed:
    """Pack each prompt with all its completions into a row, or all of them into one.

    Args:
        prompts: B prompts of at least one token.
        completions: (B, K, T); absent ones (length 0) take no room.
        dtype: of the additive mask, the model's own.
        flat: into one row, without padding and without a mask.
    """
    _check(prompts, completions)
    device = prompts.ids.device
    batch, group, _ = completions.ids.shape
    inner = (completions.lengths - 1).clamp(min=0)
    starts = prompts.lengths[:, None] + inner.cumsum(1) - inner
    totals = prompts.lengths + inner.sum(1)
    width = int(totals.sum() if flat else totals.max())
    rows = 1 if flat else batch
    origins = totals.cumsum(0) - totals if flat else torch.arange(batch, device=device) * width
    row, candidate, place = completions.mask.nonzero(as_tuple=True)
    source = torch.where(place == 0, prompts.lengths[row] - 1, starts[row, candidate] + place - 1)

    ids = torch.zeros(rows * width, dtype=torch.int64, device=device)
    positions = torch.zeros_like(ids)
    part = torch.full_like(ids, group + 1)  # of padding, until something lies there
    columns = torch.arange(prompts.ids.shape[1], device=device)
    b, p = (columns < prompts.lengths[:, None]).nonzero(as_tuple=True)
    head = origins[b] + p
    ids[head], positions[head], part[head] = prompts.ids[b, p], p, 0
    fed = place < inner[row, candidate]
    r, k, t = row[fed], candidate[fed], place[fed]
    tail = origins[r] + starts[r, k] + t
    ids[tail], positions[tail], part[tail] = completions.ids[r, k, t], prompts.lengths[r] + t, k + 1
    forest = mask = None
    if flat:
        sizes = zip(prompts.lengths.tolist(), inner.tolist(), strict=True)
        forest = Forest(tuple(Tree(prompt, tuple(size for size in each if size)) for prompt, each in sizes))
    elif int((inner > 0).sum(1).max()) > 1:
        mask = _tree(part.view(rows, width), dtype)
    else:  # a position that did not grow by one would pass for the start of another sequence
        positions = torch.arange(width, device=device).repeat(rows)
    return Packed(
        ids.view(rows, width),
        positions.view(rows, width),
        mask,
        origins[row] + source,
        completions.ids[row, candidate, place],
        (row * group + candidate) * completions.ids.shape[2] + place,
        (batch, group, completions.ids.shape[2]),
        forest,
    )


def pad(prompts: Prompts, completions: Completions) -> Packed:
    """Put each prompt with one completion into a row of its own, for models that cannot take a tree: R = B x K.

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
        None,
        flat * width + heads[flat] + place - 1,
        completions.ids[row, candidate, place],
        flat * completions.ids.shape[2] + place,
        (batch, group, completions.ids.shape[2]),
    )


def _tree(part: Tensor, dtype: torch.dtype) -> Tensor:
    """(R, 1, L, L): 0 where position i may look at j, which is the prompt (part 0) or i's own part, and not later.

    Padding is a part of its own: it looks at the prompt and itself, so that no row of the softmax is empty, and nobody
    looks at it.
    """
    width = part.shape[1]
    allowed = (part[:, None, :] == part[:, :, None]) | (part[:, None, :] == 0)
    allowed &= torch.ones(width, width, dtype=torch.bool, device=part.device).tril_()
    mask = torch.zeros(allowed.shape, dtype=dtype, device=part.device)
    return mask.masked_fill_(~allowed, torch.finfo(dtype).min)[:, None]


def _check(prompts: Prompts, completions: Completions) -> None:
    if len(prompts) != len(completions):
        raise ValueError("as many groups of completions as prompts")
    if len(prompts) and int(prompts.lengths.min()) < 1:
        raise ValueError("a prompt without a token predicts nothing")
