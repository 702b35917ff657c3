"""``harness schema``: what editors need to complete and check a benchmark file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from harness.cli.options import plugin_option

if TYPE_CHECKING:
    from harness.cli import Application


@click.command("schema", short_help="Print the JSON Schema of benchmark files, for editors.")
@plugin_option
@click.pass_obj
def command(application: Application) -> None:
    """Print the JSON Schema (draft 2020-12) of benchmark files, with the options of every installed plugin.

    Save it as harness.schema.json beside the file and point the editor at it. Many editors understand this first line
    of a file: "# yaml-language-server: $schema=harness.schema.json".
    """
    from harness.benchmark import json_schema

    click.echo(json.dumps(json_schema(application.registry), indent=2))
