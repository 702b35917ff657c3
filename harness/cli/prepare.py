"""``harness prepare``: everything that a run fetches, fetched now."""

from __future__ import annotations

import json
import shlex
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from harness.cli.options import Asked, benchmark_options
from harness.errors import MachineError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from harness.plan import Plan
    from harness.plugins.registry import Registry
    from harness.spec.benchmark import Benchmark
    from harness.store.stages import Store


@click.command("prepare", short_help="Fetch all that a benchmark needs, for a machine without network.")
@benchmark_options
@click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors.")
@click.option("--json", "as_json", is_flag=True, help="Print what was fetched, and what to carry, as JSON.")
def command(
    asked: Asked,
    quiet: bool,
    as_json: bool,
) -> None:
    """Fetch the data sets, models and metrics of the benchmark FILE, and say how to carry them to another machine.

    Rows are converted and kept in the store below --results, models in the hub's cache, and each model is loaded once.
    Metrics are tried on two answers, so that what they fetch is there. Nothing is trained. What is there already is not
    fetched again.
    """
    from harness.execution.places import default_jobs
    from harness.execution.runner import execute
    from harness.execution.settings import RunSettings
    from harness.execution.watch import Bars, Lines
    from harness.store.stages import Store

    benchmark, registry = asked.load()
    store = Store(asked.results)
    jobs = default_jobs(benchmark, "cpu", 1)
    settings = RunSettings(
        jobs=jobs,
        ranks=1,
        device="cpu",
        threads=benchmark.execution.threads,
        execution=benchmark.execution.model_copy(update={"executor": "local", "address": None, "shared": True}),
        plugins=asked.application.plugins,
        among=_fetched,
    )
    console = Console(stderr=True)
    live = console.is_terminal and not quiet
    watcher = Bars(console, jobs=jobs) if live else Lines(console, jobs=jobs, quiet=quiet)
    with watcher if isinstance(watcher, Bars) else nullcontext():
        outcome = execute(benchmark, registry, store, settings, watcher)
    items = [*_items(outcome.plan, store), *_metrics(benchmark, registry)]
    carried = list(_carried(benchmark, store, items, asked.application.files))
    if as_json:
        click.echo(json.dumps({"fetched": items, "carry": carried}, indent=1))
    elif not quiet:
        for item in items:
            click.echo(f"{item['kind']} {item['name']}: {item['what']}")
        click.echo("\nTo run it on a machine without network, carry there:")
        for one in carried:
            click.echo(f"  {one['path']} ({one['what']})")
        click.echo("and run there, with HF_HOME naming the carried folder and --results the carried store's:")
        same = [str(asked.file), *(["--profile", asked.profile] if asked.profile else [])]
        same += [word for text in asked.overrides for word in ("-o", text)]
        same += [word for path in asked.application.files for word in ("--plugin", str(path))]
        click.echo(f"  HF_HUB_OFFLINE=1 harness run {shlex.join(same)}")


def _fetched(plan: Plan) -> set[str]:
    """Return the stages that read from elsewhere: data and models that exist."""
    from harness.plan.selection import with_parents
    from harness.spec.stages.existing_model import ClassifierConfig, ModelConfig
    from harness.spec.stages.rows import RowsConfig

    kinds = (RowsConfig, ModelConfig, ClassifierConfig)
    return with_parents(plan, {key for key, stage in plan.stages.items() if isinstance(stage.config, kinds)})


def _items(plan: Plan, store: Store) -> Iterator[dict[str, Any]]:
    """Describe each data set and model that is there now."""
    from harness.spec.results.models import PreparedModel
    from harness.spec.results.provenance import DataProvenance
    from harness.spec.stages.rows import RowsConfig

    fetched = _fetched(plan)
    for stage in plan.stages.values():
        if stage.key not in fetched:
            continue
        record = store.open(stage.kind, stage.id or "")
        if isinstance(stage.config, RowsConfig):
            rows = record.read(DataProvenance)
            at = f" at {rows.revision}" if rows.revision else ""
            what, origin = f"{rows.rows} rows, {rows.origin}{at}", rows.origin
            yield {"kind": "data set", "name": stage.label, "what": what, "origin": origin, "revision": rows.revision}
        else:
            model = record.read(PreparedModel)
            origin = "file" if model.path else "hub"
            what = f"from {model.path}" if model.path else f"{model.name} of the hub at {model.revision}"
            yield {"kind": "model", "name": stage.label, "what": what, "origin": origin, "revision": model.revision}


def _metrics(benchmark: Benchmark, registry: Registry) -> Iterator[dict[str, Any]]:
    """Let each metric that asks no model and nobody else score two answers, so that it fetches what it needs."""
    from harness.api import Sample
    from harness.testing.metrics import StandInServices

    answers = [
        Sample(str(number), 0, "Is it so?", text, 3, True, ("Yes, it is.",), {})
        for number, text in enumerate(("Yes, it is.", "No, it is not so."))
    ]
    for use in benchmark.metrics:
        registration: Any = registry.resolved("metric", use.use, use.options)
        if registration.needs or registration.opponents or registration.role == "judge":
            continue
        what = "tried on two answers"
        try:
            with tempfile.TemporaryDirectory() as scratch:
                services = StandInServices(answers, Path(scratch))
                registry.build("metric", use.use, use.options).score(answers, services)
        except MachineError:
            raise
        except Exception as error:  # noqa: BLE001  # it may want what these two have not; a run will tell
            what = f"could not be tried on two answers ({type(error).__name__}: {error})"
        yield {"kind": "metric", "name": use.use, "what": what, "origin": None, "revision": None}


def _carried(
    benchmark: Benchmark, store: Store, items: list[dict[str, Any]], plugins: Sequence[Path]
) -> Iterator[dict[str, str]]:
    """Name the folders and files that a run without network reads."""
    from huggingface_hub import constants

    yield {"path": str(store.base), "what": "the prepared rows, and all results"}
    if any(item["origin"] == "hub" for item in items) or (Path(constants.HF_HOME) / "modules").is_dir():
        yield {"path": str(constants.HF_HOME), "what": "the cache of the Hugging Face hub, which HF_HOME names"}
    judge = benchmark.reward_model
    uses = [benchmark.train, benchmark.validation, *benchmark.evaluate, *([judge.train, judge.test] if judge else [])]
    models = [*benchmark.models, *([judge.model] if judge and judge.model else [])]
    local = [use.path for use in uses if use is not None and use.path]
    local += [model.path for model in models if model.path]
    named = [*(model.base for model in models), *(entry.base for entry in benchmark.elsewhere)]
    local += [base for base in named if base and Path(base).expanduser().exists()]
    local += [entry.path for entry in benchmark.elsewhere if entry.path]
    local += benchmark.sources.values()
    for path in dict.fromkeys(local):
        yield {"path": path, "what": "a local source; under another path: -o sources.NAME=PATH"}
    for file in plugins:
        yield {"path": str(file), "what": "a plugin"}
