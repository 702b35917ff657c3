"""A benchmark whose methods have a budget, through the command line: its tables, and a run that is killed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from execution.bench import Bench, tiny

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(1800)  # on a machine that does ten other things


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    budget = {"unit": "sampled_tokens", "amount": 1500, "checkpoints": [0.5], "steps": [2]}
    content = tiny(methods=["sft", {"use": "eso", "label": "two", "temperatures": [0.5, 1.5]},
                            {"use": "eso", "label": "six", "temperatures": [0.5, 0.7, 0.9, 1.1, 1.3, 1.5]}],
                   seeds=[0, 1])  # fmt: skip
    content["recipe"] |= {"epochs": 1, "budget": budget}
    bench = Bench(tmp_path_factory.mktemp("budget"), content)
    bench.run()
    return bench


def table(bench: Bench, name: str) -> dict[str, Any]:
    board = json.loads(bench.board("json").read_text(encoding="utf-8"))
    return {row["label"]: row for row in board["tables"][name]["rows"]}


def test_a_table_at_equal_tokens_and_one_at_equal_steps_come_from_one_run(bench: Bench) -> None:
    budget = table(bench, "budget")
    assert list(budget) == ["two at 50 %", "six at 50 %", "two at 100 %", "six at 100 %"]
    for label, row in budget.items():
        half = 50 if "50" in label else 100
        assert row["cells"]["share"]["value"] == pytest.approx(half, rel=0.2)  # a few steps
        assert row["cells"]["sampled"]["value"] == pytest.approx(15 * row["cells"]["share"]["value"])
    assert budget["two at 100 %"]["cells"]["steps"]["value"] > 2 * budget["six at 100 %"]["cells"]["steps"]["value"]
    steps = table(bench, "equal-steps")
    assert list(steps) == ["two at step 2", "six at step 2"]
    assert {row["cells"]["steps"]["value"] for row in steps.values()} == {2.0}
    assert steps["six at step 2"]["cells"]["sampled"]["value"] > 2 * steps["two at step 2"]["cells"]["sampled"]["value"]
    whole = table(bench, "scores")
    assert set(whole) == {"base", "sft", "two", "six"}
    (name,) = [name for name in whole["two"]["cells"] if name.endswith("rouge.rougeL")]
    (there,) = [name for name in budget["two at 100 %"]["cells"] if name.endswith("rouge.rougeL")]
    assert budget["two at 100 %"]["cells"][there]["value"] == whole["two"]["cells"][name]["value"]
    assert budget["two at 50 %"]["cells"][there]["value"] is not None


def test_all_rows_share_a_start_that_no_budget_cuts(bench: Bench) -> None:
    manifest = json.loads((bench.results / "tiny/default/manifest.json").read_text(encoding="utf-8"))
    chains = {
        row["label"]: row["seeds"]["0"]["train"] for row in manifest["rows"] if row["kind"] in {"start", "method"}
    }
    assert [len(chains[label]) for label in ("sft", "two", "six")] == [1, 2, 2]
    assert len({chain[0] for chain in chains.values()}) == 1
    points = [row for row in manifest["rows"] if row["kind"] == "point"]
    assert {(row["label"], row["of"], row["at"], row["method"]) for row in points} == {
        (f"{label} at {at}", label, at, None) for label in ("two", "six") for at in ("50 %", "step 2")
    }


def test_a_second_run_makes_nothing_again(bench: Bench) -> None:
    before = bench.digests()
    bench.run()
    assert bench.digests() == before


def test_what_the_plan_says(bench: Bench, tmp_path: Path) -> None:
    content = {**bench.content, "recipe": {**bench.content["recipe"], "method_epochs": 1}}
    said = Bench(tmp_path, content).run(code=2)
    assert "recipe.method_epochs: a budget says when a method's own training ends, and nothing else" in said
