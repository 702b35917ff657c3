"""A part of a benchmark: only what it needs is made, the rest is absent and not failed, and later parts add to it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from execution.bench import Bench, tiny

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(1800)


def manifest(bench: Bench) -> Any:
    return json.loads((bench.results / "tiny" / "default" / "manifest.json").read_text(encoding="utf-8"))


def seeds_of(bench: Bench) -> dict[str, list[str]]:
    return {row["label"]: list(row["seeds"]) for row in manifest(bench)["rows"]}


def cell(bench: Bench, row: str) -> Any:
    rows = bench.tables()["summary"]["rows"]
    return next(one["cells"]["test/t1/rouge.rougeL"] for one in rows if one["label"] == row)


def test_parts_add_up_to_the_whole(tmp_path: Path) -> None:
    bench = Bench(tmp_path, tiny(seeds=[0, 1]))
    said = bench.run("--only", "methods=eso,seeds=0", "--jobs", "1")
    assert "left out by --only" in said
    assert seeds_of(bench) == {"base": [], "sft": [], "eso": ["0"]}
    assert manifest(bench)["failures"] == []
    assert cell(bench, "eso")["value"] > 0
    for absent in ("base", "sft"):
        assert cell(bench, absent) == {"status": "not run"}
    text = bench.board("md").read_text(encoding="utf-8")
    assert "failed" not in text.lower()
    labels = bench.stages("generate")
    assert len(labels) == 1

    plan = bench.ended(bench.command("--only", "methods=eso,seeds=0", "--json", name="plan"), bench.surroundings())
    assert {stage["status"] for stage in json.loads(plan.stdout)["stages"]} == {"cached"}
    status = bench.ended(bench.command("--only", "seeds=0", "--json", name="status"), bench.surroundings())
    rows = json.loads(status.stdout)["rows"]
    assert [(row["row"], row["seed"], row["generate"]) for row in rows] == [
        ("base", 0, {"done": 0, "of": 1}), ("sft", 0, {"done": 0, "of": 1}), ("eso", 0, {"done": 1, "of": 1}),
    ]  # fmt: skip

    bench.run("--only", "seeds=1", "--jobs", "1")
    assert seeds_of(bench) == {"base": ["1"], "sft": ["1"], "eso": ["0", "1"]}
    report = bench.ended([*bench.command()[:3], "report", "--results", str(bench.results)], bench.surroundings())
    assert report.returncode == 0, report.stderr
    assert "failed" not in report.stdout.lower()

    bench.run("--jobs", "1")
    assert seeds_of(bench) == {"base": ["0", "1"], "sft": ["0", "1"], "eso": ["0", "1"]}
    assert cell(bench, "sft")["value"] > 0


def test_a_name_that_is_not_there_is_said_before_any_work(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    said = bench.run("--only", "methods=esso", code=2)
    assert said.startswith("error: --only methods: the benchmark has no such row, got 'esso'")
    assert not bench.results.exists()
