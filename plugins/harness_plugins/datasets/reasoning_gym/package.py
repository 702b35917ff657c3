"""The package reasoning-gym: whether it is there, which tasks it has, and a task's items."""

from __future__ import annotations

import dataclasses
import functools
import warnings
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Final

from harness.api import InputError, suggest

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Items that one seed has here; its successors begin behind them.
APART: Final = 10_000
#: What the data set sets, so that no file may.
_OURS: Final = ("seed", "size")
_WHERE: Final = "data set reasoning-gym"


@functools.cache
def installed() -> str | None:
    """Return the version of the package; None where it is not installed."""
    try:
        return version("reasoning-gym")
    except PackageNotFoundError:
        return None


def check_installed() -> str:
    """Return the version of the package; InputError where it is not installed."""
    there = installed()
    if there is None:
        raise InputError(
            "the package reasoning-gym is not installed", where=_WHERE,
            hint="pip install 'posttune-harness[reasoning]'",
        )  # fmt: skip
    return there


def checked_version(made: str) -> None:
    """Refuse to score rows that another version of the package made: its items may be others."""
    there = check_installed()
    if there != made:
        raise InputError(
            "the rows were made by another version of reasoning-gym", where=_WHERE, got=there, expected=made,
            hint="run again, which makes the rows anew",
        )  # fmt: skip


def tasks() -> Mapping[str, tuple[Any, Any]]:
    """Return class of items and class of settings of each task, by name."""
    known: Mapping[str, tuple[Any, Any]] = _package().factory.DATASETS
    return known


def _package() -> Any:
    check_installed()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)  # of what it depends on, as its files are compiled
        import reasoning_gym
    return reasoning_gym


def check_task(task: str) -> None:
    """Refuse a task that the package does not have."""
    known = tasks()
    if task not in known:
        raise InputError(
            "reasoning-gym has no such task", got=task, expected="one of its tasks", did_you_mean=suggest(task, known)
        )


def check_settings(task: str, difficulty: Mapping[str, Any]) -> None:
    """Refuse settings that a task does not have, or whose values it refuses."""
    check_task(task)
    names = [field.name for field in dataclasses.fields(tasks()[task][1]) if field.name not in _OURS]
    for name in difficulty:
        if name in _OURS:
            expected = "the option `seed` of the data set" if name == "seed" else "`train`, `validation` and `test`"
            raise InputError(f"{name} is not a setting of difficulty", got=difficulty[name], expected=expected)
        if name not in names:
            raise InputError(
                f"the task {task} has no such setting", got=name, expected=f"one of {', '.join(names)}",
                did_you_mean=suggest(name, names),
            )  # fmt: skip
    create(task, difficulty, 0)


def create(task: str, difficulty: Mapping[str, Any], seed: int) -> Any:
    """Return the items of a task: anything that can be asked for ``made[i]`` and has ``score_answer(text, item)``.

    Raises:
        InputError: the task refuses the values of its settings.
    """
    package = _package()
    try:
        return package.create_dataset(task, seed=seed, size=APART, **difficulty)
    except Exception as error:  # the package checks by assertions, and what else fails is the values' fault too
        what = f"the task {task} refuses these settings: {str(error) or type(error).__name__}"
        raise InputError(what, where=_WHERE, got=dict(difficulty)) from error
