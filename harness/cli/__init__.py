"""The command line; one file a command.

A command ``X`` is ``command`` in ``harness/cli/X.py`` and is imported only when it is called, so that help and
completion stay fast. A command gets an :class:`Application` through ``@click.pass_obj``. Errors of the harness's own
family become one message and their exit code here, and nowhere else.
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import click

from harness import API_VERSION, __version__
from harness.cli import terminal
from harness.errors import HarnessError, InputErrors, suggest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from harness.plugins.registry import Registry
    from harness.spec.plugins import PluginSelection

#: Module and one-line help by command, in the order of ``harness --help``.
COMMANDS: Final[Mapping[str, tuple[str, str]]] = {
    "run": ("harness.cli.run", "Train, evaluate and tabulate what a benchmark file asks for."),
    "plan": ("harness.cli.plan", "Show the stages of a benchmark, what is done already and what the rest costs."),
    "status": ("harness.cli.status", "Show how far a run has come."),
    "report": ("harness.cli.report", "Write the tables of a run again, from what is stored."),
    "compare": ("harness.cli.compare", "Compare two rows, of one run or of two, prompt by prompt."),
    "bundle": ("harness.cli.bundle", "Pack a run's records into one file, without weights."),
    "check": ("harness.cli.check", "Derive every figure of a run or a bundle again, and say what differs."),
    "latex": ("harness.cli.latex", "Print the tables of a run as LaTeX that fits a column or a page."),
    "plot": ("harness.cli.plot", "Write the pictures of a run as SVG, PDF or PNG, each with its numbers."),
    "view": ("harness.cli.view", "Open the page of a run, or the one over all results."),
    "validate": ("harness.cli.validate", "Check a benchmark file and show every mistake in it."),
    "export": ("harness.cli.export", "Write a trained checkpoint as a Hugging Face folder with a model card."),
    "prepare": ("harness.cli.prepare", "Fetch all that a benchmark needs, for a machine without network."),
    "benchmarks": ("harness.cli.benchmarks", "List the benchmarks that ship, with their titles and profiles."),
    "init": ("harness.cli.init", "Copy the file of a benchmark that ships, for editing."),
    "new": ("harness.cli.new", "Write a distribution for a new method, reward, data set or metric."),
    "schema": ("harness.cli.schema", "Print the JSON Schema of benchmark files, for editors."),
    "show": ("harness.cli.show", "Show data as a benchmark will tokenise it, or what a file of your own holds."),
    "doctor": ("harness.cli.doctor", "Look at this machine and installation: what prevents a run, and what is slow."),
    "plugins": ("harness.cli.plugins", "List the methods, rewards, data sets and metrics that are installed."),
}

#: Exit codes of a process that a signal ended: 128 plus its number.
INTERRUPTED: Final = 130
BROKEN_PIPE: Final = 141


@dataclass(frozen=True)
class Application:
    """What the options before a command's name say; every command gets it."""

    blocked: tuple[str, ...] = ()
    """Names after ``-p no:``."""
    files: tuple[Path, ...] = ()
    """Files after a command's ``--plugin``."""

    @property
    def plugins(self) -> PluginSelection:
        """What a worker is told of both."""
        from harness.spec.plugins import PluginSelection

        return PluginSelection(blocked=self.blocked, files=self.files)

    @functools.cached_property
    def registry(self) -> Registry:
        """The plugins, loaded when a command first asks for them; each that failed is a warning, once.

        Whether a failure matters is seen later: a file that uses what the plugin might have offered is an error.
        """
        from harness.plugins.loader import load_registry

        registry = load_registry(blocked=self.blocked, files=self.files)
        for row in registry.failures:
            click.echo(f"warning: plugin {row.entry_point!r} of {row.provider} failed: {row.reason}", err=True)
        return registry


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called."""

    def main(self, *args: Any, **extra: Any) -> Any:
        """Make sure that everything can be printed, the mistakes in a call too, and run."""
        terminal.prepare()
        return super().main(*args, **extra)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """Return the names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  # as above
        """Import a command."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(COMMANDS[cmd_name][0]).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  # as above
        """Write the help of the table, without importing a command."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Say which command was probably meant."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-") and not ctx.resilient_parsing:
            close = suggest(name, COMMANDS)
            ctx.fail(f"No such command {name!r}." + (f" Did you mean {close!r}?" if close else ""))
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command and turn what the user can act on into one message and an exit code."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()  # a closed pipe shows here, not in the interpreter's last moments
        except HarnessError as error:
            if os.environ.get("HARNESS_TRACEBACK", "0") not in {"", "0"}:
                traceback.print_exception(error)
            for single in error.errors if isinstance(error, InputErrors) else (error,):
                click.echo(f"error: {single}", err=True)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            ctx.exit(INTERRUPTED)
        except BrokenPipeError:
            # who read us is gone: what is left in the buffer must not raise again while the interpreter ends
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(BROKEN_PIPE)
        return result


def _blocked(_ctx: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        if not value.startswith("no:") or value == "no:":
            hint = "; a plugin's file is given behind the command: harness run FILE --plugin my_method.py"
            raise click.BadParameter(f"expected no:NAME, got {value!r}" + (hint if value.endswith(".py") else ""))
    return tuple(value.removeprefix("no:") for value in values)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(
    __version__, message=f"posttune-harness %(version)s (plugin API {API_VERSION}, Python {sys.version.split()[0]})"
)
@click.option(
    "-p",
    "--plugin",
    "blocked",
    metavar="no:NAME",
    multiple=True,
    callback=_blocked,
    help="Do not load the plugin NAME, or any plugin of the distribution NAME; may be repeated.",
)
@click.pass_context
def main(ctx: click.Context, blocked: tuple[str, ...]) -> None:
    """Compare post-fine-tuning methods of language models on equal terms."""
    ctx.obj = Application(blocked)
