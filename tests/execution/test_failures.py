"""What fails costs its own cells: the others are those of a run without it, and the tables say what is missing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from execution.bench import tiny

if TYPE_CHECKING:
    from collections.abc import Callable

    from execution.bench import Bench

pytestmark = pytest.mark.timeout(1800)  # on a machine that does ten other things


def test_divergence_rewards_and_metrics_that_fail(
    copied: Callable[..., Bench], finished: Bench, probe: dict[str, str]
) -> None:
    wild = {"use": "sft", "label": "wild", "recipe": {"learning_rate": 1e6, "max_grad_norm": 0.0}}
    late = {"use": "late", "label": "never", "active": 999}
    few = {"use": "sft", "label": "few", "recipe": {"batch_size": 64}}
    bench = copied(methods=[*tiny()["methods"], wild, late, few], reward={"use": "nan"}, metrics=["rouge", "broken"])
    bench.environment = probe
    said = bench.run("--jobs", "1", code=1)
    assert "failed: train new/wild/seed 0/epochs 0-1 as sft: " in said
    assert "not finite" in said
    assert "failed: train new/eso/seed 0/epochs 1-2: " in said
    assert "reward 'nan': the reward of example " in said
    assert "these steps are not within the schedule" in said
    assert "there are fewer training rows than one batch, got 30; expected at least recipe.batch_size = 64" in said
    assert "ZeroDivisionError: the metric's own mistake" in said
    assert "(traceback in store/.failed/score-" in said
    old, new = finished.digests(), bench.digests()
    assert {stage: new[stage] for stage in old} == old
    rows = {row["label"]: row["seeds"]["0"] for row in bench_manifest(bench)["rows"]}
    assert rows["sft"]["failed"] is None
    assert rows["wild"]["failed"]
    assert rows["eso"]["failed"]
    assert rows["eso"]["train"][-1] is None
    assert rows["never"]["evaluations"]["test"]["t1"]["generate"] is None
    cell = rows["base"]["evaluations"]["test"]["t1"]["scores"]
    assert cell["rouge"] is not None
    assert cell["broken"] is None
    text = bench.board("md").read_text(encoding="utf-8")
    assert "Failed: " in text


def bench_manifest(bench: Bench) -> Any:
    return json.loads(bench.board("json").with_name("manifest.json").read_text(encoding="utf-8"))
