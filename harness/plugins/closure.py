"""Digests of source code: what a plugin's or the core's modules compute with, found without importing them.

A plugin's closure is every module of its own top-level package that its roots import, directly or not, together with
the packages they lie in, whose ``__init__`` runs first. Imports are read from the syntax tree, those inside functions
included and those under ``if TYPE_CHECKING:`` left out, so that nothing heavy is loaded to plan a run. Data files and
imports by computed name are not seen: a registration lists such modules in ``modules``.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.machinery
import importlib.util
from importlib.abc import InspectLoader
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import PluginError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from importlib.machinery import ModuleSpec


def closure_digest(roots: Iterable[str], salt: str = "") -> str:
    """Return the sha256 (64 hex digits) of the static import closure of ``roots``, which are dotted module names.

    Raises PluginError when the source of a root cannot be found or read.
    """
    found = _closure(sorted(set(roots)))
    return _digest(salt, found)


def source_digest(packages_or_modules: Iterable[str]) -> str:
    """Return the sha256 (64 hex digits) of all the source of some packages (with everything below) and modules."""
    found: dict[str, bytes] = {}
    for name in packages_or_modules:
        spec = _locate(name)
        if spec is None:
            raise PluginError(f"cannot find the source of module {name!r}")
        if not spec.submodule_search_locations:
            found[name] = _content(name, spec)
            continue
        for folder in map(Path, spec.submodule_search_locations):
            for file in folder.rglob("*"):
                if file.name.endswith((".py", *importlib.machinery.EXTENSION_SUFFIXES)):
                    text = file.read_bytes().replace(b"\r\n", b"\n") if file.suffix == ".py" else file.read_bytes()
                    found[f"{name}:{file.relative_to(folder).as_posix()}"] = text
    return _digest("", found)


def _digest(salt: str, found: dict[str, bytes]) -> str:
    total = hashlib.sha256(salt.encode() + b"\0")
    for name in sorted(found):
        total.update(f"{name}\0{hashlib.sha256(found[name]).hexdigest()}\n".encode())
    return total.hexdigest()


def _closure(roots: list[str]) -> dict[str, bytes]:
    inside = {root.partition(".")[0] for root in roots}
    found: dict[str, bytes] = {}
    seen: set[str] = set()
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name in seen or name.partition(".")[0] not in inside:
            continue
        seen.add(name)
        spec = _locate(name)
        if spec is None:
            if name in roots:
                raise PluginError(f"cannot find the source of module {name!r}")
            continue  # `from package import thing`: a class or a constant, which lies in a module already seen
        found[name] = _content(name, spec)
        waiting.extend(_parents(name))
        if spec.origin is not None and spec.origin.endswith(".py"):
            package = name if spec.submodule_search_locations is not None else name.rpartition(".")[0]
            waiting.extend(_imports(name, found[name], package))
    return found


def _parents(name: str) -> Iterator[str]:
    while name := name.rpartition(".")[0]:
        yield name


def _locate(name: str) -> ModuleSpec | None:
    """Find a module without importing the packages it lies in, as ``importlib.util.find_spec`` would."""
    top, *rest = name.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except ValueError:  # a module made by hand has no spec
        return None
    path = top
    for part in rest:
        if spec is None or spec.submodule_search_locations is None:
            return None
        path = f"{path}.{part}"
        spec = importlib.machinery.PathFinder.find_spec(path, list(spec.submodule_search_locations))
    return spec


def _content(name: str, spec: ModuleSpec) -> bytes:
    """Return the source with one kind of line end; a compiled module's bytes; nothing for a namespace package."""
    if spec.origin is None or spec.origin == "built-in":
        return b""
    try:
        text = spec.loader.get_source(name) if isinstance(spec.loader, InspectLoader) else None
        return Path(spec.origin).read_bytes() if text is None else text.encode()
    except (OSError, ImportError, SyntaxError) as error:
        raise PluginError(f"cannot read the source of module {name!r}: {error}") from error


def _imports(name: str, source: bytes, package: str) -> Iterator[str]:
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError) as error:
        raise PluginError(f"cannot read the source of module {name!r}: {error}") from error
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and _type_checking(node.test):
            waiting.extend(node.orelse)
            continue
        waiting.extend(ast.iter_child_nodes(node))
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")
                parts = parts[: len(parts) - node.level + 1]
                base = ".".join([*parts, base] if base else parts)
            if base:
                yield base
                yield from (f"{base}.{alias.name}" for alias in node.names if alias.name != "*")
        elif isinstance(node, ast.Call) and (literal := _imported_by_call(node)):
            yield literal


def _type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def _imported_by_call(node: ast.Call) -> str | None:
    """Return the name in ``import_module("package.module")``, when it is written out."""
    called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if called not in {"import_module", "__import__"} or not node.args or not isinstance(node.args[0], ast.Constant):
        return None
    value = node.args[0].value
    return value if isinstance(value, str) and not value.startswith(".") else None
