"""Who sees whom among prompts and completions that lie one behind the other in a single row.

A prompt attends causally to itself, and each completion to its prompt and itself. One mask over a row of n tokens
would cost products of n x n, most of them thrown away, so the row is cut. On a processor each prompt and each
completion makes a product of its own. On a GPU, where one more product costs more than padding, all trees are set
side by side, padded to the largest, in one product under a mask; where that mask is large, FlexAttention takes its
place (:mod:`harness.lm.cuda.flex`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from harness.lm.attention import additive, product
from harness.lm.cuda import flex
from harness.lm.cuda.sizes import FLEX_FROM, PIECEWISE

if TYPE_CHECKING:
    from torch import Tensor

    from harness.lm.attention import Settings


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
    def pieces(self) -> tuple[int, ...]:
        """Sizes of what makes a product by itself; one completion behind a prompt is plain causal attention."""
        return (self.prompt, *self.completions) if len(self.completions) > 1 else (self.tokens,)


@dataclass(frozen=True)
class Forest:
    """The trees of a row, one behind the other: L tokens. Implements :class:`harness.lm.attention.Layout`."""

    trees: tuple[Tree, ...]
    _masks: dict[Any, Tensor] = field(default_factory=dict, compare=False, repr=False)
    _packed: list[flex.PackedTrees] = field(default_factory=list, compare=False, repr=False)

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, settings: Settings) -> Tensor:  # noqa: ARG002  # a layer is like another
        """Return (1, L, H, E) of queries (1, H, L, D), keys (1, G, L, D) and values (1, G, L, E)."""
        if query.device.type in PIECEWISE:
            return self._apart(query, key, value, settings)
        masked = len(self.trees) * max(tree.tokens for tree in self.trees) ** 2 >= FLEX_FROM
        form = self._by_rule if masked and flex.wanted(query, settings) else self._together
        return form(query, key, value, settings)

    def _by_rule(self, query: Tensor, key: Tensor, value: Tensor, settings: Settings) -> Tensor:
        if not self._packed:
            sizes = [(tree.prompt, tree.completions) for tree in self.trees]
            self._packed.append(flex.PackedTrees(sizes, query.device))
        return self._packed[0].attend(query, key, value, settings).transpose(1, 2)

    def _apart(self, query: Tensor, key: Tensor, value: Tensor, settings: Settings) -> Tensor:
        sizes: Any = [size for tree in self.trees for size in tree.pieces]
        asked, keys, values = (list(torch.split(states, sizes, 2)) for states in (query, key, value))
        outcomes: list[Tensor] = []
        for tree in self.trees:
            first = len(outcomes)  # the prompt
            for place in range(first, first + len(tree.pieces)):
                before = 0 if place == first else tree.prompt
                if before:
                    keys[place], values[place] = (torch.cat((s[first], s[place]), 2) for s in (keys, values))
                outcomes.append(self._behind(before, asked[place], keys[place], values[place], settings))
        return torch.cat(outcomes, 2).transpose(1, 2)

    def _behind(self, before: int, query: Tensor, key: Tensor, value: Tensor, settings: Settings) -> Tensor:
        """Return what the last of some tokens find, that stand behind ``before`` others: (1, H, own, E)."""
        own, window = query.shape[2], settings.window
        bites = window is not None and before + own > window
        if not (before or bites):
            return product(query, key, value, settings, causal=True)
        which = (before, own, window if bites else None, query.dtype)
        if which not in self._masks:
            places = torch.arange(before + own, device=query.device)
            self._masks[which] = additive(_hidden(places[before:], places, which[2]), query)
        return product(query, key, value, settings, mask=self._masks[which])

    def _together(self, query: Tensor, key: Tensor, value: Tensor, settings: Settings) -> Tensor:
        count, width = len(self.trees), max(tree.tokens for tree in self.trees)
        places = self._places(width, query.device)
        asked, keys, values = (self._grid(states, count, width, places) for states in (query, key, value))
        window = None if settings.window is None or width <= settings.window else settings.window
        plain = window is None and all(len(tree.completions) < 2 for tree in self.trees)
        mask = None if plain else self._grid_mask(width, window, query)
        outcome = product(asked, keys, values, settings, mask=mask, causal=plain)
        return outcome.transpose(1, 2).flatten(0, 1)[places][None]

    def _grid(self, states: Tensor, count: int, width: int, places: Tensor) -> Tensor:
        """(1, H, L, D) to (B, H, W, D), 0 where padded."""
        rows = states[0].transpose(0, 1)
        if len(rows) < count * width:
            rows = rows.new_zeros(count * width, *rows.shape[1:]).index_copy(0, places, rows)
        return rows.view(count, width, *rows.shape[1:]).transpose(1, 2)

    def _places(self, width: int, device: torch.device) -> Tensor:
        """(L,): where tokens lie if each tree has ``width`` places."""
        if "places" not in self._masks:
            each = [torch.arange(tree.tokens) + number * width for number, tree in enumerate(self.trees)]
            self._masks["places"] = torch.cat(each).to(device)
        return self._masks["places"]

    def _grid_mask(self, width: int, window: int | None, like: Tensor) -> Tensor:
        """(B, 1, W, W): each part sees the prompt and itself; padding sees itself, so that no softmax is empty."""
        which = ("grid", window, like.dtype)
        if which not in self._masks:
            part = torch.full((len(self.trees), width), -1)
            position = torch.zeros(len(self.trees), width, dtype=torch.int64)
            for number, tree in enumerate(self.trees):
                first = 0
                for name, size in enumerate((tree.prompt, *tree.completions)):
                    start = tree.prompt if name else 0
                    part[number, first : first + size] = name
                    position[number, first : first + size] = torch.arange(start, start + size)
                    first += size
            part, position = part.to(like.device), position.to(like.device)  # what follows is large
            hidden = (part[:, :, None] != part[:, None]) & (part[:, None] != 0)
            hidden |= _hidden(position, position, window)
            hidden |= (part[:, :, None] == -1) & (part[:, None] != -1)
            hidden &= ~torch.eye(width, dtype=torch.bool, device=like.device)
            self._masks[which] = additive(hidden, like)[:, None]
        return self._masks[which]


def _hidden(asking: Tensor, asked: Tensor, window: int | None) -> Tensor:
    """(…, M, N) bool: what stands later than a position (…, M) that asks, or too far before it, among (…, N)."""
    distance = asking[..., :, None] - asked[..., None, :]
    return distance < 0 if window is None else (distance < 0) | (distance >= window)
