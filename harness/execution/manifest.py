"""The table of contents of a benchmark's results: which stages stand behind which row, and what failed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic_core import to_jsonable_python

import harness
from harness.execution.makers import makers
from harness.plan.cells import data_label
from harness.plugins.option_groups import default_options, dotted, overlaid
from harness.spec.results.models import PreparedModel
from harness.spec.results.provenance import DataProvenance
from harness.spec.results.run import (
    CellStages,
    RewardModelIds,
    RowSeed,
    RowsOrigin,
    RowTuning,
    RunData,
    RunFailure,
    RunManifest,
    RunMetric,
    RunRow,
    TrialScore,
)
from harness.store.identity import digest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.api import Column
    from harness.execution.outcome import Outcome
    from harness.plan import Plan, Row, Stage
    from harness.plan.graph import Tuned
    from harness.plugins.registry import Registry
    from harness.spec.benchmark import Benchmark, DataUse, MethodEntry
    from harness.spec.results.run import DataRole
    from harness.store.stages import Store


def results_folder(root: Path, benchmark: Benchmark) -> Path:
    """Return where the tables of a run lie; a run with ``-o`` settings has a folder of its own."""
    name = benchmark.profile
    if benchmark.overrides:
        name += f"-{digest(sorted(benchmark.overrides))[:8]}"
    return root / benchmark.benchmark / name


def make_manifest(benchmark: Benchmark, registry: Registry, store: Store, outcome: Outcome) -> RunManifest:
    """Return a run's manifest, as whoever reads its file will have it (see ``docs/results-format.md``)."""
    plan = outcome.plan
    manifest = RunManifest(
        benchmark=benchmark.benchmark,
        title=benchmark.title,
        profile=benchmark.profile,
        harness=harness.__version__,
        config=benchmark,
        rows=_rows(plan, benchmark, registry, store, outcome),
        datasets=tuple(
            _dataset(role, use, registry, store, stage if outcome.done(stage) else None)
            for role, use, stage in _uses(benchmark, plan)
        ),
        decodings=benchmark.decoding,
        metrics=tuple(_metric(use.use, use.options, registry) for use in benchmark.metrics),
        scorer=benchmark.scorer.model,
        reward_models={
            label: RewardModelIds(
                train=_identity(stages.model, plan, outcome) if stages.rows is not None else None,
                statistics=_identity(stages.statistics, plan, outcome),
            )
            for label, stages in plan.reward_models.items()
            if stages.statistics.key not in outcome.left_out
        },
        model_notes=_model_notes(plan, store, outcome),
        plugins=makers(outcome, store),
        failures=tuple(
            RunFailure(stage=failure.stage.label, message=failure.message, because_of=failure.because_of)
            for failure in outcome.failures.values()
        ),
        tables=benchmark.tables,
        published=benchmark.published,
        template_sha256=digest(benchmark.template.model_dump(mode="json")),
    )
    return RunManifest.model_validate(manifest.to_json())  # tuples in options are lists in a file


def _model_notes(plan: Plan, store: Store, outcome: Outcome) -> dict[str, tuple[str, ...]]:
    notes = {row.model: _notes(row.checkpoint, plan, store, outcome) for row in plan.rows if row.kind == "base"}
    return {model: listed for model, listed in notes.items() if listed}


def _notes(checkpoint: Stage, plan: Plan, store: Store, outcome: Outcome) -> tuple[str, ...]:
    """Return what must be known of the weights of a model that was not trained here."""
    stage = plan.stages[checkpoint.key]
    if not outcome.done(stage) or stage.id is None:
        return ()
    return store.open(stage.kind, stage.id).read(PreparedModel).notes


def _rows(plan: Plan, benchmark: Benchmark, registry: Registry, store: Store, outcome: Outcome) -> tuple[RunRow, ...]:
    entries = {entry.label: entry for entry in benchmark.methods}
    shared = tuple(sorted({row.method for row in plan.rows if row.kind == "start" and row.method}))
    rows: dict[tuple[str, str], list[Row]] = {}
    for row in plan.rows:
        rows.setdefault((row.model, row.label), []).append(row)
    origins = {entry.label: Path(entry.path).name if entry.path else entry.name for entry in benchmark.elsewhere}
    foreign = {entry.label for entry in benchmark.elsewhere if entry.use == "checkpoint"}  # answers have no weights
    described = []
    for (model, label), seeds in rows.items():
        row, entry, tuned = seeds[0], entries.get(label), plan.tuned.get((model, label))
        if entry is not None and tuned is not None and tuned.chosen is not None:
            entry = tuned.trials[tuned.chosen].entry
        options = entry.options if entry else {}
        described.append(
            RunRow(
                label=label,
                method=row.method,
                kind=row.kind,
                model=model,
                preset=entry.preset if entry else None,
                options=options,
                options_set=options_set(registry, row.method, options) if row.method else {},
                active=entry.active if entry else None,
                start=entry.start if entry else None,
                reward_weights=entry.reward_weights if entry else {},
                recipe_set=_recipe_set(entry, benchmark) if entry else {},
                **tuning(tuned, benchmark),
                shared_terms=shared,
                logs=_logs(registry, row.method, options),
                origin=origins.get(label),
                notes=_notes(row.checkpoint, plan, store, outcome) if label in foreign else (),
                of=row.of,
                at=row.at.name if row.at is not None else None,
                seeds={row.seed: _seed(row, plan, outcome) for row in seeds if not _left_out(row, outcome)},
            )
        )
    return tuple(described)


def _logs(registry: Registry, method: str | None, options: dict[str, Any]) -> tuple[Column, ...]:
    """Return what a method logs for tables, as its options make it."""
    if method is None:
        return ()
    registration: Any = registry.resolved("method", method, options)
    return tuple(registration.logs)


def _recipe_set(entry: MethodEntry, benchmark: Benchmark) -> dict[str, Any]:
    """Return what a row's recipe has otherwise than the file's."""
    shared = benchmark.recipe.model_dump(mode="json")
    return {name: value for name, value in entry.recipe.model_dump(mode="json").items() if shared[name] != value}


def tuning(tuned: Tuned | None, benchmark: Benchmark) -> dict[str, Any]:
    """Return what a row's description says of its trials, and of their outcome."""
    if tuned is None or benchmark.tune is None or benchmark.validation is None:
        return {}
    use, tune = benchmark.validation, benchmark.tune
    return {
        "trials": len(tuned.trials),
        "chosen": tuned.settings,
        "tuned_on": f"{data_label(use)}/{use.split}",
        "tuning": RowTuning(
            metric=tune.metric,
            decoding=next(iter(benchmark.decoding)),
            seeds=tune.seeds,
            scores=tuple(TrialScore(settings=dict(trial.settings), score=trial.score) for trial in tuned.trials),
        )
        if tuned.over
        else None,
    }


def options_set(registry: Registry, method: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that are not what the method has where a file says nothing."""
    registration: Any = registry.get("method", method)
    preset = registration.presets[registration.default_preset].options if registration.default_preset else {}
    model = registration.options
    defaults = dotted(model, overlaid(model, (default_options(model), to_jsonable_python(dict(preset)))))
    return {name: value for name, value in dotted(model, options).items() if defaults.get(name) != value}


def _left_out(row: Row, outcome: Outcome) -> bool:
    """Return whether a row with its seed was not asked for, and the store has not got it anyway."""
    made = row.chain or tuple(cell.generate for cell in row.cells)
    return any(stage.key in outcome.left_out for stage in row.chain) or all(
        stage.key in outcome.left_out for stage in made
    )


def _identity(stage: Stage, plan: Plan, outcome: Outcome) -> str | None:
    """Return the id of a stage that has a result."""
    return plan.stages[stage.key].id if outcome.done(stage) else None


def _seed(row: Row, plan: Plan, outcome: Outcome) -> RowSeed:
    evaluations: dict[str, dict[str, CellStages]] = {}
    for cell in row.cells:
        if cell.generate.key in outcome.left_out:
            continue
        evaluations.setdefault(cell.dataset, {})[cell.decoding] = CellStages(
            generate=_identity(cell.generate, plan, outcome),
            scores={
                metric: _identity(stage, plan, outcome)
                for metric, stage in cell.scores.items()
                if stage.key not in outcome.left_out
            },
        )
    failed = next((outcome.failures[stage.key] for stage in row.chain if stage.key in outcome.failures), None)
    return RowSeed(
        train=tuple(_identity(stage, plan, outcome) for stage in row.chain),
        evaluations=evaluations,
        failed=failed.message if failed else None,
    )


def _uses(benchmark: Benchmark, plan: Plan) -> Iterator[tuple[DataRole, DataUse, Stage]]:
    """Return every data set that numbers in the tables come from, with its role."""
    yield "train", benchmark.train, plan.train
    for use in benchmark.evaluate:
        yield _role(use, benchmark), use, plan.evaluations[data_label(use)]


def _dataset(role: DataRole, use: DataUse, registry: Registry, store: Store, stage: Stage | None) -> RunData:
    """Describe a data set; ``stage`` prepared it, and is None where that failed."""
    registration: Any = registry.get("dataset", use.dataset)
    described = RunData(
        label=data_label(use),
        dataset=use.dataset,
        split=use.split,
        role=role,
        generated=registration.generated,
        licence=registration.licence,
        fingerprint=registry.fingerprint("dataset", use.dataset),
        stage=stage.id if stage else None,
    )
    record = store.find("prepare", stage.id) if stage and stage.id else None
    if record is None:
        return described
    prepared = record.read(DataProvenance)
    origin = RowsOrigin(**prepared.model_dump(exclude={"rows", "content"}))
    return described.model_copy(update={"rows": prepared.rows, "sha256": prepared.content, "provenance": origin})


def _role(use: DataUse, benchmark: Benchmark) -> DataRole:
    same = use.dataset == benchmark.train.dataset and use.options == benchmark.train.options
    return "in-data" if same else "cross"


def _metric(name: str, options: dict[str, Any], registry: Registry) -> RunMetric:
    registration: Any = registry.get("metric", name)
    registration = registration.resolved(registry.options("metric", name, options))
    return RunMetric(
        use=name,
        options=options,
        role=registration.role,
        needs=tuple(sorted(registration.needs)),
        draws=registration.draws,
        headline=registration.headline or (registration.columns or registration.corpus)[0].name,
        columns=registration.columns,
        corpus=registration.corpus,
    )
