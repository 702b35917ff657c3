"""The generated summaries: the same for ever, short, made of the text by rule, and no test text in training."""

from __future__ import annotations

import hashlib
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.api import Example, InputError
from harness_plugins.datasets.generated_instructions.world import PEOPLE, TOWNS
from harness_plugins.datasets.generated_summaries import GeneratedSummariesOptions
from harness_plugins.datasets.generated_summaries.corpus import VERSION, GeneratedSummaries

if TYPE_CHECKING:
    from collections.abc import Iterable

SPLITS = ("train", "validation", "test")
NOWHERE = Path("nothing is read here")


def rows(split: str, seed: int = 0, limit: int | None = None) -> list[Example]:
    data = GeneratedSummaries(GeneratedSummariesOptions(seed=seed))
    return list(islice(data.load(NOWHERE, split), limit))


def digest(examples: Iterable[Example]) -> str:
    state = hashlib.sha256()
    for row in examples:
        state.update(repr((row.id, sorted(row.fields.items()), row.completion, sorted(row.columns.items()))).encode())
    return state.hexdigest()[:16]


@pytest.fixture(scope="module")
def base() -> dict[str, list[Example]]:
    return {split: rows(split) for split in SPLITS}


def test_the_rows_are_those_of_this_version(base: dict[str, list[Example]]) -> None:
    """A change here changes what scores on this data mean: raise VERSION with it."""
    assert (VERSION, {split: digest(base[split]) for split in SPLITS}) == (1, {
        "train": "72d68cc2d880aa75", "validation": "91be0216d1df579e", "test": "f41fdf0b6ca3c595",
    })  # fmt: skip


def test_no_text_stands_twice(base: dict[str, list[Example]]) -> None:
    texts = [row.fields["document"] for part in base.values() for row in part]
    assert len(texts) == len(set(texts))
    assert len(base["train"]) > 2500
    assert min(len(base["validation"]), len(base["test"])) > 500
    assert rows("train", limit=100) == base["train"][:100]


def test_what_a_test_is_about_is_new(base: dict[str, list[Example]]) -> None:
    """No event of the test happens to its person in its town in training: names are to be copied, not recalled."""
    contents = {split: {row.id.split("-")[1] for row in part} for split, part in base.items()}
    assert not contents["train"] & (contents["validation"] | contents["test"])
    assert not contents["validation"] & contents["test"]
    new = {row.completion for row in base["test"]} - {row.completion for row in base["train"]}
    assert len(new) / len({row.completion for row in base["test"]}) > 0.5


def test_texts_are_short_and_summaries_shorter(base: dict[str, list[Example]]) -> None:
    for row in base["train"]:
        assert 15 <= len(row.fields["document"].split()) <= 45
        assert 3 <= len((row.completion or "").split()) <= 10
        assert "{" not in row.fields["document"] + str(row.completion)


def test_names_in_a_summary_stand_in_its_text(base: dict[str, list[Example]]) -> None:
    for row in base["test"]:
        words = (row.completion or "").replace(".", "").split()
        names = {word for word in words if word in PEOPLE or word in TOWNS}
        assert names <= set(row.fields["document"].replace(".", "").replace(",", "").split())


def test_some_words_of_summaries_stand_in_no_text(base: dict[str, list[Example]]) -> None:
    copied = 0
    for row in base["test"]:
        text = set(row.fields["document"].lower().replace(".", "").replace(",", "").split())
        copied += set((row.completion or "").lower().replace(".", "").split()) <= text
    assert 0.1 <= 1 - copied / len(base["test"]) <= 0.9


def test_every_event_is_there_equally(base: dict[str, list[Example]]) -> None:
    counts = Counter(row.columns["event"] for row in base["train"])
    assert len(counts) == 6
    assert max(counts.values()) < 1.5 * min(counts.values())
    forms = Counter(row.completion == row.columns["second_reference"] for row in base["train"])
    assert 0.3 <= forms[True] / len(base["train"]) <= 0.6  # a form is drawn anew: 0.55² + 0.28² + 0.17²


def test_a_seed_settles_the_rows(base: dict[str, list[Example]]) -> None:
    assert digest(rows("test", seed=1)) != digest(base["test"])


def test_what_is_refused() -> None:
    data = GeneratedSummaries(GeneratedSummariesOptions())
    with pytest.raises(InputError, match="made by code and reads no file"):
        data.identity(NOWHERE)
    with pytest.raises(InputError, match="no such split, got 'dev'"):
        data.load(NOWHERE, "dev")
