"""The threads and the device of a stage that runs a model, and the record of what can change its last bits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from harness.errors import MachineError
from harness.lm.switches import switched
from harness.store.environment import fingerprint

if TYPE_CHECKING:
    from harness.spec.stages.base import StageConfig
    from harness.stages.request import StageRequest


def environment(request: StageRequest[StageConfig], *, device: str | None = None) -> dict[str, Any]:
    """Fix threads and deterministic kernels, and return the fingerprint to store beside the result.

    Args:
        request: the stage.
        device: where its model lies; the request's device if it is None.

    Raises:
        MachineError: a device that this machine does not have.
    """
    torch.set_num_threads(request.runtime.threads)
    torch.set_deterministic_debug_mode("warn")  # use_deterministic_algorithms imports the compiler first
    # kernels write all that they return; to fill it before costs a twelfth of a step
    setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)  # noqa: B010 -- a property that its stub lacks
    device = device or request.runtime.device
    name = "cpu"
    if device != "cpu":
        if not torch.cuda.is_available():
            raise MachineError(
                "this device is not available",
                where="execution.device",
                got=device,
                expected="cpu, or a GPU that PyTorch can use",
            )
        name = torch.cuda.get_device_name(device)
    usual = fingerprint(threads=request.runtime.threads, device=name, ranks=request.runtime.ranks)
    return {**usual, **switched()}
