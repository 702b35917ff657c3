"""``harness validate``: every mistake in a benchmark file, or what it comes to."""

from __future__ import annotations

import contextlib
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.options import find_file, override_option, plugin_option
from harness.errors import HarnessError, InputError, InputErrors

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from harness.cli import Application
    from harness.plugins.registry import Registry
    from harness.spec.benchmark import Benchmark, DataUse
    from harness.spec.decoding import Decoding
    from harness.spec.model import Model


@click.command("validate", short_help="Check a benchmark file and show every mistake in it.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--profile",
    metavar="NAME",
    help="Check this profile alone; without it and without -o, every profile of the file.",
)
@override_option
@plugin_option
@click.option("--json", "as_json", is_flag=True, help="Print the resolved benchmark, or the mistakes, as JSON.")
@click.pass_obj
def command(
    application: Application, file: Path, profile: str | None, overrides: tuple[str, ...], as_json: bool
) -> None:
    """Check the benchmark FILE and show what it comes to, without training or loading anything.

    All mistakes are shown at once, each with line and column. The exit code is 2 if there are any.
    """
    from harness.plan.schedules import schedule_remarks

    try:
        benchmark, others = _check(find_file(file), application.registry, profile, overrides)
    except InputError as error:
        if not as_json:
            raise
        errors = error.errors if isinstance(error, InputErrors) else (error,)
        click.echo(json.dumps({"valid": False, "errors": [_described(one) for one in errors]}, indent=1))
        sys.exit(error.exit_code)
    if as_json:
        resolved = benchmark.model_dump(mode="json")
        said = {"valid": True, "profiles": [*others], "remarks": schedule_remarks(benchmark), "benchmark": resolved}
        click.echo(json.dumps(said, indent=1))
        return
    also = f" (and {', '.join(others)})" if others else ""
    click.echo(f"ok: {file}, profile {benchmark.profile}{also}")
    for name, text in _lines(benchmark):
        click.echo(f"  {name:<10} {text}")
    for text in schedule_remarks(benchmark):
        click.echo(f"note: {text}")


def _check(
    file: Path, registry: Registry, profile: str | None, overrides: Sequence[str]
) -> tuple[Benchmark, tuple[str, ...]]:
    """Return the chosen profile resolved, and the names of the others that were checked beside it."""
    from harness.benchmark import load_benchmark, profiles

    mistakes: dict[str, HarnessError] = {}
    chosen: Benchmark | None = None
    try:
        chosen = load_benchmark(file, registry=registry, profile=profile, overrides=overrides)
    except InputErrors as errors:
        mistakes = {str(error): error for error in errors.errors}
    others: tuple[str, ...] = ()
    if profile is None and not overrides:
        with contextlib.suppress(InputErrors):  # a text that cannot be read whole: said already
            others = tuple(name for name in profiles(file) if chosen is None or name != chosen.profile)
    for name in others:
        try:
            load_benchmark(file, registry=registry, profile=name)
        except InputErrors as errors:
            for error in errors.errors:
                mistakes.setdefault(str(error), error)
    if chosen is None or mistakes:
        raise InputErrors(sorted(mistakes.values(), key=_position))
    return chosen, others


def _position(error: HarnessError) -> tuple[int, ...]:
    """Sort by line and column; what is not in the file comes last."""
    match = re.search(r":(\d+):(\d+)$", error.where or "")
    return (0, int(match[1]), int(match[2])) if match else (1,)


def _described(error: HarnessError) -> dict[str, str]:
    parts = {
        "where": error.where,
        "what": error.what,
        "got": None if error.got is None else str(error.got),
        "expected": error.expected,
        "did_you_mean": error.did_you_mean,
        "hint": error.hint,
    }
    return {name: text for name, text in parts.items() if text is not None}


def _lines(benchmark: Benchmark) -> Iterator[tuple[str, str]]:
    yield "models", ", ".join(_model(model) for model in benchmark.models)
    yield "train", _data(benchmark.train)
    if benchmark.validation:
        yield "validation", _data(benchmark.validation)
    yield "evaluate", ", ".join(_data(use) for use in benchmark.evaluate)
    if benchmark.reward:
        yield "reward", " + ".join(f"{part.weight:g} × {part.label}" for part in benchmark.reward.parts)
    yield "methods", ", ".join(entry.label for entry in benchmark.methods) or "none"
    if benchmark.elsewhere:
        yield (
            "from elsewhere",
            ", ".join(f"{entry.label} ({entry.path or entry.name})" for entry in benchmark.elsewhere),
        )
    yield "seeds", ", ".join(map(str, benchmark.seeds))
    yield "decoding", ", ".join(_decoding(name, setting) for name, setting in benchmark.decoding.items())
    yield "metrics", ", ".join(use.use for use in benchmark.metrics)
    yield "tables", ", ".join(benchmark.tables)


def _model(model: Model) -> str:
    if model.config is not None:
        return f"{model.label} (new {model.config['model_type']}, {model.vocab_size} tokens)"
    return f"{model.label} ({model.path or model.name})"


def _data(use: DataUse) -> str:
    text = f"{use.dataset}/{use.split}"
    text += f"[:{use.limit}]" if use.limit else ""
    text += f" as {use.label}" if use.label != use.dataset else ""
    return text + (f" ({use.path})" if use.path else "")


def _decoding(name: str, setting: Decoding) -> str:
    kind = f"temperature {setting.temperature:g}" if setting.temperature else "greedy"
    kind += f", top-k {setting.top_k}" if setting.top_k else ""
    kind += f", top-p {setting.top_p:g}" if setting.top_p < 1 else ""
    return f"{name} ({kind}{f', {setting.draws} draws' if setting.draws > 1 else ''})"
