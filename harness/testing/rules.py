"""What a check is just looking at, in words: for whoever wants to tell its parts, and what each took."""

from __future__ import annotations

import contextlib
import time
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Rule:
    """One thing that a plugin must keep."""

    words: str
    seconds: float
    broken: str | None = None
    """What was broken; None where it is kept."""


_HEARD: Final[ContextVar[list[Rule] | None]] = ContextVar("rules that were looked at", default=None)


@contextlib.contextmanager
def heard() -> Iterator[list[Rule]]:
    """Give a list that each rule of the checks which are called inside is added to."""
    rules: list[Rule] = []
    token = _HEARD.set(rules)
    try:
        yield rules
    finally:
        _HEARD.reset(token)


@contextlib.contextmanager
def rule(words: str) -> Iterator[None]:
    """Tell the rule that is looked at inside, kept unless something is raised, and how long that took."""
    rules = _HEARD.get()
    began, inner = time.perf_counter(), len(rules or ())
    try:
        yield
    except Exception as error:
        if rules is not None and all(found.broken is None for found in rules[inner:]):
            rules.append(Rule(words, time.perf_counter() - began, str(error) or type(error).__name__))
        raise
    if rules is not None:
        rules.append(Rule(words, time.perf_counter() - began))
