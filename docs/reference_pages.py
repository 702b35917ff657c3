"""Write the pages that list what the code offers: ``command-line.md``, ``plugins.md`` and ``api.md`` beside this file.

Run it after a change of a command, of a plugin or its options, or of ``harness.api``; a test compares the pages with
what this gives::

    python docs/reference_pages.py
"""

from __future__ import annotations

import ast
import inspect
import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_args

import click

from harness import api
from harness.api.registration import (
    Column,
    DatasetRegistration,
    Kind,
    MethodRegistration,
    MetricRegistration,
    RewardRegistration,
)
from harness.cli import COMMANDS, main
from harness.cli.plugins import option_rows
from harness.plugins.loader import load_registry
from harness.plugins.option_groups import dotted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from harness.api import Registration

HERE: Final = Path(__file__).resolve().parent

_COMMANDS_HEAD: Final = """\
# The command line

`harness --help` and `harness COMMAND --help` say the same. This page is written by `python docs/reference_pages.py`.

A mistake is one message on the error stream, a line a mistake: where it is, what is wrong, what was found, what was
expected, what was probably meant. Every command ends with exit code 0, or 2 for bad input and 3 for a machine that
cannot do what was asked; `harness run` also ends with 1 (some cells failed) and 128 + n (stopped by signal n).
"""

_PLUGINS_HEAD: Final = """\
# The plugins that ship

Every method, reward, data set and metric of the distribution, with its options as a benchmark file takes them.
`harness plugins` lists what is installed, other distributions' plugins too, and `harness plugins show NAME` prints one.
Where a method departs from its paper is in [paper-and-code.md](paper-and-code.md); how to add a plugin is in
[writing-a-plugin.md](writing-a-plugin.md). This page is written by `python docs/reference_pages.py`.
"""

_API_HEAD: Final = """\
# The plugin API

Everything that `harness.api` offers, the only package of the harness that a plugin may import: signatures, fields, and
the first sentence of what the code says of each; the docstrings say the rest. B is prompts, K candidates a prompt, T
tokens, D the model's width. How the parts fit together is in [writing-a-plugin.md](writing-a-plugin.md). This page is
written by `python docs/reference_pages.py`.
"""

#: Modules that define what `harness.api` offers, by the heading under which it stands.
_API_PARTS: Final = {
    "harness.api.protocols": "What a plugin implements, and what it is given",
    "harness.api.registration": "Registrations and options",
    "harness.api.types": "Values",
    "harness.api.conversation": "Conversations",
    "harness.api.hookspecs": "Hooks",
    "harness.api.stateless": "Without state",
    "harness.errors": "Errors and help for messages",
    "harness.disk": "Files below a results folder",
}

_HEADINGS: Final[Mapping[Kind, tuple[str, str]]] = {
    "method": (
        "Methods",
        """\
Under `methods`: `{use: eso, coef: 0.1}`, or `eso` for the defaults. A preset is chosen by `preset: NAME`; the default
preset's options are the defaults, and its recipe holds only where the entry names it.""",
    ),
    "reward": ("Rewards", "Under `reward`: `{use: rouge, variant: rougeL}`."),
    "dataset": (
        "Data sets",
        """\
Under `train`, `validation` and `evaluate`: `{dataset: dolly, split: test}`. Data that has a home elsewhere can be read
from files in its own format: `path:` in the entry, or `-o sources.NAME=PATH`.""",
    ),
    "metric": (
        "Metrics",
        """\
Under `metrics`: `rouge`, or `{use: rouge, use_stemmer: false}`. A column is a number for each answer; one that is
marked corpus is a number for all answers together.""",
    ),
}


def command_line() -> str:
    """Return ``command-line.md``."""
    parts = [
        _COMMANDS_HEAD,
        "\n".join(f"- [`harness {name}`](#harness-{name}): {COMMANDS[name][1]}" for name in COMMANDS),
    ]
    parts += ["## `harness`", _parameters(main, _context(main, "harness"))]
    parts[-1] = "These come before the command's name: `harness -p no:eso run FILE`.\n\n" + parts[-1]
    for name in COMMANDS:
        command = main.get_command(click.Context(main), name)
        assert command is not None
        parts += _command(f"harness {name}", command, 2)
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _command(path: str, command: click.Command, level: int) -> Iterator[str]:
    context = _context(command, path)
    usage = " ".join(["OPTIONS", *(_argument(one) for one in command.params if isinstance(one, click.Argument))])
    group = command if isinstance(command, click.Group) else None
    yield f"{'#' * level} `{path}`"
    yield f"`{path} [{usage.replace(' ', '] ', 1) if ' ' in usage else usage + ']'}" + (" [COMMAND]`" if group else "`")
    yield "\n\n".join(" ".join(part.split()) for part in (command.help or "").split("\n\n"))
    if table := _parameters(command, context):
        yield table
    for name in group.list_commands(context) if group else ():
        below = group.get_command(context, name) if group else None
        assert below is not None
        yield from _command(f"{path} {name}", below, level + 1)


def _context(command: click.Command, path: str) -> click.Context:
    return click.Context(command, info_name=path, **main.context_settings)


def _argument(argument: click.Argument) -> str:
    name = (argument.name or "").upper()
    return name if argument.required else f"[{name}]"


def _parameters(command: click.Command, context: click.Context) -> str:
    rows = []
    for option in command.get_params(context):
        if isinstance(option, click.Option) and (command is main or "--help" not in option.opts):
            names = ", ".join(f"`{name}`" for name in sorted(option.opts, key=len, reverse=True))
            value = "" if option.is_flag or option.count else _value(option)
            help_text = (option.help or "") + (f" Default: `{option.default}`." if option.show_default is True else "")
            rows.append([names + value, help_text])
    return _table(["option", ""], rows) if rows else ""


def _value(option: click.Option) -> str:
    if isinstance(option.type, click.Choice):
        return f" `{'`, `'.join(map(str, option.type.choices))}`"
    return f" `{option.metavar or option.type.name.upper()}`"


def plugins() -> str:
    """Return ``plugins.md``."""
    kinds = {kind: _own(kind) for kind in get_args(Kind)}
    parts = [_PLUGINS_HEAD, "\n".join(_contents(kind, own) for kind, own in kinds.items())]
    for kind, own in kinds.items():
        parts += [f"## {_HEADINGS[kind][0]}", _HEADINGS[kind][1]]
        shared = _shared(own) if kind == "method" else []
        if shared:
            parts.append("Options that several methods share; their defaults stand with each:")
            rows = [(name, values, text) for name, values, _, text in map(_option, shared)]
            parts.append(_table(["option", "values", ""], rows))
        for registration in own:
            parts += _plugin(kind, registration, shared)
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _own(kind: Kind) -> list[Registration]:
    """Return the registrations of this distribution's plugins."""
    rows = load_registry().plugins
    own = [row.registration for row in rows if row.kind == kind and row.distribution == "posttune-harness"]
    return [registration for registration in own if registration is not None]


def _contents(kind: Kind, registrations: Iterable[Registration]) -> str:
    links = ", ".join(f"[`{one.name}`](#{kind}-{one.name})" for one in registrations)
    return f"- {_HEADINGS[kind][0]}: {links}"


def _plugin(kind: Kind, registration: Registration, shared: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield f"### {kind} `{registration.name}`"
    source = f" Source: <{registration.source}>." if registration.source else ""
    yield f"{registration.summary}.{source}" + "".join(f" {fact}." for fact in _facts(registration))
    rows = [row for row in option_rows(registration) if "options" not in row]
    groups = [row for row in option_rows(registration) if "options" in row]
    common = [row for row in rows if _described(row) in map(_described, shared)]
    if common:
        defaults = ", ".join(f"`{row['name']}: {_plain(row['default'])}`" for row in common)
        yield f"Shared options: {defaults}."
    own = [row for row in rows if row not in common]
    if own:
        yield _table(["option", "values", "default", ""], map(_option, own))
    elif not common and not groups:
        yield "No options."
    for group in groups:
        yield f"Under `{group['name']}`: {group['help']}"
        yield _table(["option", "values", "default", ""], map(_option, group["options"]))
    if isinstance(registration, MethodRegistration):
        for name, preset in registration.presets.items():
            settings = dotted(registration.options, preset.options)
            settings |= {f"recipe.{key}": value for key, value in preset.recipe.items()}
            settings |= {} if preset.active is None else {"active": preset.active}
            told = ", ".join(f"`{key}: {_plain(value)}`" for key, value in settings.items())
            default = " (default)" if name == registration.default_preset else ""
            yield f"Preset `{name}`{default}: {preset.summary}. {told}."
    if isinstance(registration, MetricRegistration):
        columns = [
            *((column, "") for column in registration.columns),
            *((column, "corpus") for column in registration.corpus),
        ]
        yield _table(
            ["column", "in tables", ""],
            [
                [
                    f"`{column.name}`",
                    _titled(column),
                    _about(column, which),
                ]
                for column, which in columns
            ],
        )


def _facts(registration: Registration) -> Iterator[str]:
    match registration:
        case MethodRegistration():
            yield f"Needs: {', '.join(sorted(registration.needs)) or 'nothing but demonstrations'}"
        case RewardRegistration():
            if registration.range is not None:
                yield "Between {:g} and {:g}".format(*registration.range)
        case DatasetRegistration():
            yield f"Splits: {', '.join(f'`{split}`' for split in registration.splits)}"
            yield f"Licence: {registration.licence}"
        case MetricRegistration():
            yield f"Table: `{registration.role}`"
            if registration.needs:
                yield f"Asks a model ({', '.join(sorted(registration.needs))}), so under the first decoding only"
            if registration.by_options is not None:
                yield "Its columns depend on its options"


def _titled(column: Column) -> str:
    return f"{column.label} ({column.unit})" if column.unit not in {"", column.label} else column.label


def _about(column: Column, which: str) -> str:
    direction = {True: "higher is better", False: "lower is better", None: ""}[column.higher_is_better]
    return ", ".join(part for part in (direction, which, "" if column.shown else "stored, not shown") if part)


def _described(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return row["name"], row["type"], row["help"]


def _shared(registrations: Iterable[Registration]) -> list[Mapping[str, Any]]:
    """Return the options that two or more plugins have with the same type and help, once each."""
    seen: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for registration in registrations:
        for row in option_rows(registration):
            if "default" in row and "options" not in row:
                seen.setdefault(_described(row), []).append(row)
    return [rows[0] for rows in seen.values() if len(rows) > 1]


def _option(row: Mapping[str, Any]) -> list[str]:
    default = "required" if "required" in row else f"`{_plain(row['default'])}`"
    return [f"`{row['name']}`", str(row["type"]), default, str(row["help"]).replace("``", "`")]


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |".replace("  |", " |")

    return "\n".join([line(header), "|" + "---|" * len(header), *map(line, rows)])


def api_page() -> str:
    """Return ``api.md``."""
    contents, parts = [], []
    for module, heading in _API_PARTS.items():
        sections = list(_sections(module))
        links = ", ".join(f"[`{name}`](#{name.lower()})" for name, _ in sections)
        contents.append(f"- {heading}: {links}")
        parts += [f"## {heading}", *("\n\n".join([f"### `{name}`", *text]) for name, text in sections)]
    return "\n\n".join(part.strip() for part in [_API_HEAD, "\n".join(contents), *parts]) + "\n"


def _sections(module: str) -> Iterator[tuple[str, list[str]]]:
    """Yield what a module adds to ``harness.api``, each with its paragraphs, in the order of the module."""
    loaded = sys.modules[module]
    source = inspect.getsource(loaded)
    lines, tree = source.splitlines(), ast.parse(source)
    offered = {name for name in api.__all__ if getattr(loaded, name, None) == getattr(api, name)}
    private = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef) and node.name[0] == "_"}
    for node in tree.body:
        match node:
            case ast.ClassDef() if node.name in offered:
                names = [ast.unparse(base) for base in node.bases]
                inherited = [private[name] for name in names if name in private]
                yield node.name, _class(node, [name for name in names if name not in private], inherited)
            case ast.FunctionDef() if node.name in offered:
                yield node.name, [f"`{_signature(node)}`", _first(ast.get_docstring(node))]
            case (
                ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
                | ast.Assign(targets=[ast.Name(id=name)], value=value)
            ) if name in offered:
                shown = value.value if isinstance(value, ast.Constant) else ast.unparse(value)
                yield name, [f"`{shown}`", _first(_above(lines, node.lineno))]


def _above(lines: Sequence[str], number: int) -> str:
    """Return the ``#:`` comment that ends above a line, counted from 1."""
    found: list[str] = []
    for line in reversed(lines[: number - 1]):
        if not line.startswith("#:"):
            break
        found.insert(0, line.removeprefix("#:").strip())
    return "\n".join(found)


def _class(node: ast.ClassDef, bases: Sequence[str], inherited: Sequence[ast.ClassDef]) -> list[str]:
    said = [f"`class {node.name}({', '.join(bases)})`" if bases else f"`class {node.name}`"]
    said.append(_first(ast.get_docstring(node)))
    rows = [row for each in (*inherited, node) for row in _members(each)]
    return [*said, _table(["", ""], rows)] if rows else said


def _members(node: ast.ClassDef) -> Iterator[list[str]]:
    """Yield the fields, properties and functions of a class, each with what is said of it."""
    for place, member in enumerate(node.body):
        match member:
            case ast.AnnAssign(target=ast.Name(id=name)) if name[0] != "_":
                default = "" if member.value is None else f" = {_default(member.value)}"
                yield [f"`{name}: {ast.unparse(member.annotation)}{default}`", _first(_text(node.body[place + 1 :]))]
            case ast.FunctionDef() if member.name[0] != "_" or member.name in {"__call__", "__init__"}:
                known = {ast.unparse(each) for each in member.decorator_list}
                if "property" in known:
                    of = ast.unparse(member.returns) if member.returns else "Any"
                    yield [f"`{member.name}: {of}` (read only)", _first(ast.get_docstring(member))]
                else:
                    yield [f"`{_signature(member)}`", _first(ast.get_docstring(member))]


def _signature(function: ast.FunctionDef) -> str:
    """Return name, arguments and result, without ``self`` or ``cls``."""
    arguments = re.sub(r"^(self|cls)(, )?", "", ast.unparse(function.args))
    result = (
        "" if function.returns is None or ast.unparse(function.returns) == "None" else ast.unparse(function.returns)
    )
    return f"{function.name}({arguments})" + (f" -> {result}" if result else "")


def _default(value: ast.expr) -> str:
    """Return a field's default; of ``field(default_factory=…)`` what it makes."""
    match value:
        case ast.Call(func=ast.Name(id="field"), keywords=[ast.keyword(arg="default_factory", value=made)]):
            return f"{ast.unparse(made)}()"
        case _:
            return ast.unparse(value)


def _text(behind: Sequence[ast.stmt]) -> str:
    """Return the docstring of an attribute, from the statements behind it."""
    match behind:
        case [ast.Expr(value=ast.Constant(value=str(text))), *_]:
            return text
        case _:
            return ""


def _first(text: str | None) -> str:
    """Return the first sentence, as Markdown."""
    paragraph = " ".join(inspect.cleandoc(text or "").partition("\n\n")[0].split()).removesuffix(":")
    sentence = re.split(r"(?<=[.?!]) (?=[A-Z`])", paragraph, maxsplit=1)[0]
    plain = re.sub(r":\w+:`~?\.?([^`]+)`", r"`\1`", sentence)
    return plain.replace("``", "`")


PAGES: Final = {"command-line.md": command_line, "plugins.md": plugins, "api.md": api_page}

if __name__ == "__main__":
    os.environ["HARNESS_PLUGINS"] = "off"
    for page, write in PAGES.items():
        (HERE / page).write_text(write(), encoding="utf-8")
