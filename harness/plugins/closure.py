"""Digests of source code: what a plugin or a stage computes with, found without importing it.

A closure is every module of its roots' own top-level packages that the roots import, directly or not, together with
the packages they lie in, whose ``__init__`` runs first. Imports are read from the syntax tree, those inside functions
included and those under ``if TYPE_CHECKING:`` left out, so that nothing heavy is loaded to plan a run. Data files and
imports by computed name are not seen: a registration lists such modules in ``modules``.

A module counts with its syntax tree: comments, docstrings, layout, what only type checkers read and ``__version__`` are
no part of it. What has no source in Python counts with its bytes.
"""

from __future__ import annotations

import hashlib
import importlib.machinery
import importlib.util
from dataclasses import dataclass
from importlib.abc import InspectLoader
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import PluginError
from harness.plugins.syntax import syntax_cache

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from importlib.machinery import ModuleSpec

    from harness.plugins.syntax import Imported


@dataclass(frozen=True)
class Module:
    """One module of a closure."""

    name: str
    digest: str
    imports: tuple[Imported, ...]
    package: bool

    def relative_to(self, level: int) -> str:
        """Return the package that so many leading dots mean here."""
        parts = self.name.split(".") if self.package else self.name.split(".")[:-1]
        return ".".join(parts[: len(parts) - level + 1])


class Sources:
    """Modules by name, each read once, as they were when they were first asked for."""

    def __init__(self, path: Sequence[str] | None = None) -> None:
        """Look for top-level packages in the folders ``path``; where Python looks for them if that is None."""
        self._path = path
        self._specs: dict[str, ModuleSpec | None] = {}
        self._folders: dict[str, list[str] | None] = {}
        self._digests: dict[tuple[frozenset[str], str], str] = {}
        self._modules: dict[str, Module | None] = {}
        self._syntax = syntax_cache()

    def digest(self, roots: Iterable[str], salt: str = "") -> str:
        """Return the sha256 (64 hex digits) of the closure of ``roots``, which are dotted module names.

        Raises PluginError when the source of a root cannot be found or read.
        """
        key = (frozenset(roots), salt)
        if key not in self._digests:
            total = hashlib.sha256(salt.encode() + b"\0")
            for name, module in sorted(self.closure(key[0]).items()):
                total.update(f"{name}\0{module.digest}\n".encode())
            self._digests[key] = total.hexdigest()
        return self._digests[key]

    def closure(self, roots: Iterable[str]) -> dict[str, Module]:
        """Return the modules of the closure of ``roots`` by name; see :meth:`digest`."""
        roots = set(roots)
        inside = {root.partition(".")[0] for root in roots}
        modules: dict[str, Module] = {}
        seen: set[str] = set()
        waiting = sorted(roots)
        while waiting:
            name = waiting.pop()
            if name in seen or name.partition(".")[0] not in inside:
                continue
            seen.add(name)
            module = self._module(name)
            if module is None:
                if name in roots:
                    raise PluginError(f"cannot find the source of module {name!r}")
                continue  # `from package import thing`: a class or a constant, which lies in a module already seen
            modules[name] = module
            waiting.extend(_parents(name))
            waiting.extend(self._named(module, inside))
        self._syntax.save()
        return modules

    def _named(self, module: Module, inside: set[str]) -> Iterator[str]:
        """Yield the names of all modules that a module may import."""
        for level, base, names in module.imports:
            start = base
            if level:
                above = module.relative_to(level)
                start = f"{above}.{base}" if above and base else above or base
            if not start or start.partition(".")[0] not in inside:
                continue
            yield start
            if names and self._search(start) is not None:  # a name may be a module of it
                yield from (f"{start}.{name}" for name in names)

    def _module(self, name: str) -> Module | None:
        if name not in self._modules:
            spec = self._locate(name)
            self._modules[name] = None if spec is None else self._read(name, spec)
        return self._modules[name]

    def _locate(self, name: str) -> ModuleSpec | None:
        """Find a module without importing the packages it lies in, as ``importlib.util.find_spec`` would."""
        if name not in self._specs:
            above, _, last = name.rpartition(".")
            if not above:
                spec = self._top(name)
            else:
                folders = self._search(above)
                # by its last name alone: by the whole one, a namespace asks for its parent, which was not imported
                spec = None if folders is None else importlib.machinery.PathFinder.find_spec(last, folders)
            self._specs[name] = spec
            inside = None if spec is None else spec.submodule_search_locations
            self._folders[name] = None if inside is None else list(inside)
        return self._specs[name]

    def _search(self, name: str) -> list[str] | None:
        """Return the folders that modules of a package are looked for in; None where there is no such package."""
        self._locate(name)
        return self._folders[name]

    def _top(self, name: str) -> ModuleSpec | None:
        if self._path is not None:
            return importlib.machinery.PathFinder.find_spec(name, list(self._path))
        try:
            return importlib.util.find_spec(name)
        except ValueError:  # a module made by hand has no spec
            return None

    def _read(self, name: str, spec: ModuleSpec) -> Module:
        package = spec.submodule_search_locations is not None
        try:
            if spec.origin is None or spec.origin == "built-in":  # a namespace package has no source
                return Module(name, hashlib.sha256(b"").hexdigest(), (), package)
            content = Path(spec.origin).read_bytes() if spec.origin.endswith(".py") else None
            if content is None and isinstance(spec.loader, InspectLoader):
                text = spec.loader.get_source(spec.name)
                content = None if text is None else text.encode()
            if content is None:
                return Module(name, hashlib.sha256(Path(spec.origin).read_bytes()).hexdigest(), (), package)
            syntax = self._syntax.read(content)
        except (OSError, ImportError, SyntaxError, ValueError) as error:
            raise PluginError(f"cannot read the source of module {name!r}: {error}") from error
        return Module(name, syntax.digest, syntax.imports, package)


def closure_digest(roots: Iterable[str], salt: str = "") -> str:
    """Return :meth:`Sources.digest` of what is installed now."""
    return Sources().digest(roots, salt)


def _parents(name: str) -> Iterator[str]:
    while name := name.rpartition(".")[0]:
        yield name
