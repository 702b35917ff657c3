"""``prepare``: one split of one data set, as plain rows."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import disk
from harness.errors import InputError
from harness.spec.results.provenance import DataProvenance
from harness.spec.results.rows import DataRow
from harness.stages import kinds
from harness.store.environment import fingerprint
from harness.store.identity import canonical, rows_digest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.api import Dataset, Example, Provenance
    from harness.plugins.registry import Registry
    from harness.spec.stages.rows import RowsConfig
    from harness.stages.request import StageRequest, Tell
    from harness.store.records import Record
    from harness.store.stages import Store


def run(request: StageRequest[RowsConfig], store: Store, registry: Registry, tell: Tell) -> Record:
    """Fetch or make the data, read the split and store its rows; their digest is the stage's content."""
    config = request.config
    dataset = registry.build("dataset", config.dataset.name, config.dataset.options)
    source = Path(request.runtime.path).expanduser() if request.runtime.path else None
    tell(0, 0, "row", f"preparing {request.label}")
    with store.draft(request.kind, request.id) as draft:
        upstream = draft.folder / "upstream"
        disk.make_folder(upstream)
        with disk.by_library(upstream):
            examples, provenance = gather(dataset, config, source, upstream, request.label)
        disk.remove_tree(upstream)
        rows = _stored(examples, request.label)
        content = _content(rows, request.label)
        draft.write_jsonl(DataRow.file, rows)
        draft.write(
            DataProvenance(
                content=content,
                rows=len(rows),
                kind=config.rows_are,
                origin=provenance.origin,
                revision=provenance.revision,
                sha256=provenance.sha256,
                notes=provenance.notes,
            )
        )
        tell(len(rows), len(rows), "row", f"preparing {request.label}")
        environment = fingerprint(threads=request.runtime.threads, device="cpu", ranks=1)
        return store.commit(draft, config=config.to_json(), environment=environment, label=request.label)


def gather(
    dataset: Dataset, config: RowsConfig, source: Path | None, folder: Path, label: str
) -> tuple[list[Example], Provenance]:
    """Return the rows of a split, and where they come from with all that captions say of them.

    Of a data set that can do so (``prepare_split``) that split alone is fetched into ``folder``, and no more than
    ``limit`` needs.
    """
    provenance: Provenance
    if (prepare_split := getattr(dataset, "prepare_split", None)) is not None:
        provenance = prepare_split(source, folder, config.split, config.limit)
    else:
        provenance = dataset.prepare(source, folder)
    examples = list(itertools.islice(dataset.load(folder, config.split), config.limit))
    said = list(provenance.notes)
    if (notes := getattr(dataset, "notes", None)) is not None:
        said += notes(folder, config.split)
    if config.rows_are is not None:
        kinds.check_kind(examples, config.rows_are, label)
    if config.train_on_reference is not None:
        examples, note = kinds.with_reference(examples, config.train_on_reference, label)
        said.append(note)
    if config.pair_with is not None:
        paired, note = other_rows(examples, label)
        examples = list(paired)
        said.append(note)
    return examples, dataclasses.replace(provenance, notes=tuple(said))


def _stored(examples: list[Example], label: str) -> list[dict[str, Any]]:
    """Return rows as JSON has them, and as they can be read back."""
    for example in examples:
        for name, value in _texts(example):
            if not isinstance(value, str):
                raise InputError(
                    f"{name} is not a text", where=f"{label}, row {example.id}", got=value,
                    hint="this data set's plugin has to make texts of its rows' fields",
                )  # fmt: skip
    rows = [_plain(example) for example in examples]
    _check(rows, label)
    return rows


def _texts(example: Example) -> Iterator[tuple[str, Any]]:
    """Give everything in a row that is a text, whatever a plugin made of it, under its name."""
    yield "the id", example.id
    yield from ((f"the field {name!r}", value) for name, value in example.fields.items())
    yield from (("a reference", value) for value in example.references)
    yield from ((f"what turn {number} says", turn.content) for number, turn in enumerate(example.turns, start=1))
    for name in ("completion", "chosen", "rejected"):
        value = getattr(example, name)
        if value is not None:
            yield name, value


def _plain(example: Example) -> dict[str, Any]:
    """Return a row as JSON has it; a label and turns stand in those rows alone that have some."""
    row = dataclasses.asdict(example)
    absent = {name for name, there in (("label", example.label is not None), ("turns", example.turns)) if not there}
    return {name: value for name, value in row.items() if name not in absent}


def _content(rows: list[dict[str, Any]], label: str) -> str:
    try:
        return rows_digest(rows)
    except (TypeError, ValueError) as error:
        raise _no_json(rows, label, error) from error


def other_rows(examples: list[Example], where: str) -> tuple[Iterator[Example], str]:
    """Return demonstrations as preferences, and what a caption says of them.

    Rejected is the demonstration of the next row (of the first one, for the last), cut to no more words than the row's
    own; or of the one after it, where that makes it the same. The row's other fields are as they were.

    Raises:
        InputError: a row has no demonstration, or no other row has one that differs.
    """

    def paired(place: int) -> Example:
        own = (examples[place].demonstration or "").split()
        for step in range(1, len(examples)):
            other = (examples[(place + step) % len(examples)].demonstration or "").split()[: len(own)]
            if other and own and other != own:
                chosen = examples[place].demonstration
                return dataclasses.replace(examples[place], chosen=chosen, rejected=" ".join(other))
        expected = "demonstrations that are not all the same"
        what = "no preference can be made of this row and the others"
        raise InputError(what, where=f"{where}, row {examples[place].id}", expected=expected)

    note = "made into preferences for timing: rejected is the demonstration of the next row, cut to no more words"
    return map(paired, range(len(examples))), note


def _check(rows: list[dict[str, Any]], label: str) -> None:
    if not rows:
        raise InputError("this split has no rows", where=label, expected="at least one row")
    seen: set[str] = set()
    for row in rows:
        if row["id"] in seen:
            raise InputError("two rows have the same id", where=label, got=row["id"], expected="ids that are unique")
        seen.add(row["id"])


def _no_json(rows: list[dict[str, Any]], label: str, error: Exception) -> InputError:
    """Return what to say of rows that JSON cannot hold, such as a column with NaN, and of the first of them."""
    for row in rows:
        try:
            canonical(row)
        except (TypeError, ValueError):
            return InputError(
                f"row {row['id']} cannot be stored: {error}",
                where=label,
                expected="columns of text, finite numbers, true, false, null, and lists and mappings of these",
            )
    return InputError(f"the rows cannot be stored: {error}", where=label)
