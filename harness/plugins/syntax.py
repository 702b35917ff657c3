"""What the source of one module says: its syntax tree as a digest, and what it imports; kept by the source's sha256."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import json
import os
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Leading dots, the name after ``from`` (or after ``import``) and the names behind ``import`` of a ``from``.
Imported: TypeAlias = tuple[int, str, tuple[str, ...]]

#: Changes with what a digest is made of.
_FORMAT = 1

#: Most sources that are remembered.
_MOST = 5000


@dataclass(frozen=True)
class Syntax:
    """What the source of a module says."""

    digest: str
    """The sha256 of the syntax tree, without what changes nothing."""
    imports: tuple[Imported, ...]
    """What it imports when it runs."""


class SyntaxCache:
    """Sources that were read before, by their sha256: to walk through a tree takes longer than all the rest."""

    def __init__(self, path: Path | None = None) -> None:
        """Keep what is read in a file: ``path``, or one below the user's folder for caches."""
        self._path = path or _place()
        self._known: dict[str, Any] | None = None
        self._used: set[str] = set()
        self._new = False

    def read(self, source: bytes) -> Syntax:
        """Return what a source says.

        Raises:
            SyntaxError: it is no Python.
            ValueError: it holds null bytes.
        """
        if self._known is None:
            self._known = self._load()
        name = hashlib.sha256(source).hexdigest()
        self._used.add(name)
        with contextlib.suppress(KeyError, TypeError, ValueError):
            digest, imports = self._known[name]
            return Syntax(str(digest), tuple((int(n), str(base), tuple(names)) for n, base, names in imports))
        tree = ast.parse(source)
        found = Syntax(tree_digest(tree), tuple(_imports(tree)))
        self._known[name] = [found.digest, found.imports]
        self._new = True
        return found

    def save(self) -> None:
        """Write what is new, where that is possible: it can be found out again."""
        if not self._new or self._known is None:
            return
        kept = self._known if len(self._known) <= _MOST else {name: self._known[name] for name in self._used}
        temporary = self._path.with_name(f".{uuid.uuid4().hex}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(kept), encoding="utf-8")
            temporary.replace(self._path)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
        self._new = False

    def _load(self) -> dict[str, Any]:
        try:
            found = json.loads(self._path.read_bytes())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}


def _place() -> Path:
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path(os.path.expanduser("~")) / ".cache")  # noqa: PTH111  # without a home, Path raises
    version = f"{sys.version_info.major}.{sys.version_info.minor}"  # trees differ from one to the next
    return base / "posttune-harness" / f"syntax-{_FORMAT}-{version}.json"


def tree_digest(tree: ast.AST) -> str:
    """Return the sha256 of a syntax tree, wherever its nodes stand, without statements that change nothing.

    Those are bare strings (docstrings), ``pass``, what stands under ``if TYPE_CHECKING:`` and a module's
    ``__version__``.
    """
    parts: list[str] = []
    _write(tree, parts)
    return hashlib.sha256("".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


#: Fields that say nothing more: what a name is used for is seen from where it stands.
_LEFT_OUT = {"ctx", "kind", "type_comment", "type_ignores"}


def _write(value: Any, parts: list[str]) -> None:
    if isinstance(value, ast.AST):
        parts.append(f"{type(value).__name__}(")
        for name in value._fields:
            inner = getattr(value, name, None)
            if inner is not None and inner != [] and name not in _LEFT_OUT:
                parts.append(f"{name}=")
                _write(inner, parts)
        parts.append(")")
    elif isinstance(value, list):
        parts.append("[")
        for each in value:
            if not _changes_nothing(each):
                _write(each, parts)
                parts.append(",")
        parts.append("]")
    else:
        parts.append(f"{type(value).__name__}:{value!r};")


def _changes_nothing(node: Any) -> bool:
    if isinstance(node, ast.Pass):
        return True
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    if isinstance(node, ast.If):
        return _type_checking(node.test) and not node.orelse
    if isinstance(node, ast.Assign):
        return any(isinstance(target, ast.Name) and target.id == "__version__" for target in node.targets)
    return False


def _imports(tree: ast.AST) -> Iterator[Imported]:
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and _type_checking(node.test):
            waiting.extend(node.orelse)
            continue
        waiting.extend(ast.iter_child_nodes(node))
        if isinstance(node, ast.Import):
            yield from ((0, alias.name, ()) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.level, node.module or "", tuple(alias.name for alias in node.names if alias.name != "*")
        elif isinstance(node, ast.Call) and (literal := _imported_by_call(node)):
            yield 0, literal, ()


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
