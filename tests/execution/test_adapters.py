"""A benchmark that trains adapters: stored alone, shared, gone on from, merged, and by two processes."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import pytest
import torch
from execution.bench import Bench, tiny
from execution.test_preferences import USE, write_pairs
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.timeout(1800),  # on a machine that does ten other things
    pytest.mark.filterwarnings("ignore::FutureWarning"),  # PEFT calls transformers by old names
]

ADAPTER = {"rank": 4, "alpha": 8.0}
PPO = {"use": "ppo", "temperature": 1.0, "num_mini_batches": 1}
FULL = {"use": "eso", "label": "full", "start": "after", "recipe": {"adapter": None}}
WIDE = {"use": "eso", "label": "wide", "start": "after", "recipe": {"adapter": {"rank": 8, "targets": ["c_attn"]}}}


def bench(folder: Path, *methods: Any, **changes: Any) -> Bench:
    write_pairs(folder / "pairs")
    recipe = {**tiny()["recipe"], "adapter": ADAPTER, **changes.pop("recipe", {})}
    settings: dict[str, Any] = {
        "template": {"text": "{instruction}\nAnswer:"}, "train": USE, "evaluate": [{**USE, "label": "test"}],
        "recipe": recipe, "methods": ["sft", *methods],
    }  # fmt: skip
    return Bench(folder, tiny(**{**settings, **changes}))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    run = bench(tmp_path_factory.mktemp("done"), "dpo", PPO, FULL, WIDE)
    run.run("--jobs", "1")
    return run


def stage(run: Bench, label: str) -> Any:
    (record,) = [record for name, record in run.stages("train").items() if name.startswith(f"new/{label}/")][-1:]
    return record


def test_first_steps_begin_at_the_adapter_that_sft_trained(done: Bench) -> None:
    dpo, ppo = stage(done, "dpo"), stage(done, "ppo")
    first = next(dpo.jsonl("train.jsonl"))
    assert first["loss"]["dpo"] == pytest.approx(math.log(2), abs=1e-6)
    assert first["method"]["rewards/margins"] == pytest.approx(0.0, abs=1e-6)
    assert next(ppo.jsonl("train.jsonl"))["method"]["objective/kl"] == 0.0
    held = {model["role"] for model in ppo.json("summary.json")["models_held"]}
    assert held == {"policy", "reference adapter", "module critic"}


def test_an_adapter_is_stored_alone_and_peft_loads_it_on_its_base(done: Bench) -> None:
    record = stage(done, "dpo")
    base = record.json("adapter.json")["base"]
    assert base["kind"] == "prepare"
    assert record.json("adapter.json")["settings"] == {**ADAPTER, "targets": "all-linear", "dropout": 0.0}
    names = {name for name in record.manifest["files"] if name.startswith("checkpoint/")}
    assert "checkpoint/adapter_model.safetensors" in names
    assert "checkpoint/model.safetensors" not in names
    below = done.store.open(base["kind"], base["id"]).path("checkpoint")
    model: Any = AutoModelForCausalLM.from_pretrained(below)
    adapted: Any = PeftModel.from_pretrained(model, record.path("checkpoint"))
    assert sum(p.numel() for name, p in adapted.named_parameters() if "lora_" in name) == sum(
        map(torch.Tensor.numel, load_file(record.path("checkpoint/adapter_model.safetensors")).values())
    )


def test_rows_with_other_adapters_and_with_none_go_on_from_the_merged_start(done: Bench) -> None:
    full, wide = stage(done, "full"), stage(done, "wide")
    assert not full.holds("adapter.json")
    assert full.holds("checkpoint/model.safetensors")
    assert wide.json("adapter.json")["settings"]["rank"] == 8
    sft = done.store.open(kind="train", stage_id=wide.json("adapter.json")["base"]["id"])
    assert sft.holds("adapter.json")  # which is kept, since another adapter goes on it
    assert sft.holds("checkpoint/adapter_model.safetensors")
    labels = [row["label"] for row in done.tables()["scores"]["rows"]]
    assert sorted(labels) == ["base", "dpo", "full", "ppo", "sft", "wide"]


def test_tables_say_how_little_was_trained(done: Bench) -> None:
    text = json.dumps(json.loads(done.board("json").read_text(encoding="utf-8"))["tables"])
    assert "M trained)" in text


def test_the_same_again_takes_all_of_it_from_the_store(done: Bench) -> None:
    before = done.digests()
    assert "0 stages made" in done.run("--jobs", "1")
    assert done.digests() == before


@pytest.mark.long
def test_two_processes_train_what_one_does(tmp_path: Path) -> None:
    models = [{**tiny()["models"][0], "dtype": "float64"}]
    one, two = (bench(tmp_path / name, PPO, models=models) for name in ("one", "two"))
    one.run("--jobs", "1")
    two.run("--jobs", "1", "--processes", "2")
    records = [stage(run, "ppo") for run in (one, two)]
    assert records[0].id == records[1].id
    assert records[1].json("summary.json")["ranks"] == 2
    mine, theirs = (load_file(record.path("checkpoint/adapter_model.safetensors")) for record in records)
    for key, weight in mine.items():
        torch.testing.assert_close(theirs[key], weight, rtol=0, atol=1e-8)
