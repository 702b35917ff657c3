"""Answers that a killed ``generate`` has drawn are not drawn again."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

import pytest
from execution.bench import Bench, all_end, descendants, kill_tree, tiny
from execution.patient import install_patient, wanting

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(1800)  # on a machine that does ten other things

BATCHES, DRAWS = 10, 64

CONTENT = tiny(
    methods=["sft"],
    metrics=["length"],
    evaluate=[{"dataset": "generated-instructions", "limit": BATCHES * 512 // DRAWS, "label": "test"}],
    decoding={"t1": {"max_new_tokens": 3, "draws": DRAWS}},
    execution={"checkpoint_minutes": 1e-6},
)


def batches(folder: Path) -> list[list[str]]:
    return [json.loads(line) for line in (folder / "drawn").read_text(encoding="utf-8").splitlines()]


def test_nine_of_ten_answers_of_a_killed_generate_are_not_drawn_again(tmp_path: Path) -> None:
    patient = install_patient(tmp_path / "plugin")
    whole, killed = Bench(tmp_path / "whole", CONTENT, patient), Bench(tmp_path / "killed", CONTENT, patient)
    counting = wanting("die in generate", tmp_path / "counting", batch=0)
    whole.run("--jobs", "1", PATIENT=counting)
    undisturbed = batches(tmp_path / "counting")
    assert len(undisturbed) == 2 * BATCHES  # of the base, and of the trained row

    word = wanting("die in generate", tmp_path / "word", batch=BATCHES)
    with killed.running("--jobs", "1", PATIENT=word) as process:
        below = descendants(process.pid)
        assert process.wait() == -signal.SIGKILL
        assert all_end(below)
        kill_tree(process.pid)
    assert batches(tmp_path / "word") == undisturbed[:BATCHES]
    kept = list((killed.store.base / ".unfinished").glob("generate-*/*.parts"))
    assert len(kept) == BATCHES - 1
    kept[0].write_bytes(kept[0].read_bytes()[:-9])  # what is damaged is drawn again

    killed.run("--jobs", "1", PATIENT=wanting("die in generate", tmp_path / "again", batch=0))
    again = batches(tmp_path / "again")
    assert again[-BATCHES:] == undisturbed[BATCHES:]
    assert len(again) - BATCHES == 2  # the one that was being drawn, and the damaged one
    assert {*map(tuple, again[:2])} <= {*map(tuple, undisturbed[:BATCHES])}
    assert killed.digests() == whole.digests()
    assert not list((killed.store.base / ".unfinished").iterdir())
