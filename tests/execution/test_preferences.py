"""A benchmark of preferences through the command line: SFT, then DPO against log-probs that were stored."""

from __future__ import annotations

import json
import math
import random
from typing import TYPE_CHECKING, Any

import pytest
import torch
from execution.bench import Bench, tiny
from safetensors.torch import load_file

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(1800)  # on a machine that does ten other things

COLUMNS = {"completion": "chosen", "chosen": "chosen", "rejected": "rejected"}
USE = {"dataset": "files", "path": "pairs", "columns": COLUMNS}


def write_pairs(folder: Path, *, spoilt: dict[int, dict[str, Any]] | None = None) -> None:
    """Write sums with a right and a wrong answer; ``spoilt`` rows are changed, a None taking a key away."""
    draw = random.Random(0)
    folder.mkdir(parents=True)
    for split, count in {"train": 17, "test": 4}.items():
        rows = []
        for number in range(count):
            one, other = draw.randrange(50), draw.randrange(50)
            prompt = f"{split} {number // 2}?" if split == "train" else f"{split} {number}?"  # two pairs of a prompt
            row = {"prompt": prompt, "chosen": f"It is {one + other}.", "rejected": f"It may be {one} or {other}."}
            row |= (spoilt or {}).get(number, {}) if split == "train" else {}
            rows.append({key: value for key, value in row.items() if value is not None})
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{split}.jsonl").write_text(text, encoding="utf-8")


RECIPE = {**tiny()["recipe"], "dropout": 0.1, "generate_length": None}


def bench(folder: Path, *methods: Any, spoilt: dict[int, dict[str, Any]] | None = None, **changes: Any) -> Bench:
    write_pairs(folder / "pairs", spoilt=spoilt)
    settings = {
        "template": {"text": "{instruction}\nAnswer:"}, "train": USE, "evaluate": [{**USE, "label": "test"}],
        "reward": None, "recipe": RECIPE, "methods": ["sft", *methods],
    }  # fmt: skip
    return Bench(folder, tiny(**{**settings, **changes}))


LONG = {5: {"rejected": "No " * 60}}
IPO = {"use": "dpo", "label": "ipo", "loss_type": "ipo"}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    run = bench(tmp_path_factory.mktemp("done"), "dpo", IPO, spoilt=LONG)
    said = run.run("--jobs", "1")
    assert said.count("reference log-probs: done") == 1
    return run


def test_both_rows_read_one_stage_and_hold_no_second_model(done: Bench) -> None:
    (stage,) = done.stages("precompute").values()
    assert stage.label == "new/sft/seed 0/epochs 1-2/reference log-probs"
    summary = stage.json("summary.json")
    assert summary["rows"] == {"dropped_overlong": 1, "without_pair": 0}
    assert summary["pairs"] == 16
    values = load_file(stage.path("logprobs.safetensors"))
    assert len(values["values"]) == int(values["lengths"].sum()) == summary["tokens"]
    assert bool((values["values"] <= 0).all())
    for name in ("dpo", "ipo"):
        trained = done.stages("train")[f"new/{name}/seed 0/epochs 2-3"].json("summary.json")
        assert [model["role"] for model in trained["models_held"]] == ["policy"]
        assert trained["reference_logprobs"]["pairs"] == 16
        assert trained["rows"] == {"used": 16, "dropped_overlong": 1}


def test_the_first_step_starts_from_ln_2_with_dropout_in_the_recipe(done: Bench) -> None:
    log = list(done.stages("train")["new/dpo/seed 0/epochs 2-3"].jsonl("train.jsonl"))
    assert log[0]["loss"]["dpo"] == pytest.approx(math.log(2), abs=1e-6)
    assert log[0]["method"]["rewards/margins"] == pytest.approx(0.0, abs=1e-5)
    names = {f"rewards/{part}" for part in ("chosen", "rejected", "margins", "accuracies")}
    assert all(row["method"].keys() == names | {"logps/chosen", "logps/rejected"} for row in log)
    assert log[-1]["method"]["rewards/margins"] > 0
    ipo = list(done.stages("train")["new/ipo/seed 0/epochs 2-3"].jsonl("train.jsonl"))
    assert ipo[0]["loss"]["dpo"] == pytest.approx(25.0, rel=1e-4)


def test_tables_say_what_was_held_and_computed_beforehand(done: Bench) -> None:
    tables = json.loads((done.results / "tiny" / "default" / "leaderboard.json").read_text(encoding="utf-8"))
    text = json.dumps(tables)
    assert "reference log-probs computed beforehand" in text
    assert "Seconds of computing the reference model's log-probs" in text
    assert "reference 0.0M" not in text


def test_the_same_again_takes_all_of_it_from_the_store(done: Bench) -> None:
    before = done.digests()
    said = done.run("--jobs", "1")
    assert "0 stages made" in said
    assert done.digests() == before


@pytest.mark.long
def test_two_processes_read_what_one_does(tmp_path: Path) -> None:
    models = [{**tiny()["models"][0], "dtype": "float64"}]
    same: dict[str, Any] = {"models": models, "recipe": {**RECIPE, "dropout": 0.0}}
    one, two = (bench(tmp_path / name, "dpo", **same) for name in ("one", "two"))
    one.run("--jobs", "1")
    two.run("--jobs", "1", "--processes", "2")
    name = "new/dpo/seed 0/epochs 2-3"
    records = [run.stages("train")[name] for run in (one, two)]
    assert records[0].id == records[1].id
    assert records[1].json("summary.json")["ranks"] == 2
    weights, others = (load_file(record.path("checkpoint/model.safetensors")) for record in records)
    for key, weight in weights.items():
        assert weight.dtype == torch.float64
        torch.testing.assert_close(others[key], weight, rtol=0, atol=1e-9)
    logs = [list(record.jsonl("train.jsonl")) for record in records]
    for mine, theirs in zip(*logs, strict=True):
        assert theirs["method"] == {key: pytest.approx(value, abs=1e-9) for key, value in mine["method"].items()}


def errors(said: str) -> str:
    found = [line for line in said.splitlines() if line.startswith("error: ")]
    assert len(found) == 1, said
    return found[0]


def test_a_file_without_preferences_fails_before_anything_is_made(tmp_path: Path) -> None:
    run = Bench(tmp_path, tiny(methods=["sft", "dpo"]))
    said = errors(run.run("--jobs", "1", code=2))
    assert "method dpo needs preferences, and generated-instructions provides demonstrations" in said
    assert "expected a data set of preferences under train" in said
    assert not run.results.exists()


@pytest.mark.parametrize("spoilt", [{3: {"rejected": None}}, {3: {"chosen": " "}}], ids=["missing", "blank"])
def test_half_a_pair_is_refused_before_any_training(tmp_path: Path, spoilt: dict[int, dict[str, Any]]) -> None:
    run = bench(tmp_path, "dpo", spoilt=spoilt)
    said = errors(run.run("--jobs", "1", code=2))
    assert "train.jsonl:4" in said
    assert not run.stages("train")
