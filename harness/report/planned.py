"""The minimum detectable effect of a run before it is run: from the variances of stored results, or stated ones."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from harness.errors import HarnessError, InputError
from harness.report.components import Components, complete, estimated, spread
from harness.report.detectable import planned
from harness.report.results import load_results, read_manifest
from harness.report.statistics import SEEDS_FOR_CLAIMS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from harness.api.registration import Column
    from harness.plugins.registry import Registry
    from harness.report.results import ResultRow, Results
    from harness.spec.benchmark import Benchmark
    from harness.spec.results.run import RunManifest

    Cost = Callable[[str, int, float], tuple[float, float] | None]

#: What is assumed of a difference where nothing is stored, as standard deviations in shares of the column's range.
ASSUMED = {"seed": 0.01, "prompt": 0.1, "rest": 0.1}
#: Prompts that are assumed where neither the data nor results are here yet.
_PROMPTS = 200
#: Numbers of seeds that are looked at beside the file's own.
_SEEDS = (SEEDS_FOR_CLAIMS, 5, 10, 20)


class DetectableSize(NamedTuple):
    """A minimum detectable effect at power 0.8, in the column's own unit; NaN where nothing is claimed."""

    seeds: int
    prompts: int
    size: float
    work: float | None = None
    """Seconds that the run would take then, on one worker; None where that is not known."""
    wall: float | None = None
    """And with its workers."""


class Forecast(NamedTuple):
    """What a run could find in one column."""

    dataset: str
    metric: str
    column: Column
    baseline: str
    tests: int
    """Comparisons that are adjusted for together."""
    source: str
    """Where the variances are from."""
    components: Components
    sizes: tuple[DetectableSize, ...]
    """The run as it is planned, and then with more seeds or prompts."""


class _Found(NamedTuple):
    """Variances of stored differences, and what they are from."""

    source: str
    components: Components
    prompts: int


def forecasts(
    benchmark: Benchmark,
    registry: Registry,
    root: Path,
    *,
    labels: Sequence[str],
    start: str,
    prompts: Mapping[str, int | None],
    cost: Cost = lambda *_: None,
) -> list[Forecast]:
    """Return what each data set's headline number could find, under the first decoding.

    Args:
        benchmark: what would be run.
        registry: knows its metrics.
        root: the folder of results, in which earlier runs have variances.
        labels: of the trained rows.
        start: label of the supervised start.
        prompts: data set to how many prompts it has, where that is known.
        cost: of a data set, seeds and prompts relative to those planned: seconds on one worker, and with all.
    """
    score = _headline(benchmark, registry)
    if score is None or len(labels) < 2:
        return []
    metric, column = score
    rows = len(labels)
    tests = rows * (rows - 1) // 2 if benchmark.compare.pairs == "all" else rows - 1
    runs = list(_runs(benchmark, root))
    planned_runs = []
    for use in benchmark.evaluate:
        dataset = str(use.label)
        if use.group is not None:
            continue  # how many groups there are, and how they vary, is not known before
        variances = _stored(runs, root, dataset, metric, column.name) or _assumed(column)
        if variances is None:
            continue
        count = prompts.get(dataset) or variances.prompts
        sizes = [
            DetectableSize(
                seeds,
                many,
                planned(variances.components, seeds, many, rows=rows, tests=tests),
                *(cost(dataset, seeds, many / count) or (None, None)),
            )
            for seeds, many in _plans(len(benchmark.seeds), count)
        ]
        baseline = benchmark.compare.baseline or start
        planned_runs.append(
            Forecast(dataset, metric, column, baseline, tests, variances.source, variances.components, tuple(sizes))
        )
    return planned_runs


def _plans(seeds: int, prompts: int) -> list[tuple[int, int]]:
    """Return the run as planned, with more seeds, with more prompts, and with both."""
    more = [count for count in _SEEDS if count > seeds][:2]
    plans = [(seeds, prompts), *((count, prompts) for count in more)]
    if seeds >= SEEDS_FOR_CLAIMS:
        plans.append((seeds, 2 * prompts))
    return [*plans, *((count, 2 * prompts) for count in more[:1])]


def _headline(benchmark: Benchmark, registry: Registry) -> tuple[str, Column] | None:
    """Return the first score and its headline column."""
    for use in benchmark.metrics:
        registration: Any = registry.get("metric", use.use)
        registration = registration.resolved(registry.options("metric", use.use, use.options))
        if registration.role == "score":
            name = registration.headline or registration.columns[0].name
            return use.use, next(column for column in registration.columns if column.name == name)
    return None


def _assumed(column: Column) -> _Found | None:
    low, high = column.range
    if low is None or high is None:
        return None
    width = high - low
    source = "stated variances, since no results of this kind are stored: standard deviations of " + ", ".join(
        f"{share * width * column.scale:g} ({name})" for name, share in ASSUMED.items()
    )
    return _Found(source, Components(*((share * width) ** 2 for share in ASSUMED.values())), _PROMPTS)


def _runs(benchmark: Benchmark, root: Path) -> Iterator[tuple[Path, RunManifest]]:
    """Give the manifests below the folder of results, those most like this benchmark first."""
    runs = []
    for path in sorted(root.glob("*/*/manifest.json")):
        try:
            manifest = read_manifest(path.parent)
        except InputError:
            continue
        same = manifest.benchmark == benchmark.benchmark
        runs.append((not same, manifest.profile != benchmark.profile, path, manifest))
    for _, _, path, manifest in sorted(runs, key=lambda one: one[:3]):
        yield path.parent, manifest


def _stored(
    runs: Sequence[tuple[Path, RunManifest]], root: Path, dataset: str, metric: str, column: str
) -> _Found | None:
    """Return the variances of the first run that measured this column, on this data set rather than on another."""
    other = None
    for folder, manifest in runs:
        if not any(use.use == metric for use in manifest.metrics):
            continue
        try:
            results = load_results(root, folder, manifest=manifest)
        except HarnessError:
            continue  # what cannot be reported has no variances to take
        labels = [label for role in ("in-data", "cross") for label in results.datasets(role)]
        for label in sorted(labels, key=lambda label: label != dataset):
            variances = _components(results, label, metric, column, f"{folder.parent.name}/{folder.name}")
            if variances is not None and label == dataset:
                return variances
            other = other or variances
    return other


def _components(results: Results, dataset: str, metric: str, column: str, where: str) -> _Found | None:
    """Return the mean variance components of the differences from the baseline; None with fewer than two seeds."""
    components, shapes = [], []
    for model in results.models:
        rows = {row.label: row for row in results.rows if row.model == model and row.trained}
        base = rows.pop(results.baseline, None)
        for row in rows.values() if base else ():
            values = _difference(results, row, base, dataset, metric, column)
            if values is not None and min(values.shape) > 1:
                components.append(estimated(spread(values), *values.shape))
                shapes.append(values.shape)
    if not components:
        return None
    seeds, prompts = (min(sizes) for sizes in zip(*shapes, strict=True))
    source = f"the variances of {where} ({dataset}: {len(components)} differences, {seeds} seeds, {prompts} prompts)"
    return _Found(source, Components(*np.mean(components, axis=0).tolist()), prompts)


def _difference(
    results: Results, row: ResultRow, base: ResultRow | None, dataset: str, metric: str, column: str
) -> Any:
    place = (dataset, results.decodings[0])
    cells = [one.cells.get(place) for one in (row, base) if one is not None]
    matrices = [cell.matrix(metric, column, results.seeds) if cell else None for cell in cells]
    first, second = matrices if len(matrices) == 2 else (None, None)
    return None if first is None or second is None else complete(first - second)[0]


def text_of(forecast: Forecast) -> str:
    """Return a forecast as a sentence."""
    column = forecast.column

    def said(size: DetectableSize) -> str:
        what = f"{size.seeds} seed{'s' if size.seeds > 1 else ''} × {size.prompts} prompts"
        took = "" if size.wall is None else f", in {time_text(size.wall)}"
        return f"{what}: {'no claim' if math.isnan(size.size) else f'{size.size * column.scale:.2g}'}{took}"

    against = f"from {forecast.baseline}, adjusted for {forecast.tests} comparison{'s' if forecast.tests > 1 else ''}"
    sizes = "; ".join(map(said, forecast.sizes))
    effect = f"minimum detectable effect (a difference {against}, found four times in five)"
    what = f"{forecast.dataset} {column.label}: {effect} with {sizes}"
    return f"{what}; by {forecast.source}"


def time_text(seconds: float) -> str:
    """Return a time as people say it; an estimate has no more than two digits."""
    if seconds < 60:
        return "less than a minute"
    return (
        f"{seconds / 60:.0f} min"
        if seconds < 5400
        else f"{seconds / 3600:.2g} h"
        if seconds < 36e4
        else (f"{seconds / 86400:.0f} days")
    )


def json_of(forecast: Forecast) -> dict[str, Any]:
    """Return a forecast for programs, scaled as tables show the column."""
    scale = forecast.column.scale
    return {
        "dataset": forecast.dataset,
        "metric": f"{forecast.metric}.{forecast.column.name}",
        "baseline": forecast.baseline,
        "comparisons": forecast.tests,
        "source": forecast.source,
        "sd": {name: math.sqrt(value) * scale for name, value in forecast.components._asdict().items()},
        "sizes": [
            {
                "seeds": one.seeds,
                "prompts": one.prompts,
                "difference": None if math.isnan(one.size) else one.size * scale,
                "work_seconds": one.work,
                "seconds": one.wall,
            }
            for one in forecast.sizes
        ],
    }
