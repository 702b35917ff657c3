"""What resolving one part of a file needs of the rest: plugins, paths and the list of mistakes."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.api.registration import MetricRegistration
from harness.benchmark.problems import Place, Problems, printable
from harness.benchmark.sections import FilePart, Keys, attempt
from harness.errors import PluginError, suggest
from harness.plugins.option_groups import option_names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.api.registration import Kind, Registration
    from harness.benchmark.source import Node
    from harness.plugins.registry import Registry
    from harness.spec.benchmark import MetricUse


@dataclass
class Context:
    """One file being resolved."""

    registry: Registry
    problems: Problems
    folder: Path
    """What relative paths in the file start from: the file's own folder."""
    sources: Mapping[str, Node] = field(default_factory=dict)
    """The file's ``sources`` and those given by ``-o``: where a data set or model lies."""
    resolved_sources: dict[str, str] = field(default_factory=dict)
    """Those that something used, as absolute paths."""

    def registration(self, kind: Kind, node: Node | None, part: FilePart, name_key: str) -> Registration | None:
        """Return the plugin that an entry names, or None after adding why there is none."""
        if node is None or node.value is None:
            self.problems.add(part.place, "is missing", key=part.path(name_key))
            return None
        if not isinstance(node.value, str):
            expected = f"the name of a {kind}"
            self.problems.add(node.place, "is wrong", key=part.path(name_key), got=node.plain(), expected=expected)
            return None
        try:
            return self.registry.get(kind, node.value)
        except PluginError as error:
            self.problems.add(
                node.place,
                f"there is no {kind} of this name",
                key=part.path(name_key),
                got=node.value,
                expected=error.expected,
                did_you_mean=error.did_you_mean,
                hint=error.hint,
            )
            return None

    def options(
        self, kind: Kind, registration: Registration, part: FilePart, hints: Mapping[str, str]
    ) -> dict[str, Any]:
        """Return a plugin's options with all defaults, as JSON has them; an empty mapping after adding mistakes."""
        name = registration.name
        noun = f"option of {kind} {name}"
        raw = part.plain()
        try:
            options = attempt(
                lambda: self.registry.options(kind, name, raw),
                part,
                self.problems,
                Keys(option_names(registration.options), noun, hints),
            )
            resolved: dict[str, Any] = options.model_dump(mode="json") if options is not None else {}
            json.dumps(resolved, allow_nan=False)  # a default such as inf would not survive being stored
        except Exception as error:  # noqa: BLE001  # a plugin's validators may raise anything
            reason = printable(f"{type(error).__name__}: {error}")
            row = self.registry.find(kind, name)
            what = f"the options of {kind} {name} ({row.provider}) cannot be checked: {reason}"
            self.problems.add(part.place, what, key=part.key)
            return {}
        return resolved

    def resolved(self, use: MetricUse) -> MetricRegistration | None:
        """Return a metric's registration as its options make it; None where they are wrong, which has been said."""
        registration = self.registry.get("metric", use.use)
        assert isinstance(registration, MetricRegistration)
        try:
            return registration.resolved(self.registry.options("metric", use.use, use.options))
        except Exception:  # noqa: BLE001  # a plugin's validators may raise anything
            return None

    def path(self, node: Node, key: str) -> str | None:
        """Return an absolute path of something that exists; None after adding why not.

        A relative path starts from the file's folder, and given by ``-o`` from the current one; ``~`` is the user's
        home.
        """
        if not isinstance(node.value, str) or not node.value.strip():
            self.problems.add(node.place, "is wrong", key=key, got=node.plain(), expected="a path")
            return None
        start = self.folder if node.place.line else Path()
        try:
            path = (start / Path(node.value).expanduser()).absolute()
            exists = path.exists()
        except (OSError, RuntimeError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            self.problems.add(node.place, f"cannot be read: {printable(reason)}", key=key, got=node.value)
            return None
        if not exists:
            relative = not Path(node.value).is_absolute() and not node.value.startswith("~")
            hint = f"looked for {printable(str(path))}" if relative else None
            near = _near(path)
            near = near and str(Path(node.value).with_name(near))
            self.problems.add(
                node.place, "no such file or folder", key=key, got=node.value, did_you_mean=near, hint=hint
            )
            return None
        return str(path)

    def folder_called(self, name: str, place: Place) -> Path | None:
        """Return the folder that ``name`` would be as a path, if it holds a model, an adapter or a tokenizer."""
        try:
            folder = ((self.folder if place.line else Path()) / Path(name).expanduser()).absolute()
            files = ("config.json", "adapter_config.json", "tokenizer.json")
            return folder if any((folder / file).is_file() for file in files) else None
        except (OSError, RuntimeError, ValueError):  # no name of a file at all
            return None

    def source(self, names: tuple[str | None, ...], own: Node | None, own_key: str) -> str | None:
        """Return where something lies: what ``sources`` says of one of its names, else the entry's own ``path``."""
        for name in names:
            if name is not None and name in self.sources:
                path = self.path(self.sources[name], f"sources.{name}")
                if path is not None:
                    self.resolved_sources[name] = path
                return path
        return None if own is None or own.value is None else self.path(own, own_key)

    def duplicates(self, named: list[tuple[str, Place, str]], what: str) -> None:
        """Add every name that is used a second time; ``named`` are (name, place, key)."""
        first: dict[str, Place] = {}
        for name, place, key in named:
            if name in first:
                where = f"line {first[name].line}" if first[name].line else first[name].source
                self.problems.add(place, f"a second {what} is called {printable(name)} (the first: {where})", key=key)
            first.setdefault(name, place)


def _near(path: Path) -> str | None:
    try:
        return suggest(path.name, [entry.name for entry in path.parent.iterdir()])
    except OSError:
        return None
