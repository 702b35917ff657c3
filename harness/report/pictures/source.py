"""What all pictures of a run are made from; whatever several of them need is read once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final, NamedTuple

from harness.report.pictures import theme
from harness.report.pictures.figure import Key
from harness.report.statistics import SEEDS_FOR_CLAIMS
from harness.report.statistics import mean as mean_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from harness.report.columns import ComparedColumn, ComparedColumns
    from harness.report.pictures.figure import Look
    from harness.report.results import ResultRow, Results
    from harness.spec.results.run import RunMetric

#: Rows whose curves can still be told apart in one panel.
MOST_CURVES: Final = 14


class Score(NamedTuple):
    """A row's number in a column, as the tables have it, in the unit that they show."""

    value: float
    low: float
    high: float
    """NaN where there is no interval."""
    by_seed: Mapping[int, float]


@dataclass(frozen=True)
class Source:
    """The columns of a run with what pictures share."""

    columns: ComparedColumns

    @property
    def results(self) -> Results:
        """All rows of the run."""
        return self.columns.results

    @cached_property
    def looks(self) -> Mapping[str, Look]:
        """How each row is drawn, by label."""
        return theme.looks(self.results)

    @property
    def metrics(self) -> list[RunMetric]:
        """The metrics that are scores, the first one being what one picture shows where it shows one."""
        return self.results.metrics("score") if self.results.evaluated else []

    @property
    def datasets(self) -> list[str]:
        """The evaluation sets, the one that tables show first at the front."""
        return [*self.results.datasets("in-data"), *self.results.datasets("cross")]

    def decodings(self, metric: RunMetric) -> list[str]:
        """Return the decodings with as many draws as a metric takes."""
        return [name for name, how in self.results.manifest.decodings.items() if how.draws >= metric.draws]

    def headline(self, metric: RunMetric, dataset: str, decoding: str) -> ComparedColumn:
        """Return the column of a metric's own number."""
        label = next(column.label for column in metric.columns if column.name == metric.headline)
        return self.columns.headline(metric, dataset, decoding, label=label)

    def score(self, row: ResultRow, column: ComparedColumn) -> Score | None:
        """Return what a row has in a column; None where it has no number, or one of seeds that repeat nothing."""
        cell, place = self.columns.cell(row, column), column.place
        if not isinstance(cell.value, float) or cell.fault:
            return None
        scale = column.heading.scale
        data = row.cells[place.dataset, place.decoding]
        seeds = sorted(data.scores[place.metric])
        matrix = data.matrix(place.metric, place.column, seeds)
        means = {} if matrix is None else {seed: mean_of(line) for seed, line in zip(seeds, matrix, strict=True)}
        known = {seed: value * scale for seed, value in means.items() if value is not None}
        ends = cell.interval
        low, high = (ends.low * scale, ends.high * scale) if ends is not None else (math.nan, math.nan)
        return Score(cell.value * scale, low, high, known)

    def several(self, model: str) -> str:
        """Return what follows a heading that holds for one model, where the run has several."""
        return f" ({model})" if len(self.results.models) > 1 else ""

    def named(self, row: ResultRow) -> str:
        """Return a row's label, with its model where the run has several."""
        return f"{row.label}{self.several(row.model)}"

    def keys(self, labels: Iterable[str]) -> tuple[Key, ...]:
        """Return a legend of rows, in the order of the tables."""
        wanted = set(labels)
        return tuple(Key(label, look) for label, look in self.looks.items() if label in wanted)

    def spread_words(self) -> str:
        """Say what a row's own interval is, as the tables have it."""
        count = len(self.results.seeds)
        if count == 1:
            return "95 % confidence intervals for new prompts alone, of this one seed"
        if count < SEEDS_FOR_CLAIMS:
            return "no intervals, for want of a third seed"
        return "95 % confidence intervals of each row, for new seeds and new prompts"


def first_of(rows: Sequence[ResultRow], most: int, what: str) -> tuple[Sequence[ResultRow], tuple[str, ...]]:
    """Return as many rows as one picture can show, and a sentence if these are not all."""
    if len(rows) <= most:
        return rows, ()
    return rows[:most], (f"{what} of the first {most} of {len(rows)} rows.",)


def known(value: float) -> float | None:
    """Return a number as a file of data has it: None for one that is not known."""
    return value if math.isfinite(value) else None
