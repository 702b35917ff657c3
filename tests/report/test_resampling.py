"""Across data sets: interquartile mean, probability of improvement and ranks, with intervals by resampling."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import scipy.stats
from report.synthetic import ROUGE_L, Run

from harness.report.resampling import ends, improvement, interquartile, ranks, sampled
from harness.report.results import load_results
from harness.report.table import Table, shown
from harness.report.write import build

if TYPE_CHECKING:
    from report.synthetic import Place

RANDOM = np.random.default_rng(3)


def test_the_interquartile_mean_is_scipys() -> None:
    for shape in ((3, 2), (5, 3), (4, 1), (1, 3)):
        scores = RANDOM.normal(size=shape)
        assert float(interquartile(scores)) == pytest.approx(scipy.stats.trim_mean(scores, 0.25, axis=None))
    several = RANDOM.normal(size=(7, 3, 2))
    assert interquartile(several) == pytest.approx(np.array([interquartile(one) for one in several]))


def test_the_probability_of_improvement_is_mann_and_whitneys() -> None:
    ours, theirs = RANDOM.integers(0, 4, (2, 5, 3)).astype(float)
    expected = np.mean([
        scipy.stats.mannwhitneyu(ours[:, task], theirs[:, task]).statistic / 25 for task in range(3)
    ])  # fmt: skip
    assert float(improvement(ours, theirs)) == pytest.approx(expected)
    assert float(improvement(ours, ours + 4)) == 0.0
    assert float(improvement(ours, ours)) == pytest.approx(0.5)


def test_ranks_count_who_is_ahead() -> None:
    assert ranks(np.array([0.3, 0.5, 0.3, 0.1])).tolist() == [2.0, 1.0, 2.0, 4.0]
    assert ranks(np.array([[1.0, 2.0], [2.0, 1.0]])).tolist() == [[2.0, 1.0], [1.0, 2.0]]


def test_replicates_vary_as_means_of_new_seeds_and_prompts_would() -> None:
    seeds = np.array([0.0, 0.3, 0.6, 0.9, 1.2])
    values = seeds[:, None] + 0.01 * RANDOM.normal(size=(5, 40))
    found = sampled([values], [None])
    assert found.means[:, 0] == pytest.approx(values.mean(1))
    assert found.draws is not None
    spread = found.draws.mean((1, 2)).std()
    assert spread == pytest.approx(seeds.std() / 5**0.5, rel=0.1)  # the plug-in variance of a mean of five
    assert found.wider[0] > 1.3  # Student's t for four degrees of freedom over the normal quantile
    low, high = ends(interquartile(found.moved(found.wider)))
    assert low < 0.6 < high


def test_groups_are_drawn_whole() -> None:
    grouped = np.repeat(RANDOM.normal(size=20), 10)
    values = np.stack([grouped] * 3)
    names = [str(number // 10) for number in range(200)]
    alone, together = (sampled([values], [groups]).draws for groups in (None, names))
    assert alone is not None
    assert together is not None
    assert together.std(0).mean() > 2 * alone.std(0).mean()
    assert sampled([values], [["a"] * 100 + ["b"] * 100]).draws is None


def test_two_seeds_have_no_replicates() -> None:
    assert sampled([np.ones((2, 5))], [None]).draws is None
    gaps = np.array([[1.0, np.nan], [1.0, 2.0], [np.nan, np.nan]])
    assert sampled([gaps], [None]).draws is None


def table(run: Run, name: str) -> Table:
    return next(one for one in build(load_results(run.root, run.write())).tables if one.name == name)


def texts(found: Table) -> dict[str, list[str]]:
    return {
        row.label: [shown(row.cells[h.name], h) if h.name in row.cells else "" for h in found.headings]
        for row in found.rows
    }


def names(run: Run) -> set[str]:
    return {one.name for one in build(load_results(run.root, run.write())).tables}


class TestAcross:
    def test_sums_up_every_data_set(self, run: Run) -> None:
        run.datasets = {"in-data": "in-data", "shifted": "cross"}
        found = table(run, "across")
        assert found.title == "Across data sets, T = 1"
        assert [row.label for row in found.rows] == ["eso", "sft", "base"]
        cells = texts(found)
        assert cells["eso"][1].startswith("100 [4")  # three seeds that are all above are no certainty
        assert cells["eso"][1].endswith(", 100]")
        assert cells["sft"][1] == "baseline"
        assert cells["base"][1] == ""
        number, _, interval = cells["eso"][0].partition(" ")
        low, high = (float(end) for end in interval.strip("[]").split(", "))
        assert 0 <= low < float(number) < high <= 100
        assert any("nothing is claimed from this table" in line for line in found.caption)

    def test_less_is_better_where_the_column_says_so(self, run: Run) -> None:
        run.datasets = {"in-data": "in-data", "shifted": "cross"}
        loss = {**ROUGE_L, "higher_is_better": False}
        run.metrics = [{**run.metrics[0], "columns": [loss]}]
        assert texts(table(run, "across"))["eso"][1].startswith("0 [0, ")

    def test_has_no_interval_with_two_seeds_or_a_missing_one(self, run: Run) -> None:
        run.datasets = {"in-data": "in-data", "shifted": "cross"}
        run.seeds = (0, 1)
        assert "[" not in "".join(texts(table(run, "across"))["eso"])
        run.seeds = (0, 1, 2)
        run.unfinished = {("eso", "rouge", "2")}
        assert "[" not in "".join(texts(table(run, "across"))["eso"])
        assert "[" in texts(table(run, "across"))["sft"][0]

    def test_is_not_there_with_one_data_set(self, run: Run) -> None:
        assert "across" not in names(run)


class TestRanks:
    def value(self, place: Place) -> float:
        level = {"sft": 0.3, "eso": 0.31, "drl": 0.5}.get(place.row, 0.1)
        noise = ((place.seed * 7 + place.example * 3 + len(place.row) * place.seed) % 5) / 100
        return level + (noise if place.row != "drl" else 0.1 * (place.model == "tiny"))

    def test_stand_model_by_model_from_the_smallest(self, run: Run) -> None:
        run.models = ("large", "tiny")
        run.rows = ("base", "sft", "eso", "drl")
        run.value = self.value
        found = table(run, "ranks")
        assert [heading.label for heading in found.headings] == ["large (1.5M)", "tiny (1.5M)"]
        cells = texts(found)
        assert set(cells) == {"sft", "eso", "drl"}
        assert cells["drl"] == ["1 [1, 1]", "1 [1, 1]"]
        assert cells["sft"][0].endswith("3]")

    def test_are_not_there_for_one_model_without_a_budget(self, run: Run) -> None:
        assert "ranks" not in names(run)

    def test_without_three_seeds_have_no_interval(self, run: Run) -> None:
        run.models, run.seeds = ("large", "tiny"), (0, 1)
        assert texts(table(run, "ranks")) == {"eso": ["1", "1"], "sft": ["2", "2"]}
