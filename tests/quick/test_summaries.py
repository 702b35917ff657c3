"""The quick profile on summaries carries a signal, and is held to bands that name no method."""

from __future__ import annotations

import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.report.results import ResultRow, Results, load_results

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "benchmarks" / "xsum.yaml"
IN_DATA = "generated"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    root = tmp_path_factory.mktemp("results")
    command = [sys.executable, "-m", "harness", "run", str(FILE), "--results", str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    return load_results(root, root / "xsum" / "quick")


def rouge(row: ResultRow) -> float:
    cell = row.cells[IN_DATA, "t1"]
    matrix = cell.matrix("rouge", "rougeL", cell.summaries)
    assert matrix is not None
    return float(matrix.mean())


def only(results: Results, kind: str) -> ResultRow:
    (row,) = [row for row in results.rows if row.kind == kind]
    return row


def first_steps(results: Results, count: int = 20) -> list[dict[str, Any]]:
    """Return the first steps of every stage that samples three or more candidates: the supervised model's signal."""
    steps = []
    for row in results.rows:
        for record in row.training.values():
            log = list(record.jsonl("train.jsonl"))[:count]
            steps += [step for step in log if len(step.get("reward", {}).get("by_candidate", ())) >= 3]
    assert steps
    return steps


@pytest.mark.timeout(1800)
def test_the_supervised_model_has_learned_much_and_not_all(results: Results) -> None:
    assert results.manifest.failures == ()
    assert rouge(only(results, "base")) < 0.10
    assert 0.25 <= rouge(only(results, "start")) <= 0.75


def test_sampling_hotter_costs_something(results: Results) -> None:
    steps = [step["reward"]["by_candidate"] for step in first_steps(results)]
    coldest, hottest = (statistics.fmean(step[place] for step in steps) for place in (0, -1))
    assert coldest >= hottest + 0.05


def test_candidates_of_a_prompt_differ_in_reward(results: Results) -> None:
    steps = first_steps(results)
    assert statistics.fmean(step["reward"]["sd"] for step in steps) >= 0.10
    groups = sum(step["groups"]["count"] for step in steps)
    assert sum(step["groups"]["without_spread"] for step in steps) / groups <= 0.25


def test_answers_stop_by_themselves(results: Results) -> None:
    cell = only(results, "start").cells[IN_DATA, "t1"]
    assert 1 - cell.total(lambda counted: counted.truncated) / cell.answers >= 0.90
