"""The reward model of a stage, loaded with the normalisation of its scores, or in parts for a critic."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from harness.errors import InputError
from harness.lm.score.reward_model import RewardModel, load_head
from harness.spec.results.files import MODULES
from harness.spec.results.reward_statistics import RewardStatistics
from harness.stages.locate import locate
from harness.stages.setup import load_policy

if TYPE_CHECKING:
    from torch import nn

    from harness.lm.model.policy import Policy
    from harness.spec.stages.base import RewardModelUse, StageConfig
    from harness.stages.request import StageRequest
    from harness.store.stages import Store


def load_reward_model(request: StageRequest[StageConfig], store: Store, use: RewardModelUse) -> RewardModel:
    """Load the stage's reward model, with the normalisation that its statistics say."""
    parent = request.parents["reward_model"]
    if parent.kind == "train":
        head = store.open(parent.kind, parent.id).path(MODULES)
        policy = load_policy(request, store, "reward_model", use.loading, template=use.template)
        model = RewardModel.trained(policy, head, template=use.template, max_prompt=use.max_prompt_length)
    else:
        spec, device = use.loading.model("reward model"), request.runtime.device
        folder = locate(request, store, "reward_model").folder
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
    policy = load_policy(request, store, "reward_model", use.loading, template=use.template)
    head = load_head(store.open(parent.kind, parent.id).path(MODULES))
    with torch.no_grad():
        head.bias.sub_(judge.shift).div_(judge.scale)
        head.weight.div_(judge.scale)
    return policy, head.requires_grad_()
