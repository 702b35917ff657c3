"""Files of rows in other forms than JSON Lines, and rows that cannot be used."""

from __future__ import annotations

import csv
import gzip
import io
import json
from typing import TYPE_CHECKING, Any

import pytest
from hub.rows import write

from harness.api import Example, InputError
from harness.testing import check_dataset
from harness_plugins.datasets.files import Files, harness_register_datasets
from harness_plugins.datasets.files.fields import FilesOptions

if TYPE_CHECKING:
    from pathlib import Path

ROWS: list[dict[str, Any]] = [
    {"prompt": f"Say {n}.\nNow, “please”!", "completion": f'"{n}", é\n', "topic": f"t{n % 2}"} for n in range(6)
]


def as_csv(rows: list[dict[str, Any]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def as_parquet(rows: list[dict[str, Any]]) -> bytes:
    import pyarrow.lib
    import pyarrow.parquet

    stream = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.lib.Table.from_pylist(rows), stream)
    return stream.getvalue()


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
    "bom.jsonl": b"\xef\xbb\xbf" + b"".join(json.dumps(row).encode() + b"\r\n" for row in ROWS),
}


def prepared(source: Path, folder: Path, **options: Any) -> tuple[list[Example], tuple[str, ...]]:
    data = Files(FilesOptions(**options))
    place = folder / "prepared"
    place.mkdir(exist_ok=True)
    data.prepare(source, place)
    return list(data.load(place, "train")), data.notes(place, "train")


@pytest.mark.parametrize("name", FORMS)
def test_every_form_gives_the_rows_of_json_lines(name: str, tmp_path: Path) -> None:
    source = tmp_path / name
    source.write_bytes(FORMS[name])
    expected, _ = prepared(write(tmp_path / "lines.jsonl", ROWS), tmp_path)
    assert prepared(source, tmp_path)[0] == expected
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
        ("a.jsonl", ROW.encode() + b'\n{"prompt": "\xff", "completion": "y"}', ":2: not UTF-8"),
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
        ("a.json", f"[{ROW}]\n{ROW}", f":2:1: something follows the end of the JSON array; {READ}"),
        ("a.json", f'[{ROW},\n {{"prompt": "x" "y"}}]', ":2: broken JSON: Expecting ',' delimiter at column 17"),
        ("a.json", f'[{ROW}, {{"prompt": 1, "prompt": 2}}]', ":1:38: the key 'prompt' is in one object twice"),
        ("a.json", "[]", ": this file has no rows"),
        ("a.json", f'{{"rows": [{ROW}]}}', ":1: the field 'prompt' is missing, got 'rows'"),
        ("a.csv", 'prompt,completion\nx,"y\nz",more\n',
         ":2: this row has another number of cells than the first has names, got 3"),
        ("a.csv", 'prompt,completion\nx,y\n"x,y\n', ":3: broken CSV: unexpected end of data"),
        ("a.csv", "prompt,prompt\nx,y\n", ":1: two columns have one name, got 'prompt'"),
        ("a.csv", "prompt,completion\nx,\n", ":2: the field 'completion' is blank"),
        ("a.csv", b"prompt,completion\nx,y\nx,\xff\n", ":3: not UTF-8"),
        ("a.csv", "prompt,completion\n", ": this file has no rows"),
        ("a.parquet", b"PAR1 nothing of the kind", ": this Parquet file cannot be read"),
        ("a.parquet", ROW, f": this is not a Parquet file, got b'{{\"prompt'; {READ}"),
        ("a.parquet", as_parquet([{"prompt": "x", "completion": "y", "n": float("nan")}]),
         ", row 1: the column 'n' has a value that"),
        ("a.parquet", as_parquet([{"prompt": "x", "completion": None}]),
         ", row 1: the field 'completion' is not a text"),
        ("a.xlsx", b"PK\x03\x04 and so on", f": this file is a zip archive or an Excel file; {READ}"),
        ("a.jsonl.zst", b"\x28\xb5\x2f\xfd and so on", f": this file is compressed by Zstandard; {READ}"),
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
