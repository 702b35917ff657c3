"""What was loaded: look-up by kind and name, options, construction and fingerprints."""

from __future__ import annotations

import functools
import importlib
import inspect
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from pydantic import BaseModel, ValidationError

from harness.api.registration import DatasetRegistration, RewardRegistration
from harness.errors import HarnessError, PluginError, suggest
from harness.plugins.closure import Sources
from harness.plugins.files import line_in
from harness.plugins.protocols import check_members

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from harness.api.registration import Kind, Registration

Status: TypeAlias = Literal["ok", "failed", "blocked"]

#: Missing plugins that one message names.
_LISTED = 5


@dataclass(frozen=True)
class Plugin:
    """One row of ``harness plugins``: a registration, or an entry point that gave none."""

    kind: Kind | None
    """None where a plugin failed or was blocked before it said what it offers."""
    name: str
    """The registration's name; the entry point's where there is no registration."""
    entry_point: str
    distribution: str
    version: str
    where: str
    """The entry point's target, ``package.module``."""
    status: Status
    reason: str = ""
    """One line: why it failed, what blocked it, or that it offers nothing."""
    detail: str = ""
    """The traceback of a failure."""
    registration: Registration | None = None
    editable: bool = False
    """Whether its source lies in somebody's working copy: its version says little."""
    sha256: str = ""
    """Of the file that it is, where it is one file and no distribution."""

    @property
    def provider(self) -> str:
        """Distribution and version, as messages name them."""
        return f"{self.distribution} {self.version}".rstrip()

    @property
    def named(self) -> str:
        """The plugin itself, as messages name it."""
        return f"{self.kind} {self.name!r} of {self.provider}"

    @property
    def maker(self) -> dict[str, Any]:
        """What a record says of a plugin that made it, as JSON values."""
        fields = ("kind", "name", "distribution", "version", "editable")
        made_by = {field: getattr(self, field) for field in fields}
        return made_by | ({"sha256": self.sha256} if self.sha256 else {})


class Registry:
    """All plugins of one process; made by :func:`harness.plugins.loader.load_registry`."""

    def __init__(self, plugins: Iterable[Plugin]) -> None:
        """Keep the rows in the order in which they were loaded."""
        self.plugins: tuple[Plugin, ...] = tuple(plugins)
        self._offered: dict[tuple[str, str], Plugin] = {
            (row.kind, row.name): row for row in self.plugins if row.kind is not None and row.registration is not None
        }
        self._fingerprints: dict[tuple[str, str], str] = {}
        self._sources = Sources()

    @property
    def failures(self) -> tuple[Plugin, ...]:
        """The entry points that could not be loaded."""
        return tuple(row for row in self.plugins if row.status == "failed")

    def names(self, kind: Kind) -> tuple[str, ...]:
        """Names of all plugins of one kind, sorted."""
        return tuple(sorted(name for offered, name in self._offered if offered == kind))

    def find(self, kind: Kind, name: str) -> Plugin:
        """Return the row that offers a plugin; raise PluginError as :meth:`get` does."""
        row = self._offered.get((kind, name))
        if row is None:
            raise PluginError(
                f"there is no {kind} called {name!r}",
                expected=f"one of {', '.join(self.names(kind)) or '(none is installed)'}",
                did_you_mean=suggest(name, self.names(kind)),
                hint=self._might_have_offered(kind, name),
            )
        return row

    def get(self, kind: Kind, name: str) -> Registration:
        """Return a registration.

        Raises PluginError when there is none: with the closest name, and with the plugins that failed or were blocked
        and might have offered it.
        """
        registration = self.find(kind, name).registration
        assert registration is not None  # only rows with a registration are offered
        return registration

    def resolved(self, kind: Kind, name: str, options: Mapping[str, Any]) -> Registration:
        """Return a registration as options make it (its ``by_options``)."""
        registration = self.get(kind, name)
        if isinstance(registration, DatasetRegistration):
            return registration
        return registration.resolved(self.options(kind, name, options))

    def options(self, kind: Kind, name: str, raw: Mapping[str, Any]) -> BaseModel:
        """Validate options as they stand in a file; raise pydantic's ValidationError with all mistakes.

        Types are taken as written, as JSON's are: a list may become a tuple and a string a choice, but neither
        ``"0.05"`` nor ``true`` becomes a number.
        """
        model = self.get(kind, name).options
        try:
            text = json.dumps(dict(raw))
        except (TypeError, ValueError):  # YAML has values that JSON has not, such as dates
            return model.model_validate(dict(raw), strict=True)
        return model.model_validate_json(text, strict=True)

    def build(self, kind: Kind, name: str, options: Mapping[str, Any]) -> Any:
        """Import a plugin's ``build`` and call it with the validated options.

        Raises PluginError, which names the plugin and its distribution, when that fails or gives an object of another
        kind; an error of the harness's own family that the plugin raises passes through.
        """
        row = self.find(kind, name)
        registration = self.get(kind, name)
        where = row.named
        try:
            values = self.options(kind, name, options)
        except ValidationError as error:
            wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise PluginError(f"options do not fit: {wrong}", where=where) from error
        try:
            factory = registration.build if callable(registration.build) else _import(registration.build)
            is_reward = isinstance(registration, RewardRegistration) and registration.function
            built = _bind(factory, values) if is_reward else factory(values)
        except (KeyboardInterrupt, HarnessError):
            raise
        except BaseException as error:  # a plugin may raise anything, SystemExit too
            line = line_in(error, Path(row.where)) if row.sha256 else None
            raise PluginError(
                f"cannot be built ({registration.build}): {one_line(error)}",
                where=f"{where}, line {line}" if line else where,
                hint="HARNESS_TRACEBACK=1 shows where it failed",
            ) from error
        check_members(kind, built, where)
        return built

    def fingerprint(self, kind: Kind, name: str) -> str:
        """Return the sha256 of the source that a plugin computes with, without importing it (see ``closure``)."""
        key = (kind, name)
        if key not in self._fingerprints:
            row = self.find(kind, name)
            try:
                self._fingerprints[key] = _fingerprint(self.get(kind, name), self._sources)
            except PluginError as error:
                error.where = row.named
                raise
        return self._fingerprints[key]

    def _might_have_offered(self, kind: Kind, name: str) -> str | None:
        """Name the plugins that are missing: the one that is called like what is sought, else all that may be it."""
        absent = [row for row in self.plugins if row.registration is None and row.kind in {None, kind}]
        exact = [row for row in absent if row.entry_point in {name, f"{kind}-{name}"}]
        may = "" if exact else ", which may offer it,"
        listed = exact or absent
        words = {"failed": "failed", "blocked": "is blocked", "ok": "is loaded"}
        lines = [
            f"plugin {row.entry_point!r} of {row.provider}{may} {words[row.status]}: {row.reason}"
            for row in listed[:_LISTED]
        ]
        if len(listed) > _LISTED:
            lines.append(f"and {len(listed) - _LISTED} more: see `harness plugins`")
        elsewhere = [other for other, offered in self._offered if offered == name]
        lines += [f"there is a {other} of that name" for other in elsewhere]
        return "\n  ".join(lines) or None


def one_line(error: BaseException) -> str:
    """Return an exception's class and message on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split()).rstrip(":")


def _import(target: str) -> Callable[[Any], Any]:
    module, _, path = target.partition(":")
    loaded: Any = importlib.import_module(module)
    for part in path.split("."):
        loaded = getattr(loaded, part)
    if not callable(loaded):
        raise TypeError(f"{target} is not callable")
    return loaded  # type: ignore[no-any-return]  # callable() narrows Any to Any


def _bind(function: Callable[..., Any], options: BaseModel) -> Callable[..., Any]:
    """Return a reward function that is registered as it is, with the options (if any) as keyword arguments."""
    values = {name: getattr(options, name) for name in type(options).model_fields}
    return functools.partial(function, **values) if values else function


def _fingerprint(registration: Registration, sources: Sources) -> str:
    roots = set(registration.modules)
    if isinstance(registration.build, str):
        roots.add(registration.build.partition(":")[0])
        salt = registration.build
    else:
        function: Any = registration.build
        while isinstance(function, functools.partial):
            function = function.func
        function = inspect.unwrap(function)
        if not hasattr(function, "__module__") or not hasattr(function, "__qualname__"):
            function = type(function)
        roots.add(function.__module__)
        salt = f"{function.__module__}:{function.__qualname__}"
    # options derive from harness.api, which every stage's id holds
    roots |= {
        model.__module__
        for model in registration.options.__mro__
        if issubclass(model, BaseModel) and not model.__module__.startswith(("harness.", "pydantic."))
    }
    return sources.digest(roots, salt)
