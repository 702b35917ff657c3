"""A model that has eager attention alone: every kind of stage that runs it loads it so."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from execution.bench import Bench, tiny

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(1800)  # on a machine that does ten other things

#: transformers has no other attention for this family, and says so where another is asked for.
NEO = {
    "name": "new",
    "attention": "eager",
    "vocab_size": 400,
    "config": {
        "model_type": "gpt_neo", "num_layers": 2, "num_heads": 2, "hidden_size": 32, "window_size": 8,
        "attention_types": [[["global", "local"], 1]], "max_position_embeddings": 160,
    },
}  # fmt: skip
PAIRS = {"dataset": "generated-preferences"}


def bench(folder: Path, **model: Any) -> Bench:
    content = tiny(
        models=[{**NEO, **model}],
        template={"text": "{prompt}", "truncate": "prompt"},
        train={**PAIRS, "limit": 30},
        evaluate=[{**PAIRS, "limit": 6, "label": "test"}],
        reward={"use": "reward-model"},
        reward_model={"use": "bradley-terry", "test": {**PAIRS, "split": "test", "limit": 10}, "normalise": "zscore"},
        methods=["sft", "dpo", {"use": "ppo", "recipe": {"max_steps": 2}}],
        metrics=["perplexity", "reward-model"],
    )
    return Bench(folder, content)


def test_training_answers_references_rewards_and_scores(tmp_path: Path) -> None:
    run = bench(tmp_path)
    run.run("--jobs", "1")
    kinds = set()
    for kind in run.store.kinds():
        for record in run.store.records(kind):
            config = record.json("config.json")
            loading = [config.get("loading"), (config.get("asking") or {}).get("loading")]
            loading += [(config.get("reward_model") or {}).get("loading"), config.get("scorer")]
            asked = {each["attention"] for each in loading if each}
            assert asked <= {"eager"}, config["kind"]
            kinds |= {config["kind"]} if asked else set()
    assert kinds == {
        "new-model", "train", "reference-logprobs", "reward-statistics", "generate", "score-by-model",
    }  # fmt: skip
    board = json.loads(run.board("json").read_text(encoding="utf-8"))
    assert {row["label"] for row in board["tables"]["scores"]["rows"]} == {"base", "sft", "dpo", "ppo"}


def test_the_usual_attention_is_refused_with_the_one_there_is(tmp_path: Path) -> None:
    said = bench(tmp_path, attention="sdpa").run("--jobs", "1", code=2)
    assert "gpt_neo models have no sdpa attention, got 'sdpa'; expected eager" in said
