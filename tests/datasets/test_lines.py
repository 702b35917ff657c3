"""Reading files: plain and gzip alike, and every message names the user's own file."""

from __future__ import annotations

import gzip
import os
from typing import TYPE_CHECKING, Any

import pytest
from hub.rows import write

from harness.api import InputError
from harness_plugins.upstream.lines import fold, read_lines, text
from harness_plugins.upstream.local import combined, content_sha256, find, origin, unpack

if TYPE_CHECKING:
    from pathlib import Path

ROWS: list[dict[str, Any]] = [{"a": 1}, {"a": "zwei"}]


def lines(tmp_path: Path, content: bytes) -> list[object]:
    """Unpack a user's file and read what a prepared folder then has."""
    source = tmp_path / "mine.jsonl"
    source.write_bytes(content)
    unpack(source, tmp_path / "prepared.jsonl")
    return [(line.number, line.row) for line in read_lines(tmp_path / "prepared.jsonl")]


def message(tmp_path: Path, content: bytes) -> str:
    with pytest.raises(InputError) as caught:
        lines(tmp_path, content)
    return str(caught.value).removeprefix(f"{tmp_path}/")


def test_plain_and_gzip_are_the_same(tmp_path: Path) -> None:
    plain, packed = write(tmp_path / "a.jsonl", ROWS), write(tmp_path / "b.jsonl.gz", ROWS)
    misnamed = tmp_path / "c.jsonl"
    misnamed.write_bytes(packed.read_bytes())
    digests = {content_sha256(path) for path in (plain, packed, misnamed)}
    digests |= {unpack(path, tmp_path / "copy") for path in (plain, packed, misnamed)}
    assert len(digests) == 1
    assert (tmp_path / "copy").read_bytes() == plain.read_bytes()
    assert origin(tmp_path / "copy") == str(misnamed)


def test_a_file_that_changes_keeps_no_old_digest(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"1")
    before, state = content_sha256(path), path.stat()
    path.write_bytes(b"22")
    assert content_sha256(path) != before
    path.write_bytes(b"3")  # as long as at first, and as old
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert unpack(path, tmp_path / "copy") != before


@pytest.mark.parametrize("size", [5, 12, 40])
def test_half_a_gzip(size: int, tmp_path: Path) -> None:
    path = tmp_path / "half.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"a": 1}\n' * 100 + os.urandom(64))[:size])
    for read in (content_sha256, lambda p: unpack(p, tmp_path / "copy")):
        with pytest.raises(InputError, match=r"half\.jsonl\.gz: not a whole gzip file"):
            read(path)


def test_gzip_with_a_wrong_bit(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(b'{"a": 1}\n' * 100))
    for place in (len(packed) // 2, len(packed) - 6):  # in the content, in its checksum
        broken = packed.copy()
        broken[place] ^= 0xFF
        path = tmp_path / f"{place}.gz"
        path.write_bytes(bytes(broken))
        with pytest.raises(InputError, match="not a whole gzip file"):
            unpack(path, tmp_path / "copy")


def test_find(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere: no such file or folder for data set 'd'"):
        find(tmp_path / "nowhere", ["a.jsonl"], dataset="d")
    with pytest.raises(InputError, match=r"no file of data set 'd', got 'an empty folder'; expected a.jsonl\[.gz\]"):
        find(tmp_path, ["a.jsonl"], dataset="d")
    other = write(tmp_path / "b.jsonl", ROWS)
    with pytest.raises(InputError, match=r"got 'b\.jsonl'"):
        find(tmp_path, ["a.jsonl"], dataset="d")
    assert find(other, ["a.jsonl"], dataset="d") == other  # a file may have any name
    packed = write(tmp_path / "a.jsonl.gz", ROWS)
    assert find(tmp_path, ["a.jsonl"], dataset="d") == packed


def test_a_folder_in_place_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        unpack(tmp_path / "folder", tmp_path / "copy")


def test_combined_digests() -> None:
    one = combined({"a": "1", "b": "2"})
    assert one == combined({"b": "2", "a": "1"})
    assert len({one, combined({"a": "2", "b": "1"}), combined({"a": "1"})}) == 3


def test_lines_are_numbered_and_blank_ones_passed_over(tmp_path: Path) -> None:
    content = b'\xef\xbb\xbf{"a": 1}\r\n\n   \n{"a": "x\xe2\x80\xa8y"}'  # a mark, CRLF, blanks, U+2028, no last newline
    assert lines(tmp_path, content) == [(1, {"a": 1}), (4, {"a": "x\u2028y"})]


def test_half_surrogates_alone_are_refused(tmp_path: Path) -> None:
    assert lines(tmp_path, b'{"a": "\\ud83d\\ude00"}') == [(1, {"a": "\U0001f600"})]
    assert message(tmp_path, b'{"a": 1}\n{"a": ["\\ud83d"]}') == (
        "mine.jsonl:2: half a surrogate pair is not a character (in the column 'a')"
    )


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'{"a": 1}\n{"a": \n', "mine.jsonl:2: broken JSON: Expecting value at column"),
        (b'{"a": 1} {"a": 2}', "mine.jsonl:1: broken JSON: Extra data"),
        (b'{"a": NaN}', "mine.jsonl:1: broken JSON: NaN is not JSON"),
        (b'{"a": -Infinity}', "mine.jsonl:1: broken JSON: -Infinity is not JSON"),
        (b'{"a": [-1e999]}', "mine.jsonl:1: broken JSON: the number -1e999 is too large"),
        (b"[" * 100_000, "mine.jsonl:1: broken JSON"),
        (b"9" * 5000, "mine.jsonl:1: broken JSON"),
        (b'\n["a"]\n', "mine.jsonl:2: not a JSON object, got 'list'"),
        (b'{"a": 1}\n{"a": "\xff\xfe"}', "mine.jsonl:2: not UTF-8"),
        ("{}".encode("utf-16"), "mine.jsonl: this text is UTF-16 or UTF-32"),
        (b'{"a": 1}\n\xef\xbb\xbf{"a": 2}', "mine.jsonl:2: broken JSON"),
        (b"", "mine.jsonl: this file has no rows"),
        (b"\n \n", "mine.jsonl: this file has no rows"),
        (b"<!DOCTYPE html>", "mine.jsonl:1: broken JSON"),
    ],
)
def test_whatever_is_wrong_names_file_and_line(content: bytes, says: str, tmp_path: Path) -> None:
    assert message(tmp_path, content).startswith(says)


def test_fields() -> None:
    row = {"instruction": " x ", "context": "", "number": 3}
    assert text(row, "instruction", "f:1") == " x "
    assert not text(row, "context", "f:1", empty=True)
    with pytest.raises(InputError, match="f:1: the field 'context' is blank"):
        text(row, "context", "f:1")
    with pytest.raises(InputError, match="f:1: the field 'number' is not a text, got 'int'"):
        text(row, "number", "f:1")
    with pytest.raises(InputError, match=r"f:1: the field 'instructions' is missing.*did you mean 'instruction'"):
        text(row, "instructions", "f:1")


def test_folding() -> None:
    assert fold("  Who\tIS\n it? ") == fold("who is it?") == "who is it?"
    assert fold("STRASSE") == fold("straße")
