"""``harness plan``: what a run would do, without doing it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from harness.cli.options import Asked, benchmark_options, only_option, processes_option, say_damage

if TYPE_CHECKING:
    from harness.execution.places import Places
    from harness.plan import Plan, Stage
    from harness.plan.cost import RunCost
    from harness.plan.estimate import Estimate
    from harness.plan.memory import MemoryEstimate
    from harness.plan.past import Past
    from harness.plan.rates import Rates
    from harness.plugins.registry import Registry
    from harness.report.planned import Forecast
    from harness.spec.benchmark import Benchmark
    from harness.store.stages import Store

#: What a stage waits for whose settings are being tuned.
CHOSEN_LATER = "chosen after tuning"

#: What the store has, and what a run rebuilds, because a file of it is not what was written.
DAMAGED = "damaged"


@click.command(short_help="Show the stages of a benchmark, what is done already and what the rest costs.")
@benchmark_options
@only_option
@click.option(
    "--jobs", type=click.IntRange(min=1), metavar="N", help="Plan for so many stages at a time, as harness run has it."
)
@processes_option
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON, with every stage.")
@click.option("--all", "every", is_flag=True, help="List the generate and score stages one by one, too.")
def command(
    asked: Asked,
    only: tuple[str, ...],
    jobs: int | None,
    processes: int,
    as_json: bool,
    every: bool,
) -> None:
    """Show what running the benchmark FILE would do, and do nothing.

    One line a stage: id, kind, what it is, parents, cached or to do, and estimated tokens, seconds and disk space. An
    id is shown as ? until the data it depends on is prepared or, where settings are tuned, until they are chosen. Times
    are rough: by what stages of the same models in the folder of results took, else reckoned from this machine's speed,
    which is measured; what is left, on one worker and on as many as harness run would have. Who gets which GPUs and how
    many cores is said as harness run --jobs --processes would have it. Memory is the estimated peak of a process; for
    training a line a row says what holds it and which settings would make it less. Of the disk a line says what the run
    takes at its worst moment and in the end: weights go when nothing reads them any more, as far as recipe.keep lets
    them. Last, the
    minimum detectable effect, the true difference between rows that the run would find four times in five, by the
    variances of stored results of the same kind or by stated ones, and the time that the run would take: as it is, and
    with more seeds or prompts.
    """
    benchmark, registry = asked.load()
    from harness.execution.contexts import ways
    from harness.execution.footprint import footprint, free_bytes, gigabytes
    from harness.execution.keep import required
    from harness.execution.places import Places
    from harness.plan import build_plan
    from harness.plan.cost import RunCost
    from harness.plan.estimate import Estimate
    from harness.plan.memory import MemoryEstimate
    from harness.plan.past import Past
    from harness.plan.rates import measured
    from harness.plan.schedules import schedule_remarks
    from harness.plan.selection import selection
    from harness.report.planned import json_of, text_of, time_text
    from harness.store.stages import Store

    store = Store(asked.results)
    plan = build_plan(benchmark, registry, store)
    chosen = selection(only, plan)
    among = plan.stages.keys() if chosen is None else chosen.needed(plan)
    shown = [stage for stage in plan.stages.values() if stage.key in among]
    todo = {stage.key for stage in required(plan, store, among=among)}
    device, threads = _device(benchmark), benchmark.execution.threads
    rates = measured()
    past = Past(store, plan, rates.of(threads), threads=threads, device=device)
    estimate = Estimate(plan, rates=rates.of(threads), past=past)
    places = _places(benchmark, device, jobs, processes)
    workers = places.jobs if isinstance(places, Places) else 1
    cost = RunCost(plan, estimate, todo, seeds=len(benchmark.seeds), workers=workers)
    memory = MemoryEstimate(plan, registry, device, processes=processes)
    described = [_describe(stage, plan, todo, estimate, memory) for stage in shown]
    disk = footprint(plan, todo, benchmark, store, size=estimate.disk, jobs=workers)
    free = free_bytes(store.root)
    remarks = schedule_remarks(benchmark, **_counted(plan))
    taken = ways(shown, store)
    say_damage(plan)
    if as_json:
        methods = [entry.model_dump(mode="json") for entry in benchmark.methods]
        whole = {"benchmark": benchmark.benchmark, "profile": benchmark.profile, "methods": methods}
        told = [json_of(found) for found in _forecasts(benchmark, registry, plan, store, cost)]
        left = cost.of() if chosen is None else None
        time: dict[str, Any] = {
            "work_seconds": left and left.work,
            "seconds": left and left.wall,
            "workers": workers,
            "threads": threads,
            "operations_per_second": rates.operations,
            "bytes_per_second": rates.bytes,
            "stages_of_earlier_runs": dict(past.counted),
        }
        where = places.to_json() if isinstance(places, Places) else {"refused": places}
        space = {"most_bytes": disk.most, "left_bytes": disk.left, "free_bytes": free}
        everything = {**whole, "remarks": remarks, "stages": described, "time": time, "disk": space, "ways": taken}
        everything |= {"workers": where, "detectable": told}
        click.echo(json.dumps(everything, indent=1))
        return
    click.echo(f"{benchmark.benchmark} ({benchmark.profile}): {len(described)} stages, {len(todo)} to do")
    click.echo(_methods(benchmark, registry))
    click.echo(_listing(described if every else _grouped(described)))
    unknown = "" if plan.settled else "; ids and sizes shown as ? are known once the data is prepared"
    together = cost.of() if chosen is None and workers > 1 else None
    beside = f"; about {time_text(together.wall)} on {workers}" if together and todo else ""
    click.echo(f"estimated work left on one worker of {_threads(threads)}: {_left(described)}{beside}{unknown}")
    click.echo(f"times: {_known_by(past, rates, device, benchmark)}")
    if todo:
        kept = f"{gigabytes(disk.left)} in the end (recipe.keep: {benchmark.recipe.keep})"
        click.echo(f"disk: up to {gigabytes(disk.most)} at a time, {kept}; {gigabytes(free)} are free")
    for line in _workers(places, described, device):
        click.echo(line)
    for line in _memory(plan, memory):
        click.echo(line)
    for label, way in taken.items():
        click.echo(f"{label}: {way}")
    for text in remarks:
        click.echo(f"note: {text}")
    for found in _forecasts(benchmark, registry, plan, store, cost):
        click.echo(text_of(found))


def _left(rows: list[dict[str, Any]]) -> str:
    """Return how long the stages that are not cached will take, as far as that is known."""
    seconds = [row["seconds"] for row in rows if row["status"] != "cached"]
    if not seconds:
        return "none"
    if None in seconds:
        return "unknown"
    from harness.report.planned import time_text

    return time_text(sum(seconds))


def _threads(threads: int) -> str:
    return f"{threads} thread{'s' if threads > 1 else ''}"


def _known_by(past: Past, rates: Rates, device: str, benchmark: Benchmark) -> str:
    """Say what the times are from."""
    models = [f"{count} of {model}" for model, count in past.counted.items()]
    stages = f"by what stages of earlier runs took ({', '.join(models)}), else " if models else ""
    speed = f"{rates.operations / 1e9:.0f} GFLOP/s and {rates.bytes / 1e9:.0f} GB/s of a thread, measured"
    others = ", ".join(sorted({model.dtype for model in benchmark.models} - {"float32"}))
    if device != "cpu":
        return f"{stages}reckoned with {speed}, which says nothing of {device}"
    return f"{stages}reckoned with {speed}" + (f" in float32, which says little of {others}" if others else "")


def _forecasts(benchmark: Benchmark, registry: Registry, plan: Plan, store: Store, cost: RunCost) -> list[Forecast]:
    """Return which differences the run could find, and in which time."""
    from harness.report.planned import forecasts

    def time_of(dataset: str, seeds: int, more_prompts: float) -> tuple[float, float] | None:
        return cost.of(dataset, seeds=seeds, more_prompts=more_prompts)

    labels = list(dict.fromkeys(row.label for row in plan.rows if row.kind in {"start", "method"}))
    start = next((row.label for row in plan.rows if row.kind == "start"), "")
    prompts: dict[str, int | None] = {}
    for use in benchmark.evaluate:
        stage = plan.evaluations[str(use.label)]
        prompts[str(use.label)] = plan.row_counts.get(stage.key, use.limit)
    return forecasts(benchmark, registry, store.root, labels=labels, start=start, prompts=prompts, cost=time_of)


def _counted(plan: Plan) -> dict[str, int | None]:
    """Return how many rows and pairs are trained on, where they are prepared."""
    pairs = next((stages.rows for stages in plan.reward_models.values() if stages.rows is not None), None)
    counts = plan.row_counts
    return {"rows": counts.get(plan.train.key), "pairs": counts.get(pairs.key) if pairs is not None else None}


def _describe(stage: Stage, plan: Plan, todo: set[str], estimate: Estimate, memory: MemoryEstimate) -> dict[str, Any]:
    held = memory.of(stage)
    return {
        "id": stage.id,
        "kind": stage.kind,
        "label": stage.label,
        "parents": {name: plan.stages[parent.key].id for name, parent in stage.parents.items()},
        "status": _status(stage, plan, todo),
        "tokens": estimate.tokens(stage),
        "seconds": estimate.seconds(stage),
        "bytes": estimate.disk(stage),
        "memory": None if held is None else {"total": held.total, "parts": held.parts, "helps": list(held.helps)},
    }


def _status(stage: Stage, plan: Plan, todo: set[str]) -> str:
    if stage.key in plan.waiting:
        return CHOSEN_LATER
    if stage.key in plan.damaged:
        return DAMAGED
    return "to do" if stage.key in todo else "cached"


def _grouped(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Fold the many generate and score stages into one line a kind; the others stay."""
    single = [row for row in rows if row["kind"] in {"prepare", "train", "precompute"}]
    for kind in ("generate", "score"):
        for status in ("cached", "to do", DAMAGED, CHOSEN_LATER):
            some = [row for row in rows if row["kind"] == kind and row["status"] == status]
            if some:
                all_known = all(row["tokens"] is not None for row in some)
                single.append(
                    {
                        "id": f"({len(some)} stages)",
                        "kind": kind,
                        "label": "every row, data set, decoding" + (" and metric" if kind == "score" else ""),
                        "parents": {},
                        "status": status,
                        "tokens": sum(row["tokens"] for row in some) if all_known else None,
                        "seconds": sum(row["seconds"] for row in some) if all_known else None,
                        "bytes": sum(row["bytes"] for row in some),
                        "memory": max((row["memory"] for row in some if row["memory"]), key=_total, default=None),
                    }
                )
    return single


def _listing(rows: list[dict[str, Any]]) -> str:
    from tabulate import tabulate

    def show(value: float | None, form: str) -> str:
        return "?" if value is None else format(value, form)

    table = [
        [
            row["id"] if str(row["id"]).startswith("(") else (row["id"] or "?")[:12],
            row["kind"],
            row["label"],
            " ".join(f"{name}={(parent or '?')[:8]}" for name, parent in row["parents"].items()),
            row["status"],
            show(row["tokens"], ",d"),
            show(row["seconds"], ",.0f"),
            show(row["bytes"] / 1e6, ",.1f"),
            _gigabytes(row),
        ]
        for row in rows
    ]
    headers = ["id", "kind", "stage", "parents", "status", "tokens", "seconds", "MB", "memory GB"]
    # tabulate 0.9 cannot align the columns of a table without rows
    aligned = ("left",) * 5 + ("right",) * 4 if table else None
    return tabulate(table, headers=headers, disable_numparse=True, colalign=aligned)


def _gigabytes(row: dict[str, Any]) -> str:
    """Return the memory of a stage that runs a model, as far as it is known."""
    if row["memory"]:
        return f"{row['memory']['total'] / 1e9:.1f}"
    return "" if row["kind"] in {"prepare", "score"} else "?"


def _total(memory: dict[str, Any]) -> int:
    return int(memory["total"])


def _memory(plan: Plan, memory: MemoryEstimate) -> list[str]:
    """Return a line a row: the largest of its training stages, by what holds it, and what would make it less."""
    lines: dict[str, None] = {}
    for row in plan.rows:
        stages = [(stage, held) for stage in row.chain if (held := memory.of(stage)) is not None]
        if stages:
            _, held = max(stages, key=lambda pair: pair[1].total)
            less = f"; with {', with '.join(held.helps)}" if held.helps else ""
            lines[f"memory of training {row.model}/{row.label}: {held}{less}"] = None
    return list(lines)


def _places(benchmark: Benchmark, device: str, jobs: int | None, processes: int) -> Places | str:
    """Return who would get what; where that cannot be, why a run would be refused."""
    from harness.errors import HarnessError
    from harness.execution.device import resolve_device
    from harness.execution.places import Places

    try:
        resolve_device(benchmark.execution.device)
        return Places.of(benchmark, device, jobs=jobs, processes=processes)
    except HarnessError as error:
        return str(error)


def _workers(places: Places | str, rows: list[dict[str, Any]], device: str) -> list[str]:
    """Return who gets what, and whether there is memory for all that is made at a time."""
    from harness.execution.device import memory_of
    from harness.plan.memory import megabytes

    if isinstance(places, str):
        return [f"a run would be refused: {places}"]
    lines, there = places.lines(), memory_of(device)
    largest = max((row for row in rows if row["memory"]), key=lambda row: _total(row["memory"]), default=None)
    if largest is not None and there is not None:
        processes = places.processes if largest["kind"] == "train" else 1
        together = places.jobs * processes if device == "cpu" else 1  # processes have a GPU each
        needed = together * _total(largest["memory"])
        text = f"memory at a time: {megabytes(needed)} at most of {megabytes(there)}"
        text += f", {together} processes as large as {largest['label']}" if together > 1 else ""
        lines.append(text + (": more than there is" if needed > there else ""))
    return lines


def _device(benchmark: Benchmark) -> str:
    """Return the device on which a run would be, as far as that is clear before one."""
    from harness.errors import HarnessError
    from harness.execution.device import resolve_device

    try:
        return resolve_device(benchmark.execution.device)
    except HarnessError:  # the run says so
        return benchmark.execution.device


def _methods(benchmark: Benchmark, registry: Registry) -> str:
    """Return one line a method: what its preset, the file and ``-o`` came to; of a group, what is set otherwise."""
    from harness.plugins.option_groups import default_options, dotted

    lines, shared = [], benchmark.recipe.model_dump()
    for entry in benchmark.methods:
        model = registry.get("method", entry.use).options
        usual = dotted(model, default_options(model))
        shown = dotted(model, entry.options).items()
        told = {name: value for name, value in shown if name in entry.options or usual.get(name) != value}
        options = ", ".join(f"{name}={_plain(value)}" for name, value in told.items())
        preset = f" (preset {entry.preset})" if entry.preset else ""
        lines.append(f"  {entry.label}{preset}: {options or 'no options'}")
        changed = {name: value for name, value in entry.recipe.model_dump().items() if value != shared[name]}
        if changed:
            lines.append("    recipe: " + ", ".join(f"{name}={_plain(value)}" for name, value in changed.items()))
    return "\n".join(lines)


def _plain(value: object) -> str:
    """Return a value as a benchmark file would have it."""
    return value if isinstance(value, str) else json.dumps(value)
