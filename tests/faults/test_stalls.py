"""Processes that stop, or are killed, in the middle of training: the stage pays, once, and what it kept is not lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from execution.bench import Bench, descendants, tiny
from execution.patient import STEP, install_patient, wanting

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(1800)  # on a machine that does ten other things


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the environment with parts that die and stop."""
    return install_patient(tmp_path_factory.mktemp("patient"))


@pytest.mark.parametrize("rank", ["0", "1"])
def test_a_rank_that_stops_ends_its_stage_and_not_the_run(tmp_path: Path, patient: dict[str, str], rank: str) -> None:
    content = tiny(methods=["sft", "patient"], execution={"rank_timeout_minutes": 0.25, "checkpoint_minutes": 1e-6})
    bench = Bench(tmp_path, content, patient)
    word = wanting("stop", tmp_path / "word", step=STEP, rank=rank)
    (tmp_path / "word" / "once").touch()
    with bench.running("--jobs", "1", "--processes", "2", PATIENT=word) as process:
        _, said = process.communicate()
        assert process.returncode == 1, said
        assert not descendants(process.pid)
    number = int(rank) + 1
    silent = f"process {number} of 2 has sent no heartbeat for 0.25 minutes (execution.rank_timeout_minutes)"
    assert f"failed: train new/patient/seed 0/epochs 1-2: {silent}" in said
    assert said.count("failed: train") == 1
    assert "Traceback" not in said
    assert "new/sft/seed 0/test/t1" in bench.stages("generate")
    again = bench.run("--jobs", "1", "--processes", "2")
    assert f"going on at step {STEP}" in again
    assert "new/patient/seed 0/test/t1" in bench.stages("generate")


def test_a_worker_that_stops_by_itself_ends_its_stage_too(tmp_path: Path, patient: dict[str, str]) -> None:
    content = tiny(methods=["sft", "patient"], execution={"rank_timeout_minutes": 0.25})
    bench = Bench(tmp_path, content, patient)
    word = wanting("stop", tmp_path / "word", step=STEP, rank="0")
    (tmp_path / "word" / "once").touch()
    said = bench.run("--jobs", "1", code=1, PATIENT=word)
    assert "failed: train new/patient/seed 0/epochs 1-2: the worker process has sent no heartbeat" in said


@pytest.mark.parametrize("rank", ["0", "1"])
def test_a_killed_process_that_shares_weights_costs_its_stage_a_step(
    tmp_path: Path, patient: dict[str, str], rank: str
) -> None:
    settings = ("--jobs", "1", "--processes", "2", "-o", "execution.shard=true")
    content = tiny(methods=["sft", "patient"], recipe={**tiny()["recipe"], "adapter": {"rank": 4}})
    one, two = Bench(tmp_path / "one", content, patient), Bench(tmp_path / "two", content, patient)
    one.run(*settings)
    word = wanting("die in step", tmp_path / "word", step=12, rank=rank)
    (tmp_path / "word" / "lives").write_text("x")
    said = two.run(*settings, "-o", "execution.checkpoint_minutes=1e-6", PATIENT=word)
    assert "once more: train new/patient/seed 0/epochs 1-2" in said
    assert "going on at step 12" in said
    assert two.digests() == one.digests()
    assert two.tables() == one.tables()


def test_a_killed_training_stage_goes_on_by_itself_bit_for_bit(tmp_path: Path, patient: dict[str, str]) -> None:
    content = tiny(methods=["sft", "patient"])
    one, two = Bench(tmp_path / "one", content, patient), Bench(tmp_path / "two", content, patient)
    one.run("--jobs", "1")
    word = wanting("die in step", tmp_path / "word", step=12)
    (tmp_path / "word" / "lives").write_text("x")
    said = two.run("--jobs", "1", "-o", "execution.checkpoint_minutes=1e-6", PATIENT=word)
    assert "once more: train new/patient/seed 0/epochs 1-2" in said
    assert "going on at step 12" in said
    assert two.digests() == one.digests()  # how often states are kept is part of no id
