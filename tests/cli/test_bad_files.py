"""Files of one's own that are wrong: each is one message with file, row and column, as a user sees it."""

from __future__ import annotations

import datetime as dt
import gzip
import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from hub.own import as_csv, as_parquet, as_zstd
from plan.files import small

from harness.cli import main

if TYPE_CHECKING:
    from pathlib import Path

GOOD: list[dict[str, Any]] = [{"prompt": f"Say {n}.", "completion": f"{n}!", "topic": "t"} for n in range(8)]


def lines(*rows: object) -> bytes:
    """Return four good rows as JSON Lines and what follows them; a text stands as it is."""
    every = [*GOOD[:4], *rows]
    return "".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in every).encode()


def but(**changes: Any) -> dict[str, Any]:
    return {**GOOD[4], **changes}


ROW = 'prompt,completion\nx,y\n"one, two",y\n'
#: File, content, options, what stands at the beginning of the message behind the file's name, and what stands in it.
BAD: list[tuple[str, str, bytes, dict[str, Any], str, str]] = [
    ("a column that is not there", "a.csv", as_csv(GOOD), {"columns": {"prompt": "promt"}},
     ":2: the field 'promt' is missing, got ", "did you mean 'prompt'"),
    ("another name in one row", "a.jsonl", lines({"prompt": "x", "complation": "y"}), {},
     ":5: the field 'completion' is missing, got 'complation, prompt'", "did you mean 'complation'"),
    ("mixed types", "a.jsonl", lines(but(topic=3)), {}, ":5: the column 'topic' holds a text in ", "a.jsonl:1"),
    ("a number for a text", "a.jsonl", lines(but(completion=3)), {},
     ":5: the field 'completion' is not a text", "'int'"),
    ("null in the middle", "a.jsonl", lines(but(completion=None), GOOD[5]), {},
     ":5: the field 'completion' is not a text", "null"),
    ("null in Parquet", "a.parquet", as_parquet([*GOOD[:4], but(completion=None)]), {},
     ", row 5: the field 'completion' is not a text", "null"),
    ("a nested list", "a.jsonl", lines(but(prompt=[["x"]])), {}, ":5: the field 'prompt' is not a text", "list"),
    ("a mapping for a text", "a.json", json.dumps([*GOOD, but(prompt={"text": "x"})], indent=1).encode(), {},
     ":42:2: the field 'prompt' is not a text", "dict"),
    ("an empty text", "a.csv", b"prompt,completion\nx,y\nz,\n", {}, ":3: the field 'completion' is blank", ""),
    ("rows that are texts", "a.jsonl", lines('"a text"'), {}, ":5: not a JSON object", "str"),
    ("rows that are numbers", "a.json", b"[1, 2, 3]", {}, ":1:2: not a JSON object", "int"),
    ("a key twice", "a.jsonl", lines('{"prompt": "x", "prompt": "y", "completion": "z"}'), {},
     ":5: the key 'prompt' is in one object twice", ""),
    ("NaN", "a.jsonl", lines('{"prompt": "x", "completion": "y", "n": NaN}'), {},
     ":5: broken JSON: NaN is not JSON", ""),
    ("half a line", "a.jsonl", lines('{"prompt": "x", "compl'), {},
     ":5: broken JSON: Invalid control character", "at column 23"),
    ("bytes that are not UTF-8", "a.jsonl", lines() + b'{"prompt": "\xff", "completion": "y"}\n', {},
     ":5: not UTF-8 at byte 13 of the line", ""),
    ("a cell that is not UTF-8", "a.csv", b"prompt,completion\nx,y\nx,\xff\n", {}, ":3: not UTF-8", "'completion'"),
    ("UTF-16", "a.csv", "prompt,completion\nx,y\n".encode("utf-16"), {}, ": this text is UTF-16 or UTF-32", "iconv"),
    ("a cell too few", "a.csv", b"prompt,completion\nx,y\nz\n", {}, ":3: this row has another number of cells",
     "'completion' is missing"),
    ("a cell too many", "a.csv", b"prompt,completion\nx,y,z\n", {}, ":2: this row has another number of cells",
     "more follow 'completion'"),
    ("a header twice", "a.csv", b"prompt,prompt\nx,y\n", {}, ":1: two columns have one name", "prompt"),
    ("a quote that stays open", "a.csv", (ROW + '"x,y\n').encode(), {}, ":4: broken CSV: ", ""),
    ("an empty file", "a.jsonl", b"", {}, ": this file has no rows", ""),
    ("a header alone", "a.csv", b"prompt,completion\n", {}, ": this file has no rows", ""),
    ("a gzip that breaks off", "a.jsonl.gz", gzip.compress(lines())[:-9], {}, ": not a whole gzip file: ", ""),
    ("a Zstandard that breaks off", "a.jsonl.zst", as_zstd(lines())[:-9], {}, ": not a whole Zstandard file: ", ""),
    ("an ending that nobody knows", "a.xyz", b"prompt;completion\nx;y\n", {},
     ": this file does not begin as JSON does", "expected JSON Lines, a JSON array of objects, CSV"),
    ("an Excel file", "a.xlsx", b"PK\x03\x04 and so on", {}, ": this file is a zip archive or an Excel file", ""),
    ("half a Parquet file", "a.parquet", as_parquet(GOOD)[:200], {}, ": this Parquet file cannot be read: ", ""),
    ("an array that is cut off", "a.json", json.dumps(GOOD)[:-30].encode(), {}, ":1: broken JSON: ", "at column "),
    ("an array without an end", "a.json", json.dumps(GOOD)[:-1].encode(), {},
     f":1:{len(json.dumps(GOOD))}: broken JSON: the array has no end", ""),
    ("a date", "a.parquet", as_parquet([but(topic=dt.datetime(2020, 1, 1, tzinfo=dt.UTC))]), {},
     ", row 1: the column 'topic' has a value that JSON does not have", "drop: [topic] leaves the column out"),
    ("a label that is none", "a.jsonl", lines(but(ok="yes")), {"columns": {"label": "ok"}},
     ":1: the field 'ok' is missing",
     "names the column that says whether the completion is desirable"),
    ("a label of another type", "a.jsonl", b"".join(json.dumps({**row, "ok": n}).encode() + b"\n"
     for n, row in zip((True, "maybe"), GOOD, strict=False)), {"columns": {"label": "ok"}},
     ":2: the field 'ok' is neither true nor false", "'maybe'"),
    ("an answer for references", "a.jsonl", b"".join(json.dumps({**row, "r": r}).encode() + b"\n"
     for r, row in zip((["a"], [3]), GOOD, strict=False)), {"columns": {"references": "r"}},
     ":2: the field 'r' is neither a text nor a list of texts", "[3]"),
    ("an id twice", "a.jsonl", lines(GOOD[0]), {"columns": {"id": "prompt"}}, ":5: this id is in ", "a.jsonl:1 too"),
    ("a column that rewards are called with", "a.jsonl", lines(but(completions="x")), {},
     ":5: a column cannot be called 'completions'", "drop"),
    ("a group that is not there", "a.csv", as_csv(GOOD), {"holdout": {"test": 0.5, "by": "topics"}},
     ":2: the field 'topics' is missing", "did you mean 'topic'"),
]  # fmt: skip


def shown(tmp_path: Path, name: str, content: bytes, options: dict[str, Any]) -> str:
    (tmp_path / name).write_bytes(content)
    use = {"dataset": "files", "path": name, **options}
    file = tmp_path / "own.yaml"
    file.write_text(json.dumps(small(tmp_path, train=use, evaluate=[{**use, "label": "t"}])), encoding="utf-8")
    done = CliRunner().invoke(main, ["show", "data", str(file), "--results", str(tmp_path / "results")])
    assert done.exit_code == 2, done.output
    assert "Traceback" not in done.output
    return done.output


@pytest.mark.parametrize(("name", "content", "options", "begins", "holds"), [row[1:] for row in BAD],
                         ids=[row[0] for row in BAD])  # fmt: skip
def test_a_bad_file_is_one_message_with_its_place(
    name: str, content: bytes, options: dict[str, Any], begins: str, holds: str, tmp_path: Path
) -> None:
    said = shown(tmp_path, name, content, options)
    assert f"{name}{begins}" in said
    assert holds in said


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"holdout": {"test": 0.7, "validation": 0.3}}, "holdout: test and validation are 1 together: no row is left"),
        ({"split": "tset"}, 'data set files has no such split, got "tset"; expected one of train, validation, test'),
        ({"columns": {"promt": "x"}}, "train.columns.promt: unknown option of dataset files; did you mean 'prompt'"),
        ({"columns": {"chosen": "a"}}, "chosen and rejected go together"),
        ({"bad_rows": "drop"}, "train.bad_rows"),
    ],
)  # fmt: skip
def test_options_that_cannot_be_are_named_by_line_and_key(options: dict[str, Any], says: str, tmp_path: Path) -> None:
    said = shown(tmp_path, "a.csv", as_csv(GOOD), options)
    assert f"{tmp_path / 'own.yaml'}:" in said
    assert says in said
