"""The table of seeds: what each seed came to, and how far they lie apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from harness.report import captions
from harness.report.absent import no_score, of_all
from harness.report.columns import marks
from harness.report.decodings import decoding_name
from harness.report.statistics import mean
from harness.report.table import Heading, Table, TableCell, TableRow

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.report.columns import ComparedColumn, ComparedColumns
    from harness.report.results import ResultRow, Results


def seeds_table(columns: ComparedColumns) -> Table:
    """Headline numbers seed by seed on the first data set, under the first decoding, with mean and standard deviation.

    The deviation is that of the seeds' means (n - 1): what papers print as mean ± sd. It shrinks with the number of
    prompts, and never with the number of seeds.
    """
    results = columns.results
    dataset = (results.datasets("in-data") or results.datasets("cross"))[0]
    metrics = results.metrics("score")
    shown = [columns.headline(metric, dataset, results.decoding_of(metric), label="mean") for metric in metrics]
    headings = [heading for column in shown for heading in _headings(column, results)]
    rows = []
    for row in results.rows:
        cells: dict[str, TableCell] = {}
        for column in shown:
            cells |= _cells(row, column, results)
        rows.append(TableRow(row.label, row.model, cells, marks(row)))
    caption = [
        "The mean over prompts for each seed; sd: their standard deviation (n - 1), not a confidence interval.",
        *captions.data_lines(results, [dataset]),
        *captions.decoding_lines(results, [results.decodings[0], *(column.place.decoding for column in shown)]),
        *captions.scale_lines(results),
    ]
    return Table("seeds", f"Seeds, on {dataset}", tuple(headings), tuple(rows), tuple(caption), divided=True)


def _headings(column: ComparedColumn, results: Results) -> list[Heading]:
    seeds, decodings = results.seeds, results.manifest.decodings
    described, name = column.described, column.heading.name
    digits, scale = described.digits, described.scale
    group = f"{described.label}, {decoding_name(decodings, column.place.decoding)}"
    labels = {f"{name}/mean": "mean", f"{name}/sd": "sd"} | {f"{name}/{seed}": f"seed {seed}" for seed in seeds}
    place = column.heading
    return [
        Heading(
            key,
            label,
            group,
            digits,
            scale,
            dataset=place.dataset,
            decoding=place.decoding,
            metric=place.metric,
            statistic=label,
        )
        for key, label in labels.items()
    ]


def _cells(row: ResultRow, column: ComparedColumn, results: Results) -> Mapping[str, TableCell]:
    seeds = results.seeds
    place, name = column.place, column.heading.name
    data = row.cells.get((place.dataset, place.decoding))
    values = None if data is None else data.matrix(place.metric, place.column, seeds)
    why = {seed: no_score(row, seed, place.dataset, place.decoding, f"{place.metric}.{place.column}") for seed in seeds}
    if values is None:
        return {heading.name: TableCell(status=of_all(why.values())) for heading in _headings(column, results)}
    means_by_seed = {seed: mean(part) for seed, part in zip(seeds, values, strict=True)}
    means = {seed: value for seed, value in means_by_seed.items() if value is not None}
    cells = {
        f"{name}/{seed}": TableCell(means[seed]) if seed in means else TableCell(status=why[seed]) for seed in seeds
    }
    all_means = np.array(list(means.values()))
    cells[f"{name}/mean"] = TableCell(float(all_means.mean()), seeds=all_means.size, of=len(seeds))
    cells[f"{name}/sd"] = TableCell(float(all_means.std(ddof=1)) if all_means.size > 1 else None)
    return cells
