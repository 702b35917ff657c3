"""``harness status``: how far a benchmark has come, row by row."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from harness.cli.options import Asked, benchmark_options, only_option, say_damage

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from harness.plan import Plan, Row, Stage
    from harness.plan.selection import Selection
    from harness.store.damage import Damage
    from harness.store.stages import Store
    from harness.store.verify import Verified


COUNTED = ("train", "precompute", "generate", "score")


@click.command(short_help="Show how far a run has come.")
@benchmark_options
@only_option
@click.option(
    "--verify",
    is_flag=True,
    help="Check every file of every stage in the store, and name each that is damaged; exit code 1 if any is.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    asked: Asked,
    only: tuple[str, ...],
    verify: bool,
    as_json: bool,
) -> None:
    """Show how far a run of the benchmark FILE has come: the stages done and in all, for each row and seed.

    Below is said where stages run now, and where a cluster has run them.

    Nothing is changed: what is damaged counts as not done, and harness run rebuilds it.
    """
    from harness.execution.presence import at_work
    from harness.plan import build_plan
    from harness.plan.selection import Selection, selection
    from harness.report.run_setup import machines
    from harness.store.stages import Store
    from harness.store.verify import verify as check

    benchmark, registry = asked.load()
    store = Store(asked.results)
    plan = build_plan(benchmark, registry, store)
    verified = None
    if verify:
        verified = check(store, {(stage.kind, stage.id): stage.label for stage in plan.stages.values() if stage.id})
        for damage in verified.damages:
            click.echo(f"damaged: {damage}", err=True)
    else:
        say_damage(plan)
    lost = verified.spoiled if verified else frozenset[tuple[str, str]]()
    stages = {key: replace(s, done=s.done and (s.kind, s.id) not in lost) for key, s in plan.stages.items()}
    chosen = selection(only, plan) or Selection()
    among = chosen.needed(plan) if only else plan.stages.keys()
    whole = _share(stages, (stage for stage in plan.stages.values() if stage.key in among))
    rows = _rows(plan, stages, chosen)
    running, ran = at_work(store), _ran(stages.values(), store)
    if as_json:
        damages = verified.damages if verified else plan.damaged.values()
        head = {
            "benchmark": benchmark.benchmark,
            "profile": benchmark.profile,
            "stages": whole,
            "damaged": [_described(damage) for damage in damages],
            "running": running,
            "ran": ran,
            "verified": None if verified is None else {"stages": verified.stages, "files": verified.files},
        }
        click.echo(json.dumps({**head, "rows": rows}, indent=1))
    else:
        from tabulate import tabulate

        done = f"{whole['done']} of {whole['of']} stages"
        click.echo(f"{benchmark.benchmark} ({benchmark.profile}): {done} in {store.base}")
        counted = [kind for kind in COUNTED if kind != "precompute" or any(row[kind]["of"] for row in rows)]
        names = ("model", "row", "seed", *counted)
        table = [[_text(row[name]) for name in names] for row in rows]
        click.echo(tabulate(table, headers=list(names), disable_numparse=True))
        if ran:
            click.echo(f"ran on {machines(ran)}")
        for one in running:
            where = f"on {one['host']}" if one["host"] else "waits for a machine"
            click.echo(f"{one['kind']} {one['stage']}: {where} ({one['executor']})")
        if verified is not None:
            click.echo(_verdict(verified))
    if verified is not None and verified.damages:
        sys.exit(1)


def _ran(stages: Iterable[Stage], store: Store) -> list[dict[str, str]]:
    """Return who ran each finished stage that a cluster made, and on which machine."""
    from harness.store.records import Record

    records = (store.described(stage.kind, stage.id) for stage in stages if stage.done and stage.id)
    ran = (record.ran for record in records if isinstance(record, Record))
    return [one for one in ran if one]


def _verdict(verified: Verified) -> str:
    checked = f"{verified.files} files of {verified.stages} stages"
    text = (
        f"verified: {checked}: {len(verified.damages)} damaged"
        if verified.damages
        else f"verified: {checked}: all is well"
    )
    if verified.other_format:
        text += f"; {verified.other_format} stages of another release were not checked"
    return text


def _described(damage: Damage) -> dict[str, Any]:
    names = ("kind", "label", "id", "file", "what", "details")
    return {name: getattr(damage, name) for name in names}


def _rows(plan: Plan, stages: Mapping[str, Stage], chosen: Selection) -> list[dict[str, Any]]:
    return [
        {
            "model": row.model,
            "row": row.label,
            "seed": row.seed,
            "train": _share(stages, row.chain),
            "precompute": _share(stages, _beforehand(row)),
            "generate": _share(stages, (cell.generate for cell in chosen.cells(row))),
            "score": _share(stages, (stage for cell in chosen.cells(row) for stage in cell.scores.values())),
        }
        for row in chosen.rows(plan)
    ]


def _beforehand(row: Row) -> tuple[Stage, ...]:
    """Return what was computed once for the training stages of a row."""
    parents = (parent for stage in row.chain for parent in stage.parents.values())
    return tuple({parent.key: parent for parent in parents if parent.kind == "precompute"}.values())


def _share(stages: Mapping[str, Stage], some: Iterable[Stage]) -> dict[str, int]:
    """Count what is done of some stages, by what is known of them now."""
    keys = [stage.key for stage in some]
    return {"done": sum(stages[key].done for key in keys), "of": len(keys)}


def _text(value: Any) -> str:
    return f"{value['done']}/{value['of']}" if isinstance(value, dict) else str(value)
