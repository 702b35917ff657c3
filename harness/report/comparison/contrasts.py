"""What two rows differ by in every column: the difference, its size, the prompts behind it, what would settle it."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from harness.errors import InputError, suggest
from harness.report.calculated import Calculated
from harness.report.claims.evidence import Measured, more
from harness.report.columns import UNVARIED, ColumnKey, ComparedColumns, bounds
from harness.report.comparison.unlike import Places
from harness.report.components import complete, estimated, spread
from harness.report.differences import Difference, compare, difference
from harness.report.power import needed_prompts, needed_seeds
from harness.spec.results.rows import DataRow

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from harness.api.registration import Column
    from harness.report.comparison.sides import Side
    from harness.report.results import ResultRow
    from harness.report.statistics import Array
    from harness.spec.results.run import RunMetric

#: Columns of the data that say what kind of prompt one is, where the user names none.
CATEGORIES: Final = ("category", "task", "type")


class Moved(NamedTuple):
    """A prompt, with what it adds to the difference."""

    id: str
    difference: float
    first: float
    second: float


class Category(NamedTuple):
    """The prompts of one kind, with an interval that holds for all kinds together."""

    name: str
    prompts: int
    difference: Difference


class Settled(NamedTuple):
    """How much would settle the difference, if it and its spread are the true ones."""

    text: str
    seeds: int | None = None
    """In all, with the prompts that there are; None where no practical number would."""
    prompts: int | None = None


@dataclass(frozen=True)
class Contrast:
    """First row minus second in one column, in the column's own unit."""

    place: ColumnKey
    described: Column
    headline: bool
    means: tuple[float, float]
    """Of the seeds and prompts that both have."""
    difference: Difference
    effect: float
    """Over the root mean square of both rows' standard deviations between prompts (Cohen's d); NaN without any."""
    shares: tuple[float, float]
    """Of the prompts on which the first row is better, and worse; NaN where the column does not say which way is."""
    settled: Settled
    moved: tuple[Moved, ...] = ()
    """The prompts that add most to the difference, and those that take most from it."""
    categories: tuple[Category, ...] = ()
    in_table: Difference | None = None
    """What the table of the run says, where both rows are in one."""
    rows: int = 0
    """How many rows it compares."""


def places(first: Side, second: Side, asked: Mapping[str, Sequence[str]]) -> Places:
    """Return what both rows have, or of that what was asked for.

    Raises:
        InputError: they have nothing in common, or not what was asked for.
    """
    manifests = [side.results.manifest for side in (first, second)]
    known = {
        "data": [[d.label for d in m.datasets if d.role != "train"] for m in manifests],
        "decoding": [list(m.decodings) for m in manifests],
        "metric": [[metric.use for metric in m.metrics] for m in manifests],
    }
    chosen = []
    for kind, (ours, theirs) in known.items():
        shared = [name for name in dict.fromkeys(ours) if name in theirs]
        for name in asked.get(kind, ()):
            if name not in shared:
                what, expected = f"both rows have no such {kind}", f"one of {', '.join(shared)}"
                raise InputError(
                    what, where=f"--{kind}", got=name, expected=expected, did_you_mean=suggest(name, shared)
                )
        if not shared:
            said = [
                f"{side.name}: {', '.join(names) or 'none'}"
                for side, names in zip((first, second), (ours, theirs), strict=True)
            ]
            raise InputError(f"the two rows have no {kind} in common ({'; '.join(said)})")
        chosen.append(tuple(asked.get(kind, ())) or tuple(shared))
    return Places(*chosen)


def contrasts(
    first: Side,
    second: Side,
    chosen: Places,
    *,
    prompts: int = 5,
    by: str | None = None,
    table: Calculated | None = None,
) -> list[Contrast]:
    """Compare two rows in every column of every metric, data set and decoding that is chosen.

    Args:
        first: its values are positive.
        second: is taken away.
        chosen: where.
        prompts: how many to name that move a difference most, each way.
        by: the column of the data that says what kind of prompt one is; None takes the first of :data:`CATEGORIES`.
        table: what the run's tables were made with, where both rows are of one run.

    Raises:
        InputError: the rows have no seed or no prompt in common, or the data have no column ``by``.
    """
    sides = [(ComparedColumns(side.results, Calculated()), side.row) for side in (first, second)]
    tables = ComparedColumns(first.results, table) if table is not None else None
    kinds = {label: _kinds(first, label, by) for label in chosen.datasets}
    found = []
    for dataset, decoding in itertools.product(chosen.datasets, chosen.decodings):
        for metric in (m for m in first.results.manifest.metrics if m.use in chosen.metrics):
            for described in metric.columns:
                key = ColumnKey(dataset, decoding, metric.use, described.name)
                pair = _Pair.of(first, second, key)
                if pair is not None:
                    contrast = _contrast(pair, key, metric, described, sides, kinds[dataset], prompts)
                    found.append(contrast if tables is None else _with_table(contrast, tables, first, second))
    if not found:
        seeds = [f"{side.name}: {', '.join(map(str, side.seeds))}" for side in (first, second)]
        what = f"the two rows have no scores of the same seeds and prompts (seeds of {'; of '.join(seeds)})"
        raise InputError(what, hint="harness status shows what has been scored")
    return found


class _Pair(NamedTuple):
    """Both rows' values (S, E) on the seeds and prompts that both have."""

    first: Array
    second: Array
    ids: list[str]

    @classmethod
    def of(cls, first: Side, second: Side, key: ColumnKey) -> _Pair | None:
        cells = [side.row.cells.get((key.dataset, key.decoding)) for side in (first, second)]
        if cells[0] is None or cells[1] is None:
            return None
        seeds = [seed for seed in cells[0].scores.get(key.metric, {}) if seed in cells[1].scores.get(key.metric, {})]
        ids = [name for name in cells[0].ids if name in set(cells[1].ids)]
        if not seeds or not ids:
            return None
        values = []
        for cell in cells:
            matrix = cell.matrix(key.metric, key.column, seeds) if cell else None
            if cell is None or matrix is None:
                return None
            at = {name: number for number, name in enumerate(cell.ids)}
            values.append(matrix[:, [at[name] for name in ids]])
        return cls(values[0], values[1], ids)


def _contrast(
    pair: _Pair,
    key: ColumnKey,
    metric: RunMetric,
    described: Column,
    sides: Sequence[tuple[ComparedColumns, ResultRow]],
    kinds: Mapping[str, str],
    prompts: int,
) -> Contrast:
    groups = sides[0][0].groups(key.dataset, pair.ids)
    ends = bounds(described)
    better = -1 if described.higher_is_better is False else 1
    rows = {"first": pair.first, "second": pair.second}
    judged = compare(rows, baseline="second", groups=groups, better=better, bounds=ends).of("first", "second")
    assert judged is not None
    judged = _unclaimed(judged, key, sides)
    both = pair.first - pair.second
    both_ends = None if ends is None else (ends[0] - ends[1], ends[1] - ends[0])
    by_prompt = _mean(both)
    shares = (math.nan, math.nan)
    if described.higher_is_better is not None:
        known = by_prompt[~np.isnan(by_prompt)]
        shares = (float((better * known > 0).mean()), float((better * known < 0).mean())) if known.size else shares
    present = ~np.isnan(both)
    means = tuple(float(values[present].mean()) if present.any() else math.nan for values in (pair.first, pair.second))
    return Contrast(
        key, described, described.name == metric.headline, (means[0], means[1]), judged, _effect(pair), shares,
        _settled(judged, both, groups, both_ends), _moved(pair, by_prompt, prompts),
        _categories(both, pair.ids, kinds, groups, both_ends),
    )  # fmt: skip


def _unclaimed(judged: Difference, key: ColumnKey, sides: Sequence[tuple[ComparedColumns, ResultRow]]) -> Difference:
    """Return a difference without its interval where a row's seeds are no repetitions of each other."""
    if any(columns.faulty(row, key) for columns, row in sides):
        return replace(judged, low=math.nan, high=math.nan, p=math.nan, claims=False, note=UNVARIED)
    return judged


def _effect(pair: _Pair) -> float:
    """Return the difference in standard deviations of a prompt's score, the root mean square of both rows'."""
    kept = ~np.isnan(pair.first - pair.second).any(0)
    ours, theirs = pair.first[:, kept].mean(0), pair.second[:, kept].mean(0)
    if ours.size < 2:
        return math.nan
    deviation = math.sqrt((ours.var(ddof=1) + theirs.var(ddof=1)) / 2)
    return float((ours - theirs).mean() / deviation) if deviation > 0 else math.nan


def _mean(values: Array) -> Array:
    """Return the mean over the seeds that have a value (E,); NaN where none has."""
    count = (~np.isnan(values)).sum(0)
    total = np.nansum(values, 0)
    means: Array = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return means


def _moved(pair: _Pair, by_prompt: Array, most: int) -> tuple[Moved, ...]:
    first, second = _mean(pair.first), _mean(pair.second)
    known = [number for number in range(len(pair.ids)) if by_prompt[number] == by_prompt[number]]  # not NaN
    order = sorted(known, key=lambda number: (-by_prompt[number], number))
    up = [number for number in order[:most] if by_prompt[number] > 0]
    down = [number for number in order[::-1][:most] if by_prompt[number] < 0]
    return tuple(Moved(pair.ids[n], float(by_prompt[n]), float(first[n]), float(second[n])) for n in (*up, *down))


def _categories(
    both: Array, ids: Sequence[str], kinds: Mapping[str, str], groups: Sequence[str] | None,
    ends: tuple[float, float] | None,
) -> tuple[Category, ...]:  # fmt: skip
    members: dict[str, list[int]] = {}
    for number, name in enumerate(ids):
        if name in kinds:
            members.setdefault(kinds[name], []).append(number)
    found = []
    for name in sorted(members):
        chosen = members[name]
        own = None if groups is None else [groups[number] for number in chosen]
        told = difference(both[:, chosen], tests=len(members), groups=own, bounds=ends)
        found.append(Category(name, len(chosen), told))
    return tuple(found)


def _settled(
    judged: Difference, both: Array, groups: Sequence[str] | None, ends: tuple[float, float] | None
) -> Settled:
    if judged.claimed:
        return Settled("settled", judged.seeds, judged.prompts)
    if math.isnan(judged.estimate):
        return Settled(judged.note)
    turned = -1 if judged.estimate < 0 else 1
    text = more(-judged if turned < 0 else judged, Measured("", turned * both, groups=groups, bounds=ends))
    if not judged.claims or groups is not None or judged.estimate == 0:
        return Settled(text)
    kept, _ = complete(both)
    assert kept is not None
    components, size = estimated(spread(kept), judged.seeds, judged.prompts), abs(judged.estimate)
    return Settled(
        text,
        needed_seeds(components, size, judged.seeds, judged.prompts),
        needed_prompts(components, size, judged.seeds, judged.prompts),
    )


def _kinds(side: Side, dataset: str, by: str | None) -> Mapping[str, str]:
    """Return what kind each prompt is of, by its id; empty where that is not known."""
    described = next(d for d in side.results.manifest.datasets if d.label == dataset and d.role != "train")
    record = side.results.find("prepare", described.stage)
    if record is None or not record.holds(DataRow.file):
        return {}
    rows = list(record.lines(DataRow))
    names = {name for row in rows for name in (*row.columns, *row.fields)}
    chosen = by or next((name for name in CATEGORIES if name in names), None)
    if chosen is None:
        return {}
    if chosen not in names:
        expected = f"one of {', '.join(sorted(names))}"
        raise InputError(
            f"the rows of {dataset} have no such column", where="--by", got=by, expected=expected,
            did_you_mean=suggest(chosen, names),
        )  # fmt: skip
    values = {row.id: row.columns.get(chosen, row.fields.get(chosen)) for row in rows}
    return {name: str(value) for name, value in values.items() if value is not None}


def _with_table(contrast: Contrast, tables: ComparedColumns, first: Side, second: Side) -> Contrast:
    """Add what the run's own table says of the two rows, if it compares them."""
    key = contrast.place
    metric = next(m for m in tables.results.manifest.metrics if m.use == key.metric)
    column = next(
        c for c in tables.of_metric(metric, key.dataset, key.decoding) if c.described == contrast.described
        and not c.place.corpus
    )  # fmt: skip
    compared = column.comparisons.get(first.row.model)
    told = compared.of(first.row.label, second.row.label) if compared else None
    if compared is None or told is None:
        return contrast
    labels: Collection[str] = {label for pair in compared.pairs for label in pair}
    return replace(contrast, in_table=told, rows=len(labels))
