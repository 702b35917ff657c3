"""The default benchmark carries a signal: it is run as a newcomer runs it, and held to bands that name no method."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from rouge_score.rouge_scorer import RougeScorer

from harness.plugins.loader import load_registry
from harness.report.results import ResultRow, Results, load_results

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "benchmarks" / "dolly.yaml"

SHIFTED = ("generated-self-instruct", "generated-vicuna")
IN_DATA = "generated"


def harness(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "harness", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("results")
    done = harness("run", str(FILE), "--results", str(root))
    assert done.returncode == 0, done.stderr[-3000:]
    return root


@pytest.fixture(scope="module")
def results(folder: Path) -> Results:
    return load_results(folder, folder / "dolly" / "quick")


def rouge(row: ResultRow, dataset: str = IN_DATA, decoding: str = "t1") -> float:
    matrix = row.cells[dataset, decoding].matrix("rouge", "rougeL", row.cells[dataset, decoding].summaries)
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
def test_every_cell_has_a_number(folder: Path, results: Results) -> None:
    assert results.manifest.failures == ()
    leaderboard = json.loads((folder / "dolly" / "quick" / "leaderboard.json").read_text())
    assert {"scores", "cross-dataset", "fluency", "decoding", "timing", "signal"} <= set(leaderboard["tables"])
    cells = [cell for row in leaderboard["tables"]["scores"]["rows"] for cell in row["cells"].values()]
    assert {cell.get("status", "") for cell in cells} == {"", "baseline"}  # a row has no difference from itself


def test_the_base_model_knows_nothing(results: Results) -> None:
    assert rouge(only(results, "base")) < 0.05


def test_supervised_training_leaves_room_and_is_far_from_nothing(folder: Path, results: Results) -> None:
    """Sampled answers reach 35 to 75 % of what a second reference for the same prompt reaches."""
    (label,) = [data for data in results.manifest.datasets if data.label == IN_DATA and data.role != "train"]
    rows = [
        json.loads(line)
        for path in (folder / "store" / "prepare").glob("*/rows.jsonl")
        if json.loads((path.parent / "provenance.json").read_text())["content"] == label.sha256
        for line in path.read_text().splitlines()
    ]
    scorer = RougeScorer(["rougeL"], use_stemmer=True)
    second = [scorer.score(row["references"][0], row["columns"]["second_reference"])["rougeL"].fmeasure for row in rows]
    assert 0.35 <= rouge(only(results, "start")) / statistics.fmean(second) <= 0.75


def test_sampling_costs_something(results: Results) -> None:
    start = only(results, "start")
    assert rouge(start, decoding="greedy") >= rouge(start) + 0.04


def test_candidates_of_a_prompt_differ_in_reward(results: Results) -> None:
    steps = first_steps(results)
    assert statistics.fmean(step["reward"]["sd"] for step in steps) >= 0.10
    groups = sum(step["groups"]["count"] for step in steps)
    assert sum(step["groups"]["without_spread"] for step in steps) / groups <= 0.25


def test_temperature_alone_does_not_explain_the_reward(results: Results) -> None:
    steps = first_steps(results)
    width = len(steps[0]["reward"]["by_candidate"])
    means = [statistics.fmean(step["reward"]["by_candidate"][k] for step in steps) for k in range(width)]
    within = statistics.fmean(step["reward"]["sd"] ** 2 for step in steps)
    assert statistics.pvariance(means) / within <= 0.50


def test_answers_stop_by_themselves(results: Results) -> None:
    cell = only(results, "start").cells[IN_DATA, "t1"]
    assert 1 - cell.total(lambda counted: counted.truncated) / cell.answers >= 0.95


@pytest.mark.parametrize("dataset", SHIFTED)
def test_shifted_sets_are_harder_but_not_hopeless(results: Results, dataset: str) -> None:
    start = only(results, "start")
    assert 0.40 <= rouge(start, dataset) / rouge(start) <= 0.80


def test_the_generator_has_prompts_enough_and_none_twice(tmp_path: Path) -> None:
    registry = load_registry()
    corpus = registry.build("dataset", "generated-instructions", {})
    corpus.prepare(None, tmp_path)
    splits = {
        split: {(e.columns["category"], *e.fields.values()) for e in corpus.load(tmp_path, split)}
        for split in ("train", "validation", "test")
    }
    distinct = Counter(category for category, *_ in set().union(*splits.values()))
    assert len(distinct) == 8
    assert min(distinct.values()) >= 2000
    assert not splits["train"] & (splits["validation"] | splits["test"])


@pytest.mark.timeout(300)
def test_a_second_run_takes_everything_from_the_store(folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (folder / "store").rglob("manifest.json")}
    tables = (folder / "dolly" / "quick" / "leaderboard.json").read_bytes()
    done = harness("run", str(FILE), "--results", str(folder), "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["made"] == 0
    assert {path: path.stat().st_mtime_ns for path in (folder / "store").rglob("manifest.json")} == before
    assert (folder / "dolly" / "quick" / "leaderboard.json").read_bytes() == tables
