"""``harness new``: a distribution for a plugin of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from harness.api.registration import Kind
from harness.errors import InputError

if TYPE_CHECKING:
    from harness.cli import Application


@click.command("new", short_help="Write a distribution for a new method, reward, data set or metric.")
@click.argument("kind", metavar="KIND", type=click.Choice(get_args(Kind)))
@click.argument("name")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), required=False)
@click.pass_obj
def command(application: Application, kind: Kind, name: str, folder: Path | None) -> None:
    """Write a distribution that offers a plugin of KIND (method, reward, dataset, metric) called NAME into FOLDER.

    FOLDER is harness-NAME by default. What is written is whole: pyproject.toml, a package with the plugin and its
    options, tests that pass, a README with the commands to install and run it. NAME is lower-case letters, digits and
    hyphens. Nothing is overwritten.
    """
    from harness.scaffold.distributions import check_name, distribution_name, new_distribution

    check_name(name)
    registry = application.registry
    if name in registry.names(kind):
        taken = f"there is a {kind} of this name, {registry.find(kind, name).provider}"
        raise InputError(taken, where="NAME", got=name, expected="another name: two plugins cannot share one")
    target = folder or Path(distribution_name(name))
    for path in new_distribution(kind, name, target):
        click.echo(path)
    click.echo(f"next: pip install -e '{target}[test]' && pytest {target}")
