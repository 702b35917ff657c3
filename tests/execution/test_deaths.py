"""Processes that are killed or stopped in the middle of a stage: the stage pays, once, and the run goes on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from execution.bench import Bench, tiny
from execution.patient import install_patient, wanting

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(1800)  # on a machine that does ten other things


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the environment with parts that die and stop."""
    return install_patient(tmp_path_factory.mktemp("patient"))


def with_mortal(folder: Path, patient: dict[str, str], lives: str) -> tuple[Bench, str]:
    """Return a benchmark with a data set that kills whoever prepares it, and what makes it do so."""
    mortal = {"dataset": "mortal", "variant": "vicuna", "limit": 4, "label": "mortal"}
    content = tiny(methods=["sft"], evaluate=[*tiny()["evaluate"], mortal])
    word = wanting("die in prepare", folder / "word")
    (folder / "word" / "lives").write_text(lives)
    return Bench(folder, content, patient), word


def test_a_worker_that_is_killed_in_prepare_is_replaced(tmp_path: Path, patient: dict[str, str]) -> None:
    bench, word = with_mortal(tmp_path, patient, "x")
    said = bench.run("--jobs", "1", PATIENT=word)
    assert "once more: prepare mortal/test: the worker process ended with signal SIGKILL" in said
    assert "made at the second try, because the process of the first died:\n  prepare mortal/test: " in said
    assert "new/sft/seed 0/mortal/t1" in bench.stages("generate")


def test_a_stage_that_always_dies_is_tried_twice_and_costs_its_own_cells(
    tmp_path: Path, patient: dict[str, str], finished: Bench
) -> None:
    bench, word = with_mortal(tmp_path, patient, "xxxxxxxxxx")
    said = bench.run("--jobs", "2", code=1, PATIENT=word)
    assert (tmp_path / "word" / "lives").read_text() == "x" * 8
    assert "failed: prepare mortal/test: the worker process ended with signal SIGKILL" in said
    done = bench.stages("generate")
    assert "new/sft/seed 0/test/t1" in done
    assert not any("mortal" in label for label in done)
    alone = finished.digests()
    others = {key: files for key, files in bench.digests().items() if key in alone}
    for key, files in others.items():  # after a failure nothing is pruned
        assert {name: sha for name, sha in files.items() if name in alone[key]} == alone[key]
    assert {kind for kind, _ in others} >= {"prepare", "train", "generate", "score"}
    board = json.loads(bench.board("json").read_text(encoding="utf-8"))
    assert board["tables"]["scores"]["rows"]
    described = json.loads((bench.board("json").parent / "manifest.json").read_text(encoding="utf-8"))["datasets"]
    assert {data["label"]: data["stage"] is None for data in described if data["role"] != "train"} == {
        "test": False,
        "mortal": True,
    }
    assert "Failed: " in bench.board("md").read_text(encoding="utf-8")
