"""Whatever files of one's own hold: a row is an example with all that it said, or refused, or left out and counted."""

from __future__ import annotations

import contextlib
import copy
import gzip
import io
import itertools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from fuzz.campaign import Campaign
from hub.own import as_csv, as_parquet, as_zstd
from hypothesis import given
from hypothesis import strategies as st
from report.synthetic import in_memory

from harness.api import InputError
from harness_plugins.datasets.files import Files, kind_of, sketch
from harness_plugins.datasets.files.fields import FilesOptions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from harness.api import Example

    Row = dict[str, Any]

ROWS = Campaign("data rows", few=250, many=10_500)
CORPUS = Path(__file__).parent / "corpus" / "data-rows"


def said(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


USER, REPLY, OTHER = said("user", "Name a cat."), said("assistant", "Tom."), said("assistant", "No.")
#: A row of each shape, and the options that read it.
SHAPES: Final[Sequence[tuple[Row, dict[str, Any]]]] = (
    ({"prompt": "Say 1.", "completion": "1!", "topic": "t"}, {}),
    ({"prompt": "Say 1.", "chosen": "1!", "rejected": "2!", "n": 3}, {}),
    ({"chosen": "Say 1. 1!", "rejected": "Say 1. 2!"}, {}),
    ({"prompt": "Say 1.", "completion": "1!", "label": True}, {"kind": "unpaired_preferences"}),
    ({"prompt": "Say 1.", "references": ["1!", "one"]}, {"kind": "references"}),
    ({"prompt": "Say 1.", "level": 1.5}, {"kind": "prompts"}),
    ({"messages": [said("system", "Be brief."), USER, REPLY], "level": 1}, {}),
    ({"messages": [USER, REPLY, USER, OTHER]}, {}),
    ({"prompt": [USER], "completion": [REPLY]}, {}),
    ({"prompt": [USER], "chosen": [REPLY], "rejected": [OTHER]}, {}),
    ({"prompt": "Say 1.", "completion": "1!", "id": "a", "note": "x"}, {"columns": {"id": "id", "context": "note"}}),
)
TEXTS = st.sampled_from(
    [
        "",
        " ",
        "\n",
        "a",
        "1",
        "true",
        "null",
        "nan",
        "\x00",
        "\x1c",
        "\u2028",
        "\u202e",
        "é",
        "=1+1",
        '"',
        "a,b",
        "\r",
        "x\ny",
    ]
) | st.text(max_size=6)
SCALARS = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | TEXTS
VALUES = st.recursive(
    SCALARS | st.builds(said, st.just("user"), st.just("x")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=4,
)
KEYS = st.sampled_from([
    "prompt", "completion", "chosen", "rejected", "label", "references", "messages", "id", "prompts", "completions",
    "trainer_state", "role", "content", "weight", "tool_calls", "from", "value", "Prompt", "completion ",
]) | TEXTS  # fmt: skip
FORMS = ("jsonl", "json", "csv", "parquet", "jsonl.gz", "jsonl.zst")


def places(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, child in items:
        yield (*path, key)
        yield from places(child, (*path, key))


@st.composite
def files(draw: st.DrawFn) -> tuple[list[Row], dict[str, Any]]:
    """Rows of one shape, some of which are changed somewhere."""
    row, options = draw(st.sampled_from(SHAPES))
    rows: list[Row] = [copy.deepcopy(row) for _ in range(draw(st.integers(1, 4)))]
    for number, each in enumerate(rows):
        if isinstance(each.get("id"), str):
            each["id"] = f"row {number}"
    for _ in range(draw(st.integers(0, 3))):
        changed = draw(st.sampled_from(rows))
        path = draw(st.sampled_from([(), *places(changed)]))
        holder: Any = changed
        for key in path[:-1]:
            holder = holder[key]
        way = draw(st.sampled_from(["set", "delete", "add"]))
        if way == "add" or not path:
            if isinstance(holder, dict):
                holder[draw(KEYS)] = draw(VALUES)
            continue
        if way == "delete":
            del holder[path[-1]]
        else:
            holder[path[-1]] = draw(VALUES)
    return rows, options


def as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def content(form: str, rows: list[Row]) -> tuple[bytes, list[Row]] | None:
    """Return the bytes of a file of some form and the rows that it holds; None where the form cannot hold them."""
    names = list(dict.fromkeys(itertools.chain.from_iterable(rows)))
    if form == "csv":
        texts = [
            {name: each if isinstance(each := row.get(name, ""), str) else json.dumps(each) for name in names}
            for row in rows
        ]
        if not names or any("\0" in f"{key}{value}" for row in texts for key, value in row.items()):
            return None
        try:
            return as_csv(texts), texts
        except UnicodeEncodeError:
            return None
    if form == "parquet":
        import pyarrow.lib
        import pyarrow.parquet

        try:
            stored = as_parquet([{name: row.get(name) for name in names} for row in rows])
        except (pyarrow.lib.ArrowException, OverflowError, UnicodeEncodeError, ValueError, TypeError, SystemError):
            return None  # not of one type
        return stored, pyarrow.parquet.read_table(io.BytesIO(stored)).to_pylist()
    if form == "json":
        return json.dumps(rows).encode(), rows
    lines = "".join(f"{json.dumps(row)}\n" for row in rows).encode()
    return {"jsonl": lines, "jsonl.gz": gzip.compress(lines), "jsonl.zst": as_zstd(lines)}[form], rows


def read(folder: Path, form: str, raw: bytes, **options: Any) -> tuple[list[Example], Files, Path] | str:
    """Return the rows of a file as a stage reads them; the message where it is refused."""
    source = folder / f"rows.{form}"
    source.write_bytes(raw)
    try:
        data = Files(FilesOptions(**options))
        kind_of(FilesOptions(**options), source, "train")
        data.identity(source)
        prepared = folder / f"prepared-{options.get('bad_rows', 'error')}"
        prepared.mkdir()
        data.prepare(source, prepared)
        return list(data.load(prepared, "train")), data, prepared
    except InputError as error:
        return message(error)


def message(error: InputError) -> str:
    assert error.where is not None
    assert len(str(error)) < 10_000
    return str(error)


def told(row: Mapping[str, Any], example: Example) -> None:
    """Check that nothing that a row holds has gone, or become something else."""
    turns = [{"role": turn.role, "content": turn.content} for turn in example.turns]
    first = example.fields.get("prompt")
    answers = {"completion": example.completion, "chosen": example.chosen, "rejected": example.rejected}
    for name, value in row.items():
        if name in example.columns:
            assert same(example.columns[name], value)
        elif name == "messages":
            spoken = [{key: message[key] for key in ("role", "content")} for message in value]
            assert spoken == [*turns, *([said("assistant", example.completion)] if example.completion else [])]
        elif name in {"prompt", "completion"} and turns and "messages" in row.keys() - example.columns.keys():
            assert value is None or value.strip() in {text.strip() for text in spoken_in(row)}
        elif name == "prompt" and turns:
            asked = [said("user", value)] if isinstance(value, str) else value
            assert [turn["content"] for turn in turns][: len(asked)] == [turn["content"] for turn in asked]
        elif name == "prompt":
            assert value == first
        elif name in answers:
            last = value[-1]["content"] if isinstance(value, list) else value
            alone = "prompt" not in row or "prompt" in example.columns  # where the first row has none
            whole = f"{first}{answers[name]}" if alone else answers[name]
            assert last == whole
        elif name == "references":
            assert list(example.references) == ([value] if isinstance(value, str) else value)
        elif name == "label":
            assert str(example.label).lower() == str(value).strip().lower()
        elif name == "id":
            assert example.id == str(value)
        else:
            # where a row has no material, Parquet has a null
            assert (name, "" if value is None else value) == ("note", example.fields["context"])


def spoken_in(row: Mapping[str, Any]) -> list[str]:
    return [message["content"] for message in row["messages"]]


def same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and json.dumps(one) == json.dumps(other)


def check(form: str, raw: bytes, rows: list[Row] | None, options: dict[str, Any], count: int | None) -> str:
    """Read a file in both ways and compare with what is known of it; return what became of it."""
    with in_memory() as folder:
        strict = read(folder, form, raw, **options)
        lax = read(folder, form, raw, **options, bad_rows="skip")
        with contextlib.suppress(InputError):
            sketch(folder / f"rows.{form}")
        if not isinstance(strict, str) and rows is not None:
            assert len(strict[0]) == len(rows)
            for row, example in zip(rows, strict[0], strict=True):
                told(row, example)
        if isinstance(lax, str):
            assert isinstance(strict, str)
            return "refused"
        examples, data, prepared = lax
        skipped = data.skipped(prepared, "train")
        assert count is None or len(examples) + skipped == count
        notes = " ".join(data.notes(prepared, "train"))
        assert (f"{skipped} of {len(examples) + skipped} rows left out" in notes) == bool(skipped)
        if not skipped:
            assert not isinstance(strict, str)
            assert strict[0] == examples
        return "left out in part" if skipped else "read"


@ROWS.settings(0.6)
@given(files(), st.sampled_from(FORMS))
def test_rows_that_hold_anything(made: tuple[list[Row], dict[str, Any]], form: str) -> None:
    rows, options = made
    written = content(form, rows)
    if written is None:
        return
    with ROWS.case() as outcome:
        outcome(check(form, written[0], written[1], options, len(rows)))


@ROWS.settings(0.4)
@given(
    st.sampled_from(SHAPES),
    st.sampled_from(FORMS),
    st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 4), st.binary(max_size=4)), min_size=1, max_size=4),
)
def test_files_with_broken_bytes(shape: tuple[Row, dict[str, Any]], form: str, cuts: list[Any]) -> None:
    row, options = shape
    rows = [{**row, **({"id": f"row {number}"} if "id" in row else {})} for number in range(3)]
    written = content(form, rows)
    assert written is not None
    raw = bytearray(written[0])
    for start, length, instead in cuts:
        place = start % (len(raw) + 1)
        raw[place : place + length] = instead
    plain = form == "jsonl" and not raw.startswith((b"[", b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PAR1", b"ARROW1"))
    # a blank in Unicode is none in JSON, so what counts as a line is told by ASCII's alone
    count = sum(bool(line.strip()) for line in bytes(raw).removeprefix(b"\xef\xbb\xbf").split(b"\n")) if plain else None
    with ROWS.case() as outcome:
        outcome(check(form, bytes(raw), None, options, count))


@pytest.mark.parametrize("path", sorted(CORPUS.iterdir()), ids=lambda path: path.name)
def test_the_corpus(path: Path) -> None:
    check(path.name.partition(".")[2], path.read_bytes(), None, {}, None)
