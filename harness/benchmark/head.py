"""The plain keys at the top of a benchmark file."""

from __future__ import annotations

import importlib.metadata
import re
from typing import Annotated, Final, TypeAlias

from pydantic import AfterValidator

from harness.spec.benchmark import Benchmark, TableName
from harness.spec.section import DISPLAY, RESULT, Section, Seed, mark

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DEFAULTS: Final = Benchmark.model_fields


def check_name(name: str) -> str:
    """Return a name that becomes part of a path; raise ValueError for one that must not."""
    if not _NAME.fullmatch(name) or ".." in name:
        raise ValueError("is not a name: up to 64 letters, digits, '.', '_' and '-', a letter or digit first")
    return name


def installed(distribution: str) -> bool:
    """Return whether a distribution is there, by the name that pip calls it."""
    try:
        importlib.metadata.distribution(distribution)
    except (importlib.metadata.PackageNotFoundError, ValueError):  # ValueError: it is no name at all
        return False
    return True


def _check_title(title: str) -> str:
    if not title.isprintable():
        raise ValueError("must be one line of printable text")
    return title


#: A name that becomes part of a path.
Name: TypeAlias = Annotated[str, AfterValidator(check_name)]


class Head(Section):
    """What a benchmark is called, and its lists of plain values."""

    benchmark: Name = mark(DISPLAY)
    """Name of the benchmark: its results lie in a folder of this name."""
    title: Annotated[str, AfterValidator(_check_title)] = mark(DISPLAY, "")
    """One line above the tables."""
    description: str = mark(DISPLAY, "")
    requires: tuple[str, ...] = mark(DISPLAY, ())
    """Distributions that offer plugins of the file, as pip calls them: where one is missing, it is named."""
    seeds: tuple[Seed, ...] = mark(RESULT, min_length=1)
    """One run of every row a seed."""
    tables: tuple[TableName, ...] = mark(DISPLAY, _DEFAULTS["tables"].default, min_length=1)
    """The tables to write."""
    pareto: tuple[str, ...] = mark(DISPLAY, (), min_length=2, max_length=3)
    """Two or three columns (METRIC.COLUMN) between which the rows of a sweep trade; ``-`` before one where less is
    better and the column itself does not say so."""
    published: Name | None = mark(DISPLAY, None)
    """Name of the published figures that tables put beside the measured ones."""
