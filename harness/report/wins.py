"""The table of win rates: what a judge says of every row against its opponents, and of an answer that says nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from harness.report import captions
from harness.report.calls import claim_lines
from harness.report.columns import ComparedColumns, beside, marks
from harness.report.groups import group_column
from harness.report.proportions import EMPTY, WIN, favours, length_controlled, win_rate
from harness.report.rewards import accuracy_cell, trained_on_it
from harness.report.statistics import mean
from harness.report.strengths import strengths
from harness.report.table import Heading, Table, TableCell, TableRow

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.report.columns import ComparedColumn
    from harness.report.results import CellData, ResultRow, Results
    from harness.report.statistics import Array, Pair
    from harness.spec.results.run import RunMetric

NULL = "(null answer)"
CONSISTENT, FIRST, LENGTH = "consistent:", "first:", "margin_length:"


class Against(NamedTuple):
    """One judge's verdicts on one data set against one opponent."""

    metric: RunMetric
    dataset: str
    opponent: str
    column: ComparedColumn
    """The wins as a column like any other, with the comparison of its rows."""
    name: str
    """What the columns of the table begin with."""


def judged(results: Results) -> bool:
    """Return whether any metric of the run is a judge."""
    return bool(results.metrics("judge")) and bool(results.manifest.datasets) and bool(results.decodings)


def win_table(columns: ComparedColumns) -> Table:
    """Win rates against every opponent, with what a reader needs to trust them or not."""
    results = columns.results
    decoding = results.decodings[0]
    listed = _listed(columns, decoding)
    datasets = list(dict.fromkeys(against.dataset for against in listed))
    headings: list[Heading] = []
    for against in listed:
        headings += _headings(against)
    nearby = {dataset: _nearby(columns, dataset, decoding) for dataset in datasets}
    for dataset in datasets:
        headings += [column.heading for column in nearby[dataset]]
        headings += [heading for heading in columns.beside_headings(dataset, decoding, rates=False) if heading.shown]
    depends = {model: _depends(results, model) for model in results.models}
    if any(depends.values()):
        headings.append(Heading("reward-model", "reward model's accuracy %", "", 1, 100.0, foldable=True))
    rows = []
    for row in results.rows:
        cells: dict[str, TableCell] = {}
        for against in listed:
            cells |= _cells(columns, row, against, decoding)
        for dataset in datasets:
            cells |= {column.heading.name: columns.cell(row, column) for column in nearby[dataset]}
            cells |= beside(row, dataset, decoding)
        if row.label in depends[row.model]:
            cells["reward-model"] = accuracy_cell(results, row.model)
        rows.append(TableRow(row.label, row.model, cells, marks(row)))
    liked: list[str] = []
    for model in results.models:
        null, flags = _null_row(columns, model, listed, decoding)
        rows.append(null)
        liked += flags
    caption = [
        *liked,
        *_how(results),
        *captions.data_lines(results, datasets),
        *captions.decoding_lines(results, [decoding]),
        *claim_lines([against.column for against in listed], results),
        *_counts(results, listed, decoding),
        *_depends_lines(results, depends),
    ]
    return Table("win-rates", "Win rates", tuple(headings), tuple(rows), tuple(caption), divided=True)


def _listed(columns: ComparedColumns, decoding: str) -> list[Against]:
    """Return every judge, data set and opponent, in the order of the manifest."""
    results = columns.results
    listed = []
    datasets = [*results.datasets("in-data"), *results.datasets("cross")]
    several = len(results.metrics("judge")) > 1
    for metric in results.metrics("judge"):
        for dataset in datasets:
            for column in columns.of_metric(metric, dataset, decoding):
                if column.place.corpus or not column.place.column.startswith(WIN):
                    continue
                opponent = column.place.column.removeprefix(WIN)
                by = f"{metric.use} " if several else ""
                listed.append(Against(metric, dataset, opponent, column, f"{dataset}/{by}{opponent}"))
    return listed


def _headings(against: Against) -> list[Heading]:
    heading, name = against.column.heading, against.name
    group = f"{heading.group}, against {against.opponent}"
    beside = against.column.beside
    delta = [replace(beside, name=f"{name}/win Δ", group=group, digits=1)] if beside else []
    listed = [
        Heading(f"{name}/win", "wins %", group, 1, 100.0, True),
        Heading(f"{name}/wilson", "wins % (Wilson)", group, 1, 100.0, True, shown=False),
        Heading(f"{name}/controlled", "at equal length %", group, 1, 100.0, True),
        Heading(f"{name}/slope", "length slope", group, 2, shown=False),
        Heading(f"{name}/consistent", "consistent %", group, 1, 100.0),
        Heading(f"{name}/first", "first wins %", group, 1, 100.0),
        Heading(f"{name}/missing", "no verdict", group, 0),
    ]
    first, *others = [
        replace(
            h,
            dataset=heading.dataset,
            decoding=heading.decoding,
            metric=f"{against.metric.use}.{h.name.rpartition('/')[2]}:{against.opponent}",
        )
        for h in listed
    ]
    return [first, *delta, *others]


def _nearby(columns: ComparedColumns, dataset: str, decoding: str) -> list[ComparedColumn]:
    """Return the shown columns of metrics that are neither scores nor judges: what kind of answers these are."""
    metrics = columns.results.metrics("other")
    measured = [column for metric in metrics for column in columns.of_metric(metric, dataset, decoding)]
    return [column for column in measured if column.heading.shown and not column.place.corpus]


def _cells(columns: ComparedColumns, row: ResultRow, against: Against, decoding: str) -> dict[str, TableCell]:
    name, use = against.name, against.metric.use
    if row.label == against.opponent:
        return {f"{name}/win": TableCell(status="itself")}
    data = row.cells.get((against.dataset, decoding))
    plain = columns.cell(row, against.column)
    wins = _matrix(columns.results, data, use, WIN + against.opponent)
    if columns.faulty(row, against.column.place):
        return {f"{name}/win": plain}
    groups = columns.groups(against.dataset, data.ids) if data else None
    rate = win_rate(wins, groups=groups) if wins is not None else None
    if data is None or wins is None or rate is None:
        return {f"{name}/win": plain}
    shown, alone = rate
    delta = {f"{name}/win Δ": columns.beside(row, against.column)} if against.column.beside else {}
    cells = {
        **delta,
        f"{name}/win": TableCell(shown.mean, shown, plain.letters, plain.missing, seeds=plain.seeds, of=plain.of),
        f"{name}/wilson": TableCell(alone.mean, alone),
        f"{name}/missing": TableCell(float(plain.missing)),
    }
    lengths = _matrix(columns.results, data, use, LENGTH + against.opponent)
    if lengths is not None:
        controlled = length_controlled(wins, lengths, grouped=groups is not None)
        cells[f"{name}/controlled"] = (
            TableCell(controlled.rate.mean, controlled.rate) if controlled else TableCell(status="no fit")
        )
        cells[f"{name}/slope"] = TableCell(controlled.slope if controlled else None)
    for kind, column in (("consistent", CONSISTENT), ("first", FIRST)):
        values = _matrix(columns.results, data, use, column + against.opponent)
        cells[f"{name}/{kind}"] = TableCell(mean(values) if values is not None else None)
    return cells


def _matrix(results: Results, data: CellData | None, metric: str, column: str) -> Array | None:
    return data.matrix(metric, column, results.seeds) if data is not None else None


def _null_row(
    columns: ComparedColumns, model: str, listed: Sequence[Against], decoding: str
) -> tuple[TableRow, list[str]]:
    """Return the row of the answer that says nothing, and a sentence for each judge that likes it."""
    results = columns.results
    cells: dict[str, TableCell] = {}
    flags: list[str] = []
    for against in listed:
        rows = [row for row in results.rows if row.model == model and row.label != against.opponent]
        place = (against.dataset, decoding)
        use = against.metric.use
        matrices = [_matrix(results, row.cells.get(place), use, EMPTY + against.opponent) for row in rows]
        # the same answer against the same opponent, whichever row it was judged beside: each verdict once
        null = _first_present([values for values in matrices if values is not None])
        ids = next((row.cells[place].ids for row in rows if place in row.cells), [])
        rate = win_rate(null, groups=columns.groups(against.dataset, ids)) if null is not None else None
        if null is None or rate is None:
            cells[f"{against.name}/win"] = TableCell(status="not judged")
            continue
        cells[f"{against.name}/win"] = TableCell(rate[0].mean, rate[0])
        cells[f"{against.name}/wilson"] = TableCell(rate[1].mean, rate[1])
        beaten = []
        for row in rows:
            wins = _matrix(results, row.cells.get(place), use, WIN + against.opponent)
            # the untrained model may well answer worse than nothing
            if row.trained and wins is not None and favours(null, wins):
                beaten.append(row.label)
        where = f"{against.dataset} against {against.opponent}" + (f" ({model})" if len(results.models) > 1 else "")
        worse = ([f"more often than {', '.join(beaten)}"] if beaten else []) + (
            ["more often than not"] if favours(null) else []
        )
        if worse:
            flags.append(
                f"This judge favours an answer that says nothing: on {where} the null answer wins "
                f"{100 * rate[0].mean:.1f} %, {' and '.join(worse)}. Its win rates are not evidence of better answers."
            )
    mark = ("the judge favours it",) if flags else ()
    return TableRow(NULL, model, cells, mark), flags


def _first_present(matrices: Sequence[Array]) -> Array | None:
    if not matrices:
        return None
    joined = matrices[0].copy()
    for values in matrices[1:]:
        joined = np.where(np.isnan(joined), values, joined)
    return joined


def _how(results: Results) -> list[str]:
    """Say what the columns are."""
    seeds = " and seeds" if len(results.seeds) > 1 else ""
    return [
        (
            "Wins: the share of verdicts for the row, a tie counting ½, draws averaged within a prompt. ± is the "
            "distance to the further end of a 95 % confidence interval of which each end is the further of two: that "
            f"of any mean, for new prompts{seeds}, and Wilson's with prompts as trials, or groups of them, which has a "
            "width where all are won; with two seeds there is none, nor with too few groups."
        ),
        (
            "At equal length: where a logistic regression of the verdicts on the difference in length has its value "
            "for none, with a bootstrap interval unless prompts are grouped; no fit: all won or lost, or length alone "
            "decides."
        ),
        (
            "Consistent: pairs whose verdict is the same in both orders. First wins: how often the answer that the "
            "judge read first won, 50 % without a bias. No verdict: unparsable or missing, counted and never scored."
        ),
        f"{NULL}: a fixed answer that says nothing, judged against the same opponents. No row should be near it.",
    ]


def _counts(results: Results, listed: Sequence[Against], decoding: str) -> list[str]:
    """Say what the judge was asked, what could not be read and what it cost, over all rows and seeds."""
    lines = []
    datasets = list(dict.fromkeys(against.dataset for against in listed))
    for metric in results.metrics("judge"):
        said = []
        for described in metric.corpus:
            cells = [row.cells.get((dataset, decoding)) for row in results.rows for dataset in datasets]
            numbers = [cell.corpus(metric.use, described.name) for cell in cells if cell is not None]
            if any(part.size for part in numbers):
                total = sum(float(part.sum()) for part in numbers) * described.scale
                said.append(f"{described.label} {total:.{described.digits}f}")
        if said:
            lines.append(f"Of all rows and seeds, {metric.use}: {', '.join(said)}.")
    return lines


def _depends(results: Results, model: str) -> set[str]:
    """Return the rows whose win rates a reward model had a part in: as their judge, or as what they were trained on."""
    if not results.manifest.reward_models:
        return set()
    rows = [row for row in results.rows if row.model == model]
    if any("reward_model" in metric.needs for metric in results.metrics("judge")):
        return {row.label for row in rows}
    return {row.label for row in rows if trained_on_it(row)}


def _depends_lines(results: Results, depends: Mapping[str, set[str]]) -> list[str]:
    if not any(depends.values()):
        return []
    judge = any("reward_model" in metric.needs for metric in results.metrics("judge"))
    if judge:
        return [
            (
                "The judge is the reward model itself: what was trained on it is judged by what it was trained on, and "
                "a win rate is worth no more than its held-out accuracy, which is shown beside."
            )
        ]
    return ["The reward model's held-out accuracy is shown beside the rows that were trained on it."]


def strengths_table(columns: ComparedColumns) -> Table | None:
    """Bradley–Terry strengths of rows and opponents on every data set; None where no judge has enough players."""
    results = columns.results
    decoding = results.decodings[0]
    listed = _listed(columns, decoding)
    places = dict.fromkeys((against.metric.use, against.dataset) for against in listed)
    headings, lines = [], []
    cells: dict[tuple[str, str], dict[str, TableCell]] = {}
    several = len(results.metrics("judge")) > 1
    for use, dataset in places:
        label = f"{dataset} ({use})" if several else dataset
        said = columns.group(label, decoding)
        heading = Heading(label, said, "", 2, 1.0, True)
        headings.append(heading.about(dataset=dataset, decoding=decoding, metric=f"{use}.strength"))
        for model in results.models:
            games: dict[Pair, Array] = {}
            for against in listed:
                if (against.metric.use, against.dataset) != (use, dataset):
                    continue
                for row in results.rows:
                    if row.kind == "elsewhere" or row.alike:  # not fitted together with rows of another budget
                        continue
                    wins = _matrix(results, row.cells.get((dataset, decoding)), use, WIN + against.opponent)
                    if row.model == model and row.label != against.opponent and wins is not None:
                        games[row.label, against.opponent] = wins
            if not games:
                continue
            fitted = strengths(games, grouped=group_column(results, dataset) is not None)
            where = f"{label}{f' ({model})' if len(results.models) > 1 else ''}"
            lines += [f"{where}: {fitted.because}."] if fitted.because else []
            for player, strength in fitted.players.items():
                cells.setdefault((model, player), {})[label] = TableCell(strength.mean, strength)
    if not cells and not lines:
        return None
    order = [(row.model, row.label) for row in results.rows]
    order += [place for place in cells if place not in order]
    rows = [TableRow(label, model, cells[model, label]) for model, label in order if (model, label) in cells]
    caption = (
        *lines,
        (
            "Bradley–Terry: one strength a player such that σ(difference) is the chance to win, fitted to all "
            "verdicts by maximum likelihood, a tie as half a win; logits, their mean 0. ± from a bootstrap over "
            "prompts and seeds, unless prompts are grouped. The order of rows is no claim, and overlapping intervals "
            "rank nobody; the differences of the win rates say who is told apart."
        ),
    )
    return Table("strengths", "Bradley–Terry strengths", tuple(headings), tuple(rows), caption)
