"""The table of contents of a benchmark's results: which stages stand behind which row, and what failed."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pydantic_core import to_jsonable_python

import harness
from harness.execution.makers import makers
from harness.plan.cells import data_label
from harness.plugins.option_groups import default_options, dotted, overlaid
from harness.spec.results.prepare import DataProvenance
from harness.store.files import seal
from harness.store.identity import digest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness.execution.outcome import Outcome
    from harness.plan import Plan, Row, Stage
    from harness.plan.graph import Tuned
    from harness.plugins.registry import Registry
    from harness.spec.benchmark import Benchmark, DataUse, MethodEntry
    from harness.store.stages import Store

FORMAT = 1


def results_folder(root: Path, benchmark: Benchmark) -> Path:
    """Return where the tables of a run lie; a run with ``-o`` settings has a folder of its own."""
    name = benchmark.profile
    if benchmark.overrides:
        name += f"-{digest(sorted(benchmark.overrides))[:8]}"
    return root / benchmark.benchmark / name


def make_manifest(benchmark: Benchmark, registry: Registry, store: Store, outcome: Outcome) -> dict[str, Any]:
    """Return what ``manifest.json`` says, with its own digest; nothing is written."""
    return seal(describe(benchmark, registry, store, outcome))


def describe(benchmark: Benchmark, registry: Registry, store: Store, outcome: Outcome) -> dict[str, Any]:
    """Return the manifest's content; see ``docs/results-format.md``."""
    plan = outcome.plan
    config = benchmark.model_dump(mode="json")
    return {
        "format": FORMAT,
        "benchmark": benchmark.benchmark,
        "title": benchmark.title,
        "profile": benchmark.profile,
        "harness": harness.__version__,
        "config": config,
        "rows": _rows(plan, benchmark, registry, outcome),
        "datasets": [
            _dataset(role, use, registry, store, stage if outcome.done(stage) else None)
            for role, use, stage in _uses(benchmark, plan)
        ],
        "decodings": config["decoding"],
        "metrics": [_metric(use.use, use.options, registry) for use in benchmark.metrics],
        "scorer": benchmark.scorer.model,
        "reward_models": {
            label: {
                "train": _identity(stages.model, plan, outcome) if stages.rows is not None else None,
                "statistics": _identity(stages.statistics, plan, outcome),
            }
            for label, stages in plan.reward_models.items()
        },
        "plugins": makers(outcome, store),
        "failures": [
            {"stage": failure.stage.label, "message": failure.message, "because_of": failure.because_of}
            for failure in outcome.failures.values()
        ],
        "tables": list(benchmark.tables),
        "published": benchmark.published,
        "template_sha256": digest(config["template"]),
    }


def _rows(plan: Plan, benchmark: Benchmark, registry: Registry, outcome: Outcome) -> list[dict[str, Any]]:
    entries = {entry.label: entry for entry in benchmark.methods}
    shared = sorted({row.method for row in plan.rows if row.kind == "start" and row.method})
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for row in plan.rows:
        tuned = plan.tuned.get((row.model, row.label))
        entry = entries.get(row.label)
        if entry is not None and tuned is not None and tuned.chosen is not None:
            entry = tuned.trials[tuned.chosen].entry
        options = entry.options if entry else {}
        described = rows.setdefault(
            (row.model, row.label),
            {
                "label": row.label,
                "method": row.method,
                "kind": row.kind,
                "model": row.model,
                "preset": entry.preset if entry else None,
                "options": options,
                "options_set": options_set(registry, row.method, options) if row.method else {},
                "active": entry.active if entry else None,
                "start": entry.start if entry else None,
                "reward_weights": entry.reward_weights if entry else {},
                "recipe_set": _recipe_set(entry, benchmark) if entry else {},
                **tuning(tuned, benchmark),  # trials: of this row; the report adds up the rows of a method
                "shared_terms": shared,
                "seeds": {},
            },
        )
        described["seeds"][str(row.seed)] = _seed(row, plan, outcome)
    return list(rows.values())


def _recipe_set(entry: MethodEntry, benchmark: Benchmark) -> dict[str, Any]:
    """Return what a row's recipe has otherwise than the file's."""
    shared = benchmark.recipe.model_dump(mode="json")
    return {name: value for name, value in entry.recipe.model_dump(mode="json").items() if shared[name] != value}


def tuning(tuned: Tuned | None, benchmark: Benchmark) -> dict[str, Any]:
    """Return how often a row was tried, and with what outcome."""
    if tuned is None or benchmark.tune is None or benchmark.validation is None:
        return {"trials": 1}
    use, tune = benchmark.validation, benchmark.tune
    return {
        "trials": len(tuned.trials),
        "chosen": tuned.settings,
        "tuned_on": f"{data_label(use)}/{use.split}",
        "tuning": {
            "metric": tune.metric,
            "decoding": next(iter(benchmark.decoding)),
            "seeds": list(tune.seeds),
            "scores": [{"settings": trial.settings, "score": trial.score} for trial in tuned.trials],
        },
    }


def options_set(registry: Registry, method: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that are not what the method has where a file says nothing."""
    registration: Any = registry.get("method", method)
    preset = registration.presets[registration.default_preset].options if registration.default_preset else {}
    model = registration.options
    defaults = dotted(model, overlaid(model, (default_options(model), to_jsonable_python(dict(preset)))))
    return {name: value for name, value in dotted(model, options).items() if defaults.get(name) != value}


def _identity(stage: Stage, plan: Plan, outcome: Outcome) -> str | None:
    """Return the id of a stage that has a result."""
    return plan.stages[stage.key].id if stage.key not in outcome.failures else None


def _seed(row: Row, plan: Plan, outcome: Outcome) -> dict[str, Any]:
    evaluations: dict[str, dict[str, Any]] = {}
    for cell in row.cells:
        evaluations.setdefault(cell.dataset, {})[cell.decoding] = {
            "generate": _identity(cell.generate, plan, outcome),
            "scores": {metric: _identity(stage, plan, outcome) for metric, stage in cell.scores.items()},
        }
    failed = next((outcome.failures[stage.key] for stage in row.chain if stage.key in outcome.failures), None)
    return {
        "train": [_identity(stage, plan, outcome) for stage in row.chain],
        "evaluations": evaluations,
        "failed": failed.message if failed else None,
    }


def _uses(benchmark: Benchmark, plan: Plan) -> Iterator[tuple[str, DataUse, Stage]]:
    """Return every data set that numbers in the tables come from, with its role."""
    yield "train", benchmark.train, plan.train
    for use in benchmark.evaluate:
        yield _role(use, benchmark), use, plan.evaluations[data_label(use)]


def _dataset(role: str, use: DataUse, registry: Registry, store: Store, stage: Stage | None) -> dict[str, Any]:
    """Describe a data set; ``stage`` prepared it, and is None where that failed."""
    registration: Any = registry.get("dataset", use.dataset)
    described = {
        "label": data_label(use),
        "dataset": use.dataset,
        "split": use.split,
        "role": role,
        "generated": registration.generated,
        "licence": registration.licence,
        "fingerprint": registry.fingerprint("dataset", use.dataset),
        "stage": stage.id if stage else None,
    }
    record = store.find("prepare", stage.id) if stage and stage.id else None
    if record is not None:
        found = record.read(DataProvenance)
        provenance = found.model_dump(mode="json", exclude={"rows", "content"})
        described |= {"rows": found.rows, "sha256": found.content, "provenance": provenance}
    return described


def _role(use: DataUse, benchmark: Benchmark) -> str:
    same = use.dataset == benchmark.train.dataset and use.options == benchmark.train.options
    return "in-data" if same else "cross"


def _metric(name: str, options: dict[str, Any], registry: Registry) -> dict[str, Any]:
    registration: Any = registry.get("metric", name)
    registration = registration.resolved(registry.options("metric", name, options))
    return {
        "use": name,
        "options": options,
        "role": registration.role,
        "needs": sorted(registration.needs),
        "headline": registration.headline or (registration.columns or registration.corpus)[0].name,
        "columns": [asdict(column) for column in registration.columns],
        "corpus": [asdict(column) for column in registration.corpus],
    }
