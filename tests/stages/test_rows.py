"""Prepared rows: what is stored is what was read, and what must not be trained on is noticed."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from stages.datasets import example

from harness.api import Example
from harness.errors import InputError
from harness.stages import rows
from harness.stages.stored_rows import read
from harness.store.stages import Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness.store.records import Record


def test_rows_come_back_as_they_were(prepare: Callable[..., Record]) -> None:
    given = [
        example("a", "One\u2028 “two”"),
        example("b", "Two", references=("x", "y"), columns={"n": 1, "deep": [None, {"é": 2.5}]}),
        Example(id="c", fields={"prompt": "Three"}, chosen="yes", rejected="no"),
    ]
    record = prepare(given)
    assert list(read(record)) == given
    assert record.json("provenance.json")["rows"] == 3
    assert record.json("provenance.json")["notes"] == ["given"]
    assert not record.holds("upstream")


def test_the_content_is_that_of_the_rows_in_their_order(prepare: Callable[..., Record]) -> None:
    one, two = example("a", "One"), example("b", "Two")

    def content(given: list[Example], **changes: Any) -> Any:
        return prepare(given, **changes).json("provenance.json")["content"]

    whole = content([one, two])
    assert content([one, two], identity={"version": 2}) == whole
    assert content([two, one], identity={"version": 3}) != whole
    assert content([one, dataclasses.replace(two, columns={"more": 1})], identity={"version": 4}) != whole
    assert content([one], identity={"version": 5}) == content([one, two], limit=1)


def test_an_empty_split_is_refused(prepare: Callable[..., Record], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="this split has no rows"):
        prepare([])
    assert list(Store(tmp_path).records("prepare")) == []


def test_an_id_that_stands_twice_is_refused(prepare: Callable[..., Record]) -> None:
    with pytest.raises(InputError, match="two rows have the same id, got 'a'"):
        prepare([example("a", "One"), example("a", "Two")])


@pytest.mark.parametrize("value", [float("nan"), {1: "x"}, b"x", object()])
def test_a_column_that_cannot_be_stored_names_the_row(prepare: Callable[..., Record], value: Any) -> None:
    with pytest.raises(InputError, match=r"row b cannot be stored: .*expected columns of text, finite numbers"):
        prepare([example("a", "One"), example("b", "Two", columns={"bad": [value]})])


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"id": 7}, "the id is not a text"),
        ({"fields": {"instruction": "a", "context": None}}, "the field 'context' is not a text"),
        ({"completion": 3.5}, "completion is not a text, got 3.5"),
        ({"references": ("a", 2)}, "a reference is not a text, got 2"),
        ({"rejected": ["no"]}, "rejected is not a text"),
    ],
)
def test_what_a_plugin_makes_no_text_of_is_refused_before_it_is_kept(
    prepare: Callable[..., Record], tmp_path: Path, wrong: dict[str, Any], text: str
) -> None:
    with pytest.raises(InputError, match=text):
        prepare([example("a", "One"), replace(example("b", "Two"), **wrong)])
    assert list(Store(tmp_path).records("prepare")) == []


def demonstrations(*texts: str | None) -> list[Example]:
    return [Example(id=str(n), fields={"prompt": "p"}, completion=text) for n, text in enumerate(texts)]


def test_preferences_are_made_of_other_rows_and_no_longer_than_the_chosen() -> None:
    made, note = rows.other_rows(demonstrations("a b", "c d e", "f"), "here")
    assert [(row.chosen, row.rejected, row.completion) for row in made] == [
        ("a b", "c d", "a b"), ("c d e", "f", "c d e"), ("f", "a", "f"),
    ]  # fmt: skip
    assert "for timing" in note
    made, _ = rows.other_rows(demonstrations("a", "a b", "c"), "here")
    assert [row.rejected for row in made] == ["c", "c", "a"]


@pytest.mark.parametrize("texts", [("a", "a"), ("a", None), ("a",), ("a", " ")])
def test_rows_that_make_no_preference_are_refused(texts: tuple[str | None, ...]) -> None:
    made, _ = rows.other_rows(demonstrations(*texts), "here")
    with pytest.raises(InputError, match="here, row 0: no preference can be made"):
        list(made)
