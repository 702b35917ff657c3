"""``harness plugins``: what is installed, where it comes from, and what failed to load."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click
from pydantic import PydanticUserError
from pydantic_core import to_jsonable_python

from harness.api.registration import (
    DatasetRegistration,
    Kind,
    MethodRegistration,
    MetricRegistration,
    RewardRegistration,
)
from harness.cli import Application
from harness.cli.options import options_given, plugin_option
from harness.errors import PluginError, suggest
from harness.plugins.loader import load_registry
from harness.plugins.option_groups import dotted, option_groups

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pydantic import BaseModel

    from harness.api.registration import Registration
    from harness.plugins.registry import Plugin, Registry
    from harness.testing.verdict import Verdict

_KINDS = click.Choice(get_args(Kind))


@click.group("plugins", invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--kind", type=_KINDS, help="Only plugins of this kind.")
@plugin_option
@click.pass_context
def command(ctx: click.Context, as_json: bool, kind: Kind | None) -> None:
    """List the methods, rewards, data sets and metrics that are installed.

    Each with the distribution that it comes from, and what it is. One that failed to load is listed with the reason.
    """
    if ctx.invoked_subcommand is not None:
        return  # which takes over what was said here
    registry = _registry(ctx)
    rows = [row for row in registry.plugins if kind is None or row.kind in {None, kind}]
    rows.sort(key=lambda row: (get_args(Kind).index(row.kind) if row.kind else len(get_args(Kind)), row.name))
    if as_json:
        click.echo(json.dumps([_row(row) for row in rows], indent=2))
        return
    columns = ["kind", "name", "distribution", "version", "status", "summary"]
    _print(columns, [[row.kind or "?", *(str(getattr(row, c)) for c in columns[1:-1]), _summary(row)] for row in rows])
    for row in rows:
        if row.reason:
            click.echo(f"{row.status}: {row.entry_point} of {row.provider}: {row.reason}")


@command.command("show", short_help="Show one plugin, its options and presets.")
@click.argument("name")
@click.option("--kind", type=_KINDS, help="Of which kind, where plugins of several kinds have the name.")
@plugin_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def show(ctx: click.Context, name: str, kind: Kind | None, as_json: bool) -> None:
    """Show the plugin NAME: its options with types, defaults and help, its presets, what it needs, its source."""
    before = ctx.parent.params if ctx.parent is not None else {}
    kind, as_json = kind or before.get("kind"), as_json or bool(before.get("as_json"))
    rows = _named(_registry(ctx), name, kind)
    if as_json:
        click.echo(json.dumps([_details(row) for row in rows], indent=2))
        return
    for number, row in enumerate(rows):
        if number:
            click.echo()
        _show(row)


@command.command("check", short_help="Hold a plugin to the contract of its kind.")
@click.argument("name")
@click.option("--kind", type=_KINDS, help="Of which kind, where plugins of several kinds have the name.")
@click.option(
    "-o",
    "--option",
    "given",
    multiple=True,
    metavar="KEY=VALUE",
    help="An option of the plugin, as a benchmark file would give it; may be repeated.",
)
@click.option("--source", type=click.Path(path_type=Path), metavar="PATH", help="For a data set, the user's own files.")
@plugin_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def check(
    ctx: click.Context, name: str, kind: Kind | None, given: tuple[str, ...], source: Path | None, as_json: bool
) -> None:
    """Hold the plugin NAME to the contract of its kind, and say of each rule whether it is kept, and what it took.

    These are the checks of harness.testing: a method is trained for a few steps in ways that must agree, a reward and a
    metric get awkward answers, a data set is prepared twice. The exit code is 1 where a rule is broken.
    """
    from harness.testing.verdict import verdict

    before = ctx.parent.params if ctx.parent is not None else {}
    kind, as_json = kind or before.get("kind"), as_json or bool(before.get("as_json"))
    rows = _named(_registry(ctx), name, kind)
    if len(rows) > 1:
        kinds = ", ".join(str(row.kind) for row in rows)
        raise PluginError("there are several plugins of this name", got=name, expected=f"--kind, one of {kinds}")
    options = options_given(given)
    if lacking := sorted(_required(rows[0]) - set(options)):
        raise PluginError("needs options", where=name, expected=", ".join(f"-o {option}=VALUE" for option in lacking))
    found = verdict(rows[0], options, source)
    if as_json:
        rules = [dataclasses.asdict(rule) for rule in found.rules]
        told = {**_row(rows[0]), "kept": found.kept, "rules": rules, "notes": found.notes}
        click.echo(json.dumps(told, indent=2))
    else:
        _show_verdict(rows[0], found)
    if not found.kept:
        sys.exit(1)


def _required(row: Plugin) -> set[str]:
    fields = row.registration.options.model_fields if row.registration is not None else {}
    return {name for name, field in fields.items() if field.is_required()}


def _show_verdict(row: Plugin, found: Verdict) -> None:
    for rule in found.rules:
        click.echo(f"{'✗' if rule.broken else '✓'} {rule.words} ({rule.seconds:.1f} s)")
        if rule.broken:
            click.echo("\n".join(f"    {line}" for line in rule.broken.splitlines()))
    for note in found.notes:
        click.echo(f"note: {note}")
    title = f"{row.kind or 'plugin'} {row.name} of {row.provider}"
    if found.kept:
        click.echo(f"{title} keeps its contract: {len(found.rules)} rules in {found.seconds:.1f} s")
    else:
        click.echo(f"{title} breaks its contract; what follows the broken rule was not looked at")


def _named(registry: Registry, name: str, kind: Kind | None) -> list[Plugin]:
    """Return the plugins that a name means.

    Raises:
        PluginError: there is none.
    """
    rows = [row for row in registry.plugins if name in {row.name, row.entry_point} and kind in {None, row.kind}]
    if not rows:
        raise _unknown(registry, name, kind)
    return rows


def _registry(ctx: click.Context) -> Registry:
    """Return the plugins, with failures as rows even where they are fatal elsewhere."""
    application = ctx.find_object(Application) or Application()
    return load_registry(blocked=application.blocked, files=application.files, strict=False)


def _unknown(registry: Registry, name: str, kind: Kind | None) -> PluginError:
    names = {row.name for row in registry.plugins if kind in {None, row.kind}}
    others = sorted({str(row.kind) for row in registry.plugins if row.name == name and row.kind})
    hints = [f"there is a {other} of this name" for other in others]
    if registry.failures:
        hints.append(f"{len(registry.failures)} failed to load: see `harness plugins`")
    return PluginError(
        f"there is no {kind or 'plugin'} called {name!r}",
        did_you_mean=suggest(name, names),
        hint="; ".join(hints) or None,
    )


def _summary(row: Plugin) -> str:
    return row.registration.summary if row.registration is not None else ""


def _row(row: Plugin) -> dict[str, Any]:
    fields = ("kind", "name", "entry_point", "distribution", "version", "where", "status")
    shown = {field: getattr(row, field) for field in fields} | ({"reason": row.reason} if row.reason else {})
    return shown | ({"summary": _summary(row)} if row.registration is not None else {})


def _details(row: Plugin) -> dict[str, Any]:
    """Return everything that is known of a plugin, as JSON values."""
    shown = _row(row)
    if row.detail:
        shown["traceback"] = row.detail
    if row.registration is None:
        return shown
    registration = row.registration
    build = registration.build
    shown |= {
        "summary": registration.summary,
        "source": registration.source,
        "build": build if isinstance(build, str) else f"{build.__module__}:{getattr(build, '__qualname__', build)}",
        "options": option_rows(registration),
    }
    return shown | _particulars(registration)


def _particulars(registration: Registration) -> dict[str, Any]:
    match registration:
        case MethodRegistration():
            presets = {name: dataclasses.asdict(preset) for name, preset in registration.presets.items()}
            return {
                "needs": sorted(registration.needs),
                "trains": registration.trains,
                "start": registration.start,
                "supervised": registration.supervised,
                "mixes_supervision": registration.mixes_supervision,
                "presets": presets,
                "default_preset": registration.default_preset,
            }
        case RewardRegistration():
            return {
                "needs": sorted(registration.needs),
                "range": registration.range and list(registration.range),
                "function": registration.function,
            }
        case DatasetRegistration():
            fields = ("provides", "licence", "revision", "generated")
            return {"splits": list(registration.splits)} | {field: getattr(registration, field) for field in fields}
        case MetricRegistration():
            return {
                "needs": sorted(registration.needs),
                "role": registration.role,
                "columns": [dataclasses.asdict(column) for column in registration.columns],
                "corpus": [dataclasses.asdict(column) for column in registration.corpus],
            }


def option_rows(registration: Registration) -> list[dict[str, Any]]:
    """Return name, type, default (or ``required``) and a line of help for each option; a group has its ``options``."""
    return _rows_of(registration.options, registration.name)


def _rows_of(options: type[BaseModel], name: str) -> list[dict[str, Any]]:
    try:
        schema = options.model_json_schema()
    except PydanticUserError as error:
        what = f"the options of {name!r} cannot be described: {str(error).splitlines()[0]}"
        raise PluginError(what, expected="options that are JSON values") from error
    defined, groups = schema.get("$defs", {}), option_groups(options)
    rows = []
    for option, entry in schema.get("properties", {}).items():
        text = entry.get("description", "").strip().partition("\n\n")[0]
        row: dict[str, Any] = {"name": option, "type": type_text(entry, defined)}
        field = options.model_fields.get(option)
        if option in schema.get("required", ()):
            row["required"] = True
        elif "default" in entry or field is None:
            row["default"] = entry.get("default")
        else:  # a schema leaves out what a factory makes
            row["default"] = to_jsonable_python(field.get_default(call_default_factory=True))
        row["help"] = " ".join(text.split())
        rows.append(row | ({"options": _rows_of(groups[option], name)} if option in groups else {}))
    return sorted(rows, key=lambda row: "options" in row)  # groups last


def type_text(schema: Mapping[str, Any], defined: Mapping[str, Any]) -> str:
    """Describe the values that a JSON schema admits in a few words: ``number > 0``, ``a | b``, ``list of integer``."""
    if "$ref" in schema:
        return type_text(defined[schema["$ref"].rpartition("/")[2]], defined)
    if "const" in schema or "enum" in schema:
        values = schema.get("enum", [schema.get("const")])
        return " | ".join(value if isinstance(value, str) else json.dumps(value) for value in values)
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return " | ".join(dict.fromkeys(type_text(part, defined) for part in schema[several]))
    match schema.get("type"):
        case "array" if "prefixItems" in schema:
            return f"list ({', '.join(type_text(item, defined) for item in schema['prefixItems'])})"
        case "array":
            return f"list of {type_text(schema.get('items', {}), defined)}{_bounds(schema)}"
        case "object" if isinstance(schema.get("additionalProperties"), dict):
            return f"mapping of {type_text(schema['additionalProperties'], defined)}"
        case "object":
            keys = ", ".join(schema.get("properties", {}))
            return f"mapping ({keys})" if keys else "mapping"
        case str(name):
            return name + _bounds(schema)
        case _:
            return "any"


def _bounds(schema: Mapping[str, Any]) -> str:
    signs = {
        "exclusiveMinimum": "> {}",
        "minimum": ">= {}",
        "exclusiveMaximum": "< {}",
        "maximum": "<= {}",
        "multipleOf": "multiple of {}",
        "pattern": "matching {}",
        "minItems": "at least {}",
        "maxItems": "at most {}",
        "minLength": "at least {}",
        "maxLength": "at most {}",
    }
    bounds = [
        text.format(f"{schema[key]:g}" if isinstance(schema[key], float) else schema[key])
        for key, text in signs.items()
        if key in schema
    ]
    return f" {', '.join(bounds)}" if bounds else ""


def _show(row: Plugin) -> None:
    click.echo(f"{row.kind or 'plugin'} {row.name}, from {row.provider} ({row.where})")
    if row.registration is None:
        click.echo(f"{row.status}: {row.reason}")
        if row.detail:
            click.echo(f"\n{row.detail.rstrip()}")
        return
    details = _details(row)
    click.echo(details["summary"])
    for key in details:
        if key in _SHOWN_APART or details[key] in (None, "", []):
            continue
        value = details[key]
        click.echo(
            f"{key.replace('_', ' ')}: {', '.join(map(str, value)) if isinstance(value, list) else _plain(value)}"
        )
    click.echo("\noptions" if details["options"] else "\nno options")
    if details["options"]:
        _print_options(details["options"])
    for group in (option for option in details["options"] if "options" in option):
        click.echo(f"\noptions under {group['name']}")
        _print_options(group["options"])
    model = row.registration.options
    for name, preset in details.get("presets", {}).items():
        default = " (default)" if name == details["default_preset"] else ""
        click.echo(f"\npreset {name}{default}: {preset['summary']}".rstrip(": "))
        settings = dotted(model, preset["options"]) | {f"recipe.{k}": value for k, value in preset["recipe"].items()}
        settings |= {k: v for k, v in preset.items() if k not in {"options", "recipe", "summary"} and v is not None}
        for key, value in settings.items():
            click.echo(f"  {key}: {_plain(value)}")
    for part in ("columns", "corpus"):
        if details.get(part):
            click.echo(f"\n{part}")
            _print(
                ["name", "label", "unit", "direction"],
                [[c["name"], c["label"], c["unit"], _DIRECTIONS[c["higher_is_better"]]] for c in details[part]],
            )


def _print_options(options: Iterable[Mapping[str, Any]]) -> None:
    """Print a table of options; what a group holds is listed apart."""
    rows = []
    for option in options:
        usual = "(below)" if "options" in option else "(required)" if "required" in option else None
        kind = "mapping" if "options" in option else option["type"]
        rows.append([option["name"], kind, usual or _plain(option["default"]), option["help"]])
    _print(["name", "type", "default", "help"], rows)


_DIRECTIONS = {True: "higher is better", False: "lower is better", None: ""}

_SHOWN_APART = {
    "kind", "name", "entry_point", "distribution", "version", "where", "status", "summary", "options", "presets",
    "default_preset", "columns", "corpus",
}  # fmt: skip


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _print(header: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """Print a table that fits a terminal, and that is one line a row where there is none."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=100_000)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in header:
        table.add_column(name, no_wrap=not console.is_terminal, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))  # no markup: a help text may hold brackets
    with console.capture() as lines:
        console.print(table)
    click.echo("\n".join(line.rstrip() for line in lines.get().splitlines()))
