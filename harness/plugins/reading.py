"""Columns of the data that a reward or a metric may read: what its registration declares, and nothing else.

What is undeclared is handed over all the same, as something that is an error to read: a function that takes every
column and looks at none of them is not a mistake.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn, Self

from harness.errors import PluginError
from harness.plugins.called_with import CALLED_WITH
from harness.plugins.protocols import declaring

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from harness.api.registration import MetricRegistration, RewardRegistration
    from harness.api.types import Sample

#: What every metric may read beside columns of the data: the texts that the prompt was made of.
FIELDS = "fields"


class UndeclaredError(PluginError):
    """A plugin uses what its registration does not declare."""


class Hidden(tuple[Any, ...]):  # noqa: SLOT001  # a tuple of variable size has no slots
    """Stands for a column that was not declared: whoever reads it is told so.

    A tuple, because that is what the column would be.
    """

    def __new__(cls, column: str, reads: Iterable[str], where: str) -> Self:
        """Stand for ``column`` of a plugin that ``where`` names and that declares ``reads``."""
        hidden = super().__new__(cls)
        hidden._told = (column, tuple(reads), where)
        return hidden

    _told: tuple[str, tuple[str, ...], str]

    def _refuse(self, *_: object) -> NoReturn:
        raise undeclared(*self._told)

    __len__ = __bool__ = __iter__ = __getitem__ = __contains__ = __reversed__ = _refuse
    __add__ = __mul__ = __rmul__ = __lt__ = __le__ = __gt__ = __ge__ = index = count = _refuse

    def __eq__(self, other: object) -> bool:
        """Compare as an object: what it stands for is nobody's to see."""
        return self is other

    def __hash__(self) -> int:
        """Hash as an object."""
        return id(self)

    def __repr__(self) -> str:
        """Say what it is."""
        return f"<column {self._told[0]!r}, which is not declared>"

    def __deepcopy__(self, _: object) -> Self:
        """Return itself: there is nothing in it to change."""
        return self


def undeclared(column: str, reads: Sequence[str], where: str) -> UndeclaredError:
    """Return the error of reading a column that a registration does not declare."""
    return UndeclaredError(
        f"it reads the column {column!r}, which its registration does not declare",
        where=where,
        expected=declaring(column, reads),
    )


def reading(function: Callable[..., Any], registration: RewardRegistration, where: str) -> Callable[..., Any]:
    """Return a reward that sees the columns which its registration (as options make it) declares."""
    declared = {*CALLED_WITH, *registration.reads, *registration.may_read}

    def call(**asked: Any) -> Any:
        shown = {
            name: value if name in declared else Hidden(name, registration.reads, where)
            for name, value in asked.items()
        }
        return function(**shown)

    return call


class Columns(dict[str, Any]):
    """The columns of one row that a metric declared; asking for another one is an error."""

    def __init__(self, columns: Iterable[tuple[str, Any]], reads: Sequence[str], where: str) -> None:
        """Keep what is declared."""
        super().__init__(columns)
        self._reads = reads
        self._where = where

    def __missing__(self, name: str) -> NoReturn:
        """Refuse what is not declared; a declared column that the row lacks is a KeyError, as ever."""
        self._refuse(name)
        raise KeyError(name)

    def get(self, name: str, default: Any = None) -> Any:
        """Return a column of the row, or ``default``; refuse what is not declared."""
        self._refuse(name)
        return super().get(name, default)

    def __contains__(self, name: object) -> bool:
        """Return whether the row has a column; refuse what is not declared."""
        self._refuse(name)
        return super().__contains__(name)

    def _refuse(self, name: object) -> None:
        if name != FIELDS and name not in self._reads:
            raise undeclared(str(name), self._reads, self._where)


def shown_samples(samples: Iterable[Sample], registration: MetricRegistration, where: str) -> Iterator[Sample]:
    """Yield answers with the columns that a metric's registration (as options make it) declares."""
    declared = (*registration.reads, *registration.may_read)
    hidden = Hidden("references", registration.reads, where)
    for sample in samples:
        columns = [(name, value) for name, value in sample.columns.items() if name in (FIELDS, *declared)]
        yield replace(
            sample,
            references=sample.references if "references" in declared else hidden,
            columns=Columns(columns, declared, where),
        )
