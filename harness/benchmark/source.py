"""Reading YAML 1.2 with the line and column of every key and value, within bounds that no file can exceed.

The text is read as a stream of events (ruamel.yaml), so that a hostile file is refused while it is read: nothing is
constructed from tags, an alias counts for as many values as it repeats, and depth and size are bounded.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from ruamel.yaml import YAML, events
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from harness.benchmark.problems import Place, Problems, clean, printable, show
from harness.errors import InputError, suggest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Bounds of a benchmark file; real ones have a few hundred values in a few kilobytes.
MAX_BYTES: Final = 1_000_000
MAX_LINE: Final = 20_000
MAX_VALUES: Final = 20_000
MAX_DEPTH: Final = 32

Scalar: TypeAlias = str | int | float | bool | None

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_REFUSED = re.compile("[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
#: What an escape in a quoted text may not smuggle in either: control characters and halves of surrogate pairs.
_REFUSED_IN_TEXT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True, eq=False)
class Node:
    """A value with its place; ``key`` is the place of the key it belongs to, in a mapping."""

    value: Scalar | tuple[Node, ...] | dict[str, Node]
    place: Place
    key: Place | None = None

    @property
    def items(self) -> dict[str, Node]:
        """The entries of a mapping; empty for anything else."""
        return self.value if isinstance(self.value, dict) else {}

    @property
    def elements(self) -> tuple[Node, ...]:
        """The elements of a list; empty for anything else."""
        return self.value if isinstance(self.value, tuple) else ()

    @property
    def is_mapping(self) -> bool:
        """Whether this is a mapping."""
        return isinstance(self.value, dict)

    @property
    def is_list(self) -> bool:
        """Whether this is a list."""
        return isinstance(self.value, tuple)

    def plain(self) -> Any:
        """Return the value as plain Python data: dict, list, str, int, float, bool, None."""
        if isinstance(self.value, dict):
            return {name: child.plain() for name, child in self.value.items()}
        if isinstance(self.value, tuple):
            return [child.plain() for child in self.value]
        return self.value


def read_file(path: Path, problems: Problems) -> Node:
    """Read a benchmark file; mistakes that leave the rest readable are added to ``problems``.

    Raises:
        InputError: no such file, too large, not UTF-8, not YAML, or beyond a bound.
    """
    name = printable(str(path))
    try:
        # a pipe or a device would block or never end
        if not path.is_file():
            raise _absent(path)
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InputError(f"cannot be read: {reason}", where=name) from None
    if len(raw) > MAX_BYTES:
        raise InputError(f"is larger than {MAX_BYTES:,} bytes, which no benchmark file needs", where=name)
    return read_text(_decode(raw, name), name, problems)


def _absent(path: Path) -> InputError:
    if path.exists():
        return InputError("is not a file", where=printable(str(path)))
    near = suggest(path.name, [other.name for other in path.parent.glob("*.yaml")] if path.parent.is_dir() else [])
    return InputError("no such file", where=printable(str(path)), did_you_mean=near and str(path.parent / near))


def _decode(raw: bytes, name: str) -> str:
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputError("is UTF-16 text; save the file as UTF-8", where=f"{name}:1:1")
    raw = raw.removeprefix(b"\xef\xbb\xbf")  # a UTF-8 byte order mark is allowed by YAML and means nothing
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        line = before.count(b"\n") + 1
        column = len(before[before.rfind(b"\n") + 1 :].decode("utf-8", "replace")) + 1
        byte = f"0x{raw[error.start]:02x}"
        raise InputError(f"is not UTF-8 text: byte {byte}", where=f"{name}:{line}:{column}") from None


def read_text(text: str, source: str, problems: Problems, *, in_file: bool = True) -> Node:
    """Read one YAML document; ``source`` is what errors name (a file, or without ``in_file`` a command-line option).

    Raises:
        InputError: the text is not YAML, or beyond a bound.
    """
    refused = _REFUSED.search(text)
    if refused:
        place = _place_of(text, refused.start(), source) if in_file else Place(source)
        raise InputError(f"character U+{ord(refused.group()):04X} is not allowed in YAML", where=str(place))
    for number, line in enumerate(text.split("\n"), start=1):
        if len(line) > MAX_LINE:
            place = Place(source, number if in_file else 0, 1)
            raise InputError(f"line is longer than {MAX_LINE:,} characters", where=str(place))
    try:
        # parsing is lazy: reading the first event already happens inside the builder
        return _Builder(YAML(typ="safe", pure=True).parse(text), source, problems, in_file=in_file).document()
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{source}:{mark.line + 1}:{mark.column + 1}" if mark and in_file else source
        problem = clean(str(error.problem or error.context))
        hint = "YAML is indented with spaces, never with tabs" if "\\t" in problem else None
        raise InputError(f"is not YAML: {problem}", where=where, hint=hint) from None
    except YAMLError as error:
        raise InputError(f"is not YAML: {clean(str(error))}", where=source) from None


def _place_of(text: str, index: int, source: str) -> Place:
    return Place(source, text.count("\n", 0, index) + 1, index - text.rfind("\n", 0, index))


class _Builder:
    """Turns events into nodes. Structure that cannot be read raises; a single bad value is noted and read on."""

    def __init__(self, stream: Iterator[Any], source: str, problems: Problems, *, in_file: bool) -> None:
        self._stream = stream
        self._source = source
        self._problems = problems
        self._in_file = in_file
        self._anchors: dict[str, tuple[Node, int]] = {}
        self._open: set[str] = set()
        self._count = 0

    def document(self) -> Node:
        """Return the one document of the stream; an empty stream is null."""
        event = self._next()
        while isinstance(event, (events.StreamStartEvent, events.DocumentStartEvent)):
            if isinstance(event, events.DocumentStartEvent) and event.version not in {None, (1, 2)}:
                raise self._error(event, "is written for another YAML version; benchmark files are YAML 1.2")
            event = self._next()
        if isinstance(event, events.StreamEndEvent):
            return Node(None, self._place(event))
        root = self._node(event, 0)
        for rest in self._stream:
            if isinstance(rest, events.DocumentStartEvent):
                raise self._error(rest, "starts a second document; a benchmark file holds one")
        return root

    def _next(self) -> Any:
        event = next(self._stream)
        self._tally(event, 1)
        return event

    def _tally(self, event: Any, number: int) -> None:
        self._count += number
        if self._count > MAX_VALUES:
            raise self._error(event, f"is one value too many: more than {MAX_VALUES:,}, aliases counted in full")

    def _place(self, event: Any) -> Place:
        if not self._in_file:
            return Place(self._source)
        return Place(self._source, event.start_mark.line + 1, event.start_mark.column + 1)

    def _error(self, event: Any, what: str) -> InputError:
        return InputError(what, where=str(self._place(event)))

    def _note(self, event: Any, what: str, **parts: Any) -> None:
        self._problems.unreadable(self._place(event), what, **parts)

    def _node(self, event: Any, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise self._error(event, f"is nested more than {MAX_DEPTH} deep")
        if isinstance(event, events.AliasEvent):
            return self._alias(event)
        if event.tag is not None:
            # nothing is ever built from a tag, and quotes say all that `!!str` could
            tag = clean(str(event.tag))
            self._note(event, f"tag {tag} is not read", hint="put quotes around a value that is to be text")
        anchor, start = event.anchor, self._count
        if anchor is not None:
            self._open.add(anchor)
        if isinstance(event, events.ScalarEvent):
            node = Node(self._scalar(event), self._place(event))
        elif isinstance(event, events.SequenceStartEvent):
            node = self._sequence(event, depth)
        else:
            node = self._mapping(event, depth)
        if anchor is not None:
            self._open.discard(anchor)
            self._anchors[anchor] = (node, self._count - start + 1)
        return node

    def _alias(self, event: Any) -> Node:
        name = clean(str(event.anchor))
        if event.anchor in self._open:
            raise self._error(event, f"alias *{name} is inside its own anchor")
        if event.anchor not in self._anchors:
            raise self._error(event, f"alias *{name} has no anchor before it")
        node, size = self._anchors[event.anchor]
        self._tally(event, size - 1)
        return node

    def _sequence(self, start: Any, depth: int) -> Node:
        elements = []
        while not isinstance(event := self._next(), events.SequenceEndEvent):
            elements.append(self._node(event, depth + 1))
        return Node(tuple(elements), self._place(start))

    def _mapping(self, start: Any, depth: int) -> Node:
        items: dict[str, Node] = {}
        while not isinstance(event := self._next(), events.MappingEndEvent):
            name = self._key(event, depth)
            child = self._node(self._next(), depth + 1)
            if name in items:
                first = items[name].key
                line = f" (first in line {first.line})" if first and first.line else ""
                self._note(event, f"key {show(name)} is here a second time{line}")
            elif name is not None:
                items[name] = replace(child, key=self._place(event))
        return Node(items, self._place(start))

    def _key(self, event: Any, depth: int) -> str | None:
        """Return the key, or None after noting why it is none."""
        if not isinstance(event, events.ScalarEvent):
            self._note(event, "a key must be text, not a list, a mapping or an alias")
            self._node(event, depth + 1)
        elif event.tag is not None:
            self._note(event, f"tag {clean(str(event.tag))} is not read")
        elif event.style is None and event.value == "<<":
            self._note(event, "merge keys (<<) are not read", hint="write the keys out, or use a profile")
        elif isinstance(value := self._scalar(event), str):
            return value
        else:
            self._note(event, "a key must be text", got=value, expected=f"quotes around it: {show(event.value)}")
        return None

    def _scalar(self, event: Any) -> Scalar:
        text: str = event.value
        if event.style is not None:  # quoted or a block: always text
            refused = _REFUSED_IN_TEXT.search(text)
            if refused:
                self._note(event, f"holds the control character U+{ord(refused.group()):04X}")
            return _REFUSED_IN_TEXT.sub("?", text)
        if text in _NULL:
            return None
        if text in _BOOLS:
            return _BOOLS[text]
        if _NOT_FINITE.fullmatch(text):
            self._note(event, f"{text} is not a number that a benchmark can use")
        elif _INTEGER.fullmatch(text):
            number = int(text, 0 if text[:2] in {"0o", "0x"} else 10) if len(text) < 40 else 1 << 64
            if abs(number) < 1 << 63:
                return number
            self._note(event, f"number {clean(text)} is too large")
        elif _FLOAT.fullmatch(text):
            value = float(text)
            if math.isfinite(value):
                return value
            self._note(event, f"number {clean(text)} is too large")
        return text
