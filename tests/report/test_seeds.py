"""The table of seeds says what each seed came to, and how far they lie apart."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

import pytest

from harness.report.export import json_value
from harness.report.results import load_results
from harness.report.write import build

if TYPE_CHECKING:
    from report.synthetic import Run

    from harness.report.table import Table

NAME = "in-data/t1/rouge.rougeL"


@pytest.fixture
def run(run: Run) -> Run:
    run.tables = ("seeds",)
    run.value = lambda place: 0.2 + 0.01 * place.seed + 0.002 * place.example + 0.1 * (place.row == "eso")
    return run


def tables(run: Run) -> dict[str, Table]:
    return {table.name: table for table in build(load_results(run.root, run.write())).tables}


def cells(run: Run, row: str) -> dict[str, Any]:
    found = json_value({}, [tables(run)["seeds"]])["tables"]["seeds"]
    return next(dict(part["cells"]) for part in found["rows"] if part["label"] == row)


def test_mean_and_deviation_are_those_of_the_seeds(run: Run) -> None:
    found = cells(run, "eso")
    means = [100 * (0.31 + 0.01 * seed + 0.001) for seed in (0, 1, 2)]
    assert [found[f"{NAME}/{seed}"]["value"] for seed in (0, 1, 2)] == pytest.approx(means)
    assert found[f"{NAME}/mean"] == {"value": pytest.approx(statistics.fmean(means)), "seeds": 3}
    assert found[f"{NAME}/sd"] == {"value": pytest.approx(statistics.stdev(means))}


def test_the_deviation_says_what_it_is(run: Run) -> None:
    table = tables(run)["seeds"]
    assert table.title == "Seeds, on in-data"
    assert "sd: their standard deviation (n - 1), not a confidence interval" in table.caption[0]
    assert [heading.label for heading in table.headings] == ["mean", "sd", "seed 0", "seed 1", "seed 2"]
    assert {heading.group for heading in table.headings} == {"ROUGE-L, T = 1"}


def test_a_missing_seed_is_said_and_left_out(run: Run) -> None:
    run.unfinished = {("eso", "train", "1")} | {("eso", "generate", "1"), ("eso", "rouge", "1")}
    found = cells(run, "eso")
    assert found[f"{NAME}/1"] == {"status": "failed"}
    assert found[f"{NAME}/mean"] == {"value": pytest.approx(32.1), "seeds": 2}
    assert found[f"{NAME}/sd"]["value"] == pytest.approx(statistics.stdev([31.1, 33.1]))
    assert f"{NAME}/1" in cells(run, "sft")


def test_a_single_seed_has_no_such_table(run: Run) -> None:
    run.seeds = (0,)
    assert "seeds" not in tables(run)


def test_values_that_are_missing_are_left_out(run: Run) -> None:
    run.value = lambda place: None if place.row == "eso" and place.seed == 2 else 0.5
    found = cells(run, "eso")
    assert found[f"{NAME}/2"] == {"status": "no value"}
    assert found[f"{NAME}/mean"]["value"] == 50.0
