"""``harness benchmarks``: the benchmark files that ship."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from harness.benchmark.shipped import Shipped


@click.command("benchmarks", short_help="List the benchmarks that ship, with their titles and profiles.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(as_json: bool) -> None:
    """List the benchmarks that ship: names for harness run, plan, status, validate and init.

    Each with its title and its profiles; the first one is taken where no --profile is given.
    """
    from harness.benchmark.shipped import shipped_benchmark, shipped_files

    listed = [shipped_benchmark(name) for name in shipped_files()]
    if as_json:
        click.echo(json.dumps([_described(one) for one in listed], indent=1))
        return
    from tabulate import tabulate

    rows = [[one.name, ", ".join(_by_default_first(one)), one.title] for one in listed]
    click.echo(tabulate(rows, headers=["name", "profiles", "title"], disable_numparse=True))


def _by_default_first(shipped: Shipped) -> list[str]:
    return [profile.name for profile in sorted(shipped.profiles, key=lambda profile: not profile.default)]


def _described(shipped: Shipped) -> dict[str, object]:
    return {**asdict(shipped), "profiles": [asdict(one) for one in shipped.profiles], "path": str(shipped.path)}
