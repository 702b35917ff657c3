"""The table of win rates names what it rests on: the null answer, the order, the lengths, the reward model."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from report.synthetic import JUDGE, METRICS, ROUGE_L, Place, Run, summary

from harness.report.export import json_value
from harness.report.proportions import length_controlled, win_rate
from harness.report.results import load_results
from harness.report.rewards import HeldOutPairs, accuracy, calibration, length_correlation
from harness.report.write import build

if TYPE_CHECKING:
    from harness.report.table import Table

AGAINST = "in-data/chosen"
COUNT = {**ROUGE_L, "scale": 1.0, "digits": 0}
CHANCE = {"base": 0.2, "sft": 0.5, "eso": 0.7}


def drawn(place: Place) -> float:
    generator = np.random.default_rng([place.seed, place.example, *map(ord, place.row + place.column)])
    return float(generator.random())


def verdict(place: Place) -> float | None:
    kind = place.column.partition(":")[0]
    return {
        "win": float(drawn(place) < CHANCE.get(place.row, 0.5)),
        "consistent": float(drawn(place) < 0.8),
        "first": 0.5 + 0.5 * (place.example % 3 == 0),
        "null": float(place.example == 3),
        "margin_length": 10 * drawn(place) - 4,
    }.get(kind, 0.3)


@pytest.fixture
def judged(run: Run) -> Run:
    run.metrics = [METRICS[0], JUDGE]
    run.tables = ("win-rates",)
    run.examples = 40
    run.value = verdict
    return run


def tables(run: Run) -> dict[str, Table]:
    return {table.name: table for table in build(load_results(run.root, run.write())).tables}


def cells(table: Table) -> dict[str, dict[str, Any]]:
    found = json_value({}, [table])["tables"][table.name]
    return {row["label"]: row["cells"] for row in found["rows"]}


def matrix(run: Run, row: str, column: str) -> Any:
    places = [[Place(row, "tiny", s, "in-data", "t1", column, i) for i in range(run.examples)] for s in run.seeds]
    return np.array([[run.value(place) for place in line] for line in places], dtype=np.float64)


def two_opponents() -> dict[str, Any]:
    metric = copy.deepcopy(JUDGE)
    more = [{**column, "name": column["name"].replace("chosen", "sft")} for column in metric["columns"]]
    return {**metric, "columns": [*metric["columns"], *more]}


class TestWinRates:
    def test_are_what_the_judge_said_with_both_intervals(self, judged: Run) -> None:
        found = cells(tables(judged)["win-rates"])
        for row in judged.rows:
            wins = matrix(judged, row, "win:chosen")
            expected = win_rate(wins)
            assert expected is not None
            cell = found[row][f"{AGAINST}/win"]
            assert cell["value"] == pytest.approx(100 * wins.mean())
            assert (cell["low"], cell["high"]) == pytest.approx((100 * expected[0].low, 100 * expected[0].high))
            assert found[row][f"{AGAINST}/wilson"]["low"] == pytest.approx(100 * expected[1].low)
            controlled = length_controlled(wins, matrix(judged, row, "margin_length:chosen"))
            assert controlled is not None
            assert found[row][f"{AGAINST}/controlled"]["value"] == pytest.approx(100 * controlled.rate.mean)
            assert found[row][f"{AGAINST}/first"]["value"] == pytest.approx(100 * (0.5 + 0.5 * 14 / 40))
            assert found[row]["in-data/length"]["value"] == pytest.approx(60 / 80)

    def test_have_their_difference_from_the_start_beside_them(self, judged: Run) -> None:
        judged.examples = 160
        found = cells(tables(judged)["win-rates"])
        beside = found["eso"][f"{AGAINST}/win Δ"]
        assert beside["value"] == pytest.approx(
            found["eso"][f"{AGAINST}/win"]["value"] - found["sft"][f"{AGAINST}/win"]["value"]
        )
        assert beside["claimed"] == (beside["low"] > 0 or beside["high"] < 0)
        assert found["sft"][f"{AGAINST}/win Δ"] == {"status": "baseline"}
        assert [row.label for row in tables(judged)["win-rates"].rows] == ["base", "sft", "eso", "(null answer)"]

    def test_claim_nothing_with_two_seeds(self, judged: Run) -> None:
        judged.seeds = (0, 1)
        table = tables(judged)["win-rates"]
        for row in cells(table).values():
            assert not row.get(f"{AGAINST}/win Δ", {}).get("claimed")
        assert "low" not in cells(table)["eso"][f"{AGAINST}/win"]
        assert "No claim: with 2 seeds" in "\n".join(table.caption)

    def test_leave_out_and_count_what_has_no_verdict(self, judged: Run) -> None:
        judged.value = lambda place: None if place.example < 4 and place.row == "eso" else verdict(place)
        judged.metrics = [
            METRICS[0],
            {
                **JUDGE,
                "corpus": [
                    {**COUNT, "name": "unparsable", "label": "no verdict"},
                    {**COUNT, "name": "calls", "label": "replies"},
                ],
            },
        ]
        judged.corpus = lambda place: 2.0 if place.column == "unparsable" else 160.0
        table = tables(judged)["win-rates"]
        assert cells(table)["eso"][f"{AGAINST}/missing"]["value"] == 3 * 2 * 4
        assert "Of all rows and seeds, referee: no verdict 18, replies 1440." in table.caption

    def test_stand_beside_what_other_metrics_say_of_the_answers(self, judged: Run) -> None:
        talk = {
            **METRICS[0],
            "use": "talk",
            "role": "other",
            "columns": [{**ROUGE_L, "name": "asks", "label": "questions"}],
        }
        judged.metrics = [METRICS[0], JUDGE, talk]
        assert cells(tables(judged)["win-rates"])["eso"]["in-data/talk.asks"]["value"] == pytest.approx(30)

    def test_of_a_row_against_itself_are_none(self, judged: Run) -> None:
        judged.metrics = [METRICS[0], two_opponents()]
        found = cells(tables(judged)["win-rates"])
        assert found["sft"]["in-data/sft/win"] == {"status": "itself"}
        assert found["eso"]["in-data/sft/win"]["value"] > 0

    def test_that_are_not_there_say_so(self, judged: Run) -> None:
        judged.unfinished = {("eso", "referee", str(seed)) for seed in judged.seeds}
        assert cells(tables(judged)["win-rates"])["eso"][f"{AGAINST}/win"] == {"status": "failed"}

    def test_do_not_depend_on_the_order_of_rows(self, judged: Run) -> None:
        first = cells(tables(judged)["win-rates"])
        judged.rows = judged.rows[::-1]
        assert cells(tables(judged)["win-rates"]) == first


class TestTheNullAnswer:
    def test_is_always_a_row(self, judged: Run) -> None:
        table = tables(judged)["win-rates"]
        assert cells(table)["(null answer)"][f"{AGAINST}/win"]["value"] == pytest.approx(2.5)
        assert table.rows[-1].marks == ()
        assert "favours" not in "\n".join(table.caption)

    def test_counts_groups_of_prompts(self, judged: Run) -> None:
        judged.prompts = lambda index: {"fields": {"prompt": "p"}, "columns": {"template": index // 2}}
        judged.change = lambda manifest: manifest["config"]["evaluate"][0].update(group="template")
        found = cells(tables(judged)["win-rates"])["(null answer)"]
        empty = matrix(judged, "sft", "null:chosen")
        expected = win_rate(empty, groups=[str(index // 2) for index in range(40)])
        assert expected is not None
        for name, interval in zip(("win", "wilson"), expected, strict=True):
            cell = found[f"{AGAINST}/{name}"]
            assert (cell["low"], cell["high"]) == pytest.approx((100 * interval.low, 100 * interval.high))

    def test_that_wins_is_flagged(self, judged: Run) -> None:
        judged.value = lambda place: float(place.example != 3) if place.column == "null:chosen" else verdict(place)
        table = tables(judged)["win-rates"]
        assert table.rows[-1].marks == ("the judge favours it",)
        assert table.caption[0] == (
            "This judge favours an answer that says nothing: on in-data against chosen the null answer wins 97.5 %, "
            "more often than sft, eso and more often than not. Its win rates are not evidence of better answers."
        )

    def test_that_stands_above_one_row_is_flagged(self, judged: Run) -> None:
        rates = {"null:chosen": 1 / 3, "win:chosen": 1 / 4}
        judged.value = lambda place: (
            float(place.example % round(1 / rates[place.column]) == 0)
            if place.column == "null:chosen" or (place.column in rates and place.row == "sft")
            else verdict(place)
        )
        table = tables(judged)["win-rates"]
        assert "wins 35.0 %, more often than sft. Its" in table.caption[0]

    def test_that_stands_above_the_untrained_model_is_not(self, judged: Run) -> None:
        judged.value = lambda place: float(place.example % 3 == 0) if place.column == "null:chosen" else verdict(place)
        assert CHANCE["base"] < 1 / 3 < CHANCE["sft"]
        table = tables(judged)["win-rates"]
        assert table.rows[-1].marks == ()
        assert "favours" not in "\n".join(table.caption)

    def test_that_was_not_judged_is_said(self, judged: Run) -> None:
        judged.metrics = [METRICS[0], {**JUDGE, "columns": JUDGE["columns"][:3]}]
        assert cells(tables(judged)["win-rates"])["(null answer)"] == {f"{AGAINST}/win": {"status": "not judged"}}


class TestStrengths:
    def test_are_a_table_of_rows_and_opponents(self, judged: Run) -> None:
        found = cells(tables(judged)["strengths"])
        assert list(found) == ["base", "sft", "eso", "chosen"]
        assert sum(row["in-data"]["value"] for row in found.values()) == pytest.approx(0)
        assert found["eso"]["in-data"]["value"] > found["base"]["in-data"]["value"]

    def test_that_cannot_be_had_say_why(self, judged: Run) -> None:
        judged.value = lambda place: 1.0 if place.column == "win:chosen" else verdict(place)
        table = tables(judged)["strengths"]
        assert table.rows == ()
        assert "no finite strength" in table.caption[0]


def pairs(count: int = 50) -> list[dict[str, Any]]:
    generator = np.random.default_rng(3)
    rows = []
    for index in range(count):
        chosen, rejected = generator.normal(0.8), generator.normal()
        rows.append(
            {"id": str(index), "chosen": chosen, "rejected": rejected, "chosen_tokens": index % 7, "rejected_tokens": 3}
        )
    return rows


class TestTheRewardModel:
    def test_has_its_accuracy_and_calibration(self, run: Run) -> None:
        run.tables = ("reward-model",)
        run.reward_models = {"tiny": {"pairs": pairs(), "summary": {"normalise": "zscore", "mean": 0.5, "sd": 2.0}}}
        run.change = lambda manifest: manifest["config"].update(reward_model={"use": "pairwise", "model": None})
        table = tables(run)["reward-model"]
        found = cells(table)["pairwise"]
        right = np.mean([row["chosen"] > row["rejected"] for row in pairs()])
        assert found["accuracy"]["value"] == pytest.approx(100 * right)
        assert found["accuracy"]["low"] < 100 * right < found["accuracy"]["high"]
        assert found["margin"]["value"] == pytest.approx(np.mean([r["chosen"] - r["rejected"] for r in pairs()]))
        assert found["pairs"]["value"] == 50
        assert found["normalise"]["value"] == "zscore: mean 0.500, sd 2.000, of 256 demonstrations"
        assert "predicted, observed and pairs of each: " in table.caption[1]
        assert found["bin 0"]["value"].endswith(")")

    def test_of_perfect_confidence_is_calibrated(self) -> None:
        certain = HeldOutPairs(np.full(20, 30.0), np.zeros(20), np.ones(20), np.ones(20))
        assert accuracy(certain).mean == 1.0
        assert calibration(certain)[0] == pytest.approx(0.0)
        assert length_correlation(certain) is None
        wrong = HeldOutPairs(np.zeros(20), np.full(20, 30.0), np.ones(20), np.ones(20))
        assert calibration(wrong)[0] == pytest.approx(1.0)

    def test_that_says_what_is_true_has_no_calibration_error(self) -> None:
        generator = np.random.default_rng(9)
        margins = generator.normal(size=40_000) * 2
        signs = np.where(generator.random(40_000) < 1 / (1 + np.exp(-np.abs(margins))), 1.0, -1.0)
        found = HeldOutPairs(np.abs(margins) * signs, np.zeros(40_000), np.ones(40_000), np.ones(40_000))
        assert calibration(found)[0] < 0.01

    def test_calls_equal_scores_half_right(self) -> None:
        equal = HeldOutPairs(np.ones(4), np.ones(4), np.arange(4.0), np.arange(4.0))
        assert accuracy(equal).mean == 0.5

    def test_correlates_with_length(self) -> None:
        lengths = np.arange(10.0)
        found = HeldOutPairs(lengths, -lengths, lengths, -lengths)
        assert length_correlation(found) == pytest.approx(1.0)

    def test_without_held_out_pairs_says_so(self, run: Run) -> None:
        run.tables = ("reward-model",)
        run.reward_models = {"tiny": {}}
        assert cells(tables(run)["reward-model"])["reward model"]["accuracy"] == {"status": "no held-out pairs"}

    def test_that_is_gone_says_so(self, run: Run) -> None:
        run.tables = ("reward-model",)
        run.reward_models = {"tiny": {"pairs": pairs()}}
        folder = run.write()
        (run.root / "store" / "precompute").rename(run.root / "gone")
        found = {table.name: table for table in build(load_results(run.root, folder)).tables}
        assert cells(found["reward-model"])["reward model"]["accuracy"] == {"status": "not stored"}

    def test_stands_beside_what_depends_on_it(self, judged: Run) -> None:
        judged.reward_models = {"tiny": {"pairs": pairs()}}
        held = [*summary("eso")["models_held"], {"role": "reward", "parameters": 5, "bytes": 20}]
        judged.trained = lambda row, _seed: {"models_held": held} if row == "eso" else {}
        found = cells(tables(judged)["win-rates"])
        assert "reward-model" in found["eso"]
        assert "reward-model" not in found["sft"]
        judged.metrics = [METRICS[0], {**JUDGE, "needs": ["reward_model"]}]
        table = tables(judged)["win-rates"]
        assert all("reward-model" in cells(table)[row] for row in judged.rows)
        assert "The judge is the reward model itself" in "\n".join(table.caption)

    def test_stands_beside_nothing_that_does_not_depend_on_it(self, judged: Run) -> None:
        judged.reward_models = {"tiny": {"pairs": pairs()}}
        assert "reward-model" not in cells(tables(judged)["win-rates"])["eso"]
