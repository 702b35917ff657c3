"""Micro-batches: how the rows of a step are cut so that one forward holds a bounded number of tokens.

A cut changes memory and speed, and nothing else but rounding and, where dropout is on, which units are dropped: a loss
returns shares of the global loss, so the parts add up whatever they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from harness.api import Batch, Completions, Pairs, Prompts
from harness.errors import PluginError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: What helps where one row alone is too much to be scored.
HINT = "shorten max_prompt_length or max_completion_length, or use a smaller model"


def count_rows(rows: Mapping[str, Any]) -> int:
    """Return B, which all rows share.

    Raises:
        PluginError: something has no rows, or another number of them.
    """
    sizes = {name: _length(name, value) for name, value in rows.items()}
    if not sizes:
        raise PluginError("no rows were given", expected="at least one argument that has a row for each prompt")
    if len(set(sizes.values())) > 1:
        raise PluginError("the rows have different lengths", got=sizes, expected="one row for each prompt in each")
    return next(iter(sizes.values()))


def _length(name: str, value: Any) -> int:
    try:
        return len(value)
    except TypeError:
        raise PluginError(
            f"{name!r} has no rows",
            got=type(value).__name__,
            expected="something with a row for each prompt",
            hint="what is the same for all rows needs no argument: let the function use it from outside",
        ) from None


def take(value: Any, index: Sequence[int]) -> Any:
    """Return some rows of anything that has them."""
    if isinstance(value, torch.Tensor):
        return value[torch.tensor(index, dtype=torch.int64, device=value.device)]
    if isinstance(value, (list, tuple)):
        return type(value)(value[i] for i in index)
    return value[index]


def take_all(rows: Mapping[str, Any], index: Sequence[int]) -> dict[str, Any]:
    """Return some rows of every value."""
    return {name: take(value, index) for name, value in rows.items()}


def row_tokens(rows: Mapping[str, Any]) -> list[int]:
    """Return for each row the tokens of its prompt and of all its completions."""
    total: torch.Tensor | int = 0
    for value in rows.values():
        if isinstance(value, Batch):
            # undesirable completions are no demonstrations
            answers = value.completions if isinstance(value.completions, Completions) else value.demonstrations
            total = total + value.prompts.lengths + answers.lengths.sum(1)
            if isinstance(value.pairs, Pairs):  # and no stand-in for what a method does not read
                total = total + value.pairs.chosen.lengths.sum(1) + value.pairs.rejected.lengths.sum(1)
        elif isinstance(value, Prompts):
            total = total + value.lengths
        elif isinstance(value, Completions):
            total = total + value.lengths.sum(1)
        elif isinstance(value, Pairs):
            total = total + value.chosen.lengths.sum(1) + value.rejected.lengths.sum(1)
    if isinstance(total, int):
        return [1] * count_rows(rows)
    counts: list[int] = total.tolist()
    return counts
