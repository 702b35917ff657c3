"""Files of rows in other forms than JSON Lines, and rows that cannot be used."""

from __future__ import annotations

import datetime as dt
import gzip
import itertools
import json
from typing import TYPE_CHECKING, Any

import pytest
from hub.own import as_csv, as_parquet, as_zstd, files_options
from hub.rows import write
from pydantic import ValidationError

from harness.api import Example, InputError
from harness.testing import check_dataset
from harness_plugins.datasets.files import Files, harness_register_datasets
from harness_plugins.datasets.files.fields import FilesOptions
from harness_plugins.upstream import arrays

if TYPE_CHECKING:
    from pathlib import Path

ROWS: list[dict[str, Any]] = [
    {"prompt": f"Say {n}.\nNow, “please”!", "completion": f'"{n}", é\n', "topic": f"t{n % 2}"} for n in range(6)
]


FORMS = {
    "a.json": json.dumps(ROWS, indent=2).encode(),
    "one-line.json": json.dumps(ROWS).encode(),
    "called-lines.jsonl": b"\xef\xbb\xbf \n" + json.dumps(ROWS, ensure_ascii=False).encode(),
    "a.csv": as_csv(ROWS),
    "bom.csv": b"\xef\xbb\xbf" + as_csv(ROWS),
    "a.parquet": as_parquet(ROWS),
    "no-ending": as_parquet(ROWS),
    "a.json.gz": gzip.compress(json.dumps(ROWS).encode()),
    "a.csv.gz": gzip.compress(as_csv(ROWS)),
    "a.parquet.gz": gzip.compress(as_parquet(ROWS)),
    "a.jsonl.zst": as_zstd(b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)),
    "a.csv.zst": as_zstd(as_csv(ROWS)),
    "a.parquet.zst": as_zstd(as_parquet(ROWS)),
    "misnamed.jsonl": as_zstd(json.dumps(ROWS).encode()),
    "a.tsv": as_csv(ROWS, "\t"),
    "semicolons.csv": as_csv(ROWS, ";"),
    "bom.jsonl": b"\xef\xbb\xbf" + b"".join(json.dumps(row).encode() + b"\r\n" for row in ROWS),
}


#: What is read in a process of its own, too: once by each library that reads.
CHECKED_ELSEWHERE = ("a.json.gz", "a.csv", "a.parquet.zst")


def prepared(source: Path, folder: Path, **options: Any) -> tuple[list[Example], tuple[str, ...]]:
    data = Files(files_options(**options))
    place = folder / "prepared"
    place.mkdir(exist_ok=True)
    data.prepare(source, place)
    return list(data.load(place, "train")), data.notes(place, "train")


@pytest.mark.parametrize("name", FORMS)
def test_every_form_gives_the_rows_of_json_lines(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / name
    source.write_bytes(FORMS[name])
    expected, _ = prepared(write(tmp_path / "lines.jsonl", ROWS), tmp_path)
    assert prepared(source, tmp_path)[0] == expected
    if name not in CHECKED_ELSEWHERE:
        monkeypatch.setattr("harness.testing.datasets._check_elsewhere", lambda *_: None)
    (registration,) = harness_register_datasets()
    check_dataset(registration, tmp_path / "work", source=source)


def test_each_split_may_have_its_own_form(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    for name, content in (("train.csv", "a.csv"), ("validation.json.gz", "a.json.gz"), ("test.parquet", "a.parquet")):
        (folder / name).write_bytes(FORMS[content])
    (registration,) = harness_register_datasets()
    check_dataset(registration, tmp_path / "work", source=folder)
    (folder / "train.jsonl").write_bytes(FORMS["bom.jsonl"])
    with pytest.raises(InputError, match=r"this split is here twice, as train\.jsonl and train\.csv"):
        Files(FilesOptions()).identity(folder)


def test_labels_of_csv_and_parquet(tmp_path: Path) -> None:
    rows = [{"prompt": "x", "completion": "y", "label": True}, {"prompt": "x", "completion": "z", "label": False}]
    for name, content in (("a.csv", as_csv(rows)), ("a.parquet", as_parquet(rows))):
        (tmp_path / name).write_bytes(content)
        found, _ = prepared(tmp_path / name, tmp_path, kind="unpaired_preferences")
        assert [row.label for row in found] == [True, False]


def test_a_document_longer_than_the_usual_cell(tmp_path: Path) -> None:
    rows = [{"prompt": "word " * 60_000, "completion": "y"}]
    (tmp_path / "a.csv").write_bytes(as_csv(rows))
    assert prepared(tmp_path / "a.csv", tmp_path)[0][0].fields["prompt"] == rows[0]["prompt"]


ROW = '{"prompt": "x", "completion": "y"}'
READ = "expected JSON Lines, a JSON array of objects, CSV"


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.jsonl", ROW + '\n{"prompt": "x", "completion": "y", "completion": "z"}',
         ":2: the key 'completion' is in one object"),
        ("a.jsonl", '{"prompt": "x", "completion": "y", "d": {"k": 1, "k": 2}}',
         ":1: the key 'k' is in one object twice"),
        ("a.jsonl", ROW + '\n{"prompt": "x", "completion": NaN}', ":2: broken JSON: NaN is not JSON"),
        ("a.jsonl", ROW + '\n{"prompt": "x", "completion": "y", "n": -Infinity}', ":2: broken JSON: -Infinity is not"),
        ("a.jsonl", ROW + '\n{"prompt": "x", "completion": "y", "n": 1e999}', ":2: broken JSON: the number 1e999"),
        ("a.jsonl", ROW + '\n{"prompt": "x", "completion": "\\ud800"}', ":2: half a surrogate pair"),
        ("a.jsonl", ROW + '\n["x", "y"]', ":2: not a JSON object, got 'list'"),
        ("a.jsonl", ROW + '\n{"prompt": "x", "completion": null}',
         ":2: the field 'completion' is not a text, got 'null'"),
        ("a.jsonl", ROW + '\n{"prompt": "x", "completion": 3}', ":2: the field 'completion' is not a text, got 'int'"),
        ("a.jsonl", ROW.encode("utf-16"), ": this text is UTF-16 or UTF-32"),
        ("a.jsonl", ROW.encode("utf-16-le"), ": this text is UTF-16 or UTF-32"),
        ("a.csv", "prompt,completion\nx,y\n".encode("utf-16"), ": this text is UTF-16 or UTF-32"),
        ("a.jsonl", ROW.encode() + b'\n{"prompt": "\xff", "completion": "y"}', ":2: not UTF-8 at byte 13 of the line"),
        ("a.jsonl", '{"prompt": "x", "completion": "y", "n": 1}\n{"prompt": "x", "completion": "y", "n": "1"}',
         ":2: the column 'n' holds a number in "),
        ("a.jsonl", "prompt,completion\nx,y\n",
         f": this file does not begin as JSON does, got b'prompt,completion\\nx,'; {READ}"),
        ("a.jsonl", '["a"]\n["b"]\n', ":1:2: not a JSON object, got 'str'"),
        ("a.json", f"[{ROW},\n null]", ":2:2: not a JSON object, got 'NoneType'"),
        ("a.json", f"[{ROW},\n {{}}]", ":2:2: the field 'prompt' is missing"),
        ("a.json", f"[{ROW},\n {ROW}", ":2:36: broken JSON: the array has no end"),
        ("a.json", f"[{ROW}\n {ROW}]", ":2:2: broken JSON: a comma or the end of the array is missing"),
        ("a.json", f"[{ROW},]", ":1:37: broken JSON: a comma without a row behind it"),
        ("a.json", f"[{ROW}]\n{ROW}", ":2:1: something follows the end of the JSON array; expected one array"),
        ("a.json", f'[{ROW},\n {{"prompt": "x" "y"}}]', ":2: broken JSON: Expecting ',' delimiter at column 17"),
        ("a.json", f'[{ROW}, {{"prompt": 1, "prompt": 2}}]', ":1:38: the key 'prompt' is in one object twice"),
        ("a.json", "[]", ": this file has no rows"),
        ("a.json", f'{{"rows": [{ROW}]}}', ":1: the field 'prompt' is missing, got 'rows'"),
        ("a.csv", 'prompt,completion\nx,"y\nz",more\n',
         ":2: this row has another number of cells than the first has names: more follow 'completion', got 3"),
        ("a.csv", 'prompt,completion\nx,y\n"x,y\n', ":3: broken CSV: unexpected end of data"),
        ("a.csv", "prompt,prompt\nx,y\n", ":1: two columns have one name, got 'prompt'"),
        ("a.csv", "prompt,completion\nx,\n", ":2: the field 'completion' is blank"),
        ("a.csv", b"prompt,completion\nx,y\nx,\xff\n",
         ":3: not UTF-8, or half a surrogate pair, which is not a character (in the column 'completion')"),
        ("a.csv", "prompt,completion\n", ": this file has no rows"),
        ("a.parquet", b"PAR1 nothing of the kind", ": this Parquet file cannot be read"),
        ("a.parquet", ROW, f": this is not a Parquet file, got b'{{\"prompt'; {READ}"),
        ("a.parquet", as_parquet([{"prompt": "x", "completion": "y", "n": float("nan")}]),
         ", row 1: the column 'n' has a value that"),
        ("a.parquet", as_parquet([{"prompt": "x", "completion": None}]),
         ", row 1: the field 'completion' is not a text"),
        ("a.xlsx", b"PK\x03\x04 and so on", f": this file is a zip archive or an Excel file; {READ}"),
        ("a.jsonl.zst", b"\x28\xb5\x2f\xfd and so on", ": not a whole Zstandard file: "),
        ("a.jsonl.zst", as_zstd(ROW.encode() * 99)[:-9], ": not a whole Zstandard file: "),
        ("a.jsonl.gz", gzip.compress(ROW.encode() * 99, mtime=0)[:-9], ": not a whole gzip file: "),
        ("a.jsonl.bz2", b"BZh91AY and so on", f": this file is compressed by bzip2; {READ}"),
        ("a.txt", "What is one? It is one.",
         f": this file does not begin as JSON does, got b'What is one? It is o'; {READ}"),
        ("a.parquet", as_parquet([{"prompt": "x" * 999, "completion": "y"}] * 99)[:-300],
         ": this Parquet file cannot be read: "),
        ("a.csv", "prompt,completion,topic\nx,y\n",
         ":2: this row has another number of cells than the first has names: 'topic' is missing, got 2; expected 3"),
        ("a.jsonl", ROW + '\n{"prompt": "x", "completion": ["y"]}',
         ":2: the field 'completion' is not a text, got 'list'"),
        ("a.jsonl", ROW + '\n{"prompt": {"text": "x"}, "completion": "y"}',
         ":2: the field 'prompt' is not a text, got 'dict'"),
        ("a.jsonl", ROW + '\n{"prompt": "  ", "completion": "y"}', ":2: the field 'prompt' is blank"),
        ("a.jsonl", '{"prompt": "x", "complation": "y"}',
         ":1: the field 'completion' is missing, got 'complation, prompt'"),
        ("a.jsonl", ROW + '\n"a text"\n3', ":2: not a JSON object, got 'str'"),
        ("a.jsonl", b"", ": this file has no rows"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_place(name: str, content: str | bytes, says: str, tmp_path: Path) -> None:
    source = tmp_path / name
    source.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as caught:
        prepared(source, tmp_path)
    assert str(caught.value).startswith(f"{source}{says}")


def test_null_and_either_number_may_stand_in_one_column(tmp_path: Path) -> None:
    rows = [{"prompt": "x", "completion": "y", **more} for more in ({"n": 1}, {"n": None}, {"n": 2.5}, {})]
    found, _ = prepared(write(tmp_path / "a.jsonl", rows), tmp_path)
    assert [row.columns.get("n") for row in found] == [1, None, 2.5, None]


def test_one_bad_row_of_many_refuses_the_file_or_is_skipped_and_counted(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"prompt": f"q {n}", "completion": f"a {n}"} for n in range(10_000)]
    rows[6_999]["completion"] = None
    source = write(tmp_path / "a.jsonl", rows)
    with pytest.raises(InputError, match=r"a\.jsonl:7000: the field 'completion' is not a text, got 'null'"):
        prepared(source, tmp_path)
    found, notes = prepared(source, tmp_path, bad_rows="skip")
    assert len(found) == 9_999
    assert notes == ("a.jsonl: 1 of 10000 rows left out as bad: a.jsonl:7000 (the field 'completion' is not a text)",)


@pytest.mark.parametrize(
    ("name", "content", "kept", "places"),
    [
        ("a.jsonl", f'{ROW}\n{{\n[1]\n{{"prompt": "x"}}\n{{"prompt": "", "completion": "y"}}\n{ROW}'.encode(),
         2, ["a.jsonl:2", "a.jsonl:3", "a.jsonl:4", "a.jsonl:5"]),
        ("a.json", f'[null, {ROW},\n{{"prompt": "x", "completion": NaN}}, {ROW}]'.encode(),
         2, ["a.json:1:2", "a.json:2:1"]),
        ("a.csv", b"prompt,completion\nx\n\xff,y\nx,y\n", 1, ["a.csv:2", "a.csv:3"]),
        ("a.parquet", as_parquet([{"prompt": "x", "completion": None}, {"prompt": "x", "completion": "y"}]), 1,
         ["a.parquet, row 1"]),
    ],
)  # fmt: skip
def test_bad_rows_are_skipped_in_every_form(
    name: str, content: bytes, kept: int, places: list[str], tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    found, (note,) = prepared(tmp_path / name, tmp_path, bad_rows="skip")
    assert len(found) == kept
    assert note.startswith(f"{name}: {len(places)} of {kept + len(places)} rows left out as bad: ")
    assert [part.partition(" (")[0] for part in note.partition("as bad: ")[2].split("; ")] == places


def test_a_note_names_the_first_bad_rows_alone(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", [ROW, *["{}"] * 8])
    _, (note,) = prepared(source, tmp_path, bad_rows="skip")
    assert note.startswith("a.jsonl: 8 of 9 rows left out as bad: a.jsonl:2 (")
    assert note.endswith("a.jsonl:6 (the field 'prompt' is missing) and 3 more")


def test_a_file_of_nothing_but_bad_rows_is_refused(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", [{"prompt": "x", "completion": None}] * 3)
    with pytest.raises(InputError, match=r"a\.jsonl:1: no row can be used; the first says: the field 'completion' is"):
        prepared(source, tmp_path, bad_rows="skip")


def test_a_file_that_cannot_be_followed_is_refused_all_the_same(tmp_path: Path) -> None:
    for name, content in (("a.json", f"[{ROW}, {{"), ("a.csv", 'prompt,completion\nx,y\n"x,y')):
        (tmp_path / name).write_text(content, encoding="utf-8")
        with pytest.raises(InputError, match="broken"):
            prepared(tmp_path / name, tmp_path, bad_rows="skip")


def test_a_name_that_is_misspelt_says_what_was_meant(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", [{"question": "x", "answer": "y"}])
    with pytest.raises(InputError) as caught:
        prepared(source, tmp_path, prompt="questions", completion="answer")
    assert "the field 'questions' is missing, got 'answer, question'" in str(caught.value)
    assert "did you mean 'question'" in str(caught.value)


def test_columns_that_rows_cannot_hold_are_dropped(tmp_path: Path) -> None:
    rows = [{"prompt": "x", "completion": "y", "when": dt.datetime(2020, 1, n, tzinfo=dt.UTC)} for n in (1, 2)]
    (tmp_path / "a.parquet").write_bytes(as_parquet(rows))
    with pytest.raises(InputError, match=r"row 1: the column 'when' has a value(?s:.*)drop: \[when\] leaves"):
        prepared(tmp_path / "a.parquet", tmp_path)
    found, _ = prepared(tmp_path / "a.parquet", tmp_path, drop=["when"])
    assert [dict(row.columns) for row in found] == [{}, {}]
    with pytest.raises(ValidationError, match="the column 'prompt' is both dropped and named in columns"):
        files_options(drop=["prompt"])


@pytest.mark.parametrize("layout", [{"indent": 1}, {}, {"separators": (",", ":")}], ids=["indented", "line", "tight"])
def test_an_array_larger_than_a_block_is_read_as_a_small_one(layout: dict[str, Any], tmp_path: Path) -> None:
    rows = [{"prompt": f"{n} \N{SNOWMAN}" * (n % 97 + 1), "completion": '\\"{}[]' * 40, "n": n} for n in range(4000)]
    text = json.dumps(rows, ensure_ascii=False, **layout)
    assert len(text.encode()) > 3 * arrays._BLOCK // 2
    (tmp_path / "a.json").write_text(text, encoding="utf-8")
    found, _ = prepared(tmp_path / "a.json", tmp_path)
    assert [(row.fields["prompt"], row.columns["n"]) for row in found] == [(row["prompt"], row["n"]) for row in rows]
    broken = text[: text.index('"n": 3000' if "separators" not in layout else '"n":3000')] + "?" + text[-500:]
    (tmp_path / "a.json").write_text(broken, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        prepared(tmp_path / "a.json", tmp_path)
    place = broken.index("?")
    line, column = broken.count("\n", 0, place) + 1, place - broken.rfind("\n", 0, place)
    assert str(caught.value).startswith(f"{tmp_path}/a.json:{line}: broken JSON: ")
    assert f"at column {column}" in str(caught.value)


def test_rows_behind_a_limit_are_not_looked_at(tmp_path: Path) -> None:
    """However much is wrong with them: reading stops where enough is read."""
    good = [{"prompt": f"q {n}", "completion": f"a {n}"} for n in range(30)]
    lines = "".join(json.dumps(row) + "\n" for row in good)
    array = json.dumps(good)[:-1] + ","
    for name, content in (
        ("a.jsonl", lines + "broken"),
        ("a.json", array + "broken"),
        ("a.csv", as_csv(good) + b"x\n"),
    ):
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        for options in ({}, {"bad_rows": "skip"}):
            data = Files(files_options(**options))
            place = tmp_path / f"{name} {len(options)}"
            place.mkdir()
            data.prepare(tmp_path / name, place)
            assert len(list(itertools.islice(data.load(place, "train"), 30))) == 30
            assert data.notes(place, "train") == ()
