"""Tasks of reasoning-gym as data sets: options, splits, and what is said without the package."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from harness.api import Example, InputError
from harness_plugins.datasets.reasoning_gym import ReasoningGymOptions, harness_register_datasets, package
from harness_plugins.datasets.reasoning_gym.rows import SPLITS, ReasoningGym, split_of

if TYPE_CHECKING:
    from pathlib import Path

gym = pytest.importorskip("reasoning_gym", reason="reasoning-gym is not installed (the extra `reasoning`)")

(REGISTRATION,) = harness_register_datasets()
BITS: dict[str, Any] = {"task": "count_bits", "difficulty": {"max_n": 255}}


def prepared(folder: Path, **options: Any) -> tuple[dict[str, list[Example]], str]:
    data = ReasoningGym(ReasoningGymOptions(**options))
    folder.mkdir()
    (note,) = data.prepare(None, folder).notes
    return {split: list(data.load(folder, split)) for split in SPLITS}, note


def test_no_prompt_is_in_two_splits_however_small_the_space(tmp_path: Path) -> None:
    found, note = prepared(tmp_path / "bits", **BITS)
    prompts = [row.fields["instruction"] for part in found.values() for row in part]
    assert len(prompts) == len(set(prompts)) <= 255
    assert all(split_of(row.fields["instruction"]) == split for split, part in found.items() for row in part)
    assert len(found["train"]) > len(found["test"]) > len(found["validation"]) > 0
    counts = ", ".join(f"{len(part)} {split}" for split, part in found.items())
    assert note.startswith(f"count_bits of reasoning-gym {package.installed()}, seed 0: {len(prompts)} prompts in ")
    assert note.endswith(f"{counts}, none in two splits")


def test_as_many_rows_as_are_asked_for(tmp_path: Path) -> None:
    found, _ = prepared(tmp_path / "sums", task="chain_sum", train=30, validation=5, test=10)
    assert {split: len(part) for split, part in found.items()} == {"train": 30, "validation": 5, "test": 10}
    more, _ = prepared(tmp_path / "more", task="chain_sum", train=60, validation=5, test=10)
    assert [row.id for row in more["train"][:30]] == [row.id for row in found["train"]]


def test_seeds_share_no_item(tmp_path: Path) -> None:
    sizes = {"train": 30, "validation": 5, "test": 10}
    first, second = (prepared(tmp_path / str(seed), task="chain_sum", seed=seed, **sizes)[0] for seed in (0, 1))
    places = [{row.id for part in found.values() for row in part} for found in (first, second)]
    assert not places[0] & places[1]
    of_second = [row.columns["reasoning_gym"] for row in second["train"]]
    assert {one["seed"] for one in of_second} == {package.APART}
    # item i of a seed is item 0 of the i-th seed behind it
    made = gym.create_dataset("chain_sum", seed=of_second[0]["seed"] + of_second[0]["item"], size=1)
    assert made[0]["question"] == second["train"][0].fields["instruction"]


def test_a_row_has_the_tasks_answer_and_what_its_scorer_needs(tmp_path: Path) -> None:
    found, _ = prepared(tmp_path / "bits", **BITS)
    made = gym.create_dataset("count_bits", seed=0, size=package.APART, max_n=255)
    for row in found["test"]:
        task = row.columns["reasoning_gym"]
        assert task["difficulty"] == {"max_n": 255}
        item = made[task["item"]]
        assert (row.fields["instruction"], row.completion) == (item["question"], item["answer"])
        assert row.references == (row.columns["answer"],)
    answers = [row.completion for row in found["train"]]
    assert answers.count(found["test"][0].columns["majority_answer"]) == max(map(answers.count, answers))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "count_bit"}, "reasoning-gym has no such task, got 'count_bit'.*did you mean 'count_bits'"),
        (
            {"task": "count_bits", "difficulty": {"max_m": 3}},
            "the task count_bits has no such setting, got 'max_m'; expected one of min_n, max_n; did you mean 'max_n'",
        ),
        ({"task": "count_bits", "difficulty": {"max_n": 0}}, "refuses these settings: min_n must be between 1 and max"),
        ({"task": "gcd", "difficulty": {"seed": 3}}, "seed is not a setting of difficulty, got 3; expected the option"),
        ({"task": "gcd", "difficulty": {"size": 3}}, "size is not a setting of difficulty"),
        ({}, "Field required"),
    ],
)
def test_options_that_a_task_does_not_have_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message) as caught:
        ReasoningGymOptions(**options)
    assert caught.value.error_count() == 1


def test_a_space_with_too_few_prompts_is_refused(tmp_path: Path) -> None:
    data = ReasoningGym(ReasoningGymOptions(task="count_bits", difficulty={"max_n": 2}))
    with pytest.raises(InputError, match="count_bits has too few prompts at this difficulty: none is left for "):
        data.prepare(None, tmp_path)


def test_what_is_refused(tmp_path: Path) -> None:
    data = ReasoningGym(ReasoningGymOptions(task="gcd"))
    with pytest.raises(InputError, match="is generated and reads no file"):
        data.identity(tmp_path)
    with pytest.raises(InputError, match="no such split, got 'dev'"):
        data.load(tmp_path, "dev")


def test_without_the_package_a_file_is_read_and_a_run_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package, "installed", lambda: None)
    options = ReasoningGymOptions(task="whatever", difficulty={"some": "setting"})
    message = r"reasoning-gym is not installed\n  pip install 'posttune-harness\[reasoning\]'"
    assert REGISTRATION.preflight is not None
    with pytest.raises(InputError, match=message):
        REGISTRATION.preflight(options)
    with pytest.raises(InputError, match=message):
        ReasoningGym(options).identity(None)
