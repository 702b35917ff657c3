"""Whether the data has the columns that methods, rewards and metrics read: said before anything is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError, InputError, InputErrors, suggest
from harness.execution.rehearsal import plugins_of
from harness.stages.stored_rows import read

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from harness.plan import Stage
    from harness.plugins.registry import Registry
    from harness.store.records import Record
    from harness.store.stages import Store

#: What a metric may lack on some data sets, as long as it has it on one: its values are then missing there.
REFERENCES = "references"


class DataColumns:
    """The columns of prepared rows, each read once."""

    def __init__(self, registry: Registry, store: Store) -> None:
        """Read from ``store`` what plugins of ``registry`` ask for."""
        self._registry = registry
        self._store = store
        self._known: dict[str, frozenset[str]] = {}

    def check(self, stages: Iterable[Stage]) -> None:
        """Refuse stages as :func:`check_columns` does, as far as their data is prepared."""
        check_columns(stages, self._registry, self._find)

    def _find(self, stage: Stage) -> frozenset[str] | None:
        if not stage.done or stage.id is None:
            return None
        if stage.id not in self._known:
            self._known[stage.id] = columns_of(self._store.open("prepare", stage.id))
        return self._known[stage.id]


def check_columns(stages: Iterable[Stage], registry: Registry, find: Callable[[Stage], Collection[str] | None]) -> None:
    """Refuse stages whose plugins read what no row of their data has.

    Args:
        stages: all that are to be made.
        registry: the plugins.
        find: returns the columns of the rows that a stage prepares; None where they are not prepared yet.

    Raises:
        InputError: a column is missing.
        InputErrors: several are.
    """
    #: What reads a column, by rows and column; and the rows that each reader of references reads them from.
    readers: dict[tuple[str, str], str] = {}
    compared: dict[str, set[str]] = {}
    rows: dict[str, Stage] = {}
    for stage in stages:
        prepared = stage.parents.get("rows")
        if prepared is None:
            continue
        rows[prepared.key] = prepared
        for kind, name, options in plugins_of(stage):
            registration: Any = registry.resolved(kind, name, options)
            for column in getattr(registration, "reads", ()):
                if kind == "metric" and column == REFERENCES:
                    compared.setdefault(registry.find(kind, name).named, set()).add(prepared.key)
                else:
                    readers.setdefault((prepared.key, column), registry.find(kind, name).named)
    columns = {key: found for key, stage in rows.items() if (found := find(stage)) is not None}
    errors: list[HarnessError] = [
        _missing(column, reader, [rows[key].label], columns[key])
        for (key, column), reader in readers.items()
        if key in columns and column not in columns[key]
    ]
    for reader, keys in compared.items():
        if keys <= columns.keys() and not any(REFERENCES in columns[key] for key in keys):
            read_from = {column for key in keys for column in columns[key]}
            errors.append(_missing(REFERENCES, reader, sorted(rows[key].label for key in keys), read_from))
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise InputErrors(errors)


def columns_of(record: Record) -> frozenset[str]:
    """Return the columns, ``references`` among them, that one row at least has a value of."""
    columns: set[str] = set()
    for example in read(record):
        columns.update(name for name, value in example.columns.items() if value is not None)
        if example.references or example.demonstration is not None:  # as :class:`Example` has it
            columns.add(REFERENCES)
    return frozenset(columns)


def _missing(column: str, reader: str, labels: list[str], columns: Collection[str]) -> InputError:
    listed = ", ".join(sorted(columns)) or "none"
    return InputError(
        f"no row has the column {column!r}, which {reader} reads",
        where=", ".join(labels),
        expected=f"one of the columns there are: {listed}",
        did_you_mean=suggest(column, columns),
    )
