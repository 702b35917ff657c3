"""Files of answers that somebody already has: JSON Lines, one prompt a line.

A line has ``id`` (of the row) or ``prompt`` (its text), and ``answer`` or ``answers`` (several draws, as many for every
prompt). ``dataset``, ``decoding`` and ``seed`` say what it belongs to; without them a line belongs to the only data
set, to the first decoding and to the first seed. ``finished: false`` marks an answer that was cut. Other keys are not
read.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.errors import InputError, suggest
from harness.store.identity import digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

#: Keys of a line that are read.
KEYS = ("id", "prompt", "answer", "answers", "dataset", "decoding", "seed", "finished")


@dataclass(frozen=True)
class GivenAnswers:
    """One line: all draws for one prompt."""

    line: int
    id: str | None
    prompt: str | None
    texts: tuple[str, ...]
    finished: bool
    dataset: str | None
    decoding: str | None
    seed: int | None

    @property
    def named(self) -> str:
        """What a message calls the prompt."""
        return repr(self.id) if self.id is not None else f"{(self.prompt or '')[:40]!r}"


def read_answers(path: Path) -> tuple[GivenAnswers, ...]:
    """Return every line of a file.

    Raises:
        InputError: it cannot be read, is empty, or a line is wrong: named by its number and key.
    """
    try:
        state = path.stat()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", where=str(path)) from error
    return _read(path, state.st_mtime_ns, state.st_size)


@functools.lru_cache(maxsize=16)
def _read(path: Path, _changed: int, _size: int) -> tuple[GivenAnswers, ...]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {error}", where=str(path), expected="JSON Lines in UTF-8") from error
    # not splitlines(): an answer may hold other line separators than the file's own
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        raise InputError("has no answers", where=str(path), expected='lines such as {"id": "…", "answer": "…"}')
    return tuple(_line(line, number, f"{path}:{number}") for number, line in lines)


def _line(text: str, number: int, where: str) -> GivenAnswers:
    try:
        line: Any = json.loads(text)
    except ValueError as error:
        raise InputError(f"is not JSON: {error}", where=where) from error
    if not isinstance(line, dict):
        raise InputError(
            "is not a JSON object", where=where, got=type(line).__name__, expected='{"id": …, "answer": …}'
        )
    for given, kind in (("id", "prompt"), ("answer", "answers")):
        both = [name for name in (given, kind) if line.get(name) is not None]
        if len(both) != 1:
            near = next((near for key in line if key not in KEYS and (near := suggest(key, (given, kind)))), None)
            raise InputError(
                f"has both {given} and {kind}" if both else f"has neither {given} nor {kind}",
                where=where,
                got=", ".join(map(str, line)) or "no key",
                expected="one of the two",
                did_you_mean=near,
            )
    name: Any = line.get("id")
    if isinstance(name, int) and not isinstance(name, bool):
        name = str(name)
    answers = [line["answer"]] if line.get("answer") is not None else line["answers"]
    _check("id", name, str, where, "text")
    _check("prompt", line.get("prompt"), str, where, "text")
    if not isinstance(answers, list) or not answers or not all(isinstance(answer, str) for answer in answers):
        raise InputError("answers is not a list of texts", where=where, got=answers)
    _check("dataset", line.get("dataset"), str, where, "the label of a data set")
    _check("decoding", line.get("decoding"), str, where, "the name of a decoding")
    _check("seed", line.get("seed"), int, where, "a whole number")
    _check("finished", line.get("finished"), bool, where, "true or false")
    return GivenAnswers(
        number,
        name,
        line.get("prompt"),
        tuple(answers),
        line.get("finished") is not False,
        line.get("dataset"),
        line.get("decoding"),
        line.get("seed"),
    )


def _check(key: str, value: Any, kind: type, where: str, expected: str) -> None:
    if value is not None and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
        raise InputError(f"{key} is wrong", where=where, got=value, expected=expected)


@dataclass(frozen=True)
class Known:
    """What a benchmark file has that lines may name."""

    datasets: tuple[str, ...]
    decodings: tuple[str, ...]
    seeds: tuple[int, ...]


def check_names(lines: Iterable[GivenAnswers], known: Known, path: Path) -> None:
    """Raise InputError where a line names a data set or a decoding that the benchmark has not got, or must name one."""
    for line in lines:
        where = f"{path}:{line.line}"
        if line.dataset is None and len(known.datasets) > 1:
            expected = f"dataset: one of {', '.join(known.datasets)}"
            raise InputError("does not say which data set it answers", where=where, expected=expected)
        for what, value, names in (
            ("data set", line.dataset, known.datasets),
            ("decoding", line.decoding, known.decodings),
        ):
            if value is not None and value not in names:
                raise InputError(
                    f"the benchmark has no {what} of this name",
                    where=where,
                    got=value,
                    expected=f"one of {', '.join(names)}",
                    did_you_mean=suggest(value, names),
                )


def about(lines: Iterable[GivenAnswers], known: Known, dataset: str, decoding: str, seed: int) -> list[GivenAnswers]:
    """Return the lines that belong to one data set, decoding and seed."""
    return [
        line
        for line in lines
        if (line.dataset or known.datasets[0]) == dataset
        and (line.decoding or known.decodings[0]) == decoding
        and (known.seeds[0] if line.seed is None else line.seed) == seed
    ]


def digest_of(lines: Sequence[GivenAnswers]) -> str:
    """Return the digest of what some lines say, wherever they stand in their file."""
    return digest([[line.id, line.prompt, list(line.texts), line.finished] for line in lines])
