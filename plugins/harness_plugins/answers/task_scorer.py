"""reasoning-gym's own scorer of a task, for rows that its data set made."""

from __future__ import annotations

import functools
import json
from typing import TYPE_CHECKING, Any

from harness_plugins.datasets.reasoning_gym.package import checked_version, create

if TYPE_CHECKING:
    from collections.abc import Mapping


def score(text: str, task: Mapping[str, Any]) -> float:
    """Return what the task's scorer gives a text, in [0, 1]; 0 for a text that it fails on.

    The item is made again from task, difficulty and seed, so that the scorer sees what it made and no copy of it.

    Args:
        text: the answer.
        task: the row's column ``reasoning_gym``: ``task``, ``difficulty``, ``seed``, ``item`` and ``version``.

    Raises:
        InputError: the package is missing, or is not the version that made the row.
    """
    checked_version(task["version"])
    made = _made(task["task"], json.dumps(task["difficulty"], sort_keys=True), task["seed"])
    try:
        given = made.score_answer(text, _entry(made, task["item"]))
    except (ArithmeticError, AttributeError, LookupError, RecursionError, SyntaxError, TypeError, ValueError):
        return 0.0  # scorers parse what they are given, and not all expect everything
    return min(1.0, max(0.0, float(given)))


@functools.lru_cache(maxsize=64)
def _made(task: str, difficulty: str, seed: int) -> Any:
    return create(task, json.loads(difficulty), seed)


@functools.lru_cache(maxsize=20_000)
def _entry(made: Any, item: int) -> Any:
    return made[item]
