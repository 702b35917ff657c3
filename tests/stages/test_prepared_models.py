"""A new model: its tokenizer, its weights, and what is recorded of how it was tried."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

from stages import configs
from stages.datasets import example
from stages.requests import request, silent

from harness.spec.results.models import PreparedModel
from harness.spec.stages.new_model import NewModelConfig, TokenizerConfig
from harness.stages import new_model, tokenizer
from harness.store.stages import Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

    from harness.store.records import Record

NO_PLUGINS: Any = None
ARCHITECTURE = {"model_type": "gpt2", "n_layer": 1, "n_head": 2, "n_embd": 8, "n_positions": 64}


def prepared(root: Path, rows: Record) -> tuple[Record, Record]:
    """Return the records of a tokenizer and of a new model in a store that has the rows."""
    store = Store(root)
    shutil.copytree(rows.folder, store.folder(rows.kind, rows.id))
    asked = TokenizerConfig(vocab_size=300, template=configs.TEMPLATE)
    trained = tokenizer.run(request(root, asked, rows=rows), store, NO_PLUGINS, silent)
    weights = NewModelConfig(architecture=ARCHITECTURE, seed=0, loading=configs.loading())
    return trained, new_model.run(request(root, weights, tokenizer=trained), store, NO_PLUGINS, silent)


def test_the_way_on_which_a_model_was_tried_stands_in_its_environment(
    tmp_path: Path, prepare: Callable[..., Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = prepare([example(name, f"Say {name}") for name in "abc"])
    monkeypatch.delenv("HARNESS_WAY", raising=False)
    text, usual = prepared(tmp_path / "usual", rows)
    monkeypatch.setenv("HARNESS_WAY", "general")
    same, forced = prepared(tmp_path / "forced", rows)
    assert (usual.id, text.id) == (forced.id, same.id)
    assert forced.json("environment.json") == {**usual.json("environment.json"), "way": "general"}
    assert "way" not in usual.json("environment.json")
    assert same.json("environment.json") == text.json("environment.json")  # no model is tried
    assert usual.read(PreparedModel).positions == 64
    assert text.read(PreparedModel).positions is None
