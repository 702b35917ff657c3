"""Rows that differ in one option alone: the headline score over that option, and what a paper printed beside it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from harness.report.pictures.figure import Axis, Band, Dots, Figure, Frame, Key, Line, Look, Panel, Rule, Span
from harness.report.pictures.source import known
from harness.report.pictures.theme import BASELINE, INK, look
from harness.report.published import figures_of
from harness.store.identity import canonical

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.report.pictures.figure import Part
    from harness.report.pictures.source import Score, Source
    from harness.report.published import Figure as Printed
    from harness.report.results import ResultRow, Results

#: Beyond this ratio of the largest to the smallest value an axis is logarithmic.
_FAR: Final = 15.0
#: Panels, and curves of a panel, that one picture holds.
_MOST, _MOST_CURVES = 12, 8
_PRINTED: Final = Look("ink", "star")


class Sweep(NamedTuple):
    """Rows of one method and model that differ in one option alone, in groups that differ in others too."""

    model: str
    method: str
    option: str
    groups: list[list[tuple[Any, ResultRow]]]
    """The option's value and the row, in the order of the rows."""


class _Positions(NamedTuple):
    """Where the values of an option stand along an axis."""

    axis: Axis
    of: Mapping[bytes, float]
    """By the value's canonical form."""


def sweeps(results: Results) -> list[Sweep]:
    """Return every option in which rows differ that have all else in common."""
    found = []
    kinds = dict.fromkeys((row.model, str(row.method)) for row in results.rows if row.kind in {"start", "method"})
    for model, method in kinds:
        rows = [row for row in results.rows if (row.model, row.method) == (model, method) and row.trained]
        settings = [(row, _settings(row, results)) for row in rows]
        for option in dict.fromkeys(name for _, told in settings for name in told):
            groups: dict[bytes, list[tuple[Any, ResultRow]]] = {}
            for row, told in settings:
                rest = {name: value for name, value in told.items() if name != option}
                groups.setdefault(canonical(rest), []).append((told.get(option), row))
            differing = [
                group for group in groups.values() if 1 < len(group) == len({canonical(value) for value, _ in group})
            ]
            if differing:
                found.append(Sweep(model, method, option, differing))
    return found


def _settings(row: ResultRow, results: Results) -> dict[str, Any]:
    """Return all by which rows of a method may differ, flat."""
    described = row.described
    recipe = {f"recipe.{name}": value for name, value in described.recipe_set.items()}
    default = results.manifest.config.recipe.model_dump(mode="json")
    for other in results.rows:  # what another row sets has a value here too
        for name in other.described.recipe_set:
            recipe.setdefault(f"recipe.{name}", default.get(name))
    weights = {f"reward_weights.{name}": value for name, value in described.reward_weights.items()}
    return {**_flat(described.options), **recipe, **weights, "active": described.active, "start": described.start}


def _flat(options: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in options.items():
        found |= _flat(value, f"{before}{name}.") if isinstance(value, dict) and value else {f"{before}{name}": value}
    return found


def ablation(source: Source) -> Figure | None:
    """Draw the headline score over each option that varies alone."""
    if not source.metrics:
        return None
    results, metric = source.results, source.metrics[0]
    column = source.headline(metric, source.datasets[0], results.decoding_of(metric))
    label, unit = column.described.label, f" ({column.described.unit})" if column.described.unit else ""
    panels: list[Panel] = []
    lines: list[tuple[str | float | None, ...]] = []
    keys: dict[str, Key] = {}
    every = sweeps(results)
    printed = [one for one in figures_of(results) if one.beside.get("column") == f"{metric.use}.{metric.headline}"]
    beside = False
    for sweep in every:
        scores = [
            [(value, row, found) for value, row in group if (found := source.score(row, column)) is not None]
            for group in sweep.groups
        ]
        kept = [group for group in scores if len(group) > 1]
        if not kept:
            continue
        theirs = [one for one in printed if _is_of(one, sweep)]
        lines += _lines(sweep, kept, theirs)
        if len(panels) == _MOST:
            continue
        beside = beside or bool(theirs)
        head = f"{label}{unit} over {sweep.option} of {sweep.method}{source.several(sweep.model)}"
        baseline = next(
            (row for row in results.rows if (row.model, row.label) == (sweep.model, results.baseline)), None
        )
        level = source.score(baseline, column) if baseline is not None and baseline.method != sweep.method else None
        axis, parts = _drawn(kept[:_MOST_CURVES], theirs, level)
        panels.append(Panel(head, axis, Axis(), tuple(parts)))
        if level is not None:
            keys[results.baseline] = Key(results.baseline, BASELINE)
        if len(sweep.groups) > 1:
            for number, group in enumerate(kept[:_MOST_CURVES]):
                name = f"{group[0][1].label} … {group[-1][1].label}"
                keys[name] = Key(name, look(number))
    if not panels:
        return None
    if beside:
        keys["published"] = Key("published", _PRINTED, "open")
    if len(results.seeds) > 1:
        keys["seed"] = Key("one seed", INK, "seed")
    caption = (
        f"{label} on {column.place.dataset} ({column.place.decoding}) of rows that differ in one option and in nothing "
        f"else, with {source.spread_words()}."
    )
    if beside:
        caption += " Published figures are of the paper's own models and data, and are compared with nothing."
    notes = () if len(panels) == len(every) or len(panels) < _MOST else ("More options are in the data.",)
    columns = ("model", "method", "option", "setting", "row", "score", "low", "high")
    return Figure("ablation", "Ablation", caption, tuple(panels), tuple(keys.values()), notes,
                  Frame(columns, tuple(lines)))  # fmt: skip


def _is_of(printed: Printed, sweep: Sweep) -> bool:
    return printed.beside.get("method") == sweep.method and list(printed.beside.get("options", {})) == [sweep.option]


def _drawn(
    groups: Sequence[Sequence[tuple[Any, ResultRow, Score]]], printed: Sequence[Printed], level: Score | None
) -> tuple[Axis, list[Part]]:
    """Return the axis of an option, and what stands above it."""
    values = [value for group in groups for value, _, _ in group]
    option = next(iter(printed[0].beside["options"])) if printed else None
    positions = _positions(values, [one.beside["options"][option] for one in printed] if option else [])
    behind: list[Part] = [] if level is None else [Rule(level.value, look=BASELINE)]
    before: list[Part] = []
    for number, group in enumerate(groups):
        style = look(number)
        points = sorted((positions.of[canonical(value)], row.label, found) for value, row, found in group)
        xs, ys = tuple(x for x, _, _ in points), tuple(found.value for _, _, found in points)
        if positions.axis.names:
            spans = [(x, found) for x, _, found in points if not math.isnan(found.low)]
            before += [Span((x, found.low), (x, found.high), style) for x, found in spans]
        else:
            lows, highs = (tuple(ends) for ends in zip(*((f.low, f.high) for _, _, f in points), strict=True))
            behind.append(Band(xs, lows, highs, style))
            before.append(Line(xs, ys, style, marked=False))
        for x, _, found in points:
            if len(found.by_seed) > 1:
                tips = tuple(f"seed {seed}: {value:.4g}" for seed, value in found.by_seed.items())
                before.append(Dots((x,) * len(found.by_seed), tuple(found.by_seed.values()), style, "seed", tips))
        before.append(Dots(xs, ys, style, "full", tuple(f"{label}: {found.value:.4g}" for _, label, found in points)))
    for one in printed:
        at = positions.of[canonical(one.beside["options"][option])]
        before.append(Dots((at,), (one.value,), _PRINTED, "open", (f"published, {one.place}: {one.printed}",)))
    return positions.axis, [*behind, *before]


def _positions(values: Sequence[Any], printed: Sequence[Any]) -> _Positions:
    """Return where values stand: numbers as what they are, lists of several lengths by these, all else in a row."""
    keys = [canonical(value) for value in values]
    if all(isinstance(value, list) for value in values):
        counts = [float(len(value)) for value in values]
        if len(set(counts)) == len(set(keys)):
            return _numeric([*keys, *map(canonical, printed)], [*counts, *map(float, printed)], "how many")
    if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in (*values, *printed)):
        return _numeric([*keys, *map(canonical, printed)], [*map(float, values), *map(float, printed)], "")
    names = {canonical(value): _named(value) for value in (*values, *printed)}
    return _Positions(Axis(names=tuple(names.values())), {key: float(place) for place, key in enumerate(names)})


def _numeric(keys: Sequence[bytes], numbers: Sequence[float], label: str) -> _Positions:
    at = tuple(sorted(set(numbers)))
    log = at[0] > 0 and at[-1] / at[0] >= _FAR
    return _Positions(Axis(label, at=at, log=log), dict(zip(keys, numbers, strict=True)))


def _named(value: Any) -> str:
    return "none" if value is None else value if isinstance(value, str) else canonical(value).decode()


def _lines(
    sweep: Sweep,
    groups: Sequence[Sequence[tuple[Any, ResultRow, Score]]],
    printed: Sequence[Printed],
) -> list[tuple[str | float | None, ...]]:
    whose = (sweep.model, sweep.method, sweep.option)
    lines: list[tuple[str | float | None, ...]] = []
    for group in groups:
        for value, row, found in group:
            setting = value if isinstance(value, (int, float)) and not isinstance(value, bool) else _named(value)
            lines.append((*whose, setting, row.label, found.value, known(found.low), known(found.high)))
    for one in printed:
        setting = one.beside["options"][sweep.option]
        lines.append(("published", sweep.method, sweep.option, setting, one.where, one.value, None, None))
    return lines
