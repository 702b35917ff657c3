"""Data-parallel training through the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from execution.bench import Bench, tiny
from safetensors.torch import load_file

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(1800)  # on a machine that does ten other things


@pytest.mark.parametrize("shard", [False, True])
def test_two_processes_train_what_one_does(tmp_path: Path, *, shard: bool) -> None:
    models = [{**tiny()["models"][0], "dtype": "float64"}]
    content = tiny(models=models, train={"dataset": "generated-instructions", "limit": 12})
    one, two = Bench(tmp_path / "one", content), Bench(tmp_path / "two", content)
    one.run("--jobs", "1")
    said = two.run("--jobs", "1", "--processes", "2", *(["-o", "execution.shard=true"] if shard else []))
    assert f"2 processes a training stage{', which divide its weights' if shard else ''}" in " ".join(said.split())
    trained, again = one.stages("train"), two.stages("train")
    assert {record.id for record in trained.values()} == {record.id for record in again.values()}
    for label, record in trained.items():
        assert again[label].json("environment.json")["ranks"] == 2
        weights = load_file(record.path("checkpoint/model.safetensors"))
        others = load_file(again[label].path("checkpoint/model.safetensors"))
        assert weights.keys() == others.keys()
        for name, weight in weights.items():
            assert weight.dtype == torch.float64
            torch.testing.assert_close(others[name], weight, rtol=0, atol=1e-9)
