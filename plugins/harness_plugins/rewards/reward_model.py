"""The score of the benchmark's reward model as a reward."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.api import NoOptions, RewardRegistration, hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence


def reward_model(
    *,
    prompts: list[str],
    completions: list[str],
    completion_ids: list[list[int]],  # noqa: ARG001  # TRL's signature
    reward_model: Callable[[Sequence[str], Sequence[str]], Sequence[float]],
    **columns: Any,  # noqa: ARG001  # TRL's signature
) -> list[float | None]:
    """Return the score of each completion as the answer to its prompt, normalised as the benchmark file says."""
    return list(reward_model(prompts, completions))


@hookimpl
def harness_register_rewards() -> Iterable[RewardRegistration]:
    """Offer ``reward-model``."""
    return [
        RewardRegistration(
            name="reward-model",
            summary="score of the benchmark's reward model, which has learnt from preferences",
            build="harness_plugins.rewards.reward_model:reward_model",
            options=NoOptions,
            source="https://arxiv.org/abs/2203.02155",
            needs=frozenset({"reward_model"}),
            function=True,
        )
    ]
