"""``harness run``: train, evaluate and tabulate."""

from __future__ import annotations

import json
import sys
import time
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

import click
from rich.console import Console

from harness.cli import terminal
from harness.cli.options import Asked, benchmark_options, only_option, processes_option
from harness.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from harness.execution.outcome import Outcome
    from harness.execution.settings import RunSettings
    from harness.execution.trackers import Scores
    from harness.plugins.registry import Registry
    from harness.report.written import Written
    from harness.spec.benchmark import Benchmark
    from harness.spec.execution import ExecutorName
    from harness.store.stages import Store

#: How often everything is checked again after the tables met a damaged file.
_REPAIRS = 2

#: Stages that a cluster is given at a time.
_CLUSTER_JOBS = 64


@click.command(short_help="Train, evaluate and tabulate what a benchmark file asks for.")
@benchmark_options
@only_option
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    metavar="N",
    help="Stages at a time; by default the cores divided by the threads of a stage, the GPUs divided by its processes, "
    "or 64 on a cluster.",
)
@processes_option
@click.option(
    "--executor",
    type=click.Choice(["local", "ray", "slurm"]),
    help="Who runs the stages: processes of this machine, tasks of a Ray cluster, or jobs of a SLURM queue; by default "
    "what the file says, which is local where it says nothing.",
)
@click.option(
    "--address",
    metavar="HOST:PORT",
    help="Where the Ray cluster is, auto by default; with --executor slurm, local tries its jobs on this machine.",
)
@click.option(
    "--retry-unparsed",
    is_flag=True,
    help="Ask judges again where a reply that was paid for held no verdict; by default it is kept as missing.",
)
@click.option("--full", is_flag=True, help="Print every table with its notes, as Markdown, not the headline alone.")
@click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors: what failed, and what was damaged.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome and the tables as one JSON object.")
def command(
    asked: Asked,
    only: tuple[str, ...],
    jobs: int | None,
    processes: int,
    executor: ExecutorName | None,
    address: str | None,
    retry_unparsed: bool,
    full: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Train, evaluate and tabulate what the benchmark FILE asks for; print the headline and what it says.

    What is in the store already is not done again: running again goes on where a run was stopped. FILE may be the name
    of a benchmark that ships (see harness benchmarks). With --only a part of it is made; tables show what is there, and
    the rest as not run.

    Exit codes: 0, all done; 1, some cells failed, or seeds of a row are no repetitions of each other, and the tables
    mark it; 2, bad input; 3, the machine cannot do it; 128 + n, stopped by signal n.

    SIGUSR1 keeps the state of what is being made, and the run goes on; SIGUSR2, like SIGTERM, SIGINT and SIGHUP, keeps
    it and ends the run.
    """
    from harness.execution.device import resolve_device
    from harness.execution.executors.choose import check_execution
    from harness.execution.interrupt import Interrupted, interruptible
    from harness.execution.manifest import results_folder
    from harness.execution.places import Places
    from harness.execution.settings import RunSettings
    from harness.execution.trackers import Trackers, check_trackers
    from harness.plan import build_plan
    from harness.plan.selection import selection
    from harness.report.brief import brief
    from harness.report.write import write_if_allowed
    from harness.store.stages import Store

    began = time.monotonic()
    benchmark, registry = asked.load()
    check_trackers(benchmark.execution.trackers)
    if benchmark.timing is not None and (jobs or 1) > 1:
        what, hint = "what is timed is made one stage at a time", "leave --jobs out"
        raise InputError(what, where="--jobs", got=jobs, expected="1", hint=hint)
    given = {name: said for name, said in (("executor", executor), ("address", address)) if said is not None}
    execution = benchmark.execution.model_copy(update=given)
    check_execution(execution)
    here = execution.executor == "local"
    device = resolve_device(execution.device) if here else execution.device
    if here:
        jobs = Places.of(benchmark, device, jobs=jobs, processes=processes).jobs
    settings = RunSettings(
        jobs=jobs or _cluster_jobs(benchmark),
        ranks=processes,
        device=device,
        threads=benchmark.execution.threads,
        execution=execution,
        plugins=asked.application.plugins,
        retry_unparsed=retry_unparsed,
    )
    store = Store(asked.results)
    chosen = selection(only, build_plan(benchmark, registry, store)) if only else None
    if chosen is not None:
        settings = replace(settings, among=chosen.needed)
    folder = results_folder(asked.results, benchmark)
    console = Console(stderr=True)
    try:
        with interruptible() as keep, Trackers(benchmark, folder, store, _warn) as trackers:
            settings = replace(settings, keep=keep, made=trackers.stage)
            if not quiet:
                console.print(_headline(benchmark, settings), markup=False, highlight=False)
            outcome, tables = _run(benchmark, registry, store, settings, folder, console, quiet=quiet)
            unwritten = write_if_allowed(tables)
            trackers.scores(_scores(tables) if trackers.made else [])
    except Interrupted as error:
        console.print(f"stopped by {error}; what is done is in {store.base}: run again to go on", soft_wrap=True)
        sys.exit(error.exit_code)
    seconds = time.monotonic() - began
    if as_json:
        click.echo(json.dumps(_summary(outcome, tables, seconds), indent=1))
    elif not quiet:
        console.print(_closing(outcome, seconds), markup=False, highlight=False, soft_wrap=True)
        if full:
            click.echo(tables.text)
        else:
            click.echo(brief(tables, terminal.width(), terminal.shown, heard=outcome.warned, failures=False))
            click.echo(f"all tables here: harness report {folder} --full")
    if unwritten is not None:
        what = "neither printed (--quiet) nor written" if quiet and not as_json else "printed and not written"
        click.echo(f"warning: the {'leaderboard is' if as_json else 'tables are'} {what}: {unwritten}", err=True)
    if quiet and not as_json:
        for text in tables.document.errors:
            click.echo(f"error: {text}", err=True)
    if outcome.failures or tables.document.errors:
        sys.exit(1)


def _warn(text: str) -> None:
    click.echo(f"warning: {text}", err=True)


def _scores(tables: Written) -> list[Scores]:
    """Return what trackers log of each row and seed."""
    from harness.execution.trackers import Scores, settings
    from harness.report.tracked import seed_scores

    return [
        Scores(
            f"{told.row.model}/{told.row.label}/seed {told.seed}",
            dict(settings({"row": told.row.label, "method": told.row.method, "options": told.row.described.options})),
            told.step,
            told.numbers,
            told.stages,
        )
        for told in seed_scores(tables.results)
    ]


def _run(
    benchmark: Benchmark,
    registry: Registry,
    store: Store,
    settings: RunSettings,
    folder: Path,
    console: Console,
    *,
    quiet: bool,
) -> tuple[Outcome, Written]:
    """Make what is missing and the tables; where a file proves damaged, check all and rebuild what is."""
    from harness.execution.keep import quarantine, quarantine_damaged
    from harness.execution.manifest import make_manifest
    from harness.execution.outcome import Outcome, Rebuilt
    from harness.execution.runner import execute
    from harness.execution.watch import Bars, Lines
    from harness.plan import build_plan
    from harness.report.write import make_tables
    from harness.store.damage import CorruptError
    from harness.store.files import dump, seal

    last: Outcome | None = None

    def attempt() -> tuple[Outcome, Written]:
        nonlocal last
        live = console.is_terminal and not quiet
        watcher = Bars(console, jobs=settings.jobs) if live else Lines(console, jobs=settings.jobs, quiet=quiet)
        with watcher if isinstance(watcher, Bars) else nullcontext():
            outcome = execute(benchmark, registry, store, settings, watcher)
        if last is not None:
            outcome.follow(last)
        last = outcome
        manifest = make_manifest(benchmark, registry, store, outcome)
        tables = make_tables(store.root, folder, manifest=manifest)
        return outcome, tables._replace(files={manifest.file: dump(seal(manifest.to_json())), **tables.files})

    for _ in range(_REPAIRS):
        try:
            return attempt()
        except CorruptError as error:
            plan = build_plan(benchmark, registry, store)
            last = last or Outcome(plan)
            damages = quarantine_damaged(plan, store)
            quarantine(error.damage, store)  # unless that was done, as to every stage of the plan
            for key, damage in damages.items():
                stage = plan.stages[key]
                last.rebuilt[key] = Rebuilt(stage.kind, stage.label, f"{damage.file} {damage.details}")
                console.print(f"damaged: {damage}", markup=False, highlight=False, soft_wrap=True)
    return attempt()


def _cluster_jobs(benchmark: Benchmark) -> int:
    """Return how many stages a cluster is given at a time, which runs as many of them as it has room for."""
    return _CLUSTER_JOBS if benchmark.timing is None else 1


def _headline(benchmark: Benchmark, settings: RunSettings) -> str:
    execution = settings.execution
    where = f"on {settings.device}" if execution.executor == "local" else f"by {execution.executor}"
    where += f" at {execution.address}" if execution.address else ""
    parts = [f"{benchmark.benchmark} ({benchmark.profile})", f"{settings.jobs} at a time", where]
    parts.append(f"{settings.threads} thread{'s' if settings.threads > 1 else ''} each")
    if settings.ranks > 1:
        divided = ", which divide its weights" if execution.shard else ""
        parts.append(f"{settings.ranks} processes a training stage{divided}")
    return ", ".join(parts)


def _closing(outcome: Outcome, seconds: float) -> str:
    from harness.execution.watch import clock

    text = f"{outcome.made} stages made, {outcome.reused} taken from the store, {clock(seconds)}"
    if outcome.failures:
        text += f"; {len(outcome.failures)} have no result, for the reasons above"
    if outcome.left_out:
        text += f"; {len(outcome.left_out)} left out by --only"
    if outcome.rebuilt:
        text += f"\n{len(outcome.rebuilt)} stages that the store had were rebuilt:"
        text += "".join(f"\n  {one.kind} {one.label}: {one.reason}" for one in outcome.rebuilt.values())
    again = outcome.again()
    if again:
        text += "\nmade at the second try, because the process of the first died:"
        text += "".join(f"\n  {death.stage.kind} {death.stage.label}: {death.message}" for death in again)
    return text


def _summary(outcome: Outcome, tables: Written, seconds: float) -> dict[str, object]:
    folder = tables.folder
    return {
        "results": str(folder),
        "made": outcome.made,
        "reused": outcome.reused,
        "left_out": len(outcome.left_out),
        "seconds": round(seconds, 1),
        "verdict": tables.document.verdict,
        "warnings": [{"text": text, "rows": rows} for text, rows in tables.results.warnings.items()],
        "failures": [
            {"stage": failure.stage.label, "message": failure.message, "because_of": failure.because_of}
            for failure in outcome.failures.values()
        ],
        "rebuilt": [{"kind": one.kind, "stage": one.label, "reason": one.reason} for one in outcome.rebuilt.values()],
        "retried": [
            {"kind": death.stage.kind, "stage": death.stage.label, "message": death.message}
            for death in outcome.again()
        ],
        "leaderboard": json.loads(tables.files["leaderboard.json"]),
    }
