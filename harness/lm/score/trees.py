"""Attention inside prompts and completions that lie one behind the other in a single row, without a mask over all.

A mask over a row of n tokens costs products of n x n, most of which it then throws away: completions do not see each
other, nor one prompt another. Here a prompt attends causally to itself, and each completion to its prompt and itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn

#: The name under which transformers knows :func:`_attend`.
NAME = "harness_tree"
#: The keyword by which it gets a :class:`Forest`.
KEYWORD = "harness_forest"
#: Tokens of a tree up to which one product under a mask is faster than a few small ones.
_SMALL = 192


@dataclass(frozen=True)
class Tree:
    """A prompt and its completions, in tokens that are fed."""

    prompt: int
    completions: tuple[int, ...]
    """Those with at least one token."""

    @property
    def tokens(self) -> int:
        """All of them."""
        return self.prompt + sum(self.completions)

    @property
    def apart(self) -> bool:
        """Whether its parts are attended to one by one: one completion behind a prompt is plain causal attention."""
        return len(self.completions) > 1 and self.tokens > _SMALL


@dataclass(frozen=True)
class Forest:
    """The trees of a row, one behind the other: L tokens."""

    trees: tuple[Tree, ...]
    _masks: dict[Any, Tensor] = field(default_factory=dict, compare=False, repr=False)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, **options: Any) -> Tensor:
        """Return what the tokens attend to.

        Args:
            query: (1, H, L, D).
            key: (1, G, L, D).
            value: (1, G, L, D).
            options: of torch's ``scaled_dot_product_attention``.

        Returns:
            (1, L, H, D).
        """
        pieces: Any = [piece for tree in self.trees for piece in _pieces(tree)]
        queries, keys, values = (torch.split(states, pieces, dim=2) for states in (query, key, value))
        found: list[Tensor] = []
        place = 0
        for tree in self.trees:
            count = len(_pieces(tree))
            prompt, *completions = zip(*(s[place : place + count] for s in (queries, keys, values)), strict=True)
            place += count
            first = self._first(tree, prompt[0])
            found.append(_sdpa(prompt[0], prompt[1], prompt[2], **first, **options))
            for own, own_keys, own_values in completions:
                seen = [torch.cat(states, 2) for states in zip(prompt[1:], (own_keys, own_values), strict=True)]
                mask = self._tail_mask(tree.prompt, own.shape[2], query)
                found.append(_sdpa(own, seen[0], seen[1], attn_mask=mask, **options))
        return torch.cat(found, 1)

    def _first(self, tree: Tree, query: Tensor) -> dict[str, Any]:
        """Return how the first piece of a tree sees itself: the prompt, or all of the tree."""
        if not tree.apart and len(tree.completions) > 1:
            return {"attn_mask": self._tree_mask(tree, query)}
        return {"is_causal": True}

    def _tail_mask(self, prompt: int, own: int, like: Tensor) -> Tensor:
        """(1, 1, own, prompt + own): 0 but for what comes later."""
        key = (prompt, own)
        if key not in self._masks:
            later = torch.ones(own, own, dtype=torch.bool, device=like.device).triu_(1)
            self._masks[key] = _additive(torch.nn.functional.pad(later, (prompt, 0)), like)
        return self._masks[key]

    def _tree_mask(self, tree: Tree, like: Tensor) -> Tensor:
        """(1, 1, L, L) of one tree: each part sees the prompt and itself."""
        if tree not in self._masks:
            sizes = torch.tensor((tree.prompt, *tree.completions), device=like.device)
            part = torch.arange(len(sizes), device=like.device).repeat_interleave(sizes)
            hidden = (part[:, None] != part) & (part > 0)
            hidden |= torch.ones_like(hidden).triu_(1)
            self._masks[tree] = _additive(hidden, like)
        return self._masks[tree]


def _pieces(tree: Tree) -> Sequence[int]:
    """Return the sizes of what is attended to by itself: the whole tree, or its prompt and each completion."""
    return (tree.prompt, *tree.completions) if tree.apart else (tree.tokens,)


def _additive(hidden: Tensor, like: Tensor) -> Tensor:
    mask = torch.zeros(hidden.shape, dtype=like.dtype, device=like.device)
    return mask.masked_fill_(hidden, torch.finfo(like.dtype).min)[None, None]


def _sdpa(query: Tensor, key: Tensor, value: Tensor, **options: Any) -> Tensor:
    """(1, H, L, D) to (1, L, H, D)."""
    return scaled_dot_product_attention(query, key, value, **options).transpose(1, 2)


def _attend(
    module: nn.Module,  # noqa: ARG001  # transformers' signature
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,  # noqa: ARG001  # the forest says who sees whom
    dropout: float = 0.0,
    scaling: float | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    forest: Forest = options[KEYWORD]
    shared = query.shape[1] != key.shape[1]
    return forest.attend(query, key, value, dropout_p=dropout, scale=scaling, enable_gqa=shared), None


AttentionInterface.register(NAME, _attend)
