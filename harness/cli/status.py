"""``harness status``: how far a benchmark has come, row by row."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from harness.cli.options import benchmark_options, open_benchmark

if TYPE_CHECKING:
    from pathlib import Path

    from harness.cli import Application
    from harness.plan import Plan, Row, Stage
    from harness.store import Store


COUNTED = ("train", "precompute", "generate", "score")


@click.command(short_help="Show how far a run has come.")
@benchmark_options
@click.option(
    "--verify",
    is_flag=True,
    help="Check every file of every finished stage; what is damaged is set aside and made again by the next run.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def command(
    application: Application,
    file: Path,
    profile: str | None,
    overrides: tuple[str, ...],
    results: Path,
    verify: bool,
    as_json: bool,
) -> None:
    """Show how far a run of the benchmark FILE has come: the stages done and in all, for each row and seed."""
    from harness.plan import build_plan
    from harness.store import Store

    benchmark, registry = open_benchmark(application, file, profile, overrides)
    store = Store(results)
    plan = build_plan(benchmark, registry, store)
    damaged = _verify(plan, store) if verify else 0
    if damaged:
        plan = build_plan(benchmark, registry, store)
    whole = _share(tuple(plan.stages.values()))
    rows = _rows(plan)
    if as_json:
        head = {"benchmark": benchmark.benchmark, "profile": benchmark.profile, "stages": whole, "damaged": damaged}
        click.echo(json.dumps({**head, "rows": rows}, indent=1))
    else:
        from tabulate import tabulate

        done = f"{whole['done']} of {whole['of']} stages"
        click.echo(f"{benchmark.benchmark} ({benchmark.profile}): {done} in {store.base}")
        counted = [kind for kind in COUNTED if kind != "precompute" or any(row[kind]["of"] for row in rows)]
        names = ("model", "row", "seed", *counted)
        table = [[_text(row[name]) for name in names] for row in rows]
        click.echo(tabulate(table, headers=list(names), disable_numparse=True))
    if damaged:
        sys.exit(1)


def _rows(plan: Plan) -> list[dict[str, Any]]:
    return [
        {
            "model": row.model,
            "row": row.label,
            "seed": row.seed,
            "train": _share(row.chain),
            "precompute": _share(_beforehand(row)),
            "generate": _share(tuple(cell.generate for cell in row.cells)),
            "score": _share(tuple(stage for cell in row.cells for stage in cell.scores.values())),
        }
        for row in plan.rows
    ]


def _beforehand(row: Row) -> tuple[Stage, ...]:
    """Return what was computed once for the training stages of a row."""
    parents = (parent for stage in row.chain for parent in stage.parents.values())
    return tuple({parent.key: parent for parent in parents if parent.kind == "precompute"}.values())


def _share(stages: tuple[Stage, ...]) -> dict[str, int]:
    return {"done": sum(stage.done for stage in stages), "of": len(stages)}


def _text(value: Any) -> str:
    return f"{value['done']}/{value['of']}" if isinstance(value, dict) else str(value)


def _verify(plan: Plan, store: Store) -> int:
    """Check every finished stage; a damaged one is moved aside and named. Return how many there are."""
    from harness.store import CorruptError

    damaged = 0
    for stage in plan.stages.values():
        record = store.find(stage.kind, stage.id) if stage.id else None
        if record is not None:
            try:
                record.verify()
            except CorruptError as error:
                damaged += 1
                click.echo(f"damaged: {stage.kind} {stage.label}: {error}", err=True)
    return damaged
