"""A critic with a backbone of its own: the value of the state before each token of a completion.

It starts as the checkpoint at which the method started, or as the reward model, and is trained, saved and counted like
every module that a method adds. Its dropout is off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from torch import nn

from harness.errors import InputError, PluginError, StageError
from harness.lm.model import backbone
from harness.lm.score.logprobs import prepare
from harness.models.adapter import Adapter
from harness.training.weights import align, recompute_activations

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from harness.api import Batch, Completions
    from harness.lm.model.policy import Policy
    from harness.lm.score.packing import Packed
    from harness.spec.recipe import AdapterSettings

#: What a critic starts as.
Start: TypeAlias = Literal["policy", "reward_model"]

#: Gives a model and the head that makes one score (…, 1) of its hidden states (…, D).
LoadRewardModel: TypeAlias = "Callable[[], tuple[Policy, nn.Linear]]"


class Critic(nn.Module):
    """A backbone and a head that makes a value (…, 1) of its hidden states (…, D)."""

    def __init__(self, policy: Policy, head: nn.Module | None, *, recompute: bool = False) -> None:
        """Take over the backbone of ``policy``.

        Args:
            policy: a model that nobody else trains; its own head is not used.
            head: makes a value of a state; zeros where None.
            recompute: compute activations again in the backward pass instead of keeping them.

        Raises:
            InputError: the model cannot be told from its head.
        """
        super().__init__()
        body = backbone.body(policy.model)
        if body is None:
            raise InputError("no critic can be made of this model: transformers does not name its part below the head")
        model: Any = policy.model  # transformers leaves some methods without types
        align(body)
        if recompute:
            recompute_activations(body)
        self.backbone = body
        self.head = head if head is not None else zero_head(model.get_output_embeddings().weight.shape[1])
        self._policy = [policy]  # in a list, so that its head is no submodule
        # in training mode alone do layers compute their activations again; with dropout 0 it drops nothing
        self._training_mode = recompute

    @property
    def policy(self) -> Policy:
        """The model whose backbone this is."""
        return self._policy[0]

    def values(self, batch: Batch, completions: Completions) -> Tensor:
        """Return (B, K, T): the value of the state before each token; 0 outside the completion."""
        packed = prepare(self._policy[0], batch.prompts, completions)
        values: Tensor = self(packed)
        return packed.place(values)

    def forward(self, packed: Packed) -> Tensor:
        """Return the values (N,) of the states that predict the N tokens of ``packed``."""
        with backbone.scoring(self.backbone, dropout=self._training_mode, attention=packed.attention):
            with self._policy[0].autocast():
                read = backbone.states(self.backbone, **packed.inputs()).flatten(0, 1)[packed.sources]
            # outside autocast: a value rounded to bfloat16 would hide what one more step changed
            values = self.head(read.to(next(self.head.parameters()).dtype))
            return cast("Tensor", values[:, 0].clone())  # no view, of which FSDP warns


def zero_head(width: int) -> nn.Linear:
    """Return a head that says 0 of every state of ``width`` numbers. Draws no random number."""
    head = nn.Linear(width, 1, device="meta").to_empty(device="cpu")
    for parameter in head.parameters():
        nn.init.zeros_(parameter)
    return head


def load(
    start: Start,
    head: nn.Module | None,
    *,
    load_policy: Callable[[], Policy],
    load_reward_model: LoadRewardModel | None,
    recompute: bool,
    adapter: AdapterSettings | None = None,
    seed: int = 0,
) -> Critic:
    """Return a critic that starts as ``start`` says; with ``adapter``, one whose backbone trains an adapter alone.

    Raises:
        PluginError: a reward model, which has a head, was given another one.
        StageError: there is no reward model.
    """
    if start == "policy":
        return Critic(_adapted(load_policy(), adapter, seed), head, recompute=recompute)
    if head is not None:
        raise PluginError("a critic that starts as the reward model has its head already", got="another head")
    if load_reward_model is None:
        raise StageError("the method asks for a critic that starts as the reward model, and none was given")
    policy, scores = load_reward_model()
    return Critic(_adapted(policy, adapter, seed), scores, recompute=recompute)


def _adapted(policy: Policy, settings: AdapterSettings | None, seed: int) -> Policy:
    if settings is not None:
        policy.adapter = Adapter.new(policy.model, settings.model_copy(update={"dropout": 0.0}), seed=seed)
    return policy
