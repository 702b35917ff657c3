"""A reward model from the command line to the tables: trained, shared, asked by methods and metrics, kept, refused."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import pytest
from execution.bench import Bench, tiny

from harness.lm.score.reward_model import RewardModel

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(1800)  # on a machine that does ten other things

PREFERENCES = {"dataset": "generated-preferences"}


def judged(**changes: Any) -> dict[str, Any]:
    """Return the tiny benchmark on generated preferences, with ESO as in the paper's alignment experiment."""
    settings = {
        "template": {"text": "{prompt}", "truncate": "prompt"},
        "train": {**PREFERENCES, "limit": 32},
        "evaluate": [{**PREFERENCES, "limit": 6, "label": "test"}],
        "reward": "reward-model",
        "reward_model": {
            "use": "bradley-terry", "recipe": {"epochs": 2, "learning_rate": 3e-3},
            "test": {**PREFERENCES, "split": "test", "limit": 20}, "normalise": "zscore",
        },
        "methods": ["sft", {"use": "eso", "preset": "alignment", "start": "after", "temperatures": [0.5, 1.5]}],
        "metrics": ["length", "reward-model"],
    }  # fmt: skip
    return tiny(**{**settings, **changes})


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    bench = Bench(tmp_path_factory.mktemp("judged"), judged())
    bench.run("--jobs", "2")
    return bench


def manifest(bench: Bench) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((bench.results / "tiny" / "default" / "manifest.json").read_text("utf-8"))
    return found


def test_its_stages_are_found_through_the_manifest(done: Bench) -> None:
    (described,) = manifest(done)["reward_models"].values()
    trained = done.store.open("train", described["train"])
    log = list(trained.jsonl("train.jsonl"))
    assert len(log) == 16
    assert {"accuracy", "margin", "reward_chosen", "reward_rejected"} <= set(log[0]["method"])
    assert all("kl" not in row for row in log)  # no demonstrations, nothing to compare with
    statistics = done.store.open("precompute", described["statistics"])
    summary = statistics.json("summary.json")
    assert (summary["normalise"], summary["n"], summary["model"]) == ("zscore", 32, described["train"])
    pairs = list(statistics.jsonl("pairs.jsonl"))
    assert len(pairs) == 20
    assert set(pairs[0]) == {"id", "chosen", "rejected", "chosen_tokens", "rejected_tokens"}
    assert all(math.isfinite(row["chosen"]) and row["chosen_tokens"] > 0 for row in pairs)


def test_methods_are_trained_on_its_normalised_scores(done: Bench) -> None:
    (record,) = [record for label, record in done.stages("train").items() if "/eso/" in label]
    summary, log = record.json("summary.json"), list(record.jsonl("train.jsonl"))
    held = {entry["role"]: entry for entry in summary["models_held"]}
    assert set(held) == {"policy", "reward"}
    assert held["reward"]["parameters"] == held["policy"]["parameters"] + 33
    assert held["reward"]["bytes"] == 4 * held["reward"]["parameters"]
    assert set(log[0]["loss"]) == {"eso"}  # without the supervised term
    assert summary["reward_calls"] == 2 * 4 * len(log)
    assert all(row["seconds"]["reward"] > 0 for row in log)
    assert all(row["reward"]["missing"] == 0 for row in log)


def test_metrics_read_the_scores_of_a_model_that_is_loaded_anew(done: Bench) -> None:
    """The stored values are those of the weights in the store, for the text of each answer, normalised."""
    (described,) = manifest(done)["reward_models"].values()
    trained = done.store.open("train", described["train"])
    summary = done.store.open("precompute", described["statistics"]).json("summary.json")
    from harness.lm.model.policy import Policy
    from harness.spec.model import Model, Template
    from harness.stages.stored_rows import read
    from harness.text.templates import render

    policy = Policy.load(trained.path("checkpoint"), spec=Model(name="x"))
    template = Template(text="{prompt}", truncate="prompt")
    model = RewardModel.trained(policy, trained.path("modules.safetensors"), template=template, max_prompt=96)
    model.normalise("zscore", summary["mean"], summary["sd"])
    (score,) = [r for label, r in done.stages("score").items() if label.endswith("/eso/seed 0/test/t1/reward-model")]
    (answers,) = [r for label, r in done.stages("generate").items() if label.endswith("/eso/seed 0/test/t1")]
    rows = {e.id: e for r in done.stages("prepare").values() if r.holds("rows.jsonl") for e in read(r)}
    texts = list(answers.jsonl("samples.jsonl"))
    prompts = [render(template, rows[answer["id"]].fields) for answer in texts]
    expected = model.score(prompts, [answer["text"] for answer in texts])
    assert [row["values"]["reward"] for row in score.jsonl("values.jsonl")] == pytest.approx(expected, abs=1e-4)


def test_its_weights_stay_while_something_may_ask_it(done: Bench) -> None:
    (described,) = manifest(done)["reward_models"].values()
    record = done.store.open("train", described["train"])
    assert record.holds("checkpoint")
    assert record.holds("modules.safetensors")
    assert not record.holds("optimizer.safetensors")


def test_other_held_out_pairs_and_another_metric_train_nothing_again(done: Bench) -> None:
    before = {record.id for record in done.store.records("train")}
    said = done.run("-o", "reward_model.test.limit=12")
    assert "2 stages made" in said  # the pairs and their scores
    assert {record.id for record in done.store.records("train")} == before


PAIRS = {"columns": {"chosen": "completion", "rejected": "bad"}}


def rows_of(folder: Path, *, rejected: bool = True) -> dict[str, Any]:
    folder.mkdir(parents=True)
    for split, count in {"train": 12, "test": 6}.items():
        rows = [{"prompt": f"{split} {n}?", "completion": f"yes, {n}", "bad": f"no {n}" if rejected or n != 3 else None}
                for n in range(count)]  # fmt: skip
        if not rejected:
            for row in rows:
                del row["bad"]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return {"dataset": "files", "path": str(folder)}


def test_preferences_without_a_rejected_answer_are_refused_before_any_training(tmp_path: Path) -> None:
    data = rows_of(tmp_path / "data", rejected=False)
    content = judged(
        template={"text": "{prompt}"},
        train=data,
        evaluate=[{**data, "label": "test"}],
        reward_model={
            "use": "bradley-terry",
            "train": {**data, **PAIRS},
        },
    )
    bench = Bench(tmp_path, content)
    said = bench.run(code=2)
    assert "bad" in said
    assert list(bench.store.records("train")) == []
    del content["reward_model"]["train"]
    said = bench.run(code=2)
    assert "a reward model is judged by preferences, and files provides demonstrations" in said


def test_learning_from_the_prompts_of_the_test_is_refused(tmp_path: Path) -> None:
    data = rows_of(tmp_path / "data")
    pairs = {**data, **PAIRS}
    content = judged(
        template={"text": "{prompt}"},
        train=data,
        evaluate=[{**data, "label": "test"}],
        reward_model={"use": "bradley-terry", "train": {**pairs, "split": "test"}},
    )
    bench = Bench(tmp_path, content)
    said = bench.run(code=2)
    assert "6 prompts of 'test' are in the training rows too" in said
    assert list(bench.store.records("train")) == []


def test_a_classifier_from_elsewhere(done: Bench, tmp_path: Path) -> None:
    from transformers import GPT2Config, GPT2ForSequenceClassification

    (tokeniser,) = [r for label, r in done.stages("prepare").items() if label == "new/tokenizer"]
    shape: dict[str, Any] = {
        "n_layer": 1, "n_embd": 16, "n_head": 2, "n_positions": 160, "vocab_size": 400, "pad_token_id": 1,
        "num_labels": 1,
    }  # fmt: skip
    model = GPT2ForSequenceClassification(GPT2Config(**shape))
    folder = tmp_path / "classifier"
    model.save_pretrained(folder)
    for path in tokeniser.path("checkpoint").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    section = {"model": "judge", "path": str(folder), "normalise": "shift"}
    bench = Bench(tmp_path, judged(reward_model=section))
    bench.run("--jobs", "2")
    (described,) = manifest(bench)["reward_models"].values()
    assert described["train"] is None
    assert bench.store.open("precompute", described["statistics"]).json("summary.json")["n"] == 32
    (record,) = [record for label, record in bench.stages("train").items() if "/eso/" in label]
    held = {entry["role"]: entry["parameters"] for entry in record.json("summary.json")["models_held"]}
    assert held["reward"] == sum(weight.numel() for weight in model.parameters())
    config = json.loads((folder / "config.json").read_text("utf-8"))
    config["id2label"] = {"0": "a", "1": "b"}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert "several outputs, got 2" in bench.run(code=2)


@pytest.mark.long
def test_it_finds_a_latent_utility(tmp_path: Path) -> None:
    """What the generated preferences are made from is found by a small model from scratch, far above chance."""
    content = judged(
        models=[
            {
                "name": "new",
                "config": {"model_type": "gpt2", "n_layer": 2, "n_embd": 64, "n_head": 2, "n_positions": 192},
                "vocab_size": 800,
            }
        ],
        train={**PREFERENCES, "limit": 600},
        recipe={
            "epochs": 1, "batch_size": 8, "learning_rate": 2e-3, "max_prompt_length": 128, "max_completion_length": 60,
            "generate_length": 8,
        },
        reward_model={
            "use": "bradley-terry", "recipe": {"epochs": 3, "learning_rate": 1e-3},
            "test": {**PREFERENCES, "split": "test", "limit": 200},
        },
        methods=["sft"],
        metrics=["length"],
        reward=None,
    )  # fmt: skip
    bench = Bench(tmp_path, content)
    bench.run("--jobs", "1")
    (described,) = manifest(bench)["reward_models"].values()
    pairs = list(bench.store.open("precompute", described["statistics"]).jsonl("pairs.jsonl"))
    accuracy = sum(row["chosen"] > row["rejected"] for row in pairs) / len(pairs)
    assert accuracy > 0.62  # three standard errors of 200 pairs above a coin
