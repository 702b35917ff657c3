"""The verifiable reward: a hundred answers made by hand, reasoning-gym's own scorers, and what it refuses."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from rewards.made_answers import ANSWERS, Made

from harness.api import InputError
from harness.testing import check_reward
from harness_plugins.answers.judging import Judge, Score
from harness_plugins.answers.options import AnswerOptions
from harness_plugins.answers.reading import number_alone, number_in
from harness_plugins.rewards.verifiable import VerifiableOptions, harness_register_rewards, verifiable_reward

(REGISTRATION,) = harness_register_rewards()
SEVERAL = ("Yes, it is.", "", "yes", "No", "yes, yes", "yes", "a", "it", "word")


def call(options: dict[str, Any], completions: list[str], **columns: Any) -> list[float | None]:
    function = verifiable_reward(VerifiableOptions(**options))
    return function(
        prompts=[""] * len(completions), completions=completions, completion_ids=[[]] * len(completions), **columns
    )


def test_there_are_a_hundred_answers() -> None:
    assert len(ANSWERS) >= 100
    assert len({(repr(one.options), repr(one.right), one.text) for one in ANSWERS}) == len(ANSWERS)


@pytest.mark.parametrize("one", ANSWERS, ids=lambda one: f"{one.options['kind']}-{one.text[:20]}")
def test_an_answer_made_by_hand(one: Made) -> None:
    logged: dict[str, float] = {}
    for parse, expected in (("strict", one.strict), ("flexible", one.flexible)):
        given_options = {**one.options, "parse": parse}
        assert call(given_options, [one.text], answer=[one.right], log_metric=logged.__setitem__) == [expected]
    assert logged == {"verifiable: strict": one.strict, "verifiable: flexible": one.flexible}


@given(st.text(max_size=40), st.sampled_from(ANSWERS))
def test_flexible_is_never_below_strict(text: str, one: Made) -> None:
    judge = Judge(AnswerOptions(**one.options), "here")
    for said in (text, one.text, f"{text} {one.text}"):
        score = judge.score(said, one.right)
        assert score is not None
        assert 0.0 <= score.strict <= score.flexible <= 1.0


@given(st.integers(-(10**9), 10**9), st.sampled_from(["{}", "{:,}", "{:+}", "{}.0", "It is {:,}, I think.", "x={}"]))
def test_numbers_are_read_as_they_are_written(number: int, form: str) -> None:
    text = form.format(number)
    assert number_in(text) == Fraction(number)
    assert number_alone(text) == (Fraction(number) if "I" not in text and "x" not in text else None)


@given(st.text(alphabet="0123456789.,/eE+-$ ()x", max_size=60))
def test_no_text_breaks_the_reading_of_numbers(text: str) -> None:
    for read in (number_alone, number_in):
        found = read(text)
        assert found is None or isinstance(found, Fraction)


def test_long_runs_of_digits_are_no_numbers() -> None:
    assert number_alone("9" * 5000) is None
    assert number_in("1" + "0" * 5000) is None


def test_the_mean_is_over_rows_that_have_an_answer() -> None:
    logged: dict[str, float] = {}
    values = call({"kind": "number"}, ["1", "it is 2", "3"], answer=["1", "2", None], log_metric=logged.__setitem__)
    assert values == [1.0, 0.0, None]
    assert logged == {"verifiable: strict": 0.5, "verifiable: flexible": 1.0}
    assert call({"kind": "number"}, ["1"], answer=[[]]) == call({"kind": "number"}, ["1"], answer=[" "]) == [None]


def test_a_column_of_references_will_do() -> None:
    options = {"kind": "number", "column": "references"}
    assert call(options, ["4", "5"], references=[("3", "4"), ()]) == [1.0, None]


def test_without_its_column_there_is_one_message() -> None:
    with pytest.raises(InputError, match=r"reward 'verifiable': the column 'answer' is missing, got \['category'\]"):
        call({}, ["1"], category=["x"])


@pytest.mark.parametrize(
    ("options", "right", "message"),
    [
        ({"kind": "number"}, "seven", "a right answer is not a number, got 'seven'"),
        ({"kind": "choice"}, "Paris", "a right answer is not a letter, got 'Paris'"),
        ({"kind": "choice", "choices": ["yes", "no"]}, "maybe", "none of the choices, got 'maybe'; expected one of"),
    ],
)
def test_a_right_answer_of_another_kind_is_refused(options: dict[str, Any], right: str, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        call(options, ["1"], answer=[right])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "regex"}, "belong together"),
        ({"kind": "number", "pattern": "x"}, "belong together"),
        ({"kind": "regex", "pattern": "("}, "no regular expression"),
        ({"kind": "number", "choices": ["a"]}, "for `kind: choice`"),
        ({"kind": "choice", "choices": ["a", " "]}, "blank"),
        ({"kind": "exact", "tolerance": 1}, "compares none"),
        ({"kind": "numbers"}, "Input should be"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(message)):
        VerifiableOptions(**options)


@pytest.mark.parametrize(
    ("options", "right"),
    [
        ({}, "yes"),
        ({"parse": "flexible"}, "yes"),
        ({"kind": "number", "parse": "flexible"}, "7"),
        ({"kind": "choice", "choices": ["yes", "no"]}, "yes"),
        ({"kind": "regex", "pattern": "(yes|no)"}, "yes"),
    ],
)
def test_keeps_the_contract(options: dict[str, Any], right: str) -> None:
    check_reward(REGISTRATION, options, {"answer": [right] * 9})


def test_keeps_the_contract_where_references_are_the_answers() -> None:
    check_reward(REGISTRATION, {"kind": "exact", "column": "references"})


class TestTasks:
    """Rows of reasoning-gym are scored by the task's own scorer; ten tasks, two hundred answers each."""

    TASKS = (
        "count_bits", "gcd", "lcm", "chain_sum", "basic_arithmetic", "simple_equations", "fraction_simplification",
        "number_sorting", "word_sorting", "base_conversion",
    )  # fmt: skip

    @pytest.mark.parametrize("task", TASKS)
    def test_the_reward_is_the_tasks_own_score(self, task: str) -> None:
        gym = pytest.importorskip("reasoning_gym", reason="reasoning-gym is not installed (the extra `reasoning`)")
        from harness_plugins.datasets.reasoning_gym.package import APART, check_installed

        made = gym.create_dataset(task, seed=30_000, size=APART)
        completions, tasks, expected = [], [], []
        for item in range(40):
            entry = made[item]
            right, other = entry["answer"], made[item + 1]["answer"]
            for text in (right, other, f"The answer is {right}.", f"<answer>{right}</answer>", f"{right} {other}"):
                completions.append(text)
                tasks.append(
                    {"task": task, "difficulty": {}, "seed": 30_000, "item": item, "version": check_installed()}
                )
                expected.append(made.score_answer(text, entry))
        assert len(completions) == 200
        assert call({"kind": "task"}, completions, reasoning_gym=tasks) == expected
        flexible = call({"parse": "flexible"}, completions, answer=["?"] * 200, reasoning_gym=tasks)
        assert all(one is not None and one >= own for one, own in zip(flexible, expected, strict=True))
        announced = flexible[2::5] + flexible[3::5]
        assert set(announced) == {1.0}

    def test_another_version_of_the_package_is_refused(self) -> None:
        pytest.importorskip("reasoning_gym", reason="reasoning-gym is not installed (the extra `reasoning`)")
        task = {"task": "gcd", "difficulty": {}, "seed": 0, "item": 0, "version": "0.0.1"}
        with pytest.raises(InputError, match=r"made by another version of reasoning-gym, got '.*'; expected 0\.0\.1"):
            call({"kind": "task"}, ["1"], reasoning_gym=[task])

    def test_a_row_without_a_task_has_no_reward_under_kind_task(self) -> None:
        assert Judge(AnswerOptions(kind="task"), "here").score("1", "1") is None
        assert Judge(AnswerOptions(), "here").score("1", "1") == Score(1.0, 1.0)
