"""The verdict of a run in one or two sentences: a function of differences, whatever they were tested by."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from report.synthetic import GREEDY, T1, plain_value

from harness.report.brief import sentences
from harness.report.calculated import Calculated
from harness.report.columns import ComparedColumns
from harness.report.findings import Contrast, View, listed, verdict
from harness.report.results import load_results
from harness.report.scores import summary_columns

if TYPE_CHECKING:
    from report.synthetic import Place, Run


def view(where: str, *, can_claim: bool = True, **differences: float | tuple[float, bool]) -> View:
    """Return a column; a difference in a tuple says whether it is claimed."""
    found = []
    for row, told in differences.items():
        estimate, claimed = told if isinstance(told, tuple) else (told, False)
        found.append(Contrast(row, "sft", estimate, claimed=claimed))
    return View(where, found, can_claim=can_claim)


UP, DOWN = (2.55, True), (-1.5, True)


@pytest.mark.parametrize(
    ("seeds", "begin"), [(1, "One seed: nothing is claimed."), (2, "Two seeds: nothing is claimed.")]
)
def test_without_seeds_the_means_are_told_and_nothing_is_claimed(seeds: int, begin: str) -> None:
    views = [
        view("dolly at T = 1", can_claim=False, eso=2.55, drl=1.0),
        view("vicuna", can_claim=False, eso=3.0, drl=1.0),
        view("dolly when greedy", can_claim=False, eso=-1.0, drl=-0.5),
    ]
    assert verdict(views, seeds=seeds) == [
        begin,
        (
            "eso has the highest mean on dolly at T = 1 (+2.5 over sft) and vicuna (+3.0); no mean is higher than "
            "sft's on dolly when greedy."
        ),
    ]


def test_several_rows_may_lead_and_none_may() -> None:
    two = [view("a", can_claim=False, eso=1.0, drl=0.5), view("b", can_claim=False, eso=1.0, drl=2.0)]
    assert verdict(two, seeds=2)[1] == "eso has the highest mean on a (+1.0 over sft); drl on b (+2.0)."
    none = [view("a", can_claim=False, eso=-1.0, drl=0.0)]
    assert verdict(none, seeds=1)[1] == "No mean is higher than sft's on a."


def test_less_may_be_better() -> None:
    column = replace(view("a", can_claim=False, eso=1.0, drl=-0.5), lower_is_better=True)
    assert verdict([column], seeds=1)[1] == "drl has the lowest mean on a (-0.5 from sft)."
    claimed = replace(view("a", eso=UP, drl=DOWN), lower_is_better=True)
    assert verdict([claimed], seeds=3) == ["On a, drl (-1.5) is below sft and eso (+2.5) is above it."]


def test_what_is_claimed_comes_with_its_interval_where_there_is_one() -> None:
    column = View(
        "a", [Contrast("eso", "sft", 2.5, 1.1, 3.9, claimed=True), Contrast("rrhf", "sft", 0.1)], can_claim=True
    )
    assert verdict([column], seeds=3) == ["On a, eso (+2.5, 1.1 to 3.9) is above sft; rrhf cannot be told from it."]


def test_claims_that_hold_everywhere_are_told_once() -> None:
    views = [view("a", eso=UP, drl=DOWN), view("b", eso=UP, drl=DOWN), view("c", eso=UP, drl=DOWN)]
    assert verdict(views, seeds=5) == [
        "On a, eso (+2.5) is above sft and drl (-1.5) is below it.",
        "The same is claimed on b and c.",
    ]


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (view("b", eso=DOWN), "But eso is below on b."),
        (view("b", eso=0.4), "Nothing is claimed on b."),
        (view("b", eso=0.4, drl=UP), "But eso is not told from sft on b; drl is above on b."),
    ],
)
def test_what_another_column_contradicts_is_told(other: View, told: str) -> None:
    assert verdict([view("a", eso=UP, drl=0.2), other], seeds=3)[1] == told


def test_what_is_claimed_elsewhere_alone_is_told() -> None:
    views = [view("a", eso=0.1), view("b", eso=UP), view("c", eso=DOWN), view("d", eso=0.0)]
    assert verdict(views, seeds=3) == [
        "On a, no row can be told from sft.",
        "eso is above on b but below on c; nothing is claimed on d.",
    ]
    views = [view("a", eso=UP), view("b", eso=UP, drl=UP), view("c", eso=DOWN), view("d", eso=0.0, drl=UP)]
    assert verdict(views, seeds=3)[1] == (
        "eso is above on b but below on c and not told from sft on d; drl is above on b and d."
    )


def test_nothing_is_told_of_a_row_without_a_number() -> None:
    views = [view("a", eso=UP, drl=UP), view("b", drl=DOWN)]
    assert verdict(views, seeds=3)[1] == "But drl is below on b."
    views = [View("a", can_claim=True, lacking=("eso",)), view("b", eso=UP)]
    assert verdict(views, seeds=3) == [
        "On a, no row has a number to compare.",
        "eso is above on b.",
        "No number for eso on a.",
    ]


def test_models_are_told_apart_and_what_is_lacking_comes_last() -> None:
    first = replace(view("a", eso=UP), model="one", lacking=("drl",))
    second = replace(view("a", can_claim=False, eso=1.0), model="two", lacking=("drl",))
    third = replace(view("b", can_claim=False, eso=1.0, drl=0.5), model="two")
    assert verdict([first, second, third], seeds=3) == [
        "one: On a, eso (+2.5) is above sft.",
        "two: Nothing is claimed: the captions of the tables say why.",
        "eso has the highest mean on a (+1.0 over sft) and b (+1.0).",
        "No number for drl (one); no number for drl (two) on a.",
    ]


def test_a_baseline_alone_and_nothing_at_all() -> None:
    assert verdict([View("a", can_claim=True)], seeds=3) == ["There is no row to compare with a baseline."]
    assert verdict([], seeds=1) == []


def test_lists_read_as_people_say_them() -> None:
    assert [listed("a"), listed("ab"), listed("abc")] == ["a", "a and b", "a, b and c"]


def told(run: Run) -> list[str]:
    return sentences(ComparedColumns(load_results(run.root, run.write()), Calculated()))


def test_of_a_run_with_two_seeds(run: Run) -> None:
    run.seeds, run.decodings = (0, 1), {"t1": T1, "greedy": GREEDY}
    run.value = lambda place: (plain_value(place) or 0) - 0.05 * (place.row == "eso" and place.decoding == "greedy")
    assert told(run) == [
        "Two seeds: nothing is claimed.",
        (
            "eso has the highest mean on in-data at T = 1 (+3.03 over sft); no mean is higher than sft's on in-data "
            "when greedy."
        ),
    ]


def test_of_a_run_with_claims_that_greedy_decoding_contradicts(run: Run) -> None:
    run.decodings, run.datasets = {"t1": T1, "greedy": GREEDY}, {"in-data": "in-data", "tales": "cross"}

    def value(place: Place) -> float | None:
        return (plain_value(place) or 0) - 0.05 * (place.row == "eso" and place.decoding == "greedy")

    run.value = value
    assert told(run) == [
        "On in-data at T = 1, eso (+3.06, 2.53 to 3.58) is above sft.",
        "The same is claimed on tales; but eso is below on in-data when greedy.",
    ]


def test_of_a_run_in_which_a_row_failed(run: Run) -> None:
    run.rows, run.models = ("base", "sft", "eso", "drl"), ("one", "two")
    run.unfinished = {("drl", "train", str(seed)) for seed in run.seeds}
    assert told(run) == [
        "one: On in-data, eso (+3.06, 2.53 to 3.58) is above sft.",
        "two: On in-data, eso (+3.06, 2.53 to 3.58) is above sft.",
        "No number for drl (one) and drl (two).",
    ]


def test_a_run_without_answers_says_nothing(run: Run) -> None:
    run.metrics, run.datasets, run.decodings = [], {}, {}
    assert told(run) == []


def test_a_mean_without_a_claim_is_the_one_that_the_table_shows(run: Run) -> None:
    run.seeds = (0, 1)

    def value(place: Place) -> float | None:
        if place.row == "eso" and (place.seed, place.example) == (1, 0):
            return None  # the first prompt is not complete
        return 0.5 if place.row == "eso" and (place.seed, place.example) == (0, 0) else plain_value(place)

    run.value = value
    columns = ComparedColumns(load_results(run.root, run.write()), Calculated())
    (column,) = summary_columns(columns)
    shown = column.comparisons["tiny"].of("eso", "sft")
    assert shown is not None
    assert f"({100 * shown.estimate:+.2f} over sft)" in sentences(columns)[1]
    everything = (100 * (columns.mean(row, column.place) or 0) for row in columns.results.rows[1:])
    start, eso = everything
    assert eso - start != pytest.approx(100 * shown.estimate, abs=0.05)
