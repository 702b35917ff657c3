"""What every stage that runs a model does first: threads, the device, the policy and the encoded rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch

from harness.benchmark.schema import Model, Template
from harness.errors import MachineError
from harness.lm.encode import Encoded, encode
from harness.lm.policy import Policy
from harness.stages.checkpoints import locate
from harness.stages.rows import read
from harness.store.environment import fingerprint

if TYPE_CHECKING:
    from harness.stages.order import Order
    from harness.store import Store


def environment(order: Order) -> dict[str, Any]:
    """Fix threads and deterministic kernels, and return the fingerprint to store beside the result.

    Raises:
        MachineError: a device that this machine does not have.
    """
    torch.set_num_threads(order.runtime["threads"])
    torch.use_deterministic_algorithms(mode=True, warn_only=True)
    device = order.runtime["device"]
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
    return fingerprint(threads=order.runtime["threads"], device=name, ranks=order.runtime["ranks"])


def load_policy(order: Order, store: Store, parent: str, *, dropout: float = 0.0) -> Policy:
    """Load a parent's checkpoint as the stage's configuration wants it."""
    spec = Model(name=order.label, **order.config["model"])
    return Policy.load(locate(order, store, parent), spec=spec, device=order.runtime["device"], dropout=dropout)


def encode_rows(
    order: Order,
    store: Store,
    policy: Policy,
    *,
    max_prompt: int,
    max_completion: int,
    training: bool,
    overlong: Literal["cut", "drop"] = "cut",
    train_eos: bool = True,
) -> Encoded:
    """Tokenise the rows of the stage's ``rows`` parent."""
    record = store.open("prepare", order.parents["rows"].id)
    return encode(
        read(record),
        policy.tokeniser,
        Template(**order.config["template"]),
        max_prompt=max_prompt,
        max_completion=max_completion,
        training=training,
        overlong=overlong,
        train_eos=train_eos,
        positions=policy.positions_limit,
        where=record.label,
    )


def peak_memory(device: str) -> int:
    """Return the most memory used so far, in bytes: of the device, or of this process."""
    if device != "cpu":
        return int(torch.cuda.max_memory_allocated(device))
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
