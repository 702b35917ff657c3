"""What stands beside a stage changes nothing in it: other seeds, methods, metrics, plugins, workers, shared starts."""

from __future__ import annotations

import pytest
from execution.bench import Bench, tiny

pytestmark = pytest.mark.timeout(1800)  # on a machine that does ten other things


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory, probe: dict[str, str], finished: Bench) -> tuple[Bench, str]:
    """Return the benchmark with another seed, more methods, a metric and an outside plugin, run by one worker.

    In its first run the worker is killed in the middle of a stage; the second finishes what is left. With it comes
    what the first run said.
    """
    steps = finished.stages("train")["new/sft/seed 0/epochs 0-1"].json("summary.json")["steps"]
    late = {"use": "late", "begin": steps, "temperatures": [0.5, 1.5], "coef": 1.0, "active": "all"}
    methods = [{"use": "sft", "label": "straight", "active": "all"}, late, *tiny()["methods"][::-1]]
    content = tiny(methods=[tiny()["methods"][0], *methods[:2], methods[2]], seeds=[1, 0], metrics=["length", "rouge"])
    bench = Bench(tmp_path_factory.mktemp("crowded"), content, probe)
    flag = bench.file.with_name("flag")
    flag.write_text("xx", encoding="utf-8")  # a stage is tried twice
    said = bench.run("--jobs", "1", code=1, PROBE_DIES_WITH=str(flag))
    bench.run("--jobs", "1")
    return bench, said


def test_other_seeds_methods_metrics_plugins_and_workers_change_nothing(
    crowded: tuple[Bench, str], finished: Bench
) -> None:
    alone, beside = finished.digests(), crowded[0].digests()
    assert len(beside) > 2 * len(alone)
    assert {stage: beside[stage] for stage in alone} == alone


def test_sharing_the_supervised_epochs_changes_no_bit(crowded: tuple[Bench, str]) -> None:
    stages = crowded[0].stages("train")
    for seed in (0, 1):
        weights = {
            row: stages[f"new/{row}/seed {seed}/epochs {epochs}"].digest("checkpoint/model.safetensors")
            for row, epochs in {"sft": "1-2", "eso": "1-2", "straight": "0-2", "late": "0-2"}.items()
        }
        assert weights["straight"] == weights["sft"]
        assert weights["late"] == weights["eso"]
        assert weights["eso"] != weights["sft"]


def test_a_killed_worker_costs_its_own_cell(crowded: tuple[Bench, str]) -> None:
    said = crowded[1]
    assert said.count("failed: train") == 1
    assert said.count("once more: train new/late/seed 1/epochs 0-2: the worker process ended with") == 1
    assert "failed: train new/late/seed 1/epochs 0-2: the worker process ended with signal SIGKILL" in said
    assert "(killed from outside, or by the system for want of memory)" in said
    for label in ("new/straight/seed 1/epochs 0-2", "new/eso/seed 1/epochs 1-2", "new/late/seed 0/epochs 0-2"):
        assert f"train {label}: done" in said
