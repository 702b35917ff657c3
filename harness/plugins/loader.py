"""Loading of entry points: each one by itself, so that a broken plugin costs nothing but itself.

pluggy alone keeps silent about misspelt hooks, forgotten markers and two distributions with one entry-point name, and
stops at the first plugin that cannot be imported. Here every entry point is registered with a plugin manager of its
own; what it returns is checked and counts as a whole or not at all.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import re
import sys
import traceback
from dataclasses import dataclass
from importlib.metadata import entry_points as installed_entry_points
from typing import TYPE_CHECKING, Any, Final, get_args

import pluggy

from harness import API_VERSION, __version__
from harness.api import hookspecs
from harness.api.registration import Kind
from harness.errors import PluginError, suggest
from harness.plugins.checks import HOOKS, check_registration, returned_registrations
from harness.plugins.files import bare_registrations, has_hooks, mistake, run_file
from harness.plugins.registry import Plugin, Registry, one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
    from importlib.metadata import Distribution, EntryPoint
    from pathlib import Path
    from types import CodeType

    from harness.api.registration import Registration

#: The distribution that this package belongs to, whose plugins come first.
HOST: Final = "posttune-harness"

_TARGET = re.compile(r"\s*[\w.]+\s*(:\s*[\w.]+\s*)?")


def load_registry(
    *,
    entry_points: Iterable[EntryPoint] | None = None,
    blocked: Collection[str] = (),
    files: Iterable[Path] = (),
    environment: Mapping[str, str] | None = None,
    strict: bool | None = None,
) -> Registry:
    """Load every plugin and return what they offer, failures included.

    Args:
        entry_points: What to load; by default the installed entry points of group ``harness``.
        blocked: Entry points or whole distributions that are not loaded, by name.
        files: Python files whose plugins are loaded beside them, by absolute paths.
        environment: ``os.environ`` by default. ``HARNESS_PLUGINS=off`` loads the harness's own plugins only,
            ``HARNESS_PLUGINS=a,b`` of the others only those entry points or distributions.
        strict: Whether a failure is an error; by default when ``HARNESS_STRICT_PLUGINS`` is set and not ``0``.

    Raises PluginError when ``blocked`` names nothing that is installed, for any failure when strict, and for whatever
    is wrong with one of ``files``, which somebody asked for.
    """
    environment = os.environ if environment is None else environment
    if entry_points is None:
        entry_points = installed_entry_points(group=hookspecs.PROJECT)
    candidates = _candidates(entry_points)
    _check_blocked(blocked, candidates)
    allowed = _allowed(environment)
    rows: list[Plugin] = []
    owners: dict[str, _Candidate] = {}
    for candidate in candidates:
        if (reason := candidate.stopped_by(blocked, allowed)) is not None:
            rows.append(candidate.row("blocked", reason=reason))
            continue
        try:
            with contextlib.redirect_stdout(sys.stderr):  # what a module prints at import must not end up in our JSON
                found = _load(candidate, owners.setdefault(candidate.name, candidate), rows)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001  # a plugin may raise anything at import, SystemExit too
            text = str(error) if isinstance(error, PluginError) else one_line(error)
            rows.append(candidate.row("failed", reason=" ".join(text.split()), detail=traceback.format_exc()))
        else:
            rows += found or [candidate.row("ok", reason="it offers nothing")]
    rows += _not_installed(allowed, candidates)
    for path in files:
        with contextlib.redirect_stdout(sys.stderr):
            rows += _load_file(path, owners, rows)
    registry = Registry(rows)
    if strict is None:
        strict = environment.get("HARNESS_STRICT_PLUGINS", "0") not in {"", "0"}
    if strict and registry.failures:
        raise PluginError(
            "a plugin failed to load and HARNESS_STRICT_PLUGINS is set:"
            + "".join(f"\n  {row.entry_point} of {row.provider}: {row.reason}" for row in registry.failures)
        )
    return registry


@dataclass(frozen=True)
class _Source:
    """What a distribution's metadata says; read once, because parsing it costs more than importing a plugin."""

    name: str = "unknown"
    version: str = ""
    requires: tuple[str, ...] = ()
    editable: bool = False


class _Candidate:
    """One entry point with its distribution."""

    def __init__(self, entry_point: EntryPoint, source: _Source) -> None:
        self.entry_point = entry_point
        self.name = entry_point.name
        self.where = entry_point.value
        self.distribution = source.name
        self.version = source.version
        self.requires = source.requires
        self.editable = source.editable

    @property
    def provider(self) -> str:
        return f"{self.distribution} {self.version}".rstrip()

    @property
    def own(self) -> bool:
        return _normal(self.distribution) == HOST

    def order(self) -> tuple[bool, str, str, str]:
        """Sort the host first: a guest must never take a built-in's name, whatever ``sys.path`` looks like."""
        return not self.own, _normal(self.distribution), self.name, self.where

    def matches(self, names: Collection[str]) -> bool:
        """Tell whether the entry point or its whole distribution is among ``names``."""
        return self.name in names or _normal(self.distribution) in {_normal(name) for name in names}

    def stopped_by(self, blocked: Collection[str], allowed: Collection[str] | None) -> str | None:
        if self.matches(blocked):
            return "blocked by -p no:NAME"
        if allowed is not None and not self.own and not self.matches(allowed):
            return "not among HARNESS_PLUGINS"
        return None

    def row(self, status: Any, *, kind: Kind | None = None, name: str | None = None, **rest: Any) -> Plugin:
        if kind is None and self.own:  # the harness's own entry points are called <kind>-<name>
            kind = next((known for known in get_args(Kind) if self.name.startswith(f"{known}-")), None)
        return Plugin(
            kind,
            name or self.name,
            self.name,
            self.distribution,
            self.version,
            self.where,
            status,
            editable=self.editable,
            **rest,
        )

    def load(self) -> Iterator[tuple[Kind, Registration]]:
        """Import the entry point and yield what its hooks return."""
        self._check_requirements()
        if not _TARGET.fullmatch(self.where):
            raise PluginError(f"entry point {self.name!r} must be 'package.module'", got=self.where)
        plugin = self.entry_point.load()
        home = plugin if inspect.ismodule(plugin) else inspect.getmodule(plugin)
        speaks = getattr(plugin, "HARNESS_API", getattr(home, "HARNESS_API", API_VERSION))
        if speaks != API_VERSION:
            raise PluginError(f"written for plugin API {speaks!r}, this harness speaks {API_VERSION}")
        yield from _offered(plugin, self.name)

    def _check_requirements(self) -> None:
        """Compare what the distribution requires of the harness with this harness, before importing anything."""
        for line in self.requires:
            if not _normal(line).startswith(HOST):
                continue
            from packaging.requirements import InvalidRequirement, Requirement

            try:
                requirement = Requirement(line)
            except InvalidRequirement as error:
                raise PluginError(f"its distribution's requirement {line!r} cannot be read: {error}") from error
            applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            if _normal(requirement.name) != HOST or not applies:
                continue
            if not requirement.specifier.contains(__version__, prereleases=True):
                raise PluginError(f"needs {HOST}{requirement.specifier}, this is {HOST} {__version__}")


class _FileCandidate(_Candidate):
    """One Python file, which takes the place of an entry point and its distribution."""

    def __init__(self, path: Path) -> None:
        self._file = run_file(path)
        self.name = self.distribution = self._file.name
        self.where = str(path)
        self.version = ""
        self.editable = False

    @property
    def own(self) -> bool:
        return False

    def row(self, status: Any, *, kind: Kind | None = None, name: str | None = None, **rest: Any) -> Plugin:
        return super().row(status, kind=kind, name=name, sha256=self._file.sha256, **rest)

    def load(self) -> Iterator[tuple[Kind, Registration]]:
        """Yield what its hooks return, or where it has none the registrations that stand in it."""
        module = self._file.module
        if has_hooks(module, hookspecs.PROJECT):
            for hook, implementation in _implementations(module, self.name):
                with self._at(getattr(inspect.unwrap(implementation), "__code__", None)):
                    registrations = returned_registrations(hook, implementation())
                yield from ((HOOKS[hook][0], registration) for registration in registrations)
            return
        offered = list(bare_registrations(self._file))
        for kind, registration, line in offered:
            with self._at(line):
                check_registration(kind, registration)
            yield kind, registration
        if not offered:
            expected = f"a registration, or a function marked with @hookimpl: {', '.join(HOOKS)}"
            raise PluginError("it offers no plugin", expected=expected)

    @contextlib.contextmanager
    def _at(self, place: CodeType | int | None) -> Iterator[None]:
        """Name the line of a registration, or of the function that returns it, in an error about it."""
        try:
            yield
        except PluginError as error:
            line = place if isinstance(place, int) else getattr(place, "co_firstlineno", None)
            if error.where is None and line is not None:
                error.where = f"{self.name}:{line}"
            raise


def _load_file(path: Path, owners: dict[str, _Candidate], rows: Iterable[Plugin]) -> list[Plugin]:
    """Return what a file offers; whatever is wrong with it is one message, and an error at once."""
    candidate = _FileCandidate(path)
    try:
        return _load(candidate, owners.setdefault(candidate.name, candidate), rows)
    except PluginError as error:
        if error.where is None:
            error.where = path.name
        raise
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # as at import
        raise mistake(error, path) from error


def _offered(plugin: Any, name: str) -> Iterator[tuple[Kind, Registration]]:
    """Yield what the hooks of a plugin return."""
    for hook, implementation in _implementations(plugin, name):
        for registration in returned_registrations(hook, implementation()):
            yield HOOKS[hook][0], registration


def _implementations(plugin: Any, name: str) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield hook and implementation; raise for all that pluggy lets pass."""
    for attribute in dir(plugin):
        if not attribute.startswith(f"{hookspecs.PROJECT}_register"):
            continue
        value = inspect.getattr_static(plugin, attribute, None)
        marked = any(hasattr(value, f"{hookspecs.PROJECT}_{mark}") for mark in ("impl", "spec"))
        if inspect.isroutine(value) and not marked:
            raise PluginError(f"{attribute} is not marked with @hookimpl")
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(plugin, name)
    callers = manager.get_hookcallers(plugin) or []
    if not callers:
        raise PluginError(f"implements no hook (is @hookimpl missing?); expected one or more of {', '.join(HOOKS)}")
    for caller in callers:
        for implementation in caller.get_hookimpls():
            if caller.name not in HOOKS:
                if implementation.optionalhook:
                    continue
                raise PluginError(f"unknown hook {caller.name!r}", did_you_mean=suggest(caller.name, HOOKS))
            if implementation.wrapper or implementation.hookwrapper:
                raise PluginError(f"{caller.name} is a wrapper: a plugin sees its own registrations only")
            yield caller.name, implementation.function


def _load(candidate: _Candidate, owner: _Candidate, rows: Iterable[Plugin]) -> list[Plugin]:
    """Return all that an entry point offers, or raise."""
    if owner is not candidate:
        raise PluginError(f"entry-point name {candidate.name!r} is already taken by {owner.provider} ({owner.where})")
    offered = [
        candidate.row("ok", kind=kind, name=registration.name, registration=registration)
        for kind, registration in candidate.load()
    ]
    taken = {(row.kind, row.name): row for row in rows if row.status == "ok"}
    broken = {row.entry_point: row for row in rows if row.status == "failed" and _normal(row.distribution) == HOST}
    for row in offered:
        other = taken.setdefault((row.kind, row.name), row)
        if other is not row:
            raise PluginError(
                f"{row.kind} {row.name!r} of {row.provider} ({row.where}) is already offered by"
                f" {other.provider} ({other.where})"
            )
        # the harness's own plugin of that name failed: its place is not free, or a guest would take it unseen
        failed = broken.get(f"{row.kind}-{row.name}")
        if failed is not None:
            raise PluginError(
                f"{row.kind} {row.name!r} of {row.provider} ({row.where}) would take the place of"
                f" {failed.provider} ({failed.where}), which failed: {failed.reason}"
            )
    return offered


def _candidates(entry_points: Iterable[EntryPoint]) -> list[_Candidate]:
    sources: dict[int, _Source] = {}
    candidates = []
    for entry_point in entry_points:
        dist = entry_point.dist
        if dist is None:
            candidates.append(_Candidate(entry_point, _Source()))
            continue
        if id(dist) not in sources:
            sources[id(dist)] = _source(dist)
        candidates.append(_Candidate(entry_point, sources[id(dist)]))
    return sorted(candidates, key=_Candidate.order)


def _source(dist: Distribution) -> _Source:
    try:
        metadata = dist.metadata
        names, versions, requires = (metadata.get_all(key) or () for key in ("Name", "Version", "Requires-Dist"))
    except Exception:  # noqa: BLE001  # left over or damaged metadata: the plugin may still load, or say why not
        return _Source()
    return _Source(next(iter(names), "unknown"), next(iter(versions), ""), tuple(requires), _is_editable(dist))


def _is_editable(dist: Distribution) -> bool:
    """Return whether it was installed with ``pip install -e``, as PEP 610 writes it down."""
    try:
        found = json.loads(dist.read_text("direct_url.json") or "{}")
        return bool(found.get("dir_info", {}).get("editable"))
    except Exception:  # noqa: BLE001  # as above: metadata that cannot be read says nothing
        return False


def _check_blocked(blocked: Collection[str], candidates: list[_Candidate]) -> None:
    known = {name for candidate in candidates for name in (candidate.name, candidate.distribution)}
    for name in blocked:
        if not any(candidate.matches([name]) for candidate in candidates):
            raise PluginError(
                "no plugin or distribution to block has this name",
                where="-p",
                got=f"no:{name}",
                did_you_mean=(close := suggest(name, known)) and f"no:{close}",
            )


def _allowed(environment: Mapping[str, str]) -> list[str] | None:
    """Return the outside plugins that may load, None for all."""
    value = environment.get("HARNESS_PLUGINS", "").strip()
    if not value:
        return None
    return [] if value == "off" else [name.strip() for name in value.split(",") if name.strip()]


def _not_installed(allowed: Collection[str] | None, candidates: list[_Candidate]) -> Iterator[Plugin]:
    for name in allowed or ():
        if not any(candidate.matches([name]) for candidate in candidates):
            yield Plugin(
                None, name, name, "HARNESS_PLUGINS", "", "", "failed", reason=f"{name!r} is named but not installed"
            )


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
