"""What every stage that runs a model does first: threads, the device, the policy and the encoded rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch

from harness.errors import MachineError
from harness.lm.model.policy import Policy
from harness.lm.switches import switched
from harness.stages.checkpoints import locate
from harness.stages.rows import read
from harness.store.environment import fingerprint
from harness.store.parts import Parts
from harness.text.encode import Encoded, EncodingParams, encode
from harness.training.weights import align

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import nn

    from harness.api import Example
    from harness.spec.model import Template
    from harness.spec.stages.base import Loading, StageConfig
    from harness.stages.request import StageRequest
    from harness.store.stages import Store

#: Models that are kept between stages: a score may ask the policy and the scorer.
_KEPT = 2
_kept: dict[tuple[str, ...], Policy] = {}


def environment(request: StageRequest[StageConfig]) -> dict[str, Any]:
    """Fix threads and deterministic kernels, and return the fingerprint to store beside the result.

    Raises:
        MachineError: a device that this machine does not have.
    """
    torch.set_num_threads(request.runtime.threads)
    torch.set_deterministic_debug_mode("warn")  # use_deterministic_algorithms imports the compiler first
    device = request.runtime.device
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
    found = fingerprint(threads=request.runtime.threads, device=name, ranks=request.runtime.ranks)
    return {**found, **switched()}


def open_parts(request: StageRequest[StageConfig], store: Store, where: Mapping[str, Any]) -> Parts:
    """Return the finished parts of a stage that was killed in this environment, and what keeps further ones."""
    identity = {"stage": request.id, "environment": where}
    return Parts(store.scratch(request.kind, request.id), identity, minutes=request.runtime.checkpoint_minutes)


def load_policy(
    request: StageRequest[StageConfig], store: Store, parent: str, loading: Loading, *, dropout: float = 0.0
) -> Policy:
    """Load a parent's checkpoint for a stage that may change it."""
    spec = loading.model(request.label)
    policy = Policy.load(locate(request, store, parent), spec=spec, device=request.runtime.device, dropout=dropout)
    align(policy.model)  # so that it computes what the model that was saved would
    return policy


def borrow_policy(request: StageRequest[StageConfig], store: Store, parent: str, loading: Loading) -> Policy:
    """Return a parent's checkpoint for a stage that only reads it: the one that the process has, if it has it."""
    made_by = request.parents[parent]
    key = _key(request, made_by.kind, made_by.id, loading)
    policy = _kept.pop(key, None)
    if policy is None:
        make_room(_KEPT - 1)
        policy = load_policy(request, store, parent, loading)
    _kept[key] = policy
    return policy


def lend_policy(request: StageRequest[StageConfig], policy: Policy, loading: Loading) -> None:
    """Keep what a training stage has just written for the stages that read it next.

    ``policy`` must be what :func:`load_policy` would give of the checkpoint; it is no longer the stage's.
    """
    model: nn.Module = policy.model
    model.zero_grad(set_to_none=True)
    model.eval()
    make_room(_KEPT - 1)
    _kept[_key(request, request.kind, request.id, loading)] = policy


def make_room(most: int = 0) -> None:
    """Let go of all but the ``most`` models used last."""
    while len(_kept) > most:
        del _kept[next(iter(_kept))]


def _key(request: StageRequest[StageConfig], kind: str, id_: str, loading: Loading) -> tuple[str, ...]:
    return kind, id_, loading.dtype, loading.attention, request.runtime.device


def encode_rows(
    request: StageRequest[StageConfig],
    store: Store,
    policy: Policy,
    template: Template,
    *,
    max_prompt: int,
    max_completion: int,
    training: bool,
    overlong: Literal["cut", "drop"] = "cut",
    train_eos: bool = True,
    change: Callable[[Example], Example] = lambda example: example,
) -> Encoded:
    """Tokenise the rows of the stage's ``rows`` parent, each as ``change`` gives it."""
    record = store.open("prepare", request.parents["rows"].id)
    return encode(
        map(change, read(record)),
        policy.tokeniser,
        template,
        EncodingParams(
            max_prompt=max_prompt,
            max_completion=max_completion,
            training=training,
            overlong=overlong,
            train_eos=train_eos,
        ),
        positions=policy.positions_limit,
        where=record.label,
    )


def peak_memory(device: str) -> int:
    """Return the most memory used so far, in bytes: of the device, or of this process."""
    if device != "cpu":
        return int(torch.cuda.max_memory_allocated(device))
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
