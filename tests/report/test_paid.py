"""The table of what was paid: its own metrics, with length and fluency beside them, and differences from the start."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from report.synthetic import METRICS, ROUGE_L, Place, Run

from harness.report.export import json_value
from harness.report.results import load_results
from harness.report.write import build

if TYPE_CHECKING:
    from harness.report.table import Table

#: Row to its level; every column has the same.
LEVELS = {"base": 0.0, "sft": 0.5, "eso": 0.7}


def column(name: str, *, shown: bool = True) -> dict[str, Any]:
    return {**ROUGE_L, "name": name, "label": name, "higher_is_better": False, "scale": 1.0, "shown": shown}


def value(place: Place) -> float:
    own = sum(map(ord, place.row))
    return LEVELS[place.row] + 0.01 * ((place.example * (7 + own) + place.seed * 3) % 5 - 2)


@pytest.fixture
def paid(run: Run) -> Run:
    usual = METRICS[0]
    run.metrics = [
        usual,
        {**usual, "use": "divergence", "role": "paid", "headline": "forward_kl",
         "columns": [column("forward_kl"), column("answer_kl", shown=False)]},
        {**usual, "use": "diversity", "role": "fluency", "headline": "distinct1",
         "columns": [column("distinct1", shown=False), column("repetition")], "corpus": [column("repetition")]},
        {**usual, "use": "length", "role": "length", "headline": "tokens",
         "columns": [column("tokens"), column("words")]},
    ]  # fmt: skip
    run.tables, run.datasets = ("paid",), {"task": "in-data", "other": "cross"}
    run.value = value
    return run


def tables(run: Run) -> dict[str, Table]:
    return {table.name: table for table in build(load_results(run.root, run.write())).tables}


def test_one_table_has_it_all_on_every_data_set(paid: Run) -> None:
    table = tables(paid)["paid"]
    shown = [heading.name for heading in table.headings if heading.shown]
    for dataset in ("task", "other"):
        assert [name for name in shown if name.startswith(f"{dataset}/") and not name.endswith("Δ")] == [
            f"{dataset}/divergence.forward_kl", f"{dataset}/t1/length.tokens", f"{dataset}/diversity.repetition",
            f"{dataset}/n",
        ]  # fmt: skip
    assert "task/divergence.answer_kl" in {heading.name for heading in table.headings}  # for programs


def test_rows_are_compared_with_the_baseline(paid: Run) -> None:
    rows = json_value({}, [tables(paid)["paid"]])["tables"]["paid"]["rows"]
    cells = {row["label"]: row["cells"] for row in rows}
    for name in ("task/divergence.forward_kl", "task/t1/length.tokens", "other/diversity.repetition"):
        assert cells["eso"][f"{name} Δ"]["value"] == pytest.approx(0.2, abs=0.01)
        assert cells["eso"][f"{name} Δ"]["claimed"]
        assert cells["base"][name]["value"] == pytest.approx(0.0, abs=0.01)


def test_without_a_metric_of_length_tokens_stand_beside(paid: Run) -> None:
    paid.metrics = paid.metrics[:2]
    assert "task/length" in {heading.name for heading in tables(paid)["paid"].headings}


def test_there_is_none_where_no_metric_is_of_that_kind(paid: Run) -> None:
    paid.metrics = [metric for metric in paid.metrics if metric["role"] != "paid"]
    assert "paid" not in tables(paid)


def test_the_other_tables_do_not_change(paid: Run) -> None:
    """What is paid is in no table of scores or fluency."""
    paid.tables = ("scores", "fluency")
    for name in ("scores", "fluency"):
        assert not [h.name for h in tables(paid)[name].headings if "divergence" in h.name or "length." in h.name]


def test_a_missing_value_is_counted(paid: Run) -> None:
    def with_a_gap(place: Place) -> float | None:
        absent = place.row == "eso" and place.example == 0 and place.column == "forward_kl"
        return None if absent else value(place)

    paid.value = with_a_gap
    rows = json_value({}, [tables(paid)["paid"]])["tables"]["paid"]["rows"]
    assert next(r for r in rows if r["label"] == "eso")["cells"]["task/divergence.forward_kl"]["missing"] == 6
