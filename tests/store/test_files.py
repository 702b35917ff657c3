"""Files that any reader understands, and texts that are replaced as a whole."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import MachineError
from harness.store.files import dump, is_whole, read_jsonl, replace_text, seal, write_jsonl

if TYPE_CHECKING:
    from pathlib import Path

ANY_TEXT = st.text(st.characters(codec=None, categories=None))
ROWS = st.lists(st.dictionaries(ANY_TEXT, ANY_TEXT | st.integers() | st.none(), max_size=3), max_size=4)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files") / "rows.jsonl"


@given(rows=ROWS)
def test_rows_of_any_text_come_back(rows: list[dict[str, Any]], place: Path) -> None:
    assert write_jsonl(place, rows) == len(rows)
    assert list(read_jsonl(place)) == rows
    assert place.read_bytes().count(b"\n") == len(rows)
    place.read_bytes().decode("utf-8")


@given(value=ROWS)
def test_values_of_any_text_come_back(value: Any) -> None:
    assert json.loads(dump(value).encode("utf-8")) == value


def test_ordinary_text_is_readable() -> None:
    assert dump({"name": "Zoë – 東京"}) == '{\n "name": "Zoë – 東京"\n}\n'


def test_a_line_of_ten_megabytes(place: Path) -> None:
    rows = [{"text": "long\u2028 " * 1_200_000}, {"text": "next"}]
    write_jsonl(place, rows)
    assert list(read_jsonl(place)) == rows


def test_replacing_makes_folders_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "leaderboard.md"
    replace_text(path, "one")
    replace_text(path, "two é\r\n")
    assert path.read_bytes() == "two é\r\n".encode()
    assert list(path.parent.iterdir()) == [path]


def test_a_replacement_that_fails_leaves_the_old(tmp_path: Path) -> None:
    path = tmp_path / "leaderboard.md"
    replace_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        replace_text(path, "\ud800")
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(MachineError, match=r"leaderboard\.md: cannot write"):
        replace_text(path / "below", "new")


def test_a_seal_holds_for_its_own_content_alone() -> None:
    sealed = seal({"rows": [1, 2.5], "title": "é"})
    assert is_whole(sealed)
    assert is_whole(seal({**sealed, "more": True}))
    assert is_whole(json.loads(dump(sealed)))
    assert not is_whole({**sealed, "rows": [1, 2.6]})
    assert not is_whole({"rows": [1, 2.5], "title": "é"})
    assert not is_whole([sealed])
