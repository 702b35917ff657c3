"""The arguments that every command about a benchmark file shares."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from harness.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from harness.cli import Application
    from harness.plan import Plan
    from harness.plugins.registry import Registry
    from harness.spec.benchmark import Benchmark

Command = TypeVar("Command", bound="Callable[..., Any]")


@dataclass(frozen=True)
class Asked:
    """What the arguments that every command about a benchmark file shares come to."""

    application: Application
    file: Path
    profile: str | None
    overrides: tuple[str, ...]
    results: Path

    def load(self) -> tuple[Benchmark, Registry]:
        """Load the installed plugins and the benchmark file."""
        from harness.benchmark import load_benchmark

        path, registry = find_file(self.file), self.application.registry
        return load_benchmark(path, registry=registry, profile=self.profile, overrides=self.overrides), registry


def benchmark_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add FILE, --profile, -o, --plugin and --results, which the command gets as :class:`Asked` before all else."""

    @functools.wraps(command)
    def gathered(
        *, file: Path, profile: str | None, overrides: tuple[str, ...], results: Path, **others: object
    ) -> None:
        application: Application = click.get_current_context().obj
        command(Asked(application, file, profile, overrides, results), **others)

    for decorate in (
        plugin_option,
        results_option,
        override_option,
        click.option("--profile", metavar="NAME", help="Which profile of the file; the one that it names by default."),
        click.argument("file", type=click.Path(path_type=Path)),
    ):
        gathered = decorate(gathered)
    return gathered


def override_option(command: Command) -> Command:
    """Add -o."""
    return click.option(
        "-o",
        "--override",
        "overrides",
        multiple=True,
        metavar="KEY=VALUE",
        help="Set a key of the file, such as recipe.learning_rate=1e-5, methods.LABEL.coef=0.5 or "
        "sources.NAME=PATH; may be repeated.",
    )(command)


def processes_option(command: Command) -> Command:
    """Add --processes."""
    return click.option(
        "--processes",
        type=click.IntRange(min=1),
        metavar="N",
        default=1,
        show_default=True,
        help="Data-parallel processes of each training stage, a GPU each where there are some.",
    )(command)


def results_option(command: Command) -> Command:
    """Add --results."""
    return click.option(
        "--results",
        type=click.Path(file_okay=False, path_type=Path),
        metavar="FOLDER",
        default=Path("results"),
        show_default=True,
        help="Where the store and the tables are.",
    )(command)


def plugin_option(command: Command) -> Command:
    """Add --plugin, which the command's :class:`Application` takes in."""
    return click.option(
        "--plugin",
        type=click.Path(path_type=Path),
        metavar="FILE.py",
        multiple=True,
        expose_value=False,
        callback=_take_in,
        help="Load the plugins of one Python file besides those that are installed; may be repeated.",
    )(command)


def _take_in(ctx: click.Context, _option: click.Parameter, files: tuple[Path, ...]) -> None:
    if files:
        absolute = (file.absolute() for file in files)  # workers may be started elsewhere
        ctx.obj = replace(ctx.obj, files=tuple(dict.fromkeys((*ctx.obj.files, *absolute))))


def find_file(file: Path) -> Path:
    """Return the benchmark file that FILE means; say so where a file hides a benchmark that ships.

    Raises:
        InputError: there is none.
    """
    from harness.benchmark.shipped import find_benchmark, shipped_files

    path = find_benchmark(file)
    if path.parent == Path() and file.suffix == "" and file.name in shipped_files():
        click.echo(f"note: {path} of this folder is used, not the benchmark {file} that ships", err=True)
    return path


def say_damage(plan: Plan) -> None:
    """Say which stages a run would rebuild because a glance showed that they are not what was written."""
    for damage in plan.damaged.values():
        click.echo(f"damaged: {damage}; harness run rebuilds it", err=True)


def only_option(command: Command) -> Command:
    """Add --only."""
    return click.option(
        "--only",
        "only",
        multiple=True,
        metavar="KEY=VALUE,…",
        help="Only a part of it, such as methods=eso,drl,seeds=0 (rows by label; also models=…, data=…).",
    )(command)


def options_given(settings: Iterable[str]) -> dict[str, Any]:
    """Return options from ``KEY=VALUE``; values are read as those of a benchmark file.

    Raises:
        InputError: one of another form.
    """
    from harness.benchmark.problems import Problems
    from harness.benchmark.source import read_text

    options: dict[str, Any] = {}
    for text in settings:
        key, equals, value = text.partition("=")
        if not equals or not key.isidentifier():
            raise InputError("an option is KEY=VALUE", where="-o", got=text)
        problems = Problems()
        options[key] = read_text(value, f"-o {text}", problems, in_file=False).plain()
        problems.stop(f"-o {text}")
    return options
