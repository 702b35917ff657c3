"""The generated preferences: the same for ever, a utility that explains them, and as much noise as they say."""

from __future__ import annotations

import hashlib
import statistics
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pydantic import ValidationError

from harness.api import Example, InputError
from harness_plugins.datasets.generated_preferences import GeneratedPreferencesOptions, harness_register_datasets
from harness_plugins.datasets.generated_preferences.answers import CLOSEST
from harness_plugins.datasets.generated_preferences.corpus import VERSION, GeneratedPreferences

if TYPE_CHECKING:
    from collections.abc import Iterable

SPLITS = ("train", "validation", "test")
NOWHERE = Path("nothing is read here")


def rows(split: str, limit: int | None = None, **options: Any) -> list[Example]:
    data = GeneratedPreferences(GeneratedPreferencesOptions(**options))
    return list(islice(data.load(NOWHERE, split), limit))


def digest(examples: Iterable[Example]) -> str:
    state = hashlib.sha256()
    for row in examples:
        columns = sorted((name, str(value)) for name, value in row.columns.items())
        state.update(repr((row.id, sorted(row.fields.items()), row.chosen, row.rejected, columns)).encode())
    return state.hexdigest()[:16]


def agrees(row: Example) -> bool:
    return bool(row.columns["utility_chosen"] > row.columns["utility_rejected"])


@pytest.fixture(scope="module")
def base() -> dict[str, list[Example]]:
    return {split: rows(split) for split in SPLITS}


def test_the_rows_are_those_of_this_version(base: dict[str, list[Example]]) -> None:
    """A change here changes what scores on this data mean: raise VERSION with it."""
    assert (VERSION, {split: digest(base[split]) for split in SPLITS}) == (1, {
        "train": "e78bdec10436de1e", "validation": "8ba2eaf621ef75cf", "test": "421d8f6ce4aeab3e",
    })  # fmt: skip


def test_there_are_as_many_as_a_quick_profile_needs(base: dict[str, list[Example]]) -> None:
    assert {split: len(part) for split, part in base.items()} == {"train": 1984, "validation": 496, "test": 496}
    prompts = {split: {row.fields["prompt"] for row in part} for split, part in base.items()}
    assert all(len(prompts[split]) == len(base[split]) for split in SPLITS)
    assert not prompts["train"] & (prompts["validation"] | prompts["test"])
    assert not prompts["validation"] & prompts["test"]
    assert rows("train", limit=100) == base["train"][:100]


def test_no_question_of_the_test_stands_in_training(base: dict[str, list[Example]]) -> None:
    questions = {
        split: {turn.split("\n\nAssistant:")[0] for row in rows for turn in row.fields["prompt"].split("Human:")[1:]}
        for split, rows in base.items()
    }
    assert not questions["test"] & questions["train"]


def test_a_dialogue_has_the_form_of_hh(base: dict[str, list[Example]]) -> None:
    for row in base["train"]:
        prompt = row.fields["prompt"]
        assert prompt.startswith("\n\nHuman: ")
        assert prompt.endswith("\n\nAssistant:")
        assert prompt.count("\n\nHuman:") == row.columns["turns"]
        assert row.completion == row.chosen
        assert row.references == (str(row.chosen).strip(),)
    turns = Counter(row.columns["turns"] for row in base["train"])
    assert 0.25 <= turns[2] / len(base["train"]) <= 0.42


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.3])
def test_the_noise_is_that_of_training_alone(noise: float) -> None:
    wrong = 1 - statistics.fmean(agrees(row) for row in rows("train", noise=noise))
    assert wrong == pytest.approx(noise, abs=0.03)
    assert all(agrees(row) for split in ("validation", "test") for row in rows(split, noise=noise))


def test_noise_changes_which_way_round_a_pair_is_and_nothing_else() -> None:
    for clean, noisy in zip(rows("train", noise=0), rows("train", noise=0.3), strict=True):
        assert clean.fields == noisy.fields
        assert {clean.chosen, clean.rejected} == {noisy.chosen, noisy.rejected}


def test_a_pair_is_never_close(base: dict[str, list[Example]]) -> None:
    for row in base["test"]:
        assert row.columns["utility_chosen"] - row.columns["utility_rejected"] >= CLOSEST
        assert row.chosen != row.rejected


def test_lengths_vary_and_explain_little(base: dict[str, list[Example]]) -> None:
    """A reward model that prefers the longer answer is right about as often as not, and can be told from a good one."""
    lengths = [(len((row.chosen or "").split()), len((row.rejected or "").split())) for row in base["test"]]
    longer = statistics.fmean(0.5 if a == b else float(a > b) for a, b in lengths)
    assert 0.4 <= longer <= 0.65
    assert statistics.stdev([length for pair in lengths for length in pair]) >= 3
    assert max(length for pair in lengths for length in pair) <= 22


def test_words_alone_find_much_of_the_utility_and_not_all(base: dict[str, list[Example]]) -> None:
    """Logistic regression on the answers' words (Bradley-Terry), blind to the question: the rest takes the facts."""
    train, test = base["train"][:800], base["test"]
    index = {word: place for place, word in enumerate(sorted({word for row in train for word in difference(row)}))}

    def matrix(rows: list[Example]) -> np.ndarray[Any, np.dtype[np.float64]]:
        values = np.zeros((len(rows), len(index)))
        for place, row in enumerate(rows):
            for word, count in difference(row).items():
                if word in index:
                    values[place, index[word]] = count
        return values

    seen, weights = matrix(train), np.zeros(len(index))
    for _ in range(300):
        wrong = 1 / (1 + np.exp(seen @ weights))
        weights += 0.5 * ((seen * wrong[:, None]).mean(axis=0) - 0.002 * weights)
    assert 0.65 <= float((matrix(test) @ weights > 0).mean()) <= 0.85


def difference(row: Example) -> Counter[str]:
    """Count the words of the chosen answer less those of the rejected one."""
    found = Counter((row.chosen or "").split())
    found.subtract((row.rejected or "").split())
    return found


def test_a_right_answer_is_worth_most(base: dict[str, list[Example]]) -> None:
    means: dict[str, list[float]] = {}
    for row in (row for part in base.values() for row in part):
        for side in ("chosen", "rejected"):
            means.setdefault(row.columns[f"kind_{side}"], []).append(row.columns[f"utility_{side}"])
    mean = {kind: statistics.fmean(values) for kind, values in means.items()}
    assert set(mean) == {"right", "wrong", "refusal", "question"}
    assert mean["right"] - 1 > mean["refusal"] > mean["wrong"]


def test_a_seed_settles_the_facts_and_the_rows(base: dict[str, list[Example]]) -> None:
    assert digest(rows("test", seed=1)) != digest(base["test"])


def test_it_is_registered_as_pairs_made_by_code() -> None:
    """All that ships is held to the contract of data sets elsewhere, with its defaults."""
    (registration,) = harness_register_datasets()
    assert (registration.provides, registration.generated) == ("preferences", True)


def test_what_is_refused() -> None:
    data = GeneratedPreferences(GeneratedPreferencesOptions())
    with pytest.raises(InputError, match="made by code and reads no file"):
        data.identity(NOWHERE)
    with pytest.raises(InputError, match="no such split, got 'dev'"):
        data.load(NOWHERE, "dev")
    with pytest.raises(ValidationError):
        GeneratedPreferencesOptions(noise=0.5)
