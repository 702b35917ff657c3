"""Gold against proxy reward over the distance from the start: the points, and the form fitted to each method's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from harness.report import captions
from harness.report.columns import marks
from harness.report.reward_curves import distance_of, fit_curve
from harness.report.table import Heading, Table, TableCell, TableRow

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.report.columns import ComparedColumns
    from harness.report.results import ResultRow, Results
    from harness.report.reward_curves import RewardCurve
    from harness.report.statistics import Array, Interval
    from harness.spec.benchmark import Overoptimisation

_REWARDS: Final = ("proxy", "gold")
_PARTS: Final = {"alpha": "alpha", "beta": "beta", "peak": "largest at √KL", "residual": "residual"}


class Point(NamedTuple):
    """A row, or one at a point of its budget, on the way from the start."""

    row: ResultRow
    method: str
    kl: Array
    """(S, N), nats an answer."""
    gained: Mapping[str, Array]
    """``proxy`` and ``gold``, (S, N), less the start's of the same seed and prompt."""


class Way(NamedTuple):
    """All points of a model."""

    model: str
    start: ResultRow | None
    """The row at distance 0, which all else is measured from."""
    points: list[Point]
    curves: Mapping[str, Mapping[str, RewardCurve | None]]
    """Method, then ``proxy`` or ``gold``."""


def optimised(results: Results) -> bool:
    """Return whether the file names gold and proxy, and there is something in them."""
    return results.manifest.config.overoptimisation is not None and results.evaluated


def points_table(columns: ComparedColumns) -> Table:
    """Each row's distance from the start and what proxy and gold gained there, rows at points of a budget too."""
    results, section = columns.results, _section(columns.results)
    headings = [Heading("distance", "√KL", "", 3), Heading("curve", "curve")]
    for name in _REWARDS:
        headings += [Heading(name, "gained", name, 3, 1.0, True), Heading(f"{name} fit", "fitted", name, 3)]
    rows, lost = [], []
    for model in results.models:
        way = way_of(columns, model)
        if way.start is None:
            lost.append(model)
            continue
        nothing = {name: TableCell(0.0) for name in ("distance", *_REWARDS)}
        rows.append(TableRow(way.start.label, model, nothing, ("the start",)))
        for point in way.points:
            distance = distance_of(point.kl)
            cells = {"distance": TableCell(distance), "curve": TableCell(point.method)}
            for name, values in point.gained.items():
                curve = way.curves[point.method][name]
                cells[name] = _cell(columns.gained(values, dataset_of(results), point.row))
                cells[f"{name} fit"] = TableCell(curve.at(distance) if curve else None)
            rows.append(TableRow(point.row.label, model, cells, marks(point.row)))
    caption = [
        (
            f"Gained: {section.proxy} (proxy) and {section.gold} (gold), less the start's on the same prompts with the "
            f"same seeds. √KL: the root of the mean of {section.kl}, in nats an answer."
        ),
        *captions.data_lines(results, [dataset_of(results)]),
        *captions.decoding_lines(results, [results.decodings[0]]),
        *captions.interval_lines(results),
    ]
    if lost:
        caption.append(
            f"No row of {', '.join(lost)} is at distance 0: {section.kl} has to be measured from one of the rows."
        )
    where = columns.group(dataset_of(results), results.decodings[0])
    return Table("overoptimisation", f"Gold against proxy, on {where}", tuple(headings), tuple(rows), tuple(caption))


def curves_table(columns: ComparedColumns) -> Table | None:
    """The form fitted to each method's points; None where there is no point."""
    headings = [Heading("points", "points", "", 0)]
    headings += [Heading(f"{name} {part}", label, name, 3) for name in _REWARDS for part, label in _PARTS.items()]
    rows = []
    for model in columns.results.models:
        way = way_of(columns, model)
        for method, curves in way.curves.items():
            count = sum(point.method == method for point in way.points)
            rows.append(TableRow(method, model, {"points": TableCell(float(count)), **_fit_cells(curves)}))
    if not rows:
        return None
    form = "d (alpha − beta log d)" if _section(columns.results).form == "rl" else "d (alpha − beta d)"
    caption = (
        (
            f"What is gained as {form} of the distance d = √KL (Gao et al. 2023), by least squares over a method's "
            "rows, with 95 % bootstrap intervals over seeds and prompts: new prompts alone with one seed, none with "
            "two or where prompts are grouped. No fit: fewer than three distances."
        ),
        (
            "Largest at: where the curve turns down; not known to turn where beta may be 0 or less. Residual: root "
            "mean square, in the reward's unit."
        ),
    )
    names = ("curve", "model")
    return Table(
        "overoptimisation-fit", "Gold against proxy: fitted", tuple(headings), tuple(rows), caption, names=names
    )


def _fit_cells(curves: Mapping[str, RewardCurve | None]) -> dict[str, TableCell]:
    cells: dict[str, TableCell] = {}
    for name, curve in curves.items():
        if curve is None:
            cells |= {f"{name} {part}": TableCell(status="no fit") for part in _PARTS}
            continue
        cells |= {
            f"{name} alpha": _cell(curve.alpha),
            f"{name} beta": _cell(curve.beta),
            f"{name} peak": _cell(curve.peak) if curve.peak else TableCell(status="not known to turn"),
            f"{name} residual": TableCell(curve.residual),
        }
    return cells


def _cell(interval: Interval | None) -> TableCell:
    return TableCell(status="no value") if interval is None else TableCell(interval.mean, interval)


def _section(results: Results) -> Overoptimisation:
    section = results.manifest.config.overoptimisation
    assert section is not None  # asked first
    return section


def dataset_of(results: Results) -> str:
    """Return the data set on which gold and proxy are compared: the first."""
    return (results.datasets("in-data") or results.datasets("cross"))[0]


def way_of(columns: ComparedColumns, model: str) -> Way:
    """Return the points of a model, method by method and nearest first, with what is fitted to them.

    They are the rows that were trained here and have all three columns. The start is the row whose distance is 0 for
    every prompt and seed.
    """
    results, section = columns.results, _section(columns.results)
    rows = [row for row in (*results.rows, *results.points) if row.model == model and row.kind != "elsewhere"]
    distances = {row.label: kl for row in rows if (kl := _values(results, row, section.kl)) is not None}
    start = next(
        (row for row in rows if row.label in distances and not np.nan_to_num(distances[row.label]).any()), None
    )
    if start is None:
        return Way(model, None, [], {})
    points = []
    for row in rows:
        if row.label in distances and row is not start and row.kind != "base":
            gained = {name: _gained(results, row, start, getattr(section, name)) for name in _REWARDS}
            present = {name: values for name, values in gained.items() if values is not None}
            if len(present) == len(_REWARDS):
                points.append(Point(row, _method(row, rows), distances[row.label], present))
    methods = list(dict.fromkeys(point.method for point in points))
    points.sort(key=lambda point: (methods.index(point.method), distance_of(point.kl)))
    grouped = (
        columns.groups(dataset_of(results), start.cells[dataset_of(results), results.decodings[0]].ids) is not None
    )
    curves = {
        method: {
            name: _fit([p for p in points if p.method == method], name, section, grouped=grouped) for name in _REWARDS
        }
        for method in methods
    }
    return Way(model, start, points, curves)


def _fit(points: Sequence[Point], name: str, section: Overoptimisation, *, grouped: bool) -> RewardCurve | None:
    return fit_curve(
        [point.kl for point in points], [point.gained[name] for point in points], section.form, grouped=grouped
    )


def _values(results: Results, row: ResultRow, column: str) -> Array | None:
    use, _, name = column.partition(".")
    data = row.cells.get((dataset_of(results), results.decodings[0]))
    values = data.matrix(use, name, results.seeds) if data is not None else None
    return None if values is None or np.isnan(values).all() else values


def _gained(results: Results, row: ResultRow, start: ResultRow, column: str) -> Array | None:
    ours, theirs = _values(results, row, column), _values(results, start, column)
    if ours is None or theirs is None:
        return None
    gained: Array = ours - theirs
    return None if np.isnan(gained).all() else gained


def _method(row: ResultRow, rows: Sequence[ResultRow]) -> str:
    """Return the method of a row; of a point of a budget, that of the row within whose training it lies."""
    if row.kind == "point":
        row = next((other for other in rows if other.label == row.described.of and other.kind != "point"), row)
    return row.method or row.label
