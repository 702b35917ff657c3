"""``manifest.json`` of a run: what was compared, and which stages stand behind which row."""

from __future__ import annotations

from typing import Any, ClassVar, Final, Literal, TypeAlias

from harness.api.registration import Column, DataKind, Kind, Role
from harness.spec.benchmark import Active, Benchmark
from harness.spec.decoding import Decoding
from harness.spec.results.base import ResultPart
from harness.spec.section import Document

#: Version of the manifest's layout; one of another version is refused.
FORMAT: Final = 1

RowKind: TypeAlias = Literal["base", "start", "method", "point", "elsewhere"]
DataRole: TypeAlias = Literal["train", "in-data", "cross"]

#: The id of a stage; None where it failed, or was never ready to be made.
StageId: TypeAlias = str | None


class CellStages(ResultPart):
    """The stages behind one row's answers to one data set under one decoding, with one seed."""

    generate: StageId
    scores: dict[str, StageId]
    """By metric."""


class RowSeed(ResultPart):
    """One seed of a row."""

    train: tuple[StageId, ...]
    """The shared stages first; empty for the untrained model."""
    evaluations: dict[str, dict[str, CellStages]]
    """By data set and decoding."""
    failed: str | None
    """Why its training failed."""


class TrialScore(ResultPart):
    """One configuration that was tried."""

    settings: dict[str, Any]
    score: float | None
    """None where it has none, or has none yet."""


class RowTuning(ResultPart):
    """How the trials of a row were compared."""

    metric: str
    decoding: str
    seeds: tuple[int, ...]
    scores: tuple[TrialScore, ...]


class RunRow(ResultPart):
    """One row of the tables, all seeds."""

    label: str
    method: str | None
    """None for the untrained model."""
    kind: RowKind
    model: str
    preset: str | None
    options: dict[str, Any]
    options_set: dict[str, Any]
    """Those that differ from the method's defaults."""
    active: Active | None
    start: Literal["branch", "after"] | None
    reward_weights: dict[str, float] = {}
    recipe_set: dict[str, Any] = {}
    """What differs from the file's recipe."""
    trials: int = 1
    """Of this row; a report adds up the rows of a method."""
    chosen: dict[str, Any] | None = None
    """The settings of the trial that was chosen."""
    tuned_on: str | None = None
    tuning: RowTuning | None = None
    shared_terms: tuple[str, ...] = ()
    """Methods that all rows are trained by first."""
    logs: tuple[Column, ...] = ()
    """What its method logs for the table of training signals."""
    origin: str | None = None
    """Of a row of kind ``elsewhere``: the name of the checkpoint, or of the file of answers."""
    notes: tuple[str, ...] = ()
    """What must be known of the checkpoint's weights, as in ``model_notes``."""
    of: str | None = None
    """Of a row of kind ``point``: the label of the row whose training it lies within, before its budget is spent."""
    at: str | None = None
    """And where that is: ``25 %`` or ``step 50``."""
    seeds: dict[int, RowSeed]


class RowsOrigin(ResultPart):
    """Where the rows of a data set came from; see :class:`harness.spec.results.provenance.DataProvenance`."""

    kind: DataKind | None = None
    origin: str
    revision: str | None = None
    sha256: str | None = None
    notes: tuple[str, ...] = ()


class RunData(ResultPart):
    """One data set that numbers in the tables come from."""

    label: str
    dataset: str
    split: str
    role: DataRole
    generated: bool
    licence: str
    fingerprint: str
    """Of the plugin's source."""
    stage: StageId = None
    rows: int | None = None
    """This and what follows are None where it was not prepared."""
    sha256: str | None = None
    """Of the rows."""
    provenance: RowsOrigin | None = None


class RunMetric(ResultPart):
    """One metric, with its options."""

    use: str
    options: dict[str, Any]
    role: Role
    needs: tuple[str, ...] = ()
    draws: int = 1
    """Fewest answers to a prompt that it takes: it is computed under decodings with as many alone."""
    headline: str
    columns: tuple[Column, ...]
    corpus: tuple[Column, ...]


class RewardModelIds(ResultPart):
    """The stages of one model's reward model."""

    train: StageId
    """None where it exists, too."""
    statistics: StageId


class Maker(ResultPart):
    """A plugin that made stages."""

    kind: Kind
    name: str
    distribution: str
    version: str
    editable: bool
    """Whether its source lay in somebody's working copy."""
    sha256: str | None = None
    """Of the file that it was, where it was one file and no distribution."""
    rows: tuple[str, ...]
    """Labels of the rows that a method or a reward trained; a data set or a metric has part in all."""


class RunFailure(ResultPart):
    """A stage that failed."""

    stage: str
    message: str | None = None
    """None where it was left out, because it may quote anything."""
    because_of: str | None = None
    """The stage whose failure this one follows from."""


class RunManifest(Document):
    """The table of contents of a run's results."""

    file: ClassVar[str] = "manifest.json"

    format: Literal[1] = FORMAT
    benchmark: str
    title: str
    profile: str
    harness: str
    """The release that made the tables."""
    config: Benchmark
    rows: tuple[RunRow, ...]
    datasets: tuple[RunData, ...]
    decodings: dict[str, Decoding]
    """In the file's order; the first is the tables' own."""
    metrics: tuple[RunMetric, ...]
    scorer: str
    reward_models: dict[str, RewardModelIds] = {}
    """By model."""
    model_notes: dict[str, tuple[str, ...]] = {}
    """What must be known of a model's weights, by its label: that they were dequantised, or an adapter was merged."""
    plugins: tuple[Maker, ...] = ()
    failures: tuple[RunFailure, ...]
    tables: tuple[str, ...]
    published: str | None
    template_sha256: str

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; a field without a value is null."""
        return self.model_dump(mode="json")
