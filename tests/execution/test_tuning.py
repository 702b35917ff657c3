"""Tuning in a real run: interrupted, run again, with trials that fail, and on data that must not choose."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from execution.bench import Bench, kill_tree, tiny, wait_for

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(1800)  # on a machine that does ten other things

ESO = {"use": "eso", "temperatures": [0.5, 1.5]}


def tuned(**changes: Any) -> dict[str, Any]:
    return tiny(**{
        "validation": {"dataset": "generated-instructions", "limit": 6},
        "tune": {"options": {"methods.*.coef": [0.5, 1.0]}},
        "methods": ["sft", ESO],
        **changes,
    })  # fmt: skip


def described(bench: Bench) -> dict[str, dict[str, Any]]:
    (path,) = bench.results.glob("tiny/*/manifest.json")
    return {row["label"]: row for row in json.loads(path.read_text(encoding="utf-8"))["rows"]}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    bench = Bench(tmp_path_factory.mktemp("whole"), tuned())
    bench.run("--jobs", "2")
    return bench


def test_the_row_goes_on_from_the_best_trial_and_says_so(whole: Bench) -> None:
    rows = described(whole)
    eso = rows["eso"]
    scores = {trial["settings"]["coef"]: trial["score"] for trial in eso["tuning"]["scores"]}
    assert eso["trials"] == 2
    assert eso["chosen"]["coef"] == eso["options"]["coef"] == min(scores, key=lambda coef: (-scores[coef], coef))
    assert eso["tuned_on"] == "generated-instructions/validation"
    assert [rows[name]["trials"] for name in ("base", "sft")] == [1, 1]
    assert sorted(whole.stages("train")) == [
        "new/eso[coef=0.5]/seed 0/epochs 1-2", "new/eso[coef=1.0]/seed 0/epochs 1-2",
        "new/sft/seed 0/epochs 0-1", "new/sft/seed 0/epochs 1-2",
    ]  # fmt: skip
    for name, record in whole.stages("score").items():
        for coef, score in scores.items():
            if f"eso[coef={coef}]" in name and "generated-instructions" in name:
                assert record.json("metrics.json")["columns"]["rougeL"]["mean"] == score
    board = whole.board("md").read_text(encoding="utf-8")
    assert f"eso: coef {eso['chosen']['coef']} chosen by rouge.rougeL on generated-instructions/validation" in board
    assert "Configurations tried: eso 2, every other method 1." in board
    assert "flattered" not in board


def test_running_again_makes_nothing(whole: Bench) -> None:
    assert "0 stages made" in whole.run()


def test_killed_in_the_middle_it_goes_on_to_the_same_choice(tmp_path: Path, whole: Bench) -> None:
    bench = Bench(tmp_path, tuned())
    with bench.running("--jobs", "1") as process:
        wait_for(process, "train new/eso[coef=1.0]/seed 0/epochs 1-2")
        kill_tree(process.pid)
        process.wait()
    bench.run("--jobs", "1")
    assert bench.digests() == whole.digests()
    assert bench.tables() == whole.tables()
    assert described(bench)["eso"]["tuning"] == described(whole)["eso"]["tuning"]


def test_a_failed_trial_is_counted_and_not_chosen(tmp_path: Path) -> None:
    rates = {"methods.eso.recipe.method_learning_rate": [1e-2, 1e30]}
    bench = Bench(tmp_path, tuned(tune={"options": rates}))
    said = bench.run(code=1)
    assert said.count("failed: train") == 1
    eso = described(bench)["eso"]
    assert (eso["trials"], eso["chosen"]) == (2, {"recipe.method_learning_rate": 1e-2})
    assert [trial["score"] is None for trial in eso["tuning"]["scores"]] == [False, True]
    assert eso["seeds"]["0"]["failed"] is None
    assert None not in eso["seeds"]["0"]["train"]


def test_a_row_fails_with_all_its_trials_and_leaves_the_others_alone(tmp_path: Path) -> None:
    rates = {"methods.eso.recipe.method_learning_rate": [1e29, 1e30]}
    bench = Bench(tmp_path, tuned(tune={"options": rates}, methods=["sft", ESO]))
    said = bench.run(code=1)
    assert said.count("\n  no result: eso") == 1
    rows = described(bench)
    assert (rows["eso"]["trials"], rows["eso"]["chosen"]) == (2, None)
    assert rows["eso"]["seeds"]["0"]["failed"]
    assert rows["sft"]["seeds"]["0"]["evaluations"]["test"]["t1"]["generate"]
    assert "eso: nothing could be chosen by rouge.rougeL" in bench.board("md").read_text(encoding="utf-8")
    assert "failed" in bench.run(code=1)


def test_prompts_that_choose_are_none_that_are_reported(tmp_path: Path) -> None:
    for split in ("train", "validation", "test"):
        named = "a" if split == "train" else "b"
        rows = [{"prompt": f"What is {named} {n}?", "completion": f"It is {n} of {named}."} for n in range(8)]
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    data = {"dataset": "files", "path": str(tmp_path)}
    content = tuned(
        train=data, validation=data, evaluate=[{**data, "label": "test"}], template={"text": "{instruction} "},
    )  # fmt: skip
    said = Bench(tmp_path, content).run(code=2)
    assert "8 prompts of 'test' are in the validation rows too" in said
