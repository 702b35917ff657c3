"""What a worker answers where the work fails in a way that is nobody's defect."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest
import torch

from harness.execution import rehearsal, worker
from harness.execution.warning_capture import WarningCapture
from harness.spec.plugins import PluginSelection

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
    ],
)
def test_memory_that_runs_out_is_no_defect(error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(rehearsal, "inspect_plugins", fail)
    request = rehearsal.InspectionRequest(used=(), results=tmp_path, plugins=PluginSelection())
    answer = worker._do(request, io.StringIO(), WarningCapture(lambda _: None))
    assert (answer["event"], answer["exit_code"]) == ("failed", 3)
    assert answer["message"].startswith("out of memory")
    assert not (tmp_path / "store").exists(), "no traceback is kept"
