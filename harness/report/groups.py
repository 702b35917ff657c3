"""Which prompts of a data set belong together, where the benchmark file says that some do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.spec.results.rows import DataRow
from harness.store.identity import canonical

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.report.results import Results


def group_column(results: Results, dataset: str) -> str | None:
    """Return the column of the rows that groups the prompts of a data set; None where prompts are not grouped."""
    uses = results.manifest.config.evaluate
    return next((use.group for use in uses if (use.label or use.dataset) == dataset), None)


def read_groups(results: Results, dataset: str) -> Mapping[str, str] | None:
    """Return the group of each row, by its id; None where the rows are not stored."""
    name = group_column(results, dataset)
    if name is None:
        return None
    described = next(data for data in results.manifest.datasets if data.label == dataset)
    record = results.find("prepare", described.stage)
    if record is None:
        return None
    rows = record.lines(DataRow)
    return {row.id: canonical(row.columns.get(name, row.fields.get(name))).decode() for row in rows}


def groups_of(results: Results, dataset: str, ids: Sequence[str], known: Mapping[str, str] | None) -> list[str] | None:
    """Return a group for each prompt; None where prompts are not grouped.

    Where the rows that say it are not stored any more, all count as one: nothing can be claimed then.
    """
    if group_column(results, dataset) is None:
        return None
    return ["" if known is None else known.get(name, name) for name in ids]
