"""The Pareto table: which rows trade one column for another, and which are worse in all of them, as far as is known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.report import captions
from harness.report.calls import pareto_lines
from harness.report.captions import settings_text
from harness.report.columns import ColumnKey, marks
from harness.report.table import Heading, Table, TableCell, TableRow

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.report.columns import ComparedColumn, ComparedColumns
    from harness.report.results import ResultRow, Results


def traded(results: Results) -> bool:
    """Return whether the file names columns to trade, and there is something in them."""
    return bool(results.manifest.config.pareto) and results.evaluated


def pareto_table(columns: ComparedColumns) -> Table:
    """Each row's values in the chosen columns, and whether another row is better in all of them.

    On the first data set, under the first decoding, within a model. A row is *dominated* only if another is better in
    every column by a difference that counts: one of all pairs, whose interval excludes 0. It is on the *front* if it
    is better than each other row in some column by a difference that counts, so that none can dominate it. Otherwise it
    is *not told apart*: with more seeds or prompts it may be either.
    """
    results = columns.results
    dataset = (results.datasets("in-data") or results.datasets("cross"))[0]
    shown = [
        (column, sign)
        for name in results.manifest.config.pareto
        if (column := _column(name, columns, dataset))
        for sign in [_sign(name, column)]
    ]
    headings = [
        *(_turned(column.heading, sign) for column, sign in shown),
        Heading("status", "status"),
        Heading("by", "dominated by"),
        Heading("means", "by means alone"),
        Heading("weights", "reward weights"),
    ]
    rows = []
    for row in results.rows:
        others = [other for other in results.rows if other.model == row.model and other is not row]
        rivals = [other for other in others if other.kind != "elsewhere" and row.kind != "elsewhere"]
        status, by = _status(row, rivals, shown, columns)
        cells = {column.heading.name: columns.cell(row, column) for column, _ in shown}
        cells |= {
            "status": TableCell(status),
            "by": TableCell(by or None),
            "means": TableCell(_by_means(row, rivals, shown, columns) if row.kind != "elsewhere" else None),
        }
        if weights := row.described.reward_weights:
            cells["weights"] = TableCell(settings_text(weights))
        rows.append(TableRow(row.label, row.model, cells, marks(row)))
    used = {name for row in rows for name in row.cells}
    caption = [
        (
            "Dominated: another row is better in every one of these columns, by differences that each count. Front: "
            "better than each other row in at least one column, by a difference that counts. Not told apart: neither "
            "is known."
        ),
        "By means alone: what the means would say if they were exact, which is not a claim.",
        *captions.data_lines(results, [dataset]),
        *captions.decoding_lines(results, [results.decodings[0]]),
        *captions.interval_lines(results),
        *pareto_lines(results),
    ]
    kept = tuple(heading for heading in headings if heading.name in used)
    return Table(
        "pareto", f"Pareto front, on {columns.group(dataset, results.decodings[0])}", kept, tuple(rows), tuple(caption)
    )


def _column(name: str, columns: ComparedColumns, dataset: str) -> ComparedColumn | None:
    use, _, wanted = name.lstrip("-+").partition(".")
    metric = next((metric for metric in columns.results.manifest.metrics if metric.use == use), None)
    if metric is None:
        return None
    decoding = columns.results.decoding_of(metric)
    place = ColumnKey(dataset, decoding, use, wanted)
    candidates = columns.of_metric(metric, dataset, decoding)
    return next((column for column in candidates if column.place == place), None)


def _sign(name: str, column: ComparedColumn) -> int:
    """Return 1 where more is better."""
    if name[0] in "-+":
        return -1 if name[0] == "-" else 1
    return -1 if column.described.higher_is_better is False else 1


def _turned(heading: Heading, sign: int) -> Heading:
    parts: Mapping[str, Any] = {**vars(heading), "group": "", "higher_is_better": sign > 0, "shown": True}
    return Heading(**parts)


def _status(
    row: ResultRow, rivals: Sequence[ResultRow], shown: Sequence[tuple[ComparedColumn, int]], columns: ComparedColumns
) -> tuple[str, str]:
    """Return the word for a row, and who dominates it."""
    if not all(columns.every_pair(column)[row.model].letters.get(row.label) for column, _ in shown):
        return "no claim", ""
    by, beaten = [], 0
    compared = [
        other for other in rivals
        if all(columns.every_pair(column)[row.model].letters.get(other.label) for column, _ in shown)
    ]  # fmt: skip
    for other in compared:
        ahead = [_ahead(row, other, column, sign, columns) for column, sign in shown]
        if all(better < 0 for better in ahead):
            by.append(other.label)
        beaten += any(better > 0 for better in ahead)
    if by:
        return "dominated", ", ".join(by)
    return ("front" if beaten == len(compared) else "not told apart"), ""


def _ahead(row: ResultRow, other: ResultRow, column: ComparedColumn, sign: int, columns: ComparedColumns) -> int:
    """Return 1 where a row is better by a difference that counts, -1 where it is worse by one, else 0."""
    difference = columns.every_pair(column)[row.model].of(row.label, other.label)
    if difference is None or not difference.claimed:
        return 0
    return 1 if sign * difference.estimate > 0 else -1


def _by_means(
    row: ResultRow, rivals: Sequence[ResultRow], shown: Sequence[tuple[ComparedColumn, int]], columns: ComparedColumns
) -> str | None:
    def point(of: ResultRow) -> list[float] | None:
        values = [columns.mean(of, column.place) for column, _ in shown]
        known = [sign * value for value, (_, sign) in zip(values, shown, strict=True) if value is not None]
        return known if len(known) == len(shown) else None

    ours = point(row)
    if ours is None:
        return None
    for other in rivals:
        theirs = point(other)
        if theirs is not None and theirs != ours and all(t >= o for t, o in zip(theirs, ours, strict=True)):
            return "dominated"
    return "front"
