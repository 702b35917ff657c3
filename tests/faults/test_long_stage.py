"""A stage of a minute, killed after 50 seconds, loses a few of them and not a bit.

Its steps wait half a second each, so that it takes that long on any machine; what they compute is real.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import pytest
from execution.bench import Bench, all_end, descendants, kill_tree, tiny, wait_for
from execution.patient import install_patient, wanting

if TYPE_CHECKING:
    from pathlib import Path

STEPS, SECONDS, KILLED_AT = 120, 60.0, 50.0
STAGE = "train new/patient/seed 0/epochs 1-2"

pytestmark = pytest.mark.timeout(3600)


def test_a_minute_s_stage_that_is_killed_goes_on_bit_for_bit(tmp_path: Path) -> None:
    patient = install_patient(tmp_path / "plugin")
    content = tiny(
        methods=["sft", "patient"],
        train={"dataset": "generated-instructions", "limit": 2 * STEPS},
        recipe={**tiny()["recipe"], "batch_size": 2},
        execution={"checkpoint_minutes": 0.05},
    )
    whole, killed = Bench(tmp_path / "whole", content, patient), Bench(tmp_path / "killed", content, patient)
    pace = wanting("pace", tmp_path / "word", step=STEPS, seconds=SECONDS / STEPS)
    whole.run("--jobs", "1", PATIENT=pace)
    with killed.running("--jobs", "1", PATIENT=pace) as process:
        wait_for(process, STAGE)
        below = descendants(process.pid)
        time.sleep(KILLED_AT)
        kill_tree(process.pid)
        assert all_end(below)
    (state,) = (killed.store.base / ".unfinished").glob("train-*/*/manifest.json")
    kept = int(state.parent.name) - STEPS
    said = killed.run("--jobs", "1", PATIENT=pace)
    went_on = re.search(rf"{STAGE}: going on at step (\d+)", said)
    assert went_on is not None
    assert int(went_on[1]) == STEPS + kept
    print(f"\nkilled after {KILLED_AT:.0f} s of {SECONDS:.0f}: {kept} of {STEPS} steps were kept")
    assert 0 < kept < STEPS
    assert killed.digests() == whole.digests()
    assert killed.tables() == whole.tables()
