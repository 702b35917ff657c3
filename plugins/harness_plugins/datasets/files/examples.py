"""From the rows of a file, or of the hub, to examples; what cannot be used is refused, or left out and counted."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from harness.api import Example, InputError
from harness_plugins.datasets.files.fields import HINTS, fields_of, label_of, references_of, split_prompt
from harness_plugins.datasets.files.messages import read_conversation
from harness_plugins.upstream.lines import present, text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from harness_plugins.datasets.files.fields import Fields, RowOptions
    from harness_plugins.datasets.files.messages import Conversational
    from harness_plugins.upstream.lines import Bad, Line

#: What rewards are called with besides the columns.
_TAKEN: Final = frozenset({
    "prompts", "completions", "completion_ids", "references", "trainer_state", "log_extra", "log_metric",
    "reward_model",
})  # fmt: skip
#: How many of the rows that were left out a note names.
_NAMED: Final = 5
_JSON: Final = {
    str: "text", bool: "true or false", int: "number", float: "number", list: "list", dict: "mapping",
}  # fmt: skip


@dataclass
class Tally:
    """What became of the rows that were read."""

    kept: int = 0
    """Rows that can be used, those of other splits included."""
    skipped: int = 0
    first: list[InputError] = field(default_factory=list)
    """What is wrong with the first that cannot."""

    def skip(self, error: InputError) -> None:
        """Count a row that is left out."""
        self.skipped += 1
        if len(self.first) < _NAMED:
            self.first.append(error)

    def note(self, name: str) -> str | None:
        """Say what was left out of a file, and where that stood; None where nothing was."""
        if not self.skipped:
            return None
        places = [f"{(error.where or '').rpartition('/')[2]} ({error.what})" for error in self.first]
        more = f" and {self.skipped - _NAMED} more" if self.skipped > _NAMED else ""
        counted = f"{self.skipped} of {self.kept + self.skipped} rows"
        return f"{name}: {counted} left out as bad: {'; '.join(places)}{more}"


def examples(
    read: Callable[[Bad | None], Iterable[Line]], options: RowOptions, split: str, tally: Tally
) -> Iterator[Example]:
    """Yield the rows of a split that can be used, one at a time: whoever stops early has read no more than that.

    Args:
        read: gives the rows; what it is given takes what is wrong with one of them.
        options: which column is what, and what becomes of rows that cannot be used.
        split: the split that is wanted, where ``options`` hold rows out.
        tally: what counts the rows, as they are read.

    Raises:
        InputError: what is wrong with a row, unless bad rows are skipped; or that no row is left.
    """
    skip = options.bad_rows == "skip"
    fields: Fields | None = None
    seen = _Seen()
    given = 0
    for _, where, raw in read(tally.skip if skip else None):
        try:
            row = read_conversation(raw, options.columns, where)
            fields = fields or fields_of(options, row.row, where)
            example = _example(raw, row, fields, seen, where)
            place = split if options.holdout is None else options.holdout.place(raw, example, where)
        except InputError as error:
            if not skip:
                raise
            tally.skip(error)
            continue
        tally.kept += 1
        if place == split:
            given += 1
            yield example
    if given:
        return
    if not tally.kept and tally.first:
        first = tally.first[0]
        raise InputError(f"no row can be used; the first says: {first.what}", where=first.where,
                         got=first.got, expected=first.expected, did_you_mean=first.did_you_mean,
                         hint=first.hint)  # fmt: skip
    assert options.holdout is not None
    raise InputError(
        f"the holdout has no row for {split}", got=f"{tally.kept} rows", expected="a larger share, or more rows",
        hint="rows are drawn by a hash, each for itself: a share of 0.1 of 20 rows may be none",
    )  # fmt: skip


def _example(raw: Mapping[str, Any], read: Conversational, fields: Fields, seen: _Seen, where: str) -> Example:
    row, prompt = read.row, ""
    if fields.prompt is not None:
        prompt = text(row, fields.prompt, where, hint=HINTS["prompt"])
    completion = None
    if fields.completion is not None:
        completion = text(row, fields.completion, where, hint=HINTS["completion"])
    chosen = None if fields.chosen is None else text(row, fields.chosen, where)
    rejected = None if fields.rejected is None else text(row, fields.rejected, where)
    if fields.prompt is None and chosen is not None and rejected is not None:
        prompt, chosen, rejected = split_prompt(chosen, rejected, where)
    context = ""
    if fields.context is not None and present(row, fields.context, where) is not None:
        context = text(row, fields.context, where, empty=True)
    label = None if fields.label is None else label_of(row, fields.label, where)
    columns = {key: value for key, value in row.items() if key not in fields.used}
    if taken := sorted(_TAKEN & columns.keys()):
        raise InputError(
            f"a column cannot be called {taken[0]!r}: rewards are called with that name", where=where,
            hint="rename it, name it in `columns` (references: references), or leave it out (drop)",
        )  # fmt: skip
    references = references_of(row, fields.references, where) if fields.references is not None else ()
    name = _id(raw, fields.id, where, seen)
    seen.check(columns, where)
    return Example(
        id=name,
        fields=read.fields if read.turns else {"instruction": prompt, "prompt": prompt, "context": context},
        turns=read.turns,
        completion=completion,
        references=references or ((completion,) if completion is not None and label is not False else ()),
        chosen=chosen,
        rejected=rejected,
        columns=columns,
        label=label,
    )


def _id(row: Mapping[str, Any], column: str | None, where: str, seen: _Seen) -> str:
    if column is not None:
        value = present(row, column, where)
        if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
            raise InputError(f"the field {column!r} is not an id, a text or a whole number", where=where, got=value)
        name = str(value)
    else:
        # the same wherever the row stands; exact copies of a row are counted
        name = hashlib.sha256(json.dumps(row, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:20]
        seen.copies[name] = seen.copies.get(name, 0) + 1
        name = name if seen.copies[name] == 1 else f"{name}-{seen.copies[name]}"
    if seen.ids.setdefault(name, where) != where:
        raise InputError(f"this id is in {seen.ids[name]} too", where=where, got=name)
    return name


class _Seen:
    """What the rows before have had: ids, copies, and what is in each column."""

    def __init__(self) -> None:
        self.ids: dict[str, str] = {}
        self.copies: dict[str, int] = {}
        self._types: dict[str, tuple[str, str]] = {}

    def check(self, columns: Mapping[str, Any], where: str) -> None:
        """Refuse a column that holds a text in one row and a number in another: rewards and metrics read it whole."""
        for name, value in columns.items():
            if value is None:
                continue
            kind = _JSON[type(value)]
            first_kind, first = self._types.setdefault(name, (kind, where))
            if first_kind != kind:
                raise InputError(
                    f"the column {name!r} holds a {first_kind} in {first} and a {kind} here", where=where, got=value,
                    expected="one type of value in a column, or null",
                )  # fmt: skip
