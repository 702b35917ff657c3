"""All checks of a run: what is an error in its tables, and what else a reader must know."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, NamedTuple

from harness.report.checks.hacking import signs
from harness.report.checks.same_rows import same_rows
from harness.report.findings import listed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.report.columns import ComparedColumns


class Checked(NamedTuple):
    """What the checks found, in sentences."""

    errors: list[str]
    """What makes numbers of some rows worthless; the tables mark them and claim nothing of them."""
    findings: list[str]
    """What is to be known, and may be as it was meant."""


def checked(columns: ComparedColumns) -> Checked:
    """Check the results of a run."""
    return Checked([*_alike(columns), *_unvaried(columns)], [*same_rows(columns.results), *signs(columns)])


def _alike(columns: ComparedColumns) -> Iterator[str]:
    for row in columns.results.rows:
        for found in row.alike:
            yield f"{_name(columns, row.label, row.model)}: {found.text}"


def _unvaried(columns: ComparedColumns) -> Iterator[str]:
    results = columns.results
    datasets = [*results.datasets("in-data"), *results.datasets("cross")]
    for dataset, decoding, metric in product(datasets, results.decodings, results.manifest.metrics):
        for column in metric.columns:
            still = [row for row in results.rows if columns.unvaried(row, metric, column, dataset, decoding)]
            if still:
                rows = listed(_name(columns, row.label, row.model) for row in still)
                yield (
                    f"{metric.use}.{column.name} on {dataset} under {decoding}: all seeds of {rows} have the same "
                    "value for each prompt, though their answers differ, so the metric does not see these (where that "
                    "is right, its column says deterministic=True)"
                )


def _name(columns: ComparedColumns, label: str, model: str) -> str:
    return f"{label} ({model})" if len(columns.results.models) > 1 else label
