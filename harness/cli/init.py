"""``harness init``: a copy of a benchmark that ships, for editing."""

from __future__ import annotations

import re
from pathlib import Path

import click

from harness.errors import InputError, suggest
from harness.scaffold.new_files import write_new


@click.command("init", short_help="Copy the file of a benchmark that ships, for editing.")
@click.argument("name")
@click.argument("target", type=click.Path(path_type=Path), required=False)
@click.option("--profile", metavar="PROFILE", help="The profile that the copy takes where no --profile is given.")
def command(name: str, target: Path | None, profile: str | None) -> None:
    """Copy the file of the benchmark NAME to TARGET, by default NAME.yaml in the current folder.

    What is there already is never overwritten. With --profile the copy's own default is another one; all profiles stay.
    """
    from harness.benchmark.shipped import shipped_benchmark

    shipped = shipped_benchmark(name)
    text = shipped.path.read_text(encoding="utf-8")
    if profile is not None:
        names = [one.name for one in shipped.profiles]
        if profile not in names:
            what = f"{name} has no such profile"
            expected = f"one of {', '.join(names)}"
            raise InputError(
                what, where="--profile", got=profile, expected=expected, did_you_mean=suggest(profile, names)
            )
        text = re.sub(r"(?m)^profile:.*$", f"profile: {profile}", text, count=1)
    path = target or Path(f"{name}.yaml")
    if path.is_dir():
        path /= f"{name}.yaml"
    write_new(path, text, hint=f"under another name: harness init {name} TARGET")
    click.echo(f"{path} written; edit it, then: harness run {path}")
