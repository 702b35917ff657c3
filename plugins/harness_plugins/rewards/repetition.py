"""A penalty for repeating oneself: minus the share of a completion's n-grams that have stood in it before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import PositiveInt

from harness.api import Options, RewardRegistration, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable

    from harness.api import RewardFunction


class RepetitionOptions(Options):
    """What counts as a repetition; how much it weighs is the part's ``weight`` in the benchmark file."""

    ngram_size: PositiveInt = 3
    """Tokens (mteval-v13a's) in an n-gram."""


def repetition_reward(options: RepetitionOptions) -> RewardFunction:
    """Return the reward, in [-1, 0]; 0 for a completion too short to have an n-gram, in which nothing is repeated."""
    from harness_plugins.text.ngrams import repeated_share
    from harness_plugins.text.tokenise13a import tokenise_13a

    def repetition(
        *,
        prompts: list[str],  # noqa: ARG001  # TRL's signature
        completions: list[str],
        completion_ids: list[list[int]],  # noqa: ARG001  # TRL's signature
        **columns: Any,  # noqa: ARG001  # TRL's signature
    ) -> list[float | None]:
        shares = (repeated_share(tokenise_13a(text), options.ngram_size) for text in completions)
        return [-share if share else 0.0 for share in shares]

    return repetition


@hookimpl
def harness_register_rewards() -> Iterable[RewardRegistration]:
    """Offer ``repetition``."""
    return [
        RewardRegistration(
            name="repetition",
            summary="penalty: minus the share of n-grams that repeat an earlier one of the same completion",
            build="harness_plugins.rewards.repetition:repetition_reward",
            options=RepetitionOptions,
            source="https://arxiv.org/abs/1908.04319",
            range=(-1.0, 0.0),
        )
    ]
