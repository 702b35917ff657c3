"""Which rows trade one column for another: dominated only by differences that count."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from report.synthetic import METRICS, ROUGE_L, Place, Run

from harness.report.export import json_value
from harness.report.results import load_results
from harness.report.write import build

if TYPE_CHECKING:
    from harness.report.table import Table

#: Row to its level in the first column and in the second, of which less is better.
LEVELS = {"sft": (0.3, 0.4), "eso[a]": (0.5, 0.6), "eso[b]": (0.4, 0.5), "eso[c]": (0.2, 0.7)}


@pytest.fixture
def swept(run: Run) -> Run:
    short = {**ROUGE_L, "name": "tokens", "label": "tokens", "higher_is_better": None, "scale": 1.0, "shown": False}
    run.metrics = [
        METRICS[0],
        {**METRICS[0], "use": "length", "role": "length", "headline": "tokens", "columns": [short]},
    ]
    run.tables, run.rows, run.examples = ("pareto",), tuple(LEVELS), 30
    run.change = lambda manifest: manifest["config"].update(pareto=["rouge.rougeL", "-length.tokens"])
    run.described = lambda row: {"reward_weights": {"brevity": 0.5}} if row == "eso[b]" else {}
    run.value = value
    return run


def value(place: Place) -> float:
    generator = np.random.default_rng([place.seed, place.example, *map(ord, place.row + place.column)])
    return LEVELS[place.row][place.column == "tokens"] + 0.02 * float(generator.normal())


def pareto(run: Run) -> Table:
    return next(table for table in build(load_results(run.root, run.write())).tables if table.name == "pareto")


def cells(run: Run) -> dict[str, dict[str, Any]]:
    rows = json_value({}, [pareto(run)])["tables"]["pareto"]["rows"]
    return {row["label"]: {name: cell.get("value") for name, cell in row["cells"].items()} for row in rows}


def test_a_row_that_is_worse_in_all_columns_is_dominated(swept: Run) -> None:
    found = cells(swept)
    assert {row: cell["status"] for row, cell in found.items()} == {
        "sft": "front", "eso[a]": "front", "eso[b]": "front", "eso[c]": "dominated",
    }  # fmt: skip
    assert found["eso[c]"]["by"] == "sft, eso[a], eso[b]"
    assert found["eso[c]"]["means"] == "dominated"
    assert found["eso[b]"]["weights"] == "brevity 0.5"
    assert found["sft"]["in-data/rouge.rougeL"] == pytest.approx(30, abs=1)


def test_less_is_better_where_the_file_says_so(swept: Run) -> None:
    assert [heading.higher_is_better for heading in pareto(swept).headings[:2]] == [True, False]
    swept.change = lambda manifest: manifest["config"].update(pareto=["rouge.rougeL", "+length.tokens"])
    assert cells(swept)["sft"]["status"] == "dominated"


def test_a_row_is_not_told_apart_where_a_difference_does_not_count(swept: Run) -> None:
    swept.value = lambda place: value(place) if place.column == "tokens" else 0.3 + 0.001 * place.example
    found = cells(swept)
    assert found["sft"]["status"] == "front"
    assert found["eso[a]"]["status"] == "not told apart"
    assert found["eso[a]"]["means"] == "dominated"
    assert found["eso[c]"]["by"] is None


def test_two_seeds_claim_nothing(swept: Run) -> None:
    swept.seeds = (0, 1)
    found = cells(swept)
    assert {cell["status"] for cell in found.values()} == {"no claim"}
    assert found["eso[c]"]["means"] == "dominated"
    assert "No claim: with 2 seeds" in " ".join(pareto(swept).caption)


def test_the_order_of_rows_and_seeds_means_nothing(swept: Run) -> None:
    first = cells(swept)
    swept.rows, swept.seeds = swept.rows[::-1], (2, 0, 1)
    again = cells(swept)
    assert {row: cell["status"] for row, cell in again.items()} == {row: cell["status"] for row, cell in first.items()}


def test_models_are_compared_among_themselves(swept: Run) -> None:
    swept.models = ("tiny", "small")
    assert [row.cells["status"].value for row in pareto(swept).rows] == 2 * ["front", "front", "front", "dominated"]


def test_a_failed_row_is_left_out(swept: Run) -> None:
    swept.unfinished = {("eso[a]", "train", str(seed)) for seed in swept.seeds}
    found = cells(swept)
    assert found["eso[a]"]["status"] == "no claim"
    assert found["eso[c]"]["by"] == "sft, eso[b]"


def test_there_is_none_where_the_file_names_no_columns(run: Run) -> None:
    run.tables = ("pareto",)
    assert "pareto" not in [table.name for table in build(load_results(run.root, run.write())).tables]
