"""The reward model of a stage, loaded with the normalisation of its scores, or in parts for a critic."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from harness.errors import InputError
from harness.lm.model.policy import Policy
from harness.lm.score.reward_model import RewardModel, load_head
from harness.spec.results.files import MODULES
from harness.spec.results.reward_statistics import RewardStatistics
from harness.stages.locate import locate

if TYPE_CHECKING:
    from torch import nn

    from harness.spec.stages.base import RewardModelUse, StageConfig
    from harness.stages.request import StageRequest
    from harness.store.stages import Store


def load_reward_model(request: StageRequest[StageConfig], store: Store, use: RewardModelUse) -> RewardModel:
    """Load the stage's reward model, with the normalisation that its statistics say."""
    spec = use.loading.model("reward model")
    device, folder = request.runtime.device, locate(request, store, "reward_model")
    parent = request.parents["reward_model"]
    if parent.kind == "train":
        head = store.open(parent.kind, parent.id).path(MODULES)
        model = RewardModel.trained(
            folder, head, spec=spec, template=use.template, max_prompt=use.max_prompt_length, device=device
        )
    else:
        model = RewardModel.classifier(
            folder, spec=spec, template=use.template, max_prompt=use.max_prompt_length, device=device
        )
    if "reward_statistics" in request.parents:
        parent = request.parents["reward_statistics"]
        statistics = store.open(parent.kind, parent.id).read(RewardStatistics)
        model.normalise(statistics.normalise, statistics.mean, statistics.sd)
    return model


def load_reward_backbone(
    request: StageRequest[StageConfig], store: Store, use: RewardModelUse, judge: RewardModel
) -> tuple[Policy, nn.Linear]:
    """Load the parts of a reward model that was trained here, for a critic that starts as it.

    The head gives normalised scores, as ``judge`` (the same model) does: those are the rewards to come.

    Raises:
        InputError: the reward model is another's, so that its ids need not be the policy's.
    """
    parent = request.parents["reward_model"]
    if parent.kind != "train":
        raise InputError(
            "a critic can start as the reward model only where that is trained here",
            where=request.label,
            got="a reward model that exists",
            expected="reward_model: {use: …}, which reads the policy's own tokens",
        )
    spec = use.loading.model("reward model")
    policy = Policy.load(locate(request, store, "reward_model"), spec=spec, device=request.runtime.device)
    head = load_head(store.open(parent.kind, parent.id).path(MODULES))
    with torch.no_grad():
        head.bias.sub_(judge.shift).div_(judge.scale)
        head.weight.div_(judge.scale)
    return policy, head.requires_grad_()
