"""A plugin that is one Python file: read, run as a module of its own, and blamed for its mistakes by line.

The module is called like the file, so that ``build`` may name it; digests of the source find it by that name.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.machinery
import importlib.util
import re
import sys
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from harness.api.registration import (
    DatasetRegistration,
    MethodRegistration,
    MetricRegistration,
    RewardRegistration,
)
from harness.errors import PluginError, suggest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import ModuleType

    from harness.api.registration import Kind, Registration

_KINDS: Final[dict[type[Registration], Kind]] = {
    MethodRegistration: "method",
    RewardRegistration: "reward",
    DatasetRegistration: "dataset",
    MetricRegistration: "metric",
}


@dataclass(frozen=True)
class PluginFile:
    """One file that was run."""

    path: Path
    module: ModuleType
    sha256: str
    """Of its bytes (64 hex digits)."""

    @property
    def name(self) -> str:
        """What tables and messages call it: no folder of anybody's."""
        return self.path.name


class _FileLoader(importlib.machinery.SourceFileLoader):
    """Marks the modules that came from a file which was named."""


def run_file(path: Path) -> PluginFile:
    """Run a plugin's file as a module.

    Raises:
        PluginError: it cannot be read, is called like another module, or fails; with the line that it failed in.
    """
    source = _read(path)
    name = re.sub(r"\W", "_", path.stem)
    _refuse_taken(name, path)
    loader = _FileLoader(name, str(path))
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert spec is not None  # there is a loader
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get(name)
    sys.modules[name] = module
    try:
        code = compile(source, str(path), "exec", dont_inherit=True)
        exec(code, module.__dict__)  # noqa: S102  # the user named this file to be run
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # it may raise anything, SystemExit too
        if before is None:
            del sys.modules[name]
        else:
            sys.modules[name] = before
        raise mistake(error, path) from error
    return PluginFile(path, module, hashlib.sha256(source).hexdigest())


def _read(path: Path) -> bytes:
    if path.suffix != ".py":
        raise PluginError("a plugin's file ends with .py", where="--plugin", got=path.name)
    try:
        return path.read_bytes()
    except FileNotFoundError:
        near = suggest(path.name, [other.name for other in path.parent.glob("*.py")])
        raise PluginError("no such file", where="--plugin", got=str(path), did_you_mean=near) from None
    except OSError as error:
        raise PluginError(f"cannot be read: {error.strerror or error}", where="--plugin", got=str(path)) from None


def _refuse_taken(name: str, path: Path) -> None:
    """Refuse the name of a module that others import: they would get the plugin."""
    spec = sys.modules[name].__spec__ if name in sys.modules else importlib.util.find_spec(name)
    if spec is None or isinstance(spec.loader, _FileLoader) or spec.origin == str(path):
        return
    raise PluginError(
        f"the Python module {name!r} is installed, and this file would take its place",
        where=path.name,
        hint=f"rename the file, to my_{name}.py for example",
    )


def mistake(error: BaseException, path: Path) -> PluginError:
    """Return what a plugin's file did wrong as one message that names the line."""
    line = line_in(error, path)
    what = " ".join(f"{type(error).__name__}: {_text(error)}".split()).rstrip(":")
    hint = None
    if isinstance(error, ModuleNotFoundError) and error.name and (path.parent / f"{error.name}.py").exists():
        hint = "a plugin's file stands alone; what has several files is a distribution, which `harness new` writes"
    return PluginError(what, where=f"{path.name}:{line}" if line else path.name, hint=hint)


def _text(error: BaseException) -> str:
    if isinstance(error, PluginError):
        return str(error)
    return error.msg if isinstance(error, SyntaxError) else str(error)


def line_in(error: BaseException, path: Path) -> int | None:
    """Return the line of a file in which an error arose, or through which it came; None where the file had no part."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return error.lineno
    lines = [line for frame, line in traceback.walk_tb(error.__traceback__) if frame.f_code.co_filename == str(path)]
    return lines[-1] if lines else None


def bare_registrations(file: PluginFile) -> Iterator[tuple[Kind, Registration, int | None]]:
    """Yield the registrations that stand at the top of a file by themselves, each once, with the line of each."""
    seen: set[int] = set()
    lines = _assignments(file.path)
    for name, value in vars(file.module).items():
        kind = _KINDS.get(type(value))
        if kind is not None and id(value) not in seen:
            seen.add(id(value))
            yield kind, value, lines.get(name)


def _assignments(path: Path) -> dict[str, int]:
    """Return the line of the last assignment to each name at the top of a file."""
    return {
        target.id: statement.lineno
        for statement in ast.parse(path.read_bytes()).body
        if isinstance(statement, (ast.Assign, ast.AnnAssign))
        for target in (statement.targets if isinstance(statement, ast.Assign) else [statement.target])
        if isinstance(target, ast.Name)
    }


def has_hooks(module: ModuleType, project: str) -> bool:
    """Return whether a module has functions that are marked as implementations of hooks, or called like them."""
    return any(
        name.startswith(f"{project}_register") or hasattr(value, f"{project}_impl")
        for name, value in vars(module).items()
        if callable(value)
    )
