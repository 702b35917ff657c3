"""The tables about answers: at a glance, scores, cross-dataset, fluency and decoding."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.report import captions
from harness.report.absent import no_answers, of_all
from harness.report.calls import claim_lines
from harness.report.columns import ComparedColumns, beside, marks, seeds_cell
from harness.report.decodings import decoding_name
from harness.report.table import Heading, Table, TableCell, TableRow
from harness.report.training import no_training_at_all, step_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.report.columns import ComparedColumn
    from harness.report.results import ResultRow, Results
    from harness.spec.results.run import RunMetric


def summary_columns(columns: ComparedColumns) -> list[ComparedColumn]:
    """Return the headline number on each data set, and on the first one under another decoding."""
    results = columns.results
    metric = _first_metric(results)
    datasets = [*results.datasets("in-data"), *results.datasets("cross")]
    first, *others = results.decodings
    places = [(name, first) for name in datasets]
    if others and results.datasets("in-data"):
        other = next((name for name in others if results.manifest.decodings[name].temperature == 0), others[0])
        places.append((datasets[0], other))
    return [columns.headline(metric, *place, label=columns.group(*place)) for place in places]


def summary_table(columns: ComparedColumns) -> Table:
    """One headline number for each data set, best rows first, with what it cost."""
    results = columns.results
    datasets = [*results.datasets("in-data"), *results.datasets("cross")]
    first, shown = results.decodings[0], summary_columns(columns)
    extra = columns.beside_headings(datasets[0], first, rates=True)[1:3]
    headings = columns.headings(shown) + extra + [Heading("step", "s/step", "", 3)]
    rows = []
    for row in ranked(columns):
        cells = columns.cells(row, shown)
        nearby = beside(row, datasets[0], first)
        cells |= {heading.name: nearby[heading.name] for heading in extra}
        seconds = step_seconds(row)
        has_seconds = seconds is not None or not row.trained
        cells["step"] = TableCell(seconds, status="" if has_seconds else no_training_at_all(row, results))
        rows.append(TableRow(row.label, row.model, cells, marks(row)))
    caption = [
        (
            f"Rows of every table in the order of their means on {shown[0].heading.label}, model by model; "
            f"{_order_says(shown[0])}."
        ),
        *claim_lines(shown, results),
        *captions.sharpening_lines(columns, decoding_columns(columns)),
        *captions.elsewhere_lines(results),
        *captions.interval_lines(results),
        *captions.decoding_lines(results, [column.place.decoding for column in shown]),
        *captions.data_lines(results, datasets),
        *captions.scale_lines(results),
    ]
    title = f"At a glance: {shown[0].described.label}"
    return Table("summary", title, tuple(headings), tuple(rows), tuple(caption))


def _order_says(column: ComparedColumn) -> str:
    letters = any(comparison.letters for comparison in column.comparisons.values())
    return "those that share a letter are not told apart" if letters else "the order is not a claim"


def ranked(columns: ComparedColumns) -> list[ResultRow]:
    """Return each model's rows by their means in the headline column, best first, those without a number last."""
    results = columns.results
    column = summary_columns(columns)[0]
    sign = 1 if column.heading.higher_is_better is False else -1

    def place(row: ResultRow) -> tuple[int, bool, float]:
        value = columns.mean(row, column.place)
        return results.models.index(row.model), value is None, sign * (value or 0.0)

    return sorted(results.rows, key=place)


def scores_table(columns: ComparedColumns) -> Table:
    """In-data scores under the first decoding."""
    return _answers(columns, "scores", "Scores", columns.results.datasets("in-data"), "score")


def cross_table(columns: ComparedColumns) -> Table:
    """The same on data sets that nothing was trained on."""
    title = "Cross-dataset generalisation"
    return _answers(columns, "cross-dataset", title, columns.results.datasets("cross"), "score")


def fluency_table(columns: ComparedColumns) -> Table:
    """Fluency of the answers on every data set."""
    datasets = [*columns.results.datasets("in-data"), *columns.results.datasets("cross")]
    return _answers(columns, "fluency", "Fluency", datasets, "fluency")


def paid_table(columns: ComparedColumns) -> Table:
    """What training has cost the model, on every data set: metrics of that role, and length and fluency beside them."""
    results = columns.results
    decoding = results.decodings[0]

    def more(dataset: str) -> list[ComparedColumn]:
        fluent = [c for metric in results.metrics("fluency") for c in columns.of_metric(metric, dataset, decoding)]
        lengths = [
            columns.headline(
                metric, dataset, decoding, label=_headline_label(metric), group=columns.group(dataset, decoding)
            )
            for metric in results.metrics("length")
        ]
        return [*lengths, *(column for column in fluent if column.heading.shown and not column.place.corpus)]

    datasets = [*results.datasets("in-data"), *results.datasets("cross")]
    return _answers(columns, "paid", "What was paid", datasets, "paid", more)


def _headline_label(metric: RunMetric) -> str:
    return next(column.label for column in metric.columns if column.name == metric.headline)


def decoding_table(columns: ComparedColumns) -> Table:
    """Every row under every decoding, with the entropy of its distribution."""
    results = columns.results
    shown = decoding_columns(columns)
    dataset = shown[0].place.dataset
    headings = columns.headings(shown)
    headings += [
        Heading(
            f"{dataset}/{name}/entropy",
            decoding_name(results.manifest.decodings, name),
            "entropy",
            dataset=dataset,
            decoding=name,
            metric="entropy",
        )
        for name in results.decodings
    ]
    rows = []
    for row in results.rows:
        cells = columns.cells(row, shown)
        for decoding in results.decodings:
            data = row.cells.get((dataset, decoding))
            seeds = list(data.summaries.values()) if data else []
            entropies = [seed.entropy for seed in seeds if seed.entropy is not None]
            entropy = sum(entropies) / len(entropies) if entropies else None
            why = of_all(no_answers(row, seed, dataset, decoding) for seed in results.seeds) if not seeds else ""
            cells[f"{dataset}/{decoding}/entropy"] = TableCell(entropy, status=why)
        rows.append(TableRow(row.label, row.model, cells, marks(row)))
    caption = [
        *captions.sharpening_lines(columns, shown),
        (
            "The same checkpoints under every decoding. Entropy: mean nats a token of the model's whole distribution "
            "at temperature 1, along its own answers."
        ),
        *captions.data_lines(results, [dataset]),
        *captions.decoding_lines(results, results.decodings),
        *captions.elsewhere_lines(results),
        *captions.interval_lines(results),
        *captions.scale_lines(results),
        *claim_lines(shown, results),
    ]
    return Table("decoding", f"Decoding, on {dataset}", tuple(headings), tuple(rows), tuple(caption), divided=True)


def decoding_columns(columns: ComparedColumns) -> list[ComparedColumn]:
    """Return the headline number under every decoding, on the first data set."""
    results = columns.results
    metric = _first_metric(results)
    dataset = (results.datasets("in-data") or results.datasets("cross"))[0]
    described = next(column for column in metric.columns if column.name == metric.headline)
    group = described.label
    names = {name: decoding_name(results.manifest.decodings, name) for name in results.decodings}
    return [columns.headline(metric, dataset, name, label=said, group=group) for name, said in names.items()]


def _first_metric(results: Results) -> RunMetric:
    listed = results.metrics("score") or list(results.manifest.metrics)
    return next((metric for metric in listed if results.decoding_of(metric) == results.decodings[0]), listed[0])


def _idle(column: ComparedColumn, columns: ComparedColumns) -> bool:
    """Return whether a number for all answers is one that no row's answers allow, such as that of late positions."""
    return column.place.corpus and all(columns.cell(row, column).status == "no value" for row in columns.results.rows)


def _answers(
    columns: ComparedColumns,
    name: str,
    title: str,
    datasets: Sequence[str],
    role: str,
    more: Callable[[str], list[ComparedColumn]] = lambda _: [],
) -> Table:
    """Return a table of the metrics with a role; ``more`` gives what stands behind their columns of a data set."""
    results = columns.results
    decoding = results.decodings[0]
    headings: list[Heading] = []
    shown: list[ComparedColumn] = []
    for dataset in datasets:
        columns_of_role = [
            column
            for metric in results.metrics(role)
            for column in columns.of_metric(metric, dataset, results.decoding_of(metric))
        ]
        of_dataset = [column for column in [*columns_of_role, *more(dataset)] if not _idle(column, columns)]
        shown += of_dataset
        headings += columns.headings(of_dataset)
        beside_them = columns.beside_headings(dataset, decoding, rates=role == "score")
        # a metric of length has the same number, with its difference
        counted = role == "paid" and results.metrics("length")
        headings += [heading for heading in beside_them if not (counted and heading.name == f"{dataset}/length")]
    rows = []
    for row in results.rows:
        cells = columns.cells(row, shown)
        for dataset in datasets:
            cells |= beside(row, dataset, decoding)
        cells["seeds"] = seeds_cell(row, [(dataset, decoding) for dataset in datasets])
        rows.append(TableRow(row.label, row.model, cells, marks(row)))
    headings.append(Heading("seeds", "seeds", "", 0, foldable=True))
    caption = [
        *captions.data_lines(results, datasets),
        *captions.decoding_lines(results, [decoding, *(column.place.decoding for column in shown)]),
        *captions.elsewhere_lines(results),
        *captions.interval_lines(results),
        *captions.scale_lines(results),
        *claim_lines(shown, results),
        *captions.corpus_lines(shown, results),
        *(captions.scorer_lines(results) if role == "fluency" else ()),
        *captions.cut_lines(results, datasets, decoding),
        *captions.chat_lines(results, datasets, decoding),
        *captions.read_lines(results, datasets, decoding, role),
        *captions.missing_lines(shown, rows),
        *captions.note_lines(shown, results),
    ]
    return Table(name, title, tuple(headings), tuple(rows), tuple(caption), divided=True)
