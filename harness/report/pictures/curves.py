"""Curves over the steps of training: reward, loss, entropy and length, and the divergence from the start."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from harness.report.overoptimisation import dataset_of, optimised, way_of
from harness.report.pictures.figure import Axis, Band, Dots, Figure, Frame, Key, Line, Look, Panel, Rule, Span, joined
from harness.report.pictures.source import MOST_CURVES, first_of, known
from harness.report.pictures.theme import INK
from harness.report.reward_curves import distance_of
from harness.spec.results.train import TrainStep

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.report.overoptimisation import Way
    from harness.report.pictures.figure import Part
    from harness.report.pictures.source import Source
    from harness.report.results import ResultRow
    from harness.report.statistics import Array
    from harness.store.records import Record

#: Points of a curve: steps that lie closer are one point, their mean.
POINTS: Final = 60
_TRAINING: Final = {
    "reward": "Reward of the samples",
    "loss": "Loss, all shares together",
    "entropy": "Entropy (nats a token)",
    "length": "Length of the samples (tokens)",
}
_KL: Final = "KL to the start of the stage (nats a token)"
_COLUMNS: Final = ("quantity", "model", "row", "step", "median", "low", "high", "seeds")


class Curve(NamedTuple):
    """A quantity over the steps of a row's own training, over its seeds: all are (P,)."""

    steps: Array
    """Counted from 1 within the stage."""
    median: Array
    low: Array
    high: Array
    """The range over seeds."""
    seeds: Array
    """How many have a value."""


#: Model and label of a row, and a quantity.
Curves = dict[tuple[str, str], dict[str, Curve]]


def read_curves(rows: Sequence[ResultRow]) -> Curves:
    """Read the logs of rows; a quantity that a row does not have is left out."""
    found: Curves = {}
    for row in rows:
        logs = [_log(record) for _, record in sorted(row.training.items())]
        made = {name: curve([log[name] for log in logs]) for name in (*_TRAINING, "kl")} if logs else {}
        found[row.model, row.label] = {name: one for name, one in made.items() if one is not None}
    return found


def _log(record: Record) -> dict[str, Array]:
    """Return each quantity by step (T,), NaN where it was not measured."""
    numbers: list[tuple[float | None, ...]] = []
    for step in record.lines(TrainStep):
        samples, reward = step.samples, step.reward
        length = samples.mean_length if samples is not None and samples.count else None
        entropy = samples.entropy if samples is not None else None
        loss = sum(step.loss.values()) if step.loss else None
        numbers.append((reward.mean if reward is not None else None, loss, entropy, length, step.kl))
    table = np.array(numbers, dtype=np.float64).reshape(-1, len(_TRAINING) + 1)
    return dict(zip((*_TRAINING, "kl"), table.T, strict=True))


def curve(values: Sequence[Array]) -> Curve | None:
    """Return the median and the range over seeds of logs (T,) of S seeds; None where there is no value.

    At most :data:`POINTS` points, evenly over the longest log: a point is the mean over its steps, seed by seed.
    """
    longest = max(map(len, values), default=0)
    padded = np.full((len(values), longest), np.nan)
    for line, log in zip(padded, values, strict=True):
        line[: len(log)] = np.where(np.isfinite(log), log, np.nan)
    if np.isnan(padded).all():
        return None
    edges = np.unique(np.linspace(0, longest, min(POINTS, longest) + 1).astype(int))
    present = ~np.isnan(padded)
    counts = np.add.reduceat(present.astype(float), edges[:-1], axis=1)
    sums = np.add.reduceat(np.where(present, padded, 0.0), edges[:-1], axis=1)
    means = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    # where a quantity is measured at few steps a point stands at those, and not in their middle
    at = np.where(present.any(0), np.arange(1, longest + 1), 0)
    measured = np.add.reduceat(present.any(0).astype(float), edges[:-1])
    kept = measured > 0
    steps = (np.add.reduceat(at.astype(float), edges[:-1]) / np.maximum(measured, 1))[kept]
    means = means[:, kept]
    return Curve(
        steps,
        np.nanmedian(means, axis=0),
        np.nanmin(means, axis=0),
        np.nanmax(means, axis=0),
        (~np.isnan(means)).sum(0).astype(float),
    )


def training(source: Source, curves: Curves) -> Figure | None:
    """Draw reward, loss, entropy and length over the steps of each row's own training."""
    rows, notes = _drawn(source, curves, tuple(_TRAINING))
    panels = []
    for model in source.results.models:
        for name, title in _TRAINING.items():
            of = [row for row in rows if row.model == model]
            panels += _panel(source, curves, of, name, f"{title}{source.several(model)}")
    if not panels:
        return None
    caption = (
        "Over the steps of the stage in which each row's own method is active: lines are medians over seeds, bands "
        f"their range{_thinned(curves)}. Rewards as methods are given them; losses of different methods are of "
        "different things, and are not to be compared."
    )
    keys, frame = _keys(source, curves, rows, tuple(_TRAINING)), _frame(curves, rows, tuple(_TRAINING))
    return Figure("training", "Training", caption, tuple(panels), keys, notes, frame)


def divergence(source: Source, curves: Curves) -> Figure | None:
    """Draw the divergence from the start over the steps, and gold and proxy rewards over it where a run has both."""
    rows, notes = _drawn(source, curves, ("kl",))
    results, panels, lines = source.results, [], []
    keys = list(_keys(source, curves, rows, ("kl",)))
    for model in results.models:
        of = [row for row in rows if row.model == model]
        panels += _panel(source, curves, of, "kl", f"{_KL}{source.several(model)}", zero=True)
        way = way_of(source.columns, model) if optimised(results) else None
        if way is not None and way.points:
            panels.append(_rewards(source, way))
            lines += _reward_lines(source, way)
            keys += [key for key in source.keys(_representative(way).values()) if key not in keys]
    if not panels:
        return None
    caption = (
        "Mean nats a token from the policy to the model that its stage started from, on fixed prompts: lines are "
        f"medians over seeds, bands their range{_thinned(curves)}."
    )
    if lines:
        keys += [Key("gold", INK, "marker"), Key("proxy", INK, "open")]
        caption += (
            " Rewards are less the start's, over the root of the KL an answer, with 95 % confidence intervals and the "
            "curves fitted to each method's rows, as in the tables."
        )
    frame = _frame(curves, rows, ("kl",))
    every = Frame((*_COLUMNS, "distance"), (*((*line, None) for line in frame.lines), *lines))
    return Figure("divergence", "Divergence from the start", caption, tuple(panels), tuple(keys), notes, every)


def _drawn(source: Source, curves: Curves, names: Sequence[str]) -> tuple[Sequence[ResultRow], tuple[str, ...]]:
    """Return the rows with curves of some quantities, as many as can be told apart."""
    have = [row for row in source.results.rows if any(name in curves.get((row.model, row.label), {}) for name in names)]
    return first_of(have, MOST_CURVES * max(len(source.results.models), 1), "Curves")


def _keys(source: Source, curves: Curves, rows: Sequence[ResultRow], names: Sequence[str]) -> tuple[Key, ...]:
    return source.keys(row.label for row in rows if any(name in curves[row.model, row.label] for name in names))


def _panel(
    source: Source, curves: Curves, rows: Sequence[ResultRow], name: str, title: str, *, zero: bool = False
) -> list[Panel]:
    """Return the panel of one quantity; none where no row has it."""
    bands: list[Part] = []
    lines: list[Part] = []
    for row in rows:
        one, look = curves[row.model, row.label].get(name), source.looks[row.label]
        if one is None:
            continue
        xs = joined(one.steps)
        if (one.high > one.low).any():
            bands.append(Band(xs, joined(one.low), joined(one.high), look))
        lines.append(Line(xs, joined(one.median), look))
    return [Panel(title, Axis("step"), Axis(zero=zero), (*bands, *lines))] if lines else []


def _frame(curves: Curves, rows: Sequence[ResultRow], names: Sequence[str]) -> Frame:
    lines: list[tuple[str | float | None, ...]] = []
    for name in names:
        for row in rows:
            one = curves[row.model, row.label].get(name)
            if one is not None:
                numbers = zip(*(part.tolist() for part in one), strict=True)
                lines += [(name, row.model, row.label, *point) for point in numbers]
    return Frame(_COLUMNS, tuple(lines))


def _thinned(curves: Curves) -> str:
    most = max((one.steps[-1] for every in curves.values() for one in every.values()), default=0.0)
    return f"; each point is the mean of {most / POINTS:.0f} steps or so" if most > 1.5 * POINTS else ""


def _representative(way: Way) -> dict[str, str]:
    """Return the row whose look a method's points have: the first of its own."""
    found: dict[str, str] = {}
    for point in way.points:
        found.setdefault(point.method, point.row.described.of or point.row.label)
    return found


def _rewards(source: Source, way: Way) -> Panel:
    """Return gold and proxy rewards over the distance from the start."""
    parts: list[Part] = [Rule(0.0)]
    looks = {method: source.looks.get(label, INK) for method, label in _representative(way).items()}
    for method, every in way.curves.items():
        far = max(distance_of(point.kl) for point in way.points if point.method == method)
        xs = joined(np.linspace(0, far, 41))
        for name, fitted in every.items():
            look = looks[method]
            line = Look(look.colour, look.marker, 0 if name == "gold" else 1)
            if fitted is not None:
                ys = tuple(fitted.at(x) if x > 0 else 0.0 for x in xs)
                parts.append(Line(xs, ys, line, marked=False))
    for point in way.points:
        at = distance_of(point.kl)
        for name, values in point.gained.items():
            found = source.columns.gained(values, dataset_of(source.results), point.row)
            if found is None:
                continue
            if found.known:
                parts.append(Span((at, found.low), (at, found.high), looks[point.method], thick=False))
            tip = f"{point.row.label}, {name}: {found.mean:.4g}"
            parts.append(Dots((at,), (found.mean,), looks[point.method], "full" if name == "gold" else "open", (tip,)))
    axis = Axis("√KL (nats an answer)", zero=True)
    return Panel(f"Reward gained{source.several(way.model)}", axis, Axis(), tuple(parts))


def _reward_lines(source: Source, way: Way) -> list[tuple[str | float | None, ...]]:
    lines: list[tuple[str | float | None, ...]] = []
    for point in way.points:
        for name, values in point.gained.items():
            found = source.columns.gained(values, dataset_of(source.results), point.row)
            if found is not None:
                whose = (name, way.model, point.row.label, None, found.mean)
                seeds = float((~np.isnan(values)).any(1).sum())
                lines.append((*whose, known(found.low), known(found.high), seeds, distance_of(point.kl)))
    return lines
