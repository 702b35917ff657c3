"""The data-set check: a good data set passes, each mistake is caught."""

from __future__ import annotations

import itertools
import random
import urllib.request
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from harness.api import DatasetRegistration, Example, InputError, Provenance
from harness.testing import ContractError, check_dataset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path


class Greetings:
    """Two rows a split, from a file that is prepared once."""

    calls = itertools.count()

    def __init__(self, options: Any = None) -> None: ...

    def identity(self, source: Path | None) -> Mapping[str, Any]:
        return {"version": 1, "source": None if source is None else source.read_text()}

    def prepare(self, source: Path | None, folder: Path) -> Provenance:
        (folder / "rows.txt").write_text("hello\ngoodbye\n" if source is None else source.read_text())
        return Provenance("generated")

    def load(self, folder: Path, split: str) -> Iterator[Example]:
        if split not in {"train", "test"}:
            raise InputError("no such split", got=split)
        for number, line in enumerate((folder / "rows.txt").read_text().splitlines()):
            yield self.row(Example(f"{split}-{number}", {"instruction": "greet"}, completion=line))

    def row(self, example: Example) -> Example:
        return example


class Unstable(Greetings):
    def identity(self, source: Path | None) -> Mapping[str, Any]:
        return {"call": next(self.calls)}


class Unspeakable(Greetings):
    def identity(self, source: Path | None) -> Mapping[str, Any]:
        return {"source": object()}


class Online(Greetings):
    def identity(self, source: Path | None) -> Mapping[str, Any]:
        with urllib.request.urlopen("http://127.0.0.1:9/") as answer:  # nothing answers there
            return {"etag": str(answer.status)}


class Nowhere(Greetings):
    def prepare(self, source: Path | None, folder: Path) -> Any:
        super().prepare(source, folder)
        return {"origin": "generated"}


class Shuffled(Greetings):
    def prepare(self, source: Path | None, folder: Path) -> Provenance:
        (folder / "rows.txt").write_text(f"hello {random.random()}\n")
        return Provenance("generated")


class Fickle(Greetings):
    def prepare(self, source: Path | None, folder: Path) -> Provenance:
        (folder / "rows.txt").write_text(f"hello {next(self.calls)}\n")
        return Provenance("generated")


class FickleRead(Greetings):
    def row(self, example: Example) -> Example:
        return replace(example, completion=str(next(self.calls)))


class SameIds(Greetings):
    def row(self, example: Example) -> Example:
        return replace(example, id="row")


class NoFields(Greetings):
    def row(self, example: Example) -> Example:
        return replace(example, fields={})


class NoAnswer(Greetings):
    def row(self, example: Example) -> Example:
        return replace(example, completion=None)


class OneReference(Greetings):
    def row(self, example: Example) -> Example:
        return replace(example, references="hello")  # type: ignore[arg-type]  # the mistake


class Columns(Greetings):
    def row(self, example: Example) -> Example:
        return replace(example, columns={"tags": {"a", "b"}})


class Dicts(Greetings):
    def row(self, example: Example) -> Any:
        return {"id": example.id}


class Empty(Greetings):
    def prepare(self, source: Path | None, folder: Path) -> Provenance:
        (folder / "rows.txt").write_text("")
        return Provenance("generated")


class AnySplit(Greetings):
    def load(self, folder: Path, split: str) -> Iterator[Example]:
        return super().load(folder, "train")


def registration(build: Callable[[Any], Any], **settings: Any) -> DatasetRegistration:
    return DatasetRegistration(name="d", summary="s", build=build, splits=("train", "test"), **settings)


def test_a_good_data_set_passes(tmp_path: Path) -> None:
    check_dataset(registration(Greetings), tmp_path)


def test_a_source_is_handed_on(tmp_path: Path) -> None:
    source = tmp_path / "own.txt"
    source.write_text("servus\n")
    check_dataset(registration(Greetings), tmp_path / "work", source=source)
    assert (tmp_path / "work" / "first" / "rows.txt").read_text() == "servus\n"


def test_preferences(tmp_path: Path) -> None:
    class Preferences(Greetings):
        def row(self, example: Example) -> Example:
            return replace(example, chosen="a", rejected="b")

    check_dataset(registration(Preferences, provides="preferences"), tmp_path / "good")
    with pytest.raises(ContractError, match="has no chosen and rejected answer"):
        check_dataset(registration(Greetings, provides="preferences"), tmp_path / "bad")


class Judged(Greetings):
    """Rows with a completion that is desirable or not."""

    def row(self, example: Example) -> Example:
        return replace(example, label=example.completion == "hello")


class Unjudged(Greetings):
    def row(self, example: Example) -> Example:
        return replace(example, label=True if example.completion == "hello" else None)


class AllBad(Greetings):
    def row(self, example: Example) -> Example:
        return replace(example, label=False)


class Answers(Greetings):
    """Rows with references alone."""

    def row(self, example: Example) -> Example:
        return replace(example, completion=None, references=("hi", "hello"))


class Bare(Greetings):
    """Prompts alone."""

    def row(self, example: Example) -> Example:
        return replace(example, completion=None)


@pytest.mark.parametrize(
    ("dataset", "kind"), [(Judged, "unpaired_preferences"), (Answers, "references"), (Bare, "prompts")]
)
def test_other_kinds(dataset: Callable[[Any], Any], kind: Any, tmp_path: Path) -> None:
    check_dataset(registration(dataset, provides=kind), tmp_path / "provides")
    by_options = registration(dataset, kind_of=lambda _options, _source, _split: kind)
    check_dataset(by_options, tmp_path / "kind_of")


@pytest.mark.parametrize(
    ("dataset", "kind", "message"),
    [
        (Judged, "demonstrations", "it provides demonstrations, and has a label, which unpaired preferences alone"),
        (Greetings, "unpaired_preferences", "and has no completion with a label that is true or false"),
        (Unjudged, "unpaired_preferences", "row 'train-1': it provides unpaired preferences, and has no completion"),
        (AllBad, "unpaired_preferences", "split 'train': no row has a completion to learn from"),
        (Answers, "demonstrations", "split 'train': no row has a completion to learn from"),
        (Bare, "references", "it provides prompts with references alone, and has no references"),
        (Greetings, "prompts", "it provides prompts alone, and has a completion"),
        (Greetings, "references", "it provides prompts with references alone, and has no references"),
        (Greetings, "pairs", "there is no kind of data 'pairs'"),
    ],
)
def test_rows_of_another_kind_are_caught(
    dataset: Callable[[Any], Any], kind: Any, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ContractError) as raised:
        check_dataset(registration(dataset, kind_of=lambda _options, _source, _split: kind), tmp_path)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (Unstable, "identity() says something else when asked again"),
        (Unspeakable, "identity() has no JSON form"),
        (Online, "identity() used the network; only prepare() may"),
        (Nowhere, "prepare() must return a Provenance, and returned dict"),
        (Shuffled, "used the global random numbers of random"),
        (Fickle, "preparing it again gave other rows"),
        (FickleRead, "split 'train' comes out differently when it is read again"),
        (SameIds, "split 'train': the id 'row' is used twice"),
        (NoFields, "row 'train-0': fields are texts by name"),
        (NoAnswer, "it provides demonstrations, and has neither a completion nor references"),
        (OneReference, "references are a tuple of texts"),
        (Columns, "columns has no JSON form"),
        (Dicts, "load() must yield Example, and yielded dict"),
        (Empty, "split 'train' is empty"),
        (AnySplit, "a split that does not exist must be an InputError"),
    ],
)
def test_a_mistake_is_caught(dataset: Callable[[Any], Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ContractError) as raised:
        check_dataset(registration(dataset), tmp_path)
    assert message in str(raised.value)
