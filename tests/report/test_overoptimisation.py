"""Gold against proxy: what is measured from where, which rows make a curve, and what the tables say of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from report.synthetic import METRICS, ROUGE_L, Place, Run

from harness.report.export import json_value
from harness.report.results import load_results
from harness.report.write import build

if TYPE_CHECKING:
    from harness.report.table import Table

#: Row to its distance from ``sft``.
DISTANCES = {"base": 3.0, "sft": 0.0, "eso[a]": 1.0, "eso[b]": 2.0, "eso[c]": 4.0, "eso[c] at 50 %": 3.0, "dpo": 2.5}
GOLD, PROXY = (1.2, 0.6), (1.0, 0.1)
SECTION = {"gold": "gleu.gleu", "proxy": "judge.reward", "kl": "divergence.answer_kl"}


def value(place: Place) -> float:
    """Return a number whose mean over prompts is exact: prompts differ by what adds up to 0."""
    d, wave = DISTANCES[place.row], 1 - 2 * (place.example % 2)
    if place.column == "answer_kl":
        return d**2 * (1 + 0.5 * wave)
    alpha, beta = GOLD if place.column == "gleu" else PROXY
    start = 2.0 + 0.1 * place.seed + 0.05 * place.example
    return start + (d * (alpha - beta * math.log(d)) if d else 0.0) + 0.01 * wave * d


@pytest.fixture
def judged(run: Run) -> Run:
    usual = METRICS[0]
    run.metrics = [
        {**usual, "use": use, "role": role, "headline": name, "columns": [{**ROUGE_L, "name": name, "scale": 1.0}]}
        for use, role, name in [
            ("gleu", "score", "gleu"), ("judge", "score", "reward"), ("divergence", "paid", "answer_kl"),
        ]
    ]  # fmt: skip
    point = {"kind": "point", "method": None, "of": "eso[c]", "at": "50 %"}
    run.rows, run.examples, run.tables = tuple(DISTANCES), 20, ("overoptimisation",)
    run.described = lambda row: point if "%" in row else {}
    run.change = lambda manifest: manifest["config"].update(overoptimisation=SECTION)
    run.value = value
    return run


def tables(run: Run) -> dict[str, Table]:
    return {table.name: table for table in build(load_results(run.root, run.write())).tables}


def cells(table: Table) -> dict[str, dict[str, Any]]:
    rows = json_value({}, [table])["tables"][table.name]["rows"]
    return {row["label"]: row["cells"] for row in rows}


def test_the_points_are_measured_from_the_start(judged: Run) -> None:
    table = tables(judged)["overoptimisation"]
    assert [row.label for row in table.rows] == ["sft", "eso[a]", "eso[b]", "eso[c] at 50 %", "eso[c]", "dpo"]
    found = cells(table)
    for label, cell in found.items():
        d = DISTANCES[label]
        assert cell["distance"]["value"] == pytest.approx(d)
        for name, (alpha, beta) in {"gold": GOLD, "proxy": PROXY}.items():
            gained = d * (alpha - beta * math.log(d)) if d else 0.0
            assert cell[name]["value"] == pytest.approx(gained)
            if label.startswith("eso"):
                assert cell[f"{name} fit"]["value"] == pytest.approx(gained)
                assert cell[name]["low"] < gained < cell[name]["high"]
    assert found["eso[c] at 50 %"]["curve"]["value"] == "eso"


def test_the_curve_of_each_method_is_fitted(judged: Run) -> None:
    found = cells(tables(judged)["overoptimisation-fit"])
    assert list(found) == ["eso", "dpo"]
    for name, (alpha, beta) in {"gold": GOLD, "proxy": PROXY}.items():
        assert found["eso"][f"{name} alpha"]["value"] == pytest.approx(alpha)
        assert found["eso"][f"{name} beta"]["value"] == pytest.approx(beta)
        assert found["eso"][f"{name} peak"]["value"] == pytest.approx(math.exp(alpha / beta - 1))
    assert found["eso"]["points"]["value"] == 4
    assert found["dpo"]["gold alpha"]["status"] == "no fit"  # one point


def test_best_of_n_has_a_form_of_its_own(judged: Run) -> None:
    judged.change = lambda manifest: manifest["config"].update(overoptimisation={**SECTION, "form": "bon"})
    table = tables(judged)["overoptimisation-fit"]
    assert "d (alpha − beta d)" in table.caption[0]
    assert cells(table)["eso"]["gold residual"]["value"] > 0.01  # these points have the other form


def test_without_a_row_at_distance_0_there_is_nothing_to_measure_from(judged: Run) -> None:
    judged.value = lambda place: value(place) + (place.column == "answer_kl")
    found = tables(judged)
    assert found["overoptimisation"].rows == ()
    assert "No row of tiny is at distance 0" in found["overoptimisation"].caption[-1]
    assert "overoptimisation-fit" not in found


def test_a_row_that_lacks_a_number_is_no_point(judged: Run) -> None:
    judged.unfinished = {("eso[a]", "judge", str(seed)) for seed in judged.seeds}
    found = tables(judged)
    assert "eso[a]" not in cells(found["overoptimisation"])
    assert cells(found["overoptimisation-fit"])["eso"]["points"]["value"] == 3


def test_a_missing_prompt_is_left_out(judged: Run) -> None:
    judged.value = lambda place: None if (place.row, place.example) == ("eso[a]", 0) else value(place)
    assert np.isfinite(cells(tables(judged)["overoptimisation-fit"])["eso"]["gold alpha"]["value"])


def test_there_is_none_where_the_file_names_no_columns(judged: Run) -> None:
    judged.change = lambda _: None
    assert not [name for name in tables(judged) if name.startswith("overoptimisation")]
