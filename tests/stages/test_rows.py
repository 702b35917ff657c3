"""Prepared rows: what is stored is what was read, and what must not be trained on is noticed."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from stages import configs
from stages.requests import request, silent

from harness.api import Example, Provenance
from harness.errors import InputError
from harness.stages import rows
from harness.store.stages import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from harness.store.records import Record


class Given:
    """A data set of given examples, which leaves its downloads lying about."""

    def __init__(self, examples: list[Example]) -> None:
        self.examples = examples

    def prepare(self, source: Path | None, folder: Path) -> Provenance:
        (folder / "download.bin").write_bytes(b"x" * 100)
        return Provenance(origin="file", notes=("given",))

    def load(self, folder: Path, split: str) -> Iterator[Example]:
        assert (folder / "download.bin").is_file()
        assert split == "train"
        yield from self.examples


class Plugins:
    def __init__(self, dataset: Given) -> None:
        self.dataset = dataset

    def build(self, kind: str, name: str, options: Any) -> Given:
        assert (kind, name, options) == ("dataset", "given", {})
        return self.dataset


@pytest.fixture
def prepare(tmp_path: Path) -> Callable[..., Record]:
    def prepare(examples: list[Example], **changes: Any) -> Record:
        plugins: Any = Plugins(Given(examples))
        return rows.run(request(tmp_path, configs.rows_config("given", **changes)), Store(tmp_path), plugins, silent)

    return prepare


def example(name: str, prompt: str, **more: Any) -> Example:
    return Example(id=name, fields={"instruction": prompt, "context": ""}, completion=f"{prompt}!", **more)


def test_rows_come_back_as_they_were(prepare: Callable[..., Record]) -> None:
    given = [
        example("a", "One\u2028 “two”"),
        example("b", "Two", references=("x", "y"), columns={"n": 1, "deep": [None, {"é": 2.5}]}),
        Example(id="c", fields={"prompt": "Three"}, chosen="yes", rejected="no"),
    ]
    record = prepare(given)
    assert list(rows.read(record)) == given
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


def test_prompts_of_the_test_in_the_training_rows_are_refused(prepare: Callable[..., Record]) -> None:
    train = prepare([example("t1", "What  is IT?"), example("t2", "Other")])
    fine = prepare([example("e1", "What is it not?")], identity={"version": 2})
    rows.check_overlap(train, {"fine": fine})
    folded = prepare(
        [example("e1", "New"), example("e2", " what is it? "), example("e3", "OTHER")], identity={"version": 3}
    )
    with pytest.raises(InputError, match="2 prompts of 'test' stand in the training rows too") as caught:
        rows.check_overlap(train, {"fine": fine, "test": folded})
    assert "training row t1 = test row e2" in str(caught.value)


def test_groups_need_their_column_in_every_row(prepare: Callable[..., Record]) -> None:
    first, second = (example(name, f"Say {name}", columns={"template": name}) for name in "ab")
    rows.check_groups(prepare([first, second]), "template")
    rows.check_groups(prepare([first, second]), "instruction")  # a field of the prompt will do
    with pytest.raises(InputError, match=r"row c: this row has no 'template' to group prompts by") as caught:
        rows.check_groups(
            prepare([first, example("c", "Three", columns={"templates": "c"})], identity={"version": 2}), "template"
        )
    assert "did you mean 'templates'?" in str(caught.value)


@pytest.mark.parametrize(
    ("sides", "text"),
    [
        ({"chosen": "yes"}, "has no rejected answer"),
        ({"rejected": "no"}, "has no chosen answer"),
        ({}, "has no chosen and no rejected answer"),
    ],
)
def test_preferences_need_both_answers(prepare: Callable[..., Record], sides: dict[str, Any], text: str) -> None:
    whole = replace(example("a", "One"), chosen="yes", rejected="no")
    rows.check_pairs(prepare([whole]))
    with pytest.raises(InputError, match=f"row b: this row {text}, and preferences need both"):
        rows.check_pairs(prepare([whole, replace(example("b", "Two"), **sides)], identity={"version": 2}))


@pytest.mark.parametrize(
    ("one", "two", "same"),
    [
        ({"instruction": "Do", "context": "this"}, {"instruction": "DO", "context": " this\n"}, True),
        ({"instruction": "Do", "context": ""}, {"instruction": "Do"}, True),
        ({"instruction": "Do", "context": "this"}, {"instruction": "Do", "context": "that"}, False),
        ({"instruction": "Do", "context": "this"}, {"instruction": "Do this", "context": ""}, False),
    ],
)
def test_the_whole_prompt_counts(one: dict[str, str], two: dict[str, str], same: bool) -> None:  # noqa: FBT001  # a case
    assert (rows.folded_prompt(one) == rows.folded_prompt(two)) is same


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
