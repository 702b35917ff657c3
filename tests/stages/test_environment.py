"""What a stage fixes before it computes, and says beside its result."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from stages import configs

from harness.spec.runtime import Runtime
from harness.stages.environment import environment
from harness.stages.request import StageRequest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.usefixtures("torch_as_it_was")
@pytest.mark.parametrize("threads", [2, 1])
def test_a_stage_has_the_threads_that_it_says(tmp_path: Path, threads: int) -> None:
    """A product may round otherwise with another number: what is stored must name the one that it was made with."""
    torch.set_num_threads(3)
    asked = StageRequest("0" * 64, "a stage", configs.train_config("sft"), {}, Runtime(threads=threads), tmp_path)
    said = environment(asked)
    assert said["threads"] == torch.get_num_threads() == threads
