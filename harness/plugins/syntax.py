"""What the source of one module says: its syntax tree as a digest, and what it imports; kept by the source's sha256."""

from __future__ import annotations

import ast
import contextlib
import functools
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

#: Most sources that are kept.
_MOST = 5000


@dataclass(frozen=True)
class Syntax:
    """What the source of a module says."""

    digest: str
    """The sha256 of the syntax tree, without what changes nothing."""
    imports: tuple[Imported, ...]
    """What it imports when it runs."""


class SyntaxCache:
    """Sources that were read before, by their sha256: to walk through a tree takes longer than all the rest.

    The file begins with the sha256 of what follows, which begins with what the entries were made by: this module's own
    source and the release of Python. A file that is not whole, or made by another, is left out of account and replaced.
    """

    def __init__(self, path: Path) -> None:
        """Keep what is read in the file ``path``."""
        self._path = path
        self._entries: dict[str, Any] | None = None
        self._used: set[str] = set()
        self._new = False

    def read(self, source: bytes) -> Syntax:
        """Return what a source says.

        Raises:
            SyntaxError: it is not Python, or nested more deeply than Python can read.
            ValueError: it holds null bytes.
        """
        if self._entries is None:
            self._entries = self._load()
        name = hashlib.sha256(source).hexdigest()
        self._used.add(name)
        if name in self._entries:
            digest, imports = self._entries[name]
            return Syntax(digest, tuple((level, base, tuple(names)) for level, base, names in imports))
        try:
            tree = ast.parse(source)
        except (RecursionError, MemoryError) as error:
            raise SyntaxError("it is nested too deeply to be read") from error
        syntax = Syntax(tree_digest(tree), tuple(_imports(tree)))
        self._entries[name] = [syntax.digest, syntax.imports]
        self._new = True
        return syntax

    def save(self) -> None:
        """Write what is new, where that is possible: it can be found out again."""
        if not self._new or self._entries is None:
            return
        self._new = False
        maker = _maker()
        if maker is None:
            return
        kept = self._entries
        if len(kept) > _MOST:
            kept = {name: entry for name, entry in kept.items() if name in self._used}
        content = json.dumps({"maker": maker, "entries": kept}).encode()
        temporary = self._path.with_name(f".{uuid.uuid4().hex}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(hashlib.sha256(content).hexdigest().encode() + b"\n" + content)
            temporary.replace(self._path)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)

    def _load(self) -> dict[str, Any]:
        try:
            seal, _, content = self._path.read_bytes().partition(b"\n")
        except OSError:
            return {}
        if seal != hashlib.sha256(content).hexdigest().encode():
            return {}
        value = json.loads(content)
        entries: dict[str, Any] = value["entries"] if value["maker"] == _maker() else {}
        return entries


def _maker() -> str | None:
    """Return what the digests are made by: this source, under this Python; None where the source cannot be read."""
    try:
        source = Path(__file__).read_bytes()
    except OSError:
        return None
    return hashlib.sha256(source + sys.version.encode()).hexdigest()


def syntax_cache() -> SyntaxCache:
    """Return the process's cache below the user's folder for caches."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path(os.path.expanduser("~")) / ".cache")  # noqa: PTH111  # without a home, Path raises
    return _opened(base / "posttune-harness" / f"syntax-{sys.implementation.cache_tag}.json")


@functools.cache
def _opened(path: Path) -> SyntaxCache:
    return SyntaxCache(path)


def tree_digest(tree: ast.AST) -> str:
    """Return the sha256 of a syntax tree, wherever its nodes stand, without statements that change nothing.

    Those are bare strings (docstrings), ``pass``, what stands under ``if TYPE_CHECKING:`` and a module's
    ``__version__``.
    """
    return hashlib.sha256("".join(_texts(tree)).encode("utf-8", "surrogatepass")).hexdigest()


#: Fields that say nothing more: what a name is used for is seen from where it stands.
_LEFT_OUT = {"ctx", "kind", "type_comment", "type_ignores"}


def _texts(tree: ast.AST) -> Iterator[str]:
    """Yield a tree as text, piece by piece; without recursion, since a long sum is as deep as it is long."""
    waiting: list[ast.AST | list[Any] | str] = [tree]  # the next one last; a text stands there as it is yielded
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, list):
            waiting.append("]")
            for each in reversed(value):
                if not _changes_nothing(each):
                    waiting += [",", _node_or_text(each)]
            yield "["
        else:
            waiting.append(")")
            for name in reversed(value._fields):
                inner = getattr(value, name, None)
                if inner is not None and inner != [] and name not in _LEFT_OUT:
                    waiting += [_node_or_text(inner), f"{name}="]
            yield f"{type(value).__name__}("


def _node_or_text(value: Any) -> ast.AST | list[Any] | str:
    if isinstance(value, (ast.AST, list)):
        return value
    # decimal digits are limited in number, hexadecimal ones are not
    return f"{type(value).__name__}:{hex(value) if type(value) is int else repr(value)};"


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
