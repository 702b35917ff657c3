"""Models that cannot do what the file asks of them: refused when they are prepared, before anything is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from execution.bench import Bench, tiny
from execution.test_bad_input import errors

from harness.lm.model.initialise import initialise
from harness.spec.model import Model
from harness.text.bpe import train_bpe

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(1800)  # on a machine that does ten other things

NEO: dict[str, Any] = {  # has eager attention alone
    "model_type": "gpt_neo", "num_layers": 2, "num_heads": 2, "hidden_size": 32, "intermediate_size": 48,
    "attention_types": [[["global", "local"], 1]], "window_size": 3, "max_position_embeddings": 160,
}  # fmt: skip


def test_a_scorer_without_room_behind_the_longest_prompt(tmp_path: Path) -> None:
    config = {"model_type": "gpt2", "n_layer": 1, "n_embd": 16, "n_head": 2, "n_positions": 96}
    initialise(Model(name="small", config=config), train_bpe(["a b c"], 257, tmp_path / "bpe"), 0, tmp_path / "small")
    models = [{"name": "new", "config": NEO, "vocab_size": 400, "attention": "eager"}]
    content = tiny(
        models=models, metrics=["perplexity"], scorer={"model": "small"}, sources={"small": str(tmp_path / "small")}
    )
    bench = Bench(tmp_path, content)
    (error,) = errors(bench.run("--jobs", "1", code=2))
    assert "scorer small" in error
    assert "context of 96 tokens has no room for an answer behind a prompt of 96" in error
    assert "lower max_prompt_length, or name a scorer with a longer context" in error
    assert bench.stages("train") == {}
    assert "new/weights/seed 0" in bench.stages("prepare")  # with the attention that the file gives


def test_a_model_that_keeps_a_state(tmp_path: Path) -> None:
    """It goes the general way if transformers keeps its state in a cache, and is refused before training if not."""
    config = {"hidden_size": 32, "num_hidden_layers": 2}
    mamba = {"name": "new", "config": {"model_type": "mamba", "state_size": 4, **config}, "attention": "eager"}
    bench = Bench(tmp_path / "mamba", tiny(models=[{**mamba, "vocab_size": 400}], methods=["sft"]))
    told = bench.run("--jobs", "1")
    (warning,) = [line for line in told.splitlines() if "general way" in line]
    assert ": mamba takes the slower, general way: " in warning
    said = bench.board("md").read_text(encoding="utf-8")
    assert "new, general way: padded rows" in said
    assert "does not go through transformers' attention interface" in said
    rwkv = {**mamba, "config": {"model_type": "rwkv", "attention_hidden_size": 32, **config}}
    bench = Bench(tmp_path / "rwkv", tiny(models=[{**rwkv, "vocab_size": 400}], methods=["sft"]))
    (error,) = errors(bench.run("--jobs", "1", code=2))
    assert "is in no cache of transformers" in error
    assert bench.stages("train") == {}


def test_an_attention_that_a_model_lacks(tmp_path: Path) -> None:
    bench = Bench(tmp_path, tiny(models=[{"name": "new", "config": NEO, "vocab_size": 400}], methods=["sft"]))
    (error,) = errors(bench.run("--jobs", "1", code=2))
    assert "gpt_neo models have no sdpa attention" in error
    assert "`attention:` stands beside the model's name in the file" in error
    assert bench.stages("train") == {}
