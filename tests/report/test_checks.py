"""What ruins a comparison is an error of its row or is pointed out, and what is as it should be is neither."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from report.synthetic import GREEDY, METRICS, ROUGE_L, T1, plain_value, step

from harness.report.checks.course import Weights, log_orders
from harness.report.checks.hacking import repetition, reward_rise
from harness.report.checks.unvaried import AT_AN_END, BETWEEN, chance
from harness.report.results import load_results
from harness.report.write import build, document_files

if TYPE_CHECKING:
    from collections.abc import Callable

    from report.synthetic import Place, Run

    from harness.report.written import Leaderboard


def document(run: Run) -> Leaderboard:
    run.root = run.root.with_name(f"{run.root.name}-")  # a store holds a stage once, whatever is changed
    return build(load_results(run.root, run.write()))


def log(steps: int = 12, change: Callable[[str, int, int], dict[str, Any]] | None = None) -> Any:
    """Return a log in which every digest and number is the row's, the seed's and the step's own, or what is given."""

    def lines(row: str, seed: int) -> list[dict[str, Any]]:
        found = []
        for number in range(steps):
            name = f"{row}/{seed}/{number}"
            digests = {"rows": f"{seed}/{number}", "samples": name, "noise": f"noise {seed}/{number}"}
            line = {**step(row), "step": number, "digests": digests if row != "sft" else {"rows": digests["rows"]}}
            line["grad_norm"] = 1 + (sum(map(ord, name)) * 37 % 101) / 100
            if row != "sft":
                line["reward"] = {**line["reward"], "mean": 0.3 + (sum(map(ord, name)) * 31 % 97) / 1000}
            more = change(row, seed, number) if change else {}
            line["digests"] = {**line["digests"], **more.pop("digests", {})}
            found.append({**line, **more})
        return found

    return lines


def with_answers(run: Run, examples: int = 30) -> None:
    run.examples = examples
    run.prompts = lambda index: {"fields": {"prompt": f"Question {index}?"}}
    run.answer = lambda row, seed, index: f"{row} says {seed} of {index}"
    run.value = varied


def varied(place: Place) -> float | None:
    """Return a value that no two seeds have alike on all prompts."""
    return (plain_value(place) or 0) + 0.003 * ((place.seed * place.seed + place.example) % 4)


def cells(document: Leaderboard, table: str, row: str) -> dict[str, Any]:
    tables = json.loads(document_files(document)["leaderboard.json"])["tables"]
    return next(part for part in tables[table]["rows"] if part["label"] == row)


def test_an_ordinary_run_has_neither_errors_nor_findings(run: Run) -> None:
    with_answers(run)
    run.log = log()
    found = document(run)
    assert (found.errors, found.findings) == ([], [])
    assert found.head["checks"] == {"errors": [], "findings": []}


def test_records_that_say_nothing_of_it_are_no_error(run: Run) -> None:
    run.trained = lambda row, seed: {"weights_sha256": f"{row} {seed}"}
    found = document(run)  # neither digests of steps nor sums of weights, as older releases wrote
    assert (found.errors, found.findings) == ([], [])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda row, _seed, number: {"digests": {"rows": str(number)}} if row == "eso" else {},
         "the same order of training rows"),
        (lambda row, _seed, number: {"digests": {"noise": str(number)}} if row == "eso" else {},
         "the same random numbers to sample with in training"),
        (lambda row, _seed, number: {"digests": {"samples": str(number)}} if row == "eso" else {},
         "the same samples in training"),
    ],
)  # fmt: skip
def test_seeds_whose_training_is_the_same_are_an_error_of_their_row(run: Run, change: Any, said: str) -> None:
    run.log = log(change=change)
    found = document(run)
    assert found.errors == [f"eso: seeds 0, 1 and 2 are no repetitions of each other: they have {said}"]


def test_a_checkpoint_that_serves_two_seeds_is_an_error_of_that_row_alone(run: Run) -> None:
    run.rows = ("base", "sft", "eso", "drl")
    run.trained = lambda row, seed: {"weights_sha256": f"{row} {min(seed, 1)}"} if row == "eso" else {}
    found = document(run)
    assert found.errors == ["eso: seeds 1 and 2 are no repetitions of each other: they have the same weights"]
    wrong, right = cells(found, "scores", "eso"), cells(found, "scores", "drl")
    assert wrong["marks"] == ["error: seeds 1 and 2 are alike"]
    assert right["marks"] == []
    name = "in-data/rouge.rougeL"
    assert wrong["cells"][name].keys() == {"value", "seeds"}  # the mean, without an interval
    assert "value" not in wrong["cells"][f"{name} Δ"]
    assert right["cells"][f"{name} Δ"]["value"]
    assert not any("eso" in sentence for sentence in found.verdict)
    files = document_files(found)
    assert f"Error: {found.errors[0]}." in files["leaderboard.md"]
    assert f"Error: {found.errors[0]}." in files["leaderboard.html"]
    assert json.loads(files["leaderboard.json"])["checks"]["errors"] == found.errors


def test_nothing_is_compared_with_a_baseline_whose_seeds_are_alike(run: Run) -> None:
    run.trained = lambda row, _seed: {"weights_sha256": "0"} if row == "sft" else {}
    found = document(run)
    assert len(found.errors) == 1
    assert found.verdict[-1] == "There is no row to compare with a baseline."
    assert not any(name.endswith("Δ") for name in cells(found, "scores", "eso")["cells"])


def test_answers_that_are_drawn_with_the_same_numbers_are_an_error(run: Run) -> None:
    run.decodings = {"t1": T1, "greedy": GREEDY}
    run.summary = {"noise": "abc"}
    found = document(run)
    assert {text.partition(":")[0] for text in found.errors} == {"base", "sft", "eso"}
    assert "the same random numbers to answer in-data with under t1" in found.errors[0]


def test_one_row_can_have_one_order_only() -> None:
    assert log_orders(1, 1, 50) == 0.0
    assert log_orders(3, 2, 1) == pytest.approx(math.log(6))  # 3 x 2
    assert log_orders(4, 2, 5) == pytest.approx(2 * math.log(24) + math.log(12))  # two epochs and a batch
    assert log_orders(1, 4, 2) == 0.0


def test_few_rows_may_have_the_same_order_by_chance(run: Run) -> None:
    run.log = log(change=lambda _row, _seed, number: {"digests": {"rows": str(number)}})
    run.trained = lambda _row, _seed: {"rows": {"used": 1, "dropped_overlong": 0}}
    assert document(run).errors == []


def still(place: Place) -> float | None:
    """Return a value that depends on the prompt and the row, and on no seed."""
    return varied(replace(place, seed=0))


def test_a_judge_that_does_not_see_the_answers_is_an_error(run: Run) -> None:
    with_answers(run)
    run.value = lambda place: still(place) if place.row == "eso" else varied(place)
    found = document(run)
    (said,) = found.errors
    assert said.startswith("rouge.rougeL on in-data under t1: all seeds of eso have the same value for each prompt")
    cell = cells(found, "scores", "eso")["cells"]["in-data/rouge.rougeL"]
    assert cell["note"] == "error: the seeds do not vary"
    assert "low" not in cell
    assert not any("eso" in sentence for sentence in found.verdict)
    assert "(error: the seeds do not vary)" in document_files(found)["leaderboard.md"]


def test_a_judge_that_always_says_the_same_is_one_too(run: Run) -> None:
    with_answers(run)
    run.value = lambda _: 0.7
    (said,) = document(run).errors
    assert "all seeds of sft and eso have" in said  # and not of the base, which was not trained


def right_or_wrong(place: Place) -> float:
    return float(place.example % 3 > 0)


@pytest.mark.parametrize(
    "legitimate",
    ["deterministic", "without a direction", "one seed", "the same answers", "all right", "few prompts", "few differ",
     "a seed differs on one prompt"],
)  # fmt: skip
def test_columns_that_may_be_alike_are_no_error(run: Run, legitimate: str) -> None:
    with_answers(run)
    run.value = still
    column: dict[str, Any] = {**ROUGE_L, "range": [0.0, 1.0]}
    if legitimate == "deterministic":
        column["deterministic"] = True
    if legitimate == "without a direction":
        column["higher_is_better"] = None
    if legitimate == "one seed":
        run.seeds = (0,)
    if legitimate == "the same answers":
        run.answer = lambda row, _seed, index: f"{row} answers {index}"
    if legitimate == "all right":
        run.value = lambda _: 1.0
    if legitimate == "few prompts":
        run.examples, run.value = 12, right_or_wrong
    if legitimate == "few differ":
        run.answer = lambda row, seed, index: f"{row} answers {index}" if index > 2 else f"{seed}"
    if legitimate == "a seed differs on one prompt":
        run.value = lambda place: 0.9 if (place.seed, place.example) == (1, 4) else still(place)
    run.metrics = [{**METRICS[0], "columns": [column]}]
    assert document(run).errors == []


def test_a_metric_of_the_model_must_vary_though_the_answers_do_not(run: Run) -> None:
    with_answers(run)
    run.answer = lambda row, _seed, index: f"{row} answers {index}"
    run.value = still
    run.metrics = [{**METRICS[0], "needs": ["policy"]}]
    assert len(document(run).errors) == 1


def test_the_chance_of_agreement_counts_prompts_that_were_answered_differently() -> None:
    values, different = np.array([0.0, 1.0, 0.5, 0.25, np.nan]), np.array([3.0, 2.0, 1.0, 2.0, 3.0])
    expected = 2 * math.log(AT_AN_END) + math.log(AT_AN_END) + math.log(BETWEEN)
    assert chance(values, different, (0.0, 1.0)) == pytest.approx(expected)
    assert chance(values, np.ones(5), (0.0, 1.0)) == 0.0
    assert chance(np.ones(500), np.full(500, 3.0), (0.0, 1.0)) == 0.0  # every answer is right
    assert chance(np.ones(500), np.full(500, 3.0), (None, None)) == pytest.approx(1000 * math.log(BETWEEN))


def test_a_copied_checkpoint_is_pointed_out(run: Run) -> None:
    run.rows = ("base", "sft", "eso", "drl", "rrhf")
    run.trained = lambda row, seed: {"weights_sha256": f"copy {seed}"} if row in {"drl", "eso", "rrhf"} else {}
    found = document(run)
    assert found.findings == ["eso, drl and rrhf are the same here: equal weights (seeds 0, 1 and 2)."]
    assert found.errors == []
    run.trained = lambda row, seed: {"weights_sha256": "x"} if (row, seed) in {("drl", 1), ("eso", 1)} else {}
    assert document(run).findings == ["eso and drl are the same here: equal weights (seed 1)."]


@pytest.mark.parametrize(("examples", "times"), [(19, 0), (20, 1)])
def test_rows_that_answer_enough_prompts_alike_are_pointed_out(run: Run, examples: int, times: int) -> None:
    run.rows, run.examples = ("base", "sft", "eso", "drl"), examples
    run.prompts = lambda index: {"fields": {"prompt": str(index)}}
    run.value = lambda place: plain_value(replace(place, row="eso") if place.row == "drl" else place)
    said = ["eso and drl are the same here: equal answers to every prompt (seeds 0, 1 and 2)."]
    assert document(run).findings == said * times
    run.answer = lambda row, _seed, index: f"a sample text{' more' * (row == 'drl' and index == 7)}"
    assert document(run).findings == []


def test_weights_within_rounding_are_the_same_and_a_step_apart_they_are_not(run: Run) -> None:
    start = [float(number) for number in range(16)]

    def sums(row: str, seed: int) -> dict[str, Any]:
        moved = [at + (seed + 1) * (number % 3) + {"drl": 1e-5}.get(row, 0.0) for number, at in enumerate(start)]
        return {"weights_sums": moved, "start_sums": start} if row != "sft" else {}

    run.rows, run.trained = ("base", "sft", "eso", "drl"), sums
    assert document(run).findings == [
        "eso and drl are the same here: weights that are equal within rounding (seeds 0, 1 and 2)."
    ]
    one = Weights("a", (3.0, 4.0), (0.0, 0.0))
    assert one.apart(Weights("b", (3.0, 4.5), (0.0, 0.0))) == pytest.approx(0.1)
    assert one.apart(Weights("a", None, None)) == 0.0
    assert one.apart(Weights("b", None, None)) == math.inf
    assert Weights("b", (0.0, 0.0), (0.0, 0.0)).apart(one) == math.inf  # it has not moved: in units of nothing


BEGUN = "equal samples, and gradient norms in one proportion, in the first 12 of 20 steps of training"


def rewarded(mean: Callable[[int], float]) -> Any:
    """Return a log in which all rows have the same rewards."""
    return log(change=lambda row, _, number: {"reward": {"missing": 0, "mean": mean(number)}} if row != "sft" else {})


def alike_until(last: int, **more: Any) -> Any:
    """Return a log in which drl is eso until a step; ``more`` differs in drl then too."""

    def change(row: str, seed: int, number: int) -> dict[str, Any]:
        if row == "sft" or number >= last:
            return {}
        found: dict[str, Any] = {"digests": {"samples": f"{seed}/{number}"}, "grad_norm": 1 + 0.01 * number}
        return {**found, **{name: value(number) for name, value in more.items()}} if row == "drl" else found

    return log(steps=20, change=change)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (alike_until(20), "equal samples at every step of training"),
        (alike_until(12), BEGUN),
        (alike_until(12, grad_norm=lambda number: 5 + 0.05 * number), BEGUN),
        (alike_until(12, grad_norm=lambda number: 1 + 0.02 * number), None),
        (alike_until(9), None),
        (rewarded(lambda number: 0.1 * number), "equal mean rewards at every step of training"),
        (rewarded(lambda _: 0.0), None),
    ],
)  # fmt: skip
def test_rows_that_train_alike_are_pointed_out(run: Run, lines: Any, said: str | None) -> None:
    run.rows, run.log = ("base", "sft", "eso", "drl"), lines
    expected = [f"eso and drl are the same here: {said} (seeds 0, 1 and 2)."] if said else []
    assert [text for text in document(run).findings if "same" in text] == expected


def test_models_are_named_where_there_are_several(run: Run) -> None:
    run.models = ("one", "two")
    run.trained = lambda row, seed: {"weights_sha256": f"{row} {seed}"}
    assert document(run).findings == []  # rows of two models are not compared
    run.trained = lambda row, _seed: {"weights_sha256": row}
    found = document(run)
    assert [text.partition(":")[0] for text in found.errors] == ["sft (one)", "eso (one)", "sft (two)", "eso (two)"]


def rising(row: str, _seed: int, number: int) -> dict[str, Any]:
    return {"reward": {"missing": 0, "mean": 0.2 + 0.02 * number + 0.003 * (number % 2)}} if row == "eso" else {}


def test_a_reward_that_rises_while_the_score_falls_is_a_sign(run: Run) -> None:
    with_answers(run)
    run.log = log(change=rising)
    assert document(run).findings == []  # the score rises too
    run.value = lambda place: (varied(place) or 0) - 0.1 * (place.row == "eso")
    (said,) = document(run).findings
    assert said == (
        "eso shows signs of reward hacking: its reward rose from 0.221 to 0.402 in training, while its ROUGE-L on "
        "in-data is below sft's by 6.97."
    )
    run.log = log()
    assert document(run).findings == []  # the score falls, and the reward does not rise


def test_a_reward_that_rises_while_answers_grow_or_repeat_is_a_sign(run: Run) -> None:
    with_answers(run)
    run.log = log(change=rising)
    run.answered = lambda row, _seed: {"tokens": 200 if row == "eso" else 60}
    (said,) = document(run).findings
    assert said.endswith("in training, while its answers have 3.3 tokens where sft's have 1.0.")
    run.answered = lambda row, _seed: {"tokens": 100 if row == "eso" else 60}
    assert document(run).findings == []  # not twice as long
    run.answer = lambda row, seed, index: f"{seed} {index} " + "over and " * (8 if row == "eso" else 1)
    (said,) = document(run).findings
    assert said.endswith("in training, while 73% of its 4-grams repeat earlier ones, where 0% of sft's do.")


def test_a_rise_is_one_beyond_the_noise_of_its_steps() -> None:
    flat = [0.1, 0.3, 0.2, 0.4, 0.3, 0.1, 0.4, 0.35]
    rise = reward_rise([flat])
    assert rise is not None
    assert not rise.beyond_noise
    up = reward_rise([[0.1, 0.2, 0.5, 0.5, 0.5, 0.5, 0.9, 1.0], [0.2, 0.1, None, 0.5, 0.5, 0.5, 0.5, 1.0, 0.9]])
    assert up is not None
    assert up.first == pytest.approx(0.15)
    assert up.last == pytest.approx(0.95)
    assert up.error == pytest.approx(math.sqrt(4 * 0.005 / 2) / 2)
    assert up.beyond_noise
    assert reward_rise([[0.1] * 7]) is None
    assert reward_rise([]) is None


def test_repetition_is_the_share_of_4_grams_that_stood_before() -> None:
    assert repetition(["a b c", ""]) == 0.0
    assert repetition(["a b c d", "a b c d"]) == 0.0  # in the same text
    assert repetition(["a b a b a b"]) == pytest.approx(1 / 3)  # abab, baba, abab
