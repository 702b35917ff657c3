"""What every stage that runs a model does first: threads, the device, the policy and the encoded rows."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

import torch

from harness.errors import InputError, MachineError
from harness.lm.model.policy import Policy
from harness.lm.score.reward_model import RewardModel, load_head
from harness.lm.text.encode import Encoded, encode
from harness.spec.benchmark import Model, Template
from harness.stages.checkpoints import locate
from harness.stages.rows import read
from harness.store.environment import fingerprint
from harness.store.parts import Parts
from harness.training.weights import align

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import nn

    from harness.api import Example
    from harness.stages.order import Order
    from harness.store import Store

#: Models that are kept between stages: a score may ask the policy and the scorer.
_KEPT = 2
_kept: dict[tuple[str, ...], Policy] = {}

#: Where a training stage leaves the modules that its method added.
MODULES = "modules.safetensors"
#: Where the statistics of a reward model's scores stand.
REWARD_SUMMARY = "summary.json"


def environment(order: Order) -> dict[str, Any]:
    """Fix threads and deterministic kernels, and return the fingerprint to store beside the result.

    Raises:
        MachineError: a device that this machine does not have.
    """
    torch.set_num_threads(order.runtime["threads"])
    torch.set_deterministic_debug_mode("warn")  # use_deterministic_algorithms imports the compiler first
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


def open_parts(order: Order, store: Store, where: Mapping[str, Any]) -> Parts:
    """Return the finished parts of a stage that was killed in this environment, and what keeps further ones."""
    identity = {"stage": order.id, "environment": where}
    return Parts(store.scratch(order.kind, order.id), identity, minutes=order.runtime["checkpoint_minutes"])


def load_policy(order: Order, store: Store, parent: str, *, dropout: float = 0.0) -> Policy:
    """Load a parent's checkpoint as the stage's configuration wants it, for a stage that may change it."""
    spec = Model(name=order.label, **order.config["model"])
    policy = Policy.load(locate(order, store, parent), spec=spec, device=order.runtime["device"], dropout=dropout)
    align(policy.model)  # so that it computes what the model that was saved would
    return policy


def borrow_policy(order: Order, store: Store, parent: str) -> Policy:
    """Return a parent's checkpoint for a stage that only reads it: the one that the process has, if it has it."""
    made_by = order.parents[parent]
    key = _key(order, made_by.kind, made_by.id)
    policy = _kept.pop(key, None)
    if policy is None:
        make_room(_KEPT - 1)
        policy = load_policy(order, store, parent)
    _kept[key] = policy
    return policy


def lend_policy(order: Order, policy: Policy) -> None:
    """Keep what a training stage has just written for the stages that read it next.

    ``policy`` must be what :func:`load_policy` would give of the checkpoint; it is no longer the stage's.
    """
    model: nn.Module = policy.model
    model.zero_grad(set_to_none=True)
    model.eval()
    make_room(_KEPT - 1)
    _kept[_key(order, order.kind, order.id)] = policy


def make_room(most: int = 0) -> None:
    """Let go of all but the ``most`` models used last."""
    while len(_kept) > most:
        del _kept[next(iter(_kept))]


def _key(order: Order, kind: str, id_: str) -> tuple[str, ...]:
    return kind, id_, json.dumps(order.config["model"], sort_keys=True), str(order.runtime["device"])


def load_reward_model(order: Order, store: Store) -> RewardModel:
    """Load the stage's reward model, with the normalisation that its statistics say."""
    settings = order.config["reward_model"]
    longest = settings["max_prompt_length"]
    spec = Model(name="reward model", dtype=settings["dtype"], attention=settings["attention"])
    device, folder = order.runtime["device"], locate(order, store, "reward_model")
    parent = order.parents["reward_model"]
    if parent.kind == "train":
        head = store.open(parent.kind, parent.id).path(MODULES)
        model = RewardModel.trained(folder, head, spec=spec, max_prompt=longest, device=device)
    else:
        model = RewardModel.classifier(folder, spec=spec, max_prompt=longest, device=device)
    if "reward_statistics" in order.parents:
        parent = order.parents["reward_statistics"]
        found = store.open(parent.kind, parent.id).json(REWARD_SUMMARY)
        model.normalise(found["normalise"], found["mean"], found["sd"])
    return model


def load_reward_backbone(order: Order, store: Store, judge: RewardModel) -> tuple[Policy, nn.Linear]:
    """Load the parts of a reward model that was trained here, for a critic that starts as it.

    The head gives normalised scores, as ``judge`` (the same model) does: those are the rewards to come.

    Raises:
        InputError: the reward model is another's, so that its ids need not be the policy's.
    """
    parent = order.parents["reward_model"]
    if parent.kind != "train":
        raise InputError(
            "a critic can start as the reward model only where that is trained here",
            where=order.label,
            got="a reward model that exists",
            expected="reward_model: {use: …}, which reads the policy's own tokens",
        )
    settings = order.config["reward_model"]
    spec = Model(name="reward model", dtype=settings["dtype"], attention=settings["attention"])
    policy = Policy.load(locate(order, store, "reward_model"), spec=spec, device=order.runtime["device"])
    head = load_head(store.open(parent.kind, parent.id).path(MODULES))
    with torch.no_grad():
        head.bias.sub_(judge.shift).div_(judge.scale)
        head.weight.div_(judge.scale)
    return policy, head.requires_grad_()


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
    change: Callable[[Example], Example] = lambda example: example,
) -> Encoded:
    """Tokenise the rows of the stage's ``rows`` parent, each as ``change`` gives it."""
    record = store.open("prepare", order.parents["rows"].id)
    return encode(
        map(change, read(record)),
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
