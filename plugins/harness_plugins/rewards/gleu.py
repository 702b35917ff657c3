"""The GLEU reward: sentence GLEU of a completion against its best reference, in [0, 1]."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.api import NoOptions, RewardRegistration, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable

    from harness.api import RewardFunction


def gleu_reward(options: NoOptions) -> RewardFunction:  # noqa: ARG001  # every `build` is called with its options
    """Return the reward; a completion without any reference has none (None), an empty one gets 0."""
    from harness_plugins.text.gleu import GleuScorer
    from harness_plugins.text.references import references_of

    scorer = GleuScorer()

    def gleu(
        *,
        prompts: list[str],  # noqa: ARG001  # TRL's signature
        completions: list[str],
        completion_ids: list[list[int]],  # noqa: ARG001  # TRL's signature
        **columns: Any,
    ) -> list[float | None]:
        matches = scorer.matches(completions, references_of("gleu", completions, columns))
        return [None if match is None else match.score for match in matches]

    return gleu


@hookimpl
def harness_register_rewards() -> Iterable[RewardRegistration]:
    """Offer ``gleu``."""
    return [
        RewardRegistration(
            name="gleu",
            summary="sentence GLEU (n-grams of order 1 to 4 of 13a tokens) against the best reference",
            build="harness_plugins.rewards.gleu:gleu_reward",
            source="https://arxiv.org/abs/1609.08144",
            range=(0.0, 1.0),
            reads=("references",),
        )
    ]
