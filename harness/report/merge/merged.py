"""Rows of several runs under one manifest, whose stages lie in several stores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from harness.errors import StageError
from harness.report.by_prompt import scores_csv
from harness.report.calculated import Calculated
from harness.report.merge.alike import Part, mismatches
from harness.report.results import load_results
from harness.report.write import build, document_files
from harness.report.written import Written
from harness.store.stages import Store

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from harness.spec.benchmark import Benchmark, MethodEntry
    from harness.spec.results.run import RunManifest, RunRow
    from harness.store.damage import Damage
    from harness.store.records import Record

_T = TypeVar("_T")


class Source(NamedTuple):
    """A run that is merged."""

    name: str
    root: Path
    """Where its store lies."""
    folder: Path


class Stores(Store):
    """Several stores read as one; nothing is written."""

    def __init__(self, roots: Iterable[Path]) -> None:
        """Read from the stores below these folders, the first that has a stage first."""
        self._stores = [Store(root) for root in roots]
        super().__init__(self._stores[0].root)

    def described(self, kind: str, stage_id: str) -> Record | Damage | None:
        """Return a stage from the first store that has it."""
        return next((seen for store in self._stores if (seen := store.described(kind, stage_id)) is not None), None)


def merge(sources: Sequence[Source], into: Path) -> Written:
    """Make one leaderboard of several runs, for the folder ``into``; nothing is written.

    A row that two runs have with the same stages, or with other seeds, is one row. One that they have with other stages
    is two: the later one has its run's name behind it.

    Raises:
        StageError: rows cannot be in one table; every field in which they differ is named.
        InputError: there is no such run.
    """
    named = _distinct(sources)
    parts = [Part(source.name, load_results(source.root, source.folder)) for source in named]
    found = mismatches(parts)
    if found:
        listed = "\n  ".join(str(one) for one in found)
        raise StageError(
            f"these runs cannot be in one leaderboard; they differ in:\n  {listed}",
            hint="harness compare compares two rows over a budget, a device, a model or training data that differ",
        )
    manifest = merged_manifest(parts)
    results = load_results(named[0].root, into, manifest=manifest, store=Stores(source.root for source in named))
    document = build(results, Calculated())
    document.notes.insert(0, f"Merged: {', '.join(_described(part) for part in parts)}.")
    return Written({**document_files(document), "scores.csv": scores_csv(results)}, document, results, into)


def _described(part: Part) -> str:
    rows = ", ".join(dict.fromkeys(row.label for row in part.results.rows))
    return f"{part.name} (posttune-harness {part.manifest.harness}; {rows})"


def _distinct(sources: Sequence[Source]) -> list[Source]:
    """Return the sources with names of which no two are the same."""
    seen: dict[str, int] = {}
    named = []
    for source in sources:
        seen[source.name] = seen.get(source.name, 0) + 1
        count = seen[source.name]
        named.append(source if count == 1 else source._replace(name=f"{source.name} {count}"))
    return named


def merged_manifest(parts: Sequence[Part]) -> RunManifest:
    """Return one manifest for the rows of all runs; what is said of the whole is the first one's."""
    first = parts[0].manifest
    rows: dict[tuple[str, str], RunRow] = {}
    methods: dict[str, MethodEntry] = {entry.label: entry for entry in first.config.methods}
    for part in parts:
        renamed = _renamed(part, rows)
        for row in part.manifest.rows:
            label = renamed.get((row.label, row.model), row.label)
            of = None if row.of is None else renamed.get((row.of, row.model), row.of)
            known = rows.get((label, row.model))
            now = row.model_copy(update={"label": label, "of": of})
            rows[label, row.model] = now if known is None else _together(known, now)
            for entry in part.manifest.config.methods:
                if entry.label == row.label:
                    methods.setdefault(label, entry.model_copy(update={"label": label}))
    names = list(dict.fromkeys(part.manifest.benchmark for part in parts))
    update = {
        "benchmark": " + ".join(names),
        "title": " + ".join(dict.fromkeys(part.manifest.title or part.manifest.benchmark for part in parts)),
        "profile": " + ".join(dict.fromkeys(part.manifest.profile for part in parts)),
        "config": _config(parts, tuple(methods.values())),
        "rows": tuple(rows.values()),
        "datasets": _by([data for p in parts for data in p.manifest.datasets], lambda d: (d.label, d.role)),
        "decodings": _first_of(part.manifest.decodings for part in parts),
        "metrics": _by([metric for part in parts for metric in part.manifest.metrics], lambda metric: metric.use),
        "reward_models": _first_of(part.manifest.reward_models for part in parts),
        "model_notes": _first_of(part.manifest.model_notes for part in parts),
        "plugins": _by([maker for p in parts for maker in p.manifest.plugins], lambda m: (m.kind, m.name, m.version)),
        "failures": tuple(failure for part in parts for failure in part.manifest.failures),
        "tables": tuple(name for name in first.tables if name not in {"cases", "claims", "published"}),
        "published": None,
    }
    return first.model_copy(update=update)


def _first_of(mappings: Iterable[Mapping[str, _T]]) -> dict[str, _T]:
    """Put mappings together: of two with one key the earlier counts."""
    joined: dict[str, _T] = {}
    for mapping in mappings:
        for name, value in mapping.items():
            joined.setdefault(name, value)
    return joined


def _config(parts: Sequence[Part], methods: tuple[MethodEntry, ...]) -> Benchmark:
    """Return the resolved file of the first run with the seeds, models, data and rows of all."""
    configs = [part.manifest.config for part in parts]
    return configs[0].model_copy(
        update={
            "seeds": tuple(dict.fromkeys(seed for config in configs for seed in config.seeds)),
            "models": _by([model for config in configs for model in config.models], lambda model: model.shown),
            "evaluate": _by(
                [use for config in configs for use in config.evaluate], lambda use: use.label or use.dataset
            ),
            "methods": methods,
            "cases": None,
        }
    )


def _by(values: Iterable[Any], name: Any) -> tuple[Any, ...]:
    """Return the first value of each name."""
    found: dict[Any, Any] = {}
    for value in values:
        found.setdefault(name(value), value)
    return tuple(found.values())


def _renamed(part: Part, rows: dict[tuple[str, str], RunRow]) -> dict[tuple[str, str], str]:
    """Return the new labels of rows that are called like another row and are another."""
    return {
        (row.label, row.model): f"{row.label} ({part.name})"
        for row in part.manifest.rows
        if (known := rows.get((row.label, row.model))) is not None and not _one_row(known, row)
    }


def _one_row(first: RunRow, second: RunRow) -> bool:
    """Return whether two rows are one, of which each run may have other seeds."""
    ours, theirs = (row.model_dump(exclude={"seeds", "trials", "tuning", "notes", "logs"}) for row in (first, second))
    return ours == theirs and all(
        first.seeds[seed].train == second.seeds[seed].train and _answers(first, seed) == _answers(second, seed)
        for seed in first.seeds.keys() & second.seeds.keys()
    )


def _answers(row: RunRow, seed: int) -> dict[tuple[str, str], str | None]:
    evaluations = row.seeds[seed].evaluations
    return {(d, name): cell.generate for d, decodings in evaluations.items() for name, cell in decodings.items()}


def _together(first: RunRow, second: RunRow) -> RunRow:
    return first.model_copy(update={"seeds": dict(sorted({**second.seeds, **first.seeds}.items()))})
