"""What a run left behind, gathered for tables: numbers by row, data set, decoding, metric and column."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from pydantic import ValidationError

from harness.errors import InputError, StageError
from harness.report.checks.alike import alike_seeds
from harness.report.checks.course import Weights, course
from harness.report.score_records import read_scores
from harness.report.shelf import Shelf
from harness.spec.results.environment import MadeUnder
from harness.spec.results.generate import GenerateSummary
from harness.spec.results.run import FORMAT, RunManifest
from harness.spec.results.score import CutTexts
from harness.spec.stages.generate import GenerateConfig
from harness.spec.stages.train import TrainConfig
from harness.store.files import is_whole
from harness.store.records import CONFIG
from harness.store.stages import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from harness.report.checks.alike import Alike
    from harness.report.checks.course import Course
    from harness.report.statistics import Array
    from harness.spec.results.run import CellStages, RunMetric, RunRow
    from harness.store.records import Record

#: Why a number is not there: its stage failed, or was done once and is not in the store any more.
FAILED, NOT_STORED = "failed", "not stored"
#: Or there never was such a stage.
NOT_EVALUATED, NOT_SCORED = "not evaluated", "not scored"
#: Or the row was not asked for with that seed.
NOT_RUN = "not run"


class Scored(NamedTuple):
    """What one metric says of one row's answers with one seed."""

    columns: Mapping[str, Array]
    """(N,): means over draws, NaN where missing."""
    corpus: Mapping[str, float]
    missing: Mapping[str, int]
    """Answers without a value."""
    notes: Mapping[str, int] = MappingProxyType({})
    """What the metric says of some answers, to how many it holds for."""
    cut: CutTexts = CutTexts()
    """Of the texts that a model read for it."""


@dataclass
class CellData:
    """One row's answers on one data set under one decoding, all seeds."""

    ids: list[str] = field(default_factory=list)
    summaries: dict[int, GenerateSummary] = field(default_factory=dict)
    """Seed to what its ``generate`` stage counted."""
    settings: list[GenerateConfig] = field(default_factory=list)
    """What each ``generate`` stage was asked, the seed apart."""
    scores: dict[str, dict[int, Scored]] = field(default_factory=dict)
    """Metric, then seed."""
    lacking: dict[str, str] = field(default_factory=dict)
    """Metric (or ``answers``) to why one of its seeds has no number."""

    def matrix(self, metric: str, column: str, seeds: Iterable[int]) -> Array | None:
        """Return the values (S, N) of one column, NaN where missing; None where no seed has the column."""
        scored = self.scores.get(metric, {})
        by_seed = {seed: part.columns[column] for seed, part in scored.items() if column in part.columns}
        if not by_seed:
            return None
        absent = np.full(len(self.ids), np.nan)
        return np.stack([by_seed.get(seed, absent) for seed in seeds])

    def corpus(self, metric: str, column: str) -> Array:
        """Return the numbers of one corpus column for the seeds that have it."""
        scored = self.scores.get(metric, {})
        return np.array([part.corpus[column] for part in scored.values() if column in part.corpus], dtype=np.float64)

    def missing(self, metric: str, column: str) -> int:
        """Return how many answers have no value, over all seeds and draws."""
        return sum(part.missing.get(column, 0) for part in self.scores.get(metric, {}).values())

    def total(self, count: Callable[[GenerateSummary], float]) -> float:
        """Return a count of the summaries, over all seeds."""
        return float(sum(map(count, self.summaries.values())))

    @property
    def answers(self) -> int:
        """How many answers there are, over all seeds and draws."""
        return sum(summary.n * summary.draws for summary in self.summaries.values())


@dataclass
class ResultRow:
    """One row of the tables."""

    label: str
    model: str
    kind: str
    """See :data:`harness.spec.results.run.RowKind`."""
    method: str | None
    described: RunRow
    cells: dict[tuple[str, str], CellData] = field(default_factory=dict)
    """Data set and decoding to their answers."""
    training: dict[int, Record] = field(default_factory=dict)
    """The last stage of each seed in which the row's own method trained."""
    weights: dict[int, Weights] = field(default_factory=dict)
    """What the last stage of each seed says of the weights that it ended with."""
    failures: dict[int, str] = field(default_factory=dict)
    """Seeds whose training failed, with the message."""

    @property
    def trained(self) -> bool:
        """Whether it was trained here: what rows are compared by."""
        return self.kind not in {"base", "elsewhere"}

    @cached_property
    def courses(self) -> Mapping[int, Course]:
        """What the stages in which the row's own method trained say of each step, by seed."""
        return {seed: course(record) for seed, record in sorted(self.training.items())}

    @cached_property
    def alike(self) -> Sequence[Alike]:
        """Seeds that are no repetitions of each other: nothing is claimed of such a row.

        Of a row from elsewhere nothing is known of this.
        """
        if self.kind == "elsewhere":
            return ()
        noises = {
            place: {seed: summary.noise for seed, summary in cell.summaries.items() if summary.noise is not None}
            for place, cell in self.cells.items()
        }
        return alike_seeds(self.courses, {seed: ended.sha256 for seed, ended in self.weights.items()}, noises)


@dataclass
class Results:
    """All rows of one run."""

    manifest: RunManifest
    rows: list[ResultRow]
    signatures: Mapping[str, Mapping[str, str]]
    """Model, then metric, to the metric's signature: the same in every row of a model."""
    environments: Mapping[str, list[Mapping[str, Any]]]
    """Kind of stage (``train``, ``generate``) to every environment that one was made under."""
    shelf: Shelf
    """Where its stages lie."""
    warnings: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """What stages warned of, to the labels of the rows (or the data) that it concerns."""
    created: Collection[str] = ()
    """When its stages were made, in ISO 8601."""
    points: list[ResultRow] = field(default_factory=list)
    """Rows at points of their budgets before the end; they are part of no comparison."""

    def find(self, kind: str, stage: str | None) -> Record | None:
        """Return :meth:`Shelf.find`."""
        return self.shelf.find(kind, stage)

    @property
    def decodings(self) -> list[str]:
        """The decodings in the file's order; the first is the tables' own."""
        return list(self.manifest.decodings)

    @property
    def models(self) -> list[str]:
        """The models, in the order of the rows."""
        return list(dict.fromkeys(row.model for row in self.rows))

    def datasets(self, role: str) -> list[str]:
        """Labels of the evaluation sets with a role."""
        return [data.label for data in self.manifest.datasets if data.role == role]

    @property
    def evaluated(self) -> bool:
        """Whether any answer was scored: a run may be for its timing alone."""
        sets = any(data.role != "train" for data in self.manifest.datasets)
        return sets and bool(self.decodings) and bool(self.manifest.metrics)

    @property
    def baseline(self) -> str:
        """Label of the row that the others are compared with: the file's choice, or the supervised start."""
        chosen = self.manifest.config.compare.baseline
        return str(chosen or next((row.label for row in self.rows if row.kind == "start"), ""))

    @property
    def every_pair(self) -> bool:
        """Whether the file asks for comparisons of every row with every other."""
        return self.manifest.config.compare.pairs == "all"

    def metrics(self, role: str) -> list[RunMetric]:
        """Return the metrics with a role."""
        return [metric for metric in self.manifest.metrics if metric.role == role]

    def decoding_of(self, metric: RunMetric) -> str:
        """Return the decoding that tables show a metric under: the first one with as many draws as it takes."""
        drawn = self.manifest.decodings.items()
        return next((name for name, settings in drawn if settings.draws >= metric.draws), self.decodings[0])

    @property
    def seeds(self) -> list[int]:
        """Every seed of the run."""
        return list(self.manifest.config.seeds)


def load_results(
    root: Path,
    folder: Path,
    *,
    manifest: RunManifest | None = None,
    partial: bool = False,
    store: Store | None = None,
) -> Results:
    """Read a run's manifest, unless it is given, and what it names from the store below ``root``, or from another.

    What the store does not have is left out and noted; with ``partial`` so is what is damaged, or was
    written by another release.

    Raises:
        InputError: no manifest, a damaged one, or one of another format.
        StageError: rows that must not be compared, or a damaged file.
    """
    manifest = read_manifest(folder) if manifest is None else manifest
    loader = _Loader(Shelf(store or Store(root), partial=partial))
    everything = [loader.row(described) for described in manifest.rows]
    rows = [row for row in everything if row.kind != "point"]
    for data in manifest.datasets:
        loader.listen(data.label, loader.shelf.find("prepare", data.stage))
    several = len({row.model for row in rows}) > 1
    warnings = {
        text: [f"{label} ({model})" if several and model else label for label, model in concerned]
        for text, concerned in loader.warnings.items()
    }
    points = [row for row in everything if row.kind == "point"]
    told = (loader.signatures, loader.made(), loader.shelf, warnings, loader.created)
    results = Results(manifest, rows, *told, points)
    _refuse_mixtures(results)
    return results


def read_manifest(folder: Path) -> RunManifest:
    """Read a run's manifest, which is whole or nothing.

    Raises:
        InputError: there is none, it is damaged, or it has another format.
    """
    path = folder / RunManifest.file
    again = "harness run writes it again from the store, in seconds"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError("no run has left its results here", where=str(path), expected=RunManifest.file) from None
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be read: {error}", where=str(path), hint=again) from None
    written = content.get("format") if isinstance(content, dict) else None
    if written != FORMAT:
        raise InputError("written in another format", where=str(path), got=written, expected=f"format {FORMAT}")
    if not is_whole(content):
        raise InputError("is not what was written (its sha256 differs)", where=str(path), hint=again)
    try:
        return RunManifest.model_validate({name: part for name, part in content.items() if name != "sha256"})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise InputError(
            f"has another form than this release writes ({place}: {first['msg']})", where=str(path), hint=again
        ) from None


class _Loader:
    """Reads rows, and refuses what cannot be in one column."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self.signatures: dict[str, dict[str, str]] = {}
        self.asked: dict[tuple[str, str, str | None], str] = {}
        self.environments: dict[tuple[str, str], Mapping[str, Any]] = {}
        self.warnings: dict[str, dict[tuple[str, str], None]] = {}
        self.created: set[str] = set()

    def listen(self, label: str, record: Record | None, model: str = "") -> None:
        """Note what a stage of a row, or of data, warned of."""
        for text in record.warnings if record is not None else ():
            self.warnings.setdefault(text, {})[label, model] = None

    def row(self, described: RunRow) -> ResultRow:
        row = ResultRow(described.label, described.model, described.kind, described.method, described)
        for number, seed in described.seeds.items():
            if seed.failed:
                row.failures[number] = seed.failed
            record, last = self.active(row, seed.train)
            if record is not None:
                row.training[number] = record
            if last is not None:
                row.weights[number] = Weights.of(last)
            for dataset, decodings in seed.evaluations.items():
                for decoding, stages in decodings.items():
                    self.cell(row, row.cells.setdefault((dataset, decoding), CellData()), number, stages)
        return row

    def cell(self, row: ResultRow, cell: CellData, seed: int, stages: CellStages) -> None:
        generated = self.find("generate", stages.generate)
        self.listen(row.label, generated, row.model)
        if generated is None:
            cell.lacking["answers"] = NOT_STORED if stages.generate else FAILED
            for stage in stages.scores.values():  # worth nothing alone, but it is counted what is not there
                self.find("score", stage)
            return
        cell.summaries[seed] = generated.read(GenerateSummary)
        if row.kind != "elsewhere" or generated.json(CONFIG).get("kind") == "generate":
            cell.settings.append(generated.read(GenerateConfig).model_copy(update={"seed": 0}))
        for metric, stage in stages.scores.items():
            record = self.find("score", stage)
            self.listen(row.label, record, row.model)
            if record is None:
                cell.lacking[metric] = NOT_STORED if stage else FAILED
            else:
                cell.scores.setdefault(metric, {})[seed] = self.scored(row, metric, cell, record)

    def active(self, row: ResultRow, chain: Sequence[str | None]) -> tuple[Record | None, Record | None]:
        """Return the last stage in which the row's own method trained, and the last: another under ``all_but_last``."""
        records = [self.find("train", stage) for stage in chain]
        for record in records:
            self.listen(row.label, record, row.model)
        own = [
            record for record in records if record is not None and record.read(TrainConfig).method.name == row.method
        ]
        return own[-1] if own and all(records) else None, records[-1] if records else None

    def find(self, kind: str, stage: str | None) -> Record | None:
        """Find a stage and note the environment it was made under."""
        record = self.shelf.find(kind, stage)
        if record is not None:
            self.created.add(str(record.manifest["created"]))
        if record is not None and kind != "score":
            key = kind, record.digest(MadeUnder.file)
            if key not in self.environments:
                self.environments[key] = record.read(MadeUnder).to_json()
        return record

    def made(self) -> dict[str, list[Mapping[str, Any]]]:
        """Return the environments by kind of stage."""
        kinds = sorted({kind for kind, _ in self.environments}, reverse=True)
        return {
            kind: [environment for (of, _), environment in self.environments.items() if of == kind] for kind in kinds
        }

    def scored(self, row: ResultRow, metric: str, cell: CellData, record: Record) -> Scored:
        model = row.model
        means, summary = read_scores(record)
        cell.ids = cell.ids or means.ids
        if means.ids != cell.ids:
            raise StageError("two scores of a row are of different prompts", where=record.label)
        signatures = self.signatures.setdefault(model, {})
        if signatures.setdefault(metric, summary.signature) != summary.signature:
            raise StageError(
                "rows scored by different versions of a metric cannot be in one table",
                where=record.label,
                got=summary.signature,
                expected=signatures[metric],
            )
        asked = record.digest(CONFIG)
        if self.asked.setdefault((model, metric, row.described.at), asked) != asked:
            raise StageError("rows scored under different settings cannot be in one table", where=record.label)
        return Scored(
            {name: _numbers(values) for name, values in means.columns.items()},
            summary.corpus,
            {name: counts.missing for name, counts in summary.columns.items()},
            summary.notes,
            summary.cut,
        )


def _numbers(values: list[float | None]) -> Array:
    return np.array(values, dtype=np.float64)  # None becomes NaN


def _refuse_mixtures(results: Results) -> None:
    """Refuse rows whose prompts, templates or decoding differ within one column of a table."""
    expected: dict[tuple[str, str, str], GenerateConfig] = {}
    prompts: dict[tuple[str, str, str], list[str]] = {}
    for row in results.rows:
        for (dataset, decoding), cell in row.cells.items():
            place = (row.model, dataset, decoding)
            same = not cell.ids or prompts.setdefault(place, cell.ids) == cell.ids
            if not same or any(expected.setdefault(place, settings) != settings for settings in cell.settings):
                raise StageError(
                    "rows with different prompts, templates or decoding cannot be in one table",
                    where=f"{row.label} on {dataset} under {decoding}",
                )
