"""Batches that need not be computed again: how a long computation is told of what an interrupted one has finished."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

#: Called with what a batch is computed from, as plain JSON, and what computes it; returns the batch's values, plain
#: JSON too: those that it knows, or those that it lets compute, and may keep.
Keep: TypeAlias = Callable[[Any, Callable[[], Any]], Any]


def at_once(key: Any, compute: Callable[[], Any]) -> Any:  # noqa: ARG001  # nothing is looked up
    """Compute, and keep nothing."""
    return compute()
