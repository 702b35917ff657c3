"""The arguments that every command about a benchmark file shares."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.cli import Application
    from harness.plan import Plan
    from harness.plugins.registry import Registry
    from harness.spec.benchmark import Benchmark

Command = TypeVar("Command", bound="Callable[..., Any]")


def benchmark_options(command: Command) -> Command:
    """Add FILE, --profile, -o and --results."""
    for decorate in (
        click.option(
            "--results",
            type=click.Path(file_okay=False, path_type=Path),
            metavar="FOLDER",
            default=Path("results"),
            show_default=True,
            help="Where the store and the tables are.",
        ),
        click.option(
            "-o",
            "--override",
            "overrides",
            multiple=True,
            metavar="KEY=VALUE",
            help="Set a key of the file, such as recipe.learning_rate=1e-5, methods.LABEL.coef=0.5 or "
            "sources.NAME=PATH; may be repeated.",
        ),
        click.option("--profile", metavar="NAME", help="Which profile of the file; the one that it names by default."),
        click.argument("file", type=click.Path(path_type=Path)),
    ):
        command = decorate(command)
    return command


def open_benchmark(
    application: Application, file: Path, profile: str | None, overrides: tuple[str, ...]
) -> tuple[Benchmark, Registry]:
    """Load the installed plugins and the benchmark file."""
    from harness.benchmark import load_benchmark

    registry = application.registry
    return load_benchmark(file, registry=registry, profile=profile, overrides=overrides), registry


def say_damage(plan: Plan) -> None:
    """Say which stages a run would rebuild because a glance showed that they are not what was written."""
    for damage in plan.damaged.values():
        click.echo(f"damaged: {damage}; harness run rebuilds it", err=True)
