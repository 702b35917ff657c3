"""The tables say what was measured, how sure it is, and what is missing."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from report.synthetic import GREEDY, METRICS, ROUGE_L, T1, Place, Run, plain_value, step

from harness.errors import InputError
from harness.report.captions import data_set, settings_text
from harness.report.differences import difference
from harness.report.export import json_value
from harness.report.results import load_results
from harness.report.table import shown
from harness.report.write import build
from harness.spec.results.run import RowsOrigin, RunData
from harness.spec.results.train import PHASES

if TYPE_CHECKING:
    from pathlib import Path

    from harness.report.statistics import Array
    from harness.report.table import Heading, Table, TableCell
    from harness.report.written import Leaderboard

ALL = ("scores", "cross-dataset", "fluency", "decoding", "timing", "signal")
SCORE = "in-data/rouge.rougeL"
DELTA = f"{SCORE} Δ"


def document(run: Run) -> Leaderboard:
    return build(load_results(run.root, run.write()))


def table(run: Run, name: str = "scores") -> Table:
    return next(table for table in document(run).tables if table.name == name)


def cells(run: Run, name: str = "scores") -> dict[str, dict[str, Any]]:
    """Return one table's cells by row and column, as programs read them."""
    found = json_value({}, [table(run, name)])["tables"][name]
    return {row["label"]: row["cells"] for row in found["rows"]}


def said(run: Run, name: str = "scores") -> str:
    return "\n".join(table(run, name).caption)


@pytest.mark.parametrize(
    ("origin", "said_of_it"), [("file", "tales/test (words 9)"), ("hub/x", "tales/test (words 9, revision abc)")]
)
def test_a_commit_of_the_upstream_is_not_said_of_files(origin: str, said_of_it: str) -> None:
    described = RunData(
        label="tales",
        dataset="tales",
        split="test",
        role="in-data",
        generated=False,
        licence="CC0-1.0",
        fingerprint="f",
        provenance=RowsOrigin(origin=origin),
    )
    assert data_set(described, {"words": 9, "revision": "abc", "variant": None}) == said_of_it


class TestNumbers:
    def matrix(self, row: str) -> Array:
        """Return a row's scores (S, E)."""
        places = [[Place(row, "tiny", s, "in-data", "t1", "rougeL", i) for i in range(12)] for s in (0, 1, 2)]
        return np.array([[plain_value(place) for place in of_seed] for of_seed in places], dtype=np.float64)

    def test_are_means_with_their_own_interval_for_programs(self, run: Run) -> None:
        found = cells(run)
        for row in run.rows:
            values = self.matrix(row)
            expected = difference(values)
            cell = found[row][SCORE]
            assert cell["value"] == pytest.approx(100 * values.mean())
            assert (cell["low"], cell["high"]) == pytest.approx((100 * expected.low, 100 * expected.high))
            assert cell["seeds"] == 3

    def test_have_the_difference_from_the_start_beside_them(self, run: Run) -> None:
        found = cells(run)
        expected = difference(self.matrix("eso") - self.matrix("sft"))  # two trained rows borrow nothing
        cell = found["eso"][DELTA]
        assert (cell["value"], cell["low"], cell["high"]) == pytest.approx(
            (100 * expected.estimate, 100 * expected.low, 100 * expected.high)
        )
        assert cell["claimed"] is True
        assert cell["p"] < 0.05
        assert cell["by_seed"] == pytest.approx([100 * value for value in expected.per_seed])
        assert found["sft"][DELTA] == {"status": "baseline"}
        assert found["base"][DELTA] == {}  # an untrained row is part of no family

    def test_and_their_own_interval_stays_out_of_sight(self, run: Run) -> None:
        headings = {heading.name: heading for heading in table(run).headings}
        row = next(row for row in table(run).rows if row.label == "eso")
        assert "±" not in shown(row.cells[SCORE], headings[SCORE])
        assert re.fullmatch(r"\+3\.\d\d \[\+2\.\d\d, \+3\.\d\d\]", shown(row.cells[DELTA], headings[DELTA]))
        assert headings[DELTA].label == "Δ sft"

    def test_stay_within_what_is_possible(self, run: Run) -> None:
        run.metrics = [{**METRICS[0], "columns": [{**ROUGE_L, "range": [0.0, 1.0]}]}]
        run.value = lambda place: float(place.example < 2 * place.seed and place.row == "eso")
        found = cells(run)["eso"]
        assert found[SCORE]["low"] == 0.0
        assert found[DELTA]["low"] >= -100
        run.metrics = METRICS
        assert cells(run)["eso"][SCORE]["low"] < 0  # of what nothing is known

    def test_stand_beside_what_they_are_made_of(self, run: Run) -> None:
        run.summary = {"tokens": 96, "truncated": 6, "empty": 3}
        found = cells(run)["eso"]
        assert found["in-data/n"] == {"value": 12.0}
        assert found["in-data/length"] == {"value": 4.0}
        assert found["in-data/truncated"] == {"value": 25.0}
        assert found["in-data/empty"] == {"value": 12.5}
        assert found["seeds"] == {"value": 3.0}

    def test_without_a_value_are_counted_and_not_0(self, run: Run) -> None:
        run.value = lambda place: None if place.row == "eso" and place.example < 4 else 0.5
        cell = cells(run)["eso"][SCORE]
        assert cell["value"] == 50.0
        assert cell["missing"] == 3 * 2 * 4
        assert (
            "Answers without a value (not scored as 0), over all seeds and draws, at most: in-data ROUGE-L 24."
            in said(run)
        )

    def test_that_are_all_missing_have_no_value(self, run: Run) -> None:
        run.value = lambda place: None if place.row == "eso" else 0.5
        assert cells(run)["eso"][SCORE] == {"status": "no value", "missing": 72}
        assert cells(run)["eso"][DELTA] == {}
        assert cells(run)["sft"][SCORE]["value"] == 50.0

    def test_a_corpus_number_that_one_row_has_keeps_its_column(self, run: Run) -> None:
        numbers = [{**ROUGE_L, "name": name, "label": name} for name in ("early", "late")]
        run.metrics = [{**METRICS[0], "corpus": numbers}]
        run.corpus = lambda place: 0.5 if place.column == "early" or place.row == "eso" else None
        assert "in-data/corpus rouge.late" in cells(run, "scores")["eso"]  # one row has it
        assert cells(run, "scores")["sft"]["in-data/corpus rouge.late"]["status"] == "no value"

    def test_a_corpus_number_of_nobody_leaves_no_column(self, run: Run) -> None:
        numbers = [{**ROUGE_L, "name": name, "label": name} for name in ("early", "late")]
        run.metrics = [{**METRICS[0], "corpus": numbers}]
        run.corpus = lambda place: 0.5 if place.column == "early" else None
        found = cells(run, "scores")["eso"]
        assert "in-data/corpus rouge.early" in found
        assert "in-data/corpus rouge.late" not in found

    def test_of_whole_seeds_enter_no_comparison(self, run: Run) -> None:
        run.metrics = [{**METRICS[0], "corpus": [{**ROUGE_L, "name": "all", "label": "BLEU"}]}]
        run.corpus = lambda place: None if (place.row, place.seed) == ("sft", 1) else 0.1 * place.seed
        found = cells(run)
        cell = found["eso"]["in-data/corpus rouge.all"]
        assert cell["value"] == pytest.approx(10)
        assert cell["high"] - cell["value"] == pytest.approx(4.303 * 10 / 3**0.5, rel=1e-3)
        assert "letters" not in cell
        assert "low" not in found["sft"]["in-data/corpus rouge.all"]
        assert "part of no comparison: BLEU; their ± is a t interval over seeds" in said(run)


class TestClaims:
    def test_need_three_seeds(self, run: Run) -> None:
        run.seeds = (0, 1)
        assert all("letters" not in row[SCORE] for row in cells(run).values())
        for name in ("summary", "scores"):
            assert "No claim: with 2 seeds no difference between rows is called one" in said(run, name)
        assert "the order is not a claim" in said(run, "summary")
        assert "inimum detectable effect" not in said(run)

    def test_of_rows_without_a_prompt_in_common_speak_of_no_seeds(self, run: Run) -> None:
        run.value = lambda place: 0.5 if (place.row == "eso") == (place.example % 2 == 0) else None
        assert "No claim: sft or every other row has no values to compare." in said(run)

    def test_of_one_seed_say_what_the_interval_leaves_out(self, run: Run) -> None:
        run.seeds = (7,)
        assert "No claim: with 1 seed no difference" in said(run)
        assert "There is one seed: how much another training run would differ is not in it." in said(run)
        assert cells(run)["eso"][SCORE]["low"] < cells(run)["eso"][SCORE]["value"]

    def test_of_two_seeds_show_the_difference_of_each(self, run: Run) -> None:
        run.seeds = (0, 1)
        headings = {heading.name: heading for heading in table(run).headings}
        row = next(row for row in table(run).rows if row.label == "eso")
        assert re.fullmatch(r"\+\d\.\d\d \(\+\d\.\d\d, \+\d\.\d\d\)", shown(row.cells[DELTA], headings[DELTA]))
        assert "Δ sft: the row minus sft, and in parentheses that of each seed." in said(run)
        found = cells(run)["eso"]
        assert "low" not in found[DELTA]
        assert "low" not in found[SCORE]
        assert found[DELTA]["claimed"] is False
        assert "With two seeds a row has no interval of its own" in said(run)

    def test_of_one_seed_are_of_these_runs(self, run: Run) -> None:
        run.seeds = (3,)
        headings = {heading.name: heading for heading in table(run).headings}
        row = next(row for row in table(run).rows if row.label == "eso")
        assert shown(row.cells[DELTA], headings[DELTA]).endswith("] these runs")
        assert "a 95 % confidence interval for these runs and new prompts" in said(run)
        assert cells(run)["eso"][DELTA]["claimed"] is False

    def test_are_differences_from_the_start_with_three(self, run: Run) -> None:
        assert cells(run)["eso"][DELTA]["claimed"] is True
        assert all("letters" not in row[SCORE] for row in cells(run).values())
        caption = said(run)
        assert "A difference is statistically significant (claimed) exactly where its interval excludes 0" in caption
        assert "what is not claimed is not told apart, which does not make it equal" in caption
        assert "Nothing corrects over columns" in caption
        assert (
            "Minimum detectable effect (the true difference from sft that a repetition of the run, with variances as "
            "measured, would find four times in five): " in caption
        )

    def test_have_the_baseline_that_the_file_names(self, run: Run) -> None:
        run.rows = ("base", "sft", "eso", "other")
        run.change = lambda manifest: manifest["config"].update(compare={"baseline": "eso", "pairs": "baseline"})
        found = cells(run)
        assert found["eso"][DELTA] == {"status": "baseline"}
        assert found["sft"][DELTA]["value"] < 0
        assert "Δ eso: the row minus eso" in said(run)

    def test_of_all_pairs_have_letters_too(self, run: Run) -> None:
        run.rows = ("base", "sft", "eso", "other")
        run.change = lambda manifest: manifest["config"].update(compare={"baseline": None, "pairs": "all"})
        found = cells(run)
        assert {name: row[SCORE].get("letters") for name, row in found.items()} == {
            "base": None, "sft": "b", "eso": "a", "other": "c",
        }  # fmt: skip
        assert found["eso"][DELTA]["claimed"] is True
        assert "Rows that share a letter are not told apart" in said(run)
        assert "those that share a letter are not told apart" in said(run, "summary")

    def test_are_wider_for_all_pairs(self, run: Run) -> None:
        run.rows = ("sft", "eso", "other")
        few = cells(run)["eso"][DELTA]
        run.change = lambda manifest: manifest["config"].update(compare={"baseline": None, "pairs": "all"})
        many = cells(run)["eso"][DELTA]
        assert many["high"] - many["low"] > few["high"] - few["low"]
        assert many["value"] == few["value"]

    def test_order_letters_where_less_is_better(self, run: Run) -> None:
        run.change = lambda manifest: manifest["config"].update(compare={"baseline": None, "pairs": "all"})
        run.metrics = [{**METRICS[0], "columns": [{**ROUGE_L, "higher_is_better": False}]}]
        letters = {name: row[SCORE].get("letters") for name, row in cells(run).items()}
        assert letters == {"base": None, "sft": "a", "eso": "b"}
        assert [row.label for row in table(run, "summary").rows] == ["base", "sft", "eso"]

    def test_of_equal_rows_say_so(self, run: Run) -> None:
        run.value = lambda place: 0.25 + 0.01 * place.example
        cell = cells(run)["eso"][DELTA]
        assert (cell["value"], cell["note"], cell["claimed"]) == (0.0, "identical", False)
        assert "No claim: the differences have no interval (identical)." in said(run)

    def test_stay_within_a_model(self, run: Run) -> None:
        run.models = ("tiny", "small")
        found = [(row.model, row.label) for row in table(run).rows if row.cells[DELTA].difference is not None]
        assert found == [("tiny", "eso"), ("small", "eso")]
        assert "Rows are compared with rows of the same model." in said(run)

    def test_of_one_row_alone_are_none(self, run: Run) -> None:
        run.rows = ("sft",)
        found = cells(run)["sft"]
        assert "letters" not in found[SCORE]
        assert DELTA not in found


class TestGroups:
    def grouped(self, run: Run, count: int) -> None:
        run.examples = 60
        run.prompts = lambda index: {"fields": {"prompt": f"p{index}"}, "columns": {"template": index % count}}

        def named(manifest: dict[str, Any]) -> None:
            manifest["config"]["evaluate"][0]["group"] = "template"

        run.change = named

    def test_widen_the_interval_where_prompts_vary_together(self, run: Run) -> None:
        self.grouped(run, 12)

        def value(place: Place) -> float:
            together = 0.05 * ((place.example % 12) * 7 % 12) / 12 if place.row == "eso" else 0.0
            return (plain_value(place) or 0.0) + together

        run.value = value
        grouped = cells(run)["eso"][DELTA]
        run.change = lambda _: None
        plain = cells(run)["eso"][DELTA]
        assert grouped["value"] == plain["value"]
        assert grouped["high"] - grouped["low"] > 1.5 * (plain["high"] - plain["low"])

    def test_are_named_in_the_caption(self, run: Run) -> None:
        self.grouped(run, 12)
        assert "in-data: prompts with the same template belong together, and are counted as groups." in said(run)

    def test_that_are_few_support_no_claim(self, run: Run) -> None:
        self.grouped(run, 9)
        cell = cells(run)["eso"][DELTA]
        assert (cell["note"], cell["claimed"]) == ("few groups", False)
        assert "low" not in cell
        assert "No claim: there are fewer than 10 groups of prompts, or a few hold nearly all prompts." in said(run)

    def test_that_are_not_stored_any_more_support_none_either(self, run: Run) -> None:
        run.change = lambda manifest: manifest["config"]["evaluate"][0].update(group="template")
        assert cells(run)["eso"][DELTA]["claimed"] is False


class TestWhatFailed:
    def test_a_row_without_any_result_is_marked_everywhere(self, run: Run) -> None:
        run.tables = ALL
        run.datasets = {"in-data": "in-data", "shifted": "cross"}
        run.decodings = {"t1": T1, "greedy": GREEDY}
        run.unfinished = {("eso", "train", str(seed)) for seed in run.seeds}
        for name in ("summary", "scores", "cross-dataset", "decoding", "timing", "signal"):
            statuses = {cell.get("status") for column, cell in cells(run, name)["eso"].items() if column != "seeds"}
            assert statuses == {"failed"}, name
        row = next(row for row in table(run).rows if row.label == "eso")
        assert row.marks == ("failed for seed 0, 1, 2",)
        assert [row.label for row in table(run, "summary").rows] == ["sft", "base", "eso"]
        assert DELTA not in cells(run)["sft"]

    def test_a_seed_that_failed_is_named_and_the_rest_shown(self, run: Run) -> None:
        run.seeds = (0, 1, 2, 3)
        run.unfinished = {("eso", "train", "2")}
        assert next(row for row in table(run).rows if row.label == "eso").marks == ("failed for seed 2",)
        found = cells(run)
        assert found["eso"][SCORE]["seeds"] == 3
        assert found["eso"]["seeds"] == {"value": 3.0}
        assert found["eso"][DELTA]["seeds"] == 3
        assert found["eso"][DELTA]["claimed"] is True
        row = next(row for row in table(run).rows if row.label == "eso")
        heading = next(heading for heading in table(run).headings if heading.name == DELTA)
        assert shown(row.cells[DELTA], heading).endswith("(3 of 4 seeds)")

    def test_a_row_with_too_few_seeds_takes_no_claim_from_others(self, run: Run) -> None:
        run.rows = ("base", "sft", "eso", "other")
        run.unfinished = {("eso", "generate", "2")}
        found = cells(run)
        assert (found["eso"][DELTA]["note"], found["eso"][DELTA]["claimed"]) == ("two seeds", False)
        assert "A row with values for fewer than 3 seeds is not part of any claim" in said(run)
        assert found["other"][DELTA]["claimed"] is True

    def test_a_failed_metric_leaves_the_others(self, run: Run) -> None:
        run.metrics = [*METRICS, {**METRICS[0], "use": "other"}]
        run.unfinished = {("eso", "other", str(seed)) for seed in run.seeds}
        found = cells(run)["eso"]
        assert found["in-data/other.rougeL"] == {"status": "failed"}
        assert found[DELTA]["claimed"] is True

    def test_what_failed_first_is_said_at_the_top(self, run: Run) -> None:
        run.manifest = {
            "failures": [
                {"stage": "tiny/eso/seed 0", "message": "the loss was not finite", "because_of": None},
                {"stage": "tiny/eso/seed 0/in-data", "message": "the loss was not finite", "because_of": "tiny/eso"},
            ]
        }
        assert document(run).notes[1:] == ["Failed: tiny/eso/seed 0: the loss was not finite"]


class TestMarks:
    def test_a_method_that_never_moved_a_weight_is_inactive(self, run: Run) -> None:
        run.trained = lambda row, _seed: {"active": {"sft": True, "eso": False}} if row == "eso" else {}
        run.tables = ALL
        for name in ("summary", "scores", "decoding", "timing", "signal"):
            marks = {row.label: row.marks for row in table(run, name).rows}
            assert marks.pop("eso") == ("inactive",)
            assert set(marks.values()) == {()}

    def test_and_in_some_seeds_only_in_those(self, run: Run) -> None:
        run.trained = lambda row, seed: {"active": {"sft": True, "eso": seed == 1}} if row == "eso" else {}
        assert {row.label: row.marks for row in table(run).rows}["eso"] == ("inactive for seed 0, 2",)

    def test_a_method_without_a_term_of_its_own_is_judged_by_all(self, run: Run) -> None:
        run.trained = lambda row, _seed: {"active": {"sft": True}} if row == "eso" else {}
        assert table(run).rows[2].marks == ()


class TestSharpening:
    WARM = "Above sft at temperature 1 alone"

    def run_with(self, run: Run, greedy: float) -> Run:
        run.decodings = {"t1": T1, "greedy": GREEDY}
        run.tables = ("scores", "decoding")

        def value(place: Place) -> float | None:
            if place.decoding == "greedy" and place.row == "eso":
                return plain_value(replace(place, row="sft")) + greedy  # type: ignore[operator]  # it is a number
            return plain_value(place)

        run.value = value
        return run

    @pytest.mark.parametrize("greedy", [0.0, -0.1])
    def test_is_named_where_a_row_wins_at_temperature_1_alone(self, run: Run, greedy: float) -> None:
        for name in ("decoding", "summary"):
            assert f"{self.WARM}: eso. A sharper distribution" in said(self.run_with(run, greedy), name)

    def test_is_not_named_where_it_wins_elsewhere_too(self, run: Run) -> None:
        assert self.WARM not in said(self.run_with(run, 0.05), "decoding")

    def test_is_told_from_a_claim_with_few_seeds(self, run: Run) -> None:
        run.seeds = (0, 1)
        assert f"{self.WARM}, by their means and without a claim: eso." in said(self.run_with(run, -0.1), "decoding")

    def test_is_not_named_where_there_is_no_other_decoding(self, run: Run) -> None:
        run.tables = ("decoding",)
        assert self.WARM not in said(run, "decoding")

    def test_follows_the_direction_of_the_metric(self, run: Run) -> None:
        run.metrics = [{**METRICS[0], "columns": [{**ROUGE_L, "higher_is_better": False}]}]
        assert self.WARM not in said(self.run_with(run, 0.0), "decoding")


class TestTheOtherTables:
    def test_decoding_has_every_setting_with_its_entropy(self, run: Run) -> None:
        run.decodings = {"t1": T1, "k5": {**T1, "top_k": 5, "draws": 1}, "greedy": GREEDY}
        run.tables = ("decoding",)
        found = cells(run, "decoding")["sft"]
        assert {name.partition("/")[2] for name in found} == {
            f"{decoding}/{part}" for decoding in run.decodings for part in ("rouge.rougeL", "rouge.rougeL Δ", "entropy")
        }
        assert found["in-data/k5/entropy"] == {"value": 1.5}
        assert "k5: temperature 1, top-k 5, 1 answer a prompt, at most 24 tokens." in said(run, "decoding")
        assert "greedy: the most probable token each time, at most 24 tokens." in said(run, "decoding")

    def test_timing_splits_a_step(self, run: Run) -> None:
        run.tables = ("timing",)
        lap = {"median": 0.4, "q1": 0.2, "q3": 0.6}
        run.trained = lambda row, seed: (
            {
                "step_seconds": {
                    **dict.fromkeys(PHASES, lap),
                    "sampling": {**lap, "median": seed / 10},
                    "total": lap,
                },
                "concurrent": True,
            }
            if row == "eso"
            else {}
        )
        found = cells(run, "timing")
        assert list(found) == ["eso", "sft"]
        assert found["eso"]["total"] == {"value": pytest.approx(0.4)}
        assert found["eso"]["sampling"] == {"value": pytest.approx(0.1)}
        assert found["eso"]["quartiles"] == {"value": "0.200–0.600"}
        assert found["eso"]["rate"] == {"value": 400.0}
        assert found["eso"]["memory"] == {"value": 500.0}
        assert found["eso"]["models"] == {"value": "policy 1.5M"}
        assert found["eso"]["device"] == {"value": "cpu, 1 thread"}
        assert "Timed while other stages ran on the same machine: eso. Compare rows" in said(run, "timing")
        assert "Tokens sampled a second in evaluation: base 30, sft 30, eso 30." in said(run, "timing")

    def test_timing_shows_every_device_of_a_row(self, run: Run) -> None:
        run.trained = lambda _row, seed: {"device": "gpu", "ranks": 2} if seed == 2 else {}
        run.tables = ("timing",)
        assert cells(run, "timing")["eso"]["device"] == {"value": "cpu, 1 thread; gpu, 1 thread, 2 processes"}
        assert "Timed while" not in said(run, "timing")

    def test_the_signal_is_shown_by_every_run(self, run: Run) -> None:
        second = {**step("eso"), "grad_norms": {}, "kl": None}
        second["reward"] = {"mean": 0.5, "sd": 0.3, "by_candidate": [0.6, 0.2], "missing": 1}
        run.log = lambda row, _seed: [step(row)] if row == "sft" else [step("eso"), second]
        found = cells(run, "signal")
        assert found["sft"]["method_norm"] == {}
        assert found["sft"]["supervised_norm"] == {"value": 2.0}
        assert found["eso"]["method_norm"] == {"value": 0.5}
        assert found["eso"]["reward"] == {"value": pytest.approx(0.4)}
        assert found["eso"]["by_candidate"] == {"value": "0.500 / 0.200"}
        assert found["eso"]["without_spread"] == {"value": 25.0}
        assert found["eso"]["truncated"] == {"value": 25.0}
        assert found["eso"]["kl"] == {"value": 0.25}

    def test_one_candidate_is_no_group(self, run: Run) -> None:
        alone = step("eso")
        alone["reward"] = {"mean": 0.5, "sd": 0.0, "by_candidate": [0.5], "missing": 0}
        alone["groups"] = {"count": 4, "without_spread": 4}
        run.log = lambda row, _seed: [step(row)] if row == "sft" else [alone, alone]
        found = cells(run, "signal")["eso"]
        assert (found["without_spread"], found["reward_sd"], found["by_candidate"]) == ({}, {}, {"value": "0.500"})

    def test_a_step_without_any_reward(self, run: Run) -> None:
        nothing = {**step("eso"), "reward": {"missing": 4}}
        run.log = lambda row, _seed: [step(row)] if row == "sft" else [nothing]
        assert cells(run, "signal")["eso"]["by_candidate"] == {}

    def test_only_what_was_asked_for_is_there(self, run: Run) -> None:
        run.tables = ("timing",)
        assert [table.name for table in document(run).tables] == ["summary", "timing", "signal", "settings"]
        run.tables = ALL
        assert [table.name for table in document(run).tables] == [
            "summary",
            "scores",
            "decoding",
            "timing",
            "signal",
            "settings",
        ]
        run.datasets = {"in-data": "in-data", "shifted": "cross"}
        assert "cross-dataset" in [table.name for table in document(run).tables]

    def test_fluency_says_under_which_model_perplexity_is(self, run: Run) -> None:
        column = {**ROUGE_L, "name": "perplexity", "label": "perplexity", "scale": 1.0, "higher_is_better": False}
        fluent = {"use": "perplexity", "role": "fluency", "headline": "perplexity", "columns": [column]}
        run.metrics = [*METRICS, {**METRICS[0], **fluent}]
        run.tables = ALL
        assert "under one fixed model, the supervised one of seed 0" in said(run, "fluency")
        run.rows = ("base",)
        text = said(run, "fluency")
        assert "under one fixed model, the untrained one, as nothing was trained here: low means probable to it" in text
        assert "supervised" not in text
        run.manifest = {"scorer": "gpt2"}
        assert "Perplexity is measured under one fixed model: gpt2." in said(run, "fluency")

    def test_cut_and_dropped_prompts_are_counted(self, run: Run) -> None:
        run.summary = {"prompts_cut": 3, "prompts_dropped": 2}
        assert "in-data: 3 of 12 prompts were cut from the left of their context to fit." in said(run)
        assert "in-data: 2 prompts did not fit and were left out, for all rows." in said(run)

    def test_published_figures_stand_apart(self, run: Run) -> None:
        plain = document(run).tables
        run.manifest = {"published": "eso-coling-2025"}
        *same, published = document(run).tables
        assert same == plain
        assert published.name == "published"
        assert {row.marks for row in published.rows} == {("published",)}
        assert all(cell.interval is None and not cell.letters for row in published.rows for cell in row.cells.values())
        printed = {row.label: row.cells["printed"].value for row in published.rows}
        assert printed == {
            "ESO, Table 2, ROUGE-1": "34.7", "ESO, Table 2, ROUGE-2": "12.7", "ESO, Table 2, GLEU": "42.8",
        }  # fmt: skip
        assert "cannot exceed about 20, so 42.8 must be another quantity" in " ".join(published.caption)

    @pytest.mark.parametrize(
        ("benchmark", "printed"),
        [
            ("hh", {"Figure 2": ["40.7", "40.2"], "section 5.7": ["63"]}),
            ("timing", {"section 5.10": ["1.6", "2.6", "3.2", "4.5"]}),
            ("ablation-k", {"Table 4": ["29.2", "30.58"]}),
            ("ablation-coef", {"Table 5": ["29.2", "30.2", "30.27", "29.57"]}),
            ("seeds", {"five seeds": ["26.08", "29.54"]}),
            ("small", {}),
        ],
    )
    def test_published_figures_are_those_of_the_benchmark(
        self, run: Run, benchmark: str, printed: dict[str, list[str]]
    ) -> None:
        run.manifest = {"published": "eso-coling-2025", "benchmark": benchmark}
        table = document(run).tables[-1]
        found: dict[str, list[str]] = {}
        for row in table.rows:
            place = next((place for place in (*printed, "Table 2") if f", {place}" in row.label), row.label)
            found.setdefault(place, []).append(str(row.cells["printed"].value))
        assert found.pop("Table 2") == ["34.7", "12.7", "42.8"]  # its setting is not known, so it stands everywhere
        assert found == printed
        caption = " ".join(table.caption)
        assert "Tables 1 and 3, and all of Table 2 but one row, are absent" in caption
        assert ("the bar for DPO" in caption) == (benchmark == "hh")
        assert ("k = 6 is absent" in caption) == (benchmark == "ablation-k")
        assert "30.32" not in str(found)

    def test_published_figures_have_beside_them_what_was_measured(self, run: Run) -> None:
        run.rows = ("sft", "eso[a]", "eso[b]", "eso[c]")
        coefs = {"eso[a]": 0.05, "eso[b]": 0.5, "eso[c]": 0.7}
        run.options = lambda row: {"coef": coefs[row]} if row in coefs else {}
        run.manifest = {"published": "eso-coling-2025", "benchmark": "ablation-coef"}
        found = cells(run, "published")
        measured = found["ESO, Table 5: XSum, OPT-350M, coefficient 0.50, score"]["measured"]["value"]
        cell, heading = self.cell(run, "eso[b]")
        assert measured == f"ROUGE-L {shown(cell, replace(heading, bare=False))}"
        assert "measured" not in found["ESO, Table 5: XSum, OPT-350M, coefficient 0.10, score"]

    def cell(self, run: Run, row: str) -> tuple[TableCell, Heading]:
        found = table(run)
        heading = next(heading for heading in found.headings if heading.name == SCORE)
        plain = next(one.cells[SCORE] for one in found.rows if one.label == row)
        return replace(plain, letters=""), heading

    def test_unknown_published_figures_are_an_error(self, run: Run) -> None:
        run.manifest = {"published": "eso-coling-2024"}
        with pytest.raises(InputError, match=r"eso-coling-2024.*did you mean 'eso-coling-2025'"):
            document(run)


class TestWhatWasGiven:
    def test_names_the_models_held_with_parameters_and_bytes(self, run: Run) -> None:
        held = [{"role": role, "parameters": 2_000_000, "bytes": 8_000_000} for role in ("policy", "reward", "critic")]
        run.trained = lambda row, _seed: {"models_held": held} if row == "eso" else {}
        found = cells(run, "settings")
        assert found["eso"]["models"]["value"] == "policy 2.0M (8 MB), reward 2.0M (8 MB), critic 2.0M (8 MB)"
        assert (found["eso"]["held"]["value"], found["eso"]["parameters"]["value"]) == (3, 6_000_000)
        assert found["sft"]["models"]["value"] == "policy 1.5M (6 MB)"
        assert "models" not in found["base"]

    def test_names_trials_and_what_they_chose(self, run: Run) -> None:
        tuned = {"trials": 3, "chosen": {"coef": 0.2}, "tuned_on": "tales/validation", "recipe_set": {"epochs": 3}}
        run.described = lambda row: tuned if row == "eso" else {}
        found = cells(run, "settings")
        assert found["eso"]["trials"]["value"] == 3
        assert found["eso"]["chosen"]["value"] == "coef 0.2"
        assert found["eso"]["tuned_on"]["value"] == "tales/validation"
        assert found["eso"]["recipe"]["value"] == "epochs 3"
        assert found["sft"]["trials"]["value"] == 1
        assert "chosen" not in found["sft"]

    def test_leaves_out_what_no_row_has(self, run: Run) -> None:
        names = [heading.name for heading in table(run, "settings").headings]
        assert names == ["trials", "options", "models", "held", "parameters", "bytes"]


class TestWhatWasRun:
    def test_names_options_data_metrics_and_machine(self, run: Run) -> None:
        ending = document(run).ending
        assert cells(run, "settings")["eso"]["options"]["value"] == "coef 0.2"
        assert "Every method was given one configuration." in ending
        assert "in-data: file, rows with sha256 2222222222222222." in ending
        assert "rouge: rouge|v1" in ending
        made = "Made with threads 1, device cpu, ranks 1, python 3.11, torch 2.13.0."
        assert document(run).setup["Versions"] == made

    def test_says_which_way_the_models_took(self, run: Run) -> None:
        run.summary = {"way": "general way: padded rows, copied caches; it has an encoder"}
        (line,) = [line for line in document(run).ending if "way" in line]
        assert line.endswith(", general way: padded rows, copied caches; it has an encoder.")

    def test_says_that_the_best_of_several_is_flattered(self, run: Run) -> None:
        run.rows = ("base", "sft", "eso[coef=0.1]", "eso[coef=0.2]")
        assert any("Configurations tried: eso 2, every other method 1." in line for line in document(run).ending)

    def test_says_what_was_not_made_alike(self, run: Run) -> None:
        run.environment = lambda row, _seed: {"threads": 1, "libraries": {"torch": "2.12" if row == "eso" else "2.13"}}
        assert document(run).setup["Versions"] == (
            "Made with threads 1. Not all stages were made alike: torch 2.13 and 2.12. "
            "A part of any difference may be this one's."
        )

    def test_says_how_many_training_rows_were_used(self, run: Run) -> None:
        run.models = ("tiny", "small")
        run.trained = lambda _row, _seed: {"rows": {"used": 31, "dropped_overlong": 9}}
        note = document(run).notes[0]
        assert (
            "40 rows (of which 31 for tiny, 31 for small used: the others are longer than the recipe's limits)" in note
        )

    def test_says_that_data_are_generated(self, run: Run) -> None:
        folder = run.write()
        results = load_results(run.root, folder)
        data = tuple(part.model_copy(update={"generated": True}) for part in results.manifest.datasets)
        shown = build(replace(results, manifest=results.manifest.model_copy(update={"datasets": data})))
        assert shown.notes[1].startswith("The data (tales) are generated by code")
        assert "in-data: tales/test, 40 rows, generated by code." in shown.tables[1].caption

    def test_names_the_folder_of_a_model_but_not_where_it_lies(self, run: Run) -> None:
        results = load_results(run.root, run.write())
        sources = {"tiny": "/home/somebody/models/gpt2-7m/"}
        config = results.manifest.config.model_copy(update={"sources": sources})
        shown = build(replace(results, manifest=results.manifest.model_copy(update={"config": config})))
        assert shown.notes[0].startswith("tiny (gpt2-7m); trained on tales/train, 40 rows; seeds 0, 1, 2.")


@pytest.mark.parametrize("seeds", [(0, 1, 2), (2, 0, 1)])
@pytest.mark.parametrize("rows", [("base", "sft", "eso"), ("eso", "base", "sft")])
def test_the_order_of_rows_and_seeds_changes_nothing_but_the_order(
    run: Run, seeds: tuple[int, ...], rows: tuple[str, ...], tmp_path: Path
) -> None:
    run.tables = ALL
    expected = {table.name: table for table in document(run).tables}
    other = replace(run, root=tmp_path, seeds=seeds, rows=rows)
    for found in document(other).tables:
        plain = json_value({}, [expected[found.name]])["tables"][found.name]
        turned = json_value({}, [found])["tables"][found.name]
        by_label = {row["label"]: row for row in turned["rows"]}
        for row in plain["rows"]:
            for name, cell in row["cells"].items():
                again = by_label[row["label"]]["cells"][name]
                assert again.get("letters") == cell.get("letters")
                assert again.get("value") == (
                    pytest.approx(cell["value"]) if isinstance(cell.get("value"), float) else cell.get("value")
                )
                if "low" in cell:  # seeds fall on other replicates
                    width = cell["high"] - cell["low"]
                    assert again["high"] - again["low"] == pytest.approx(width, rel=0.1)
        assert sorted(by_label) == sorted(row["label"] for row in plain["rows"])


def test_what_was_cut_for_a_model_that_reads_is_said(run: Run) -> None:
    run.cut = lambda row, seed: {"texts": 24, "cut": 5 if (row, seed) == ("eso", 1) else 2, "prompts_cut": 0}
    text = "to fit in the context of the model that reads them, at most 5 of 24 texts were cut at the end, in any row"
    assert f"rouge on in-data: {text} and seed." in said(run)
    assert "cut on the left" not in said(run)


def test_settings_within_settings_read_as_those_around_them() -> None:
    settings = {"id": "a/b", "columns": {"prompt": "question", "context": None}, "compat": {"x": None}, "kind": None}
    assert settings_text(settings) == "id a/b, columns (prompt question)"


class TestAMetricOfSeveralDraws:
    """pass@k has no value of one answer: it is shown under the first decoding that draws enough."""

    def run(self, run: Run) -> Run:
        column = {**ROUGE_L, "name": "pass4", "label": "pass@4"}
        passed = {"use": "passed", "headline": "pass4", "columns": [column], "draws": 4}
        run.metrics = [METRICS[0], {**METRICS[0], **passed}]
        run.decodings = {"greedy": GREEDY, "t1": T1, "t1-4": {**T1, "draws": 4}}
        return run

    def test_is_shown_beside_those_of_the_first_decoding(self, run: Run) -> None:
        run = self.run(run)
        run.value = lambda place: {"greedy": 0.2, "t1": 0.4, "t1-4": 0.6}[place.decoding] + 0.01 * place.seed
        found = cells(run)["eso"]
        assert found[SCORE]["value"] == pytest.approx(21.0)
        assert found["in-data/passed.pass4"]["value"] == pytest.approx(61.0)
        assert "t1-4: temperature 1, 4 answers a prompt" in said(run)
        assert "t1: temperature 1, 2 answers" not in said(run)

    def test_is_shown_under_the_first_where_none_draws_enough(self, run: Run) -> None:
        run = self.run(run)
        run.decodings = {"greedy": GREEDY}
        results = load_results(run.root, run.write())
        assert [results.decoding_of(metric) for metric in results.metrics("score")] == ["greedy", "greedy"]

    def test_does_not_stand_for_the_others(self, run: Run) -> None:
        run = self.run(run)
        run.metrics = run.metrics[::-1]
        run.tables = ("scores", "decoding", "seeds")
        assert "in-data/greedy/rouge.rougeL" in table(run, "decoding").rows[1].cells
        assert any("passed" in name and "t1-4" in name for name in table(run, "seeds").rows[1].cells)
