"""What a seeded fault is, and how it gets into the modules that a process imports. Nothing here imports the harness."""

from __future__ import annotations

import importlib.machinery
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from types import CodeType, ModuleType

ROOT = Path(__file__).resolve().parents[2]
#: Tells the processes that a test starts which fault they have.
VARIABLE = "SEEDED_FAULT"
#: Its ``sitecustomize.py`` is run by every Python that has it on its path.
SITE = Path(__file__).resolve().parent / "site"
#: Where packages lie, by their first name.
_HOMES = {"harness": ROOT, "harness_plugins": ROOT / "plugins", "harness_methods": ROOT / "plugins/harness-methods"}


class SeedError(Exception):
    """A fault does not fit the code of today."""


@dataclass(frozen=True)
class Edit:
    """A text of a module's source, which stands there once, and what takes its place."""

    module: str
    old: str
    new: str

    @property
    def path(self) -> Path:
        """The file of the module."""
        home = _HOMES[self.module.partition(".")[0]].joinpath(*self.module.split("."))
        package = home / "__init__.py"
        return package if package.is_file() else home.with_suffix(".py")

    def apply(self, source: str) -> str:
        """Return the source with the fault in it; SeedError where its place is not there, or is not the only one."""
        count = source.count(self.old)
        if count != 1:
            raise SeedError(f"{self.path.relative_to(ROOT)} has {count} times, and not once:\n{self.old}")
        return source.replace(self.old, self.new)


@dataclass(frozen=True)
class Seed:
    """One way in which a fault can be in today's code."""

    edits: tuple[Edit, ...]
    caught_by: tuple[str, ...]
    """Tests as pytest names them, from the root of the repository. Each passes without the fault; one at least must
    fail with it."""
    says: str = ""
    """A pattern in ``exception: message`` of that failure; where it is empty, an assertion has to fail."""


@dataclass(frozen=True)
class Fault:
    """A fault that somebody once had."""

    name: str
    what: str
    """What it was, for the page."""
    seen: str = ""
    """Where it was reported, for the page: links."""
    seeds: tuple[Seed, ...] = ()
    impossible: str = ""
    """Why it, or the rest of it, cannot be in this code: which part of its structure is in the way."""

    @property
    def seeded(self) -> Mapping[str, Seed]:
        """The seeds by name: that of the fault, and with a number for all behind the first."""
        return {self.name if not place else f"{self.name}.{place + 1}": seed for place, seed in enumerate(self.seeds)}


def edit(module: str, old: str, new: str) -> Edit:
    """Return an edit."""
    return Edit(module, old, new)


def seed(*parts: Edit | str, says: str = "") -> Seed:
    """Return a seed of edits and of the names of tests."""
    edits = tuple(part for part in parts if isinstance(part, Edit))
    return Seed(edits, tuple(part for part in parts if isinstance(part, str)), says)


class _Loader(importlib.machinery.SourceFileLoader):
    """Loads a module with a fault in it, and leaves no compiled file behind."""

    def __init__(self, name: str, path: str, edits: Sequence[Edit]) -> None:
        super().__init__(name, path)
        self._edits = edits

    def get_code(self, fullname: str) -> CodeType:
        source = Path(self.get_filename(fullname)).read_text(encoding="utf-8")
        for each in self._edits:
            source = each.apply(source)
        code: CodeType = compile(source, self.get_filename(fullname), "exec", dont_inherit=True)
        return code


class Seeder:
    """Finds the modules that a fault is in. Stands first in ``sys.meta_path``."""

    def __init__(self, edits: Iterable[Edit]) -> None:
        """Put ``edits`` into whatever is imported from now on."""
        self._edits: dict[str, list[Edit]] = {}
        for each in edits:
            self._edits.setdefault(each.module, []).append(each)

    @property
    def modules(self) -> tuple[str, ...]:
        """The modules that get a fault."""
        return tuple(self._edits)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Implement the protocol of ``importlib``."""
        if name not in self._edits:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.origin is not None:
            spec.loader = _Loader(name, spec.origin, self._edits[name])
        return spec


def install(name: str, seeds: Mapping[str, Seed]) -> Seeder:
    """Seed a fault into this process, and into those that it starts.

    Raises:
        SeedError: there is no such fault, or a module that it is in has been imported already.
    """
    if name not in seeds:
        raise SeedError(f"no fault is called {name!r}; there are {', '.join(seeds)}")
    found = Seeder(seeds[name].edits)
    late = sorted({each.module for each in seeds[name].edits} & set(sys.modules))
    if late:
        raise SeedError(f"imported before the fault could be seeded: {', '.join(late)}")
    sys.meta_path.insert(0, found)
    os.environ[VARIABLE] = name
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(SITE), os.environ.get("PYTHONPATH", ""))))
    return found
