"""The ROUGE reward: F-measure of a completion against its best reference, in [0, 1]."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from harness.api import Options, RewardRegistration, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable

    from harness.api import RewardFunction


class RougeRewardOptions(Options):
    """Which ROUGE, and how words are compared."""

    variant: Literal["rouge1", "rouge2", "rougeL"] = "rougeL"
    """Unigrams, bigrams or the longest common subsequence."""
    use_stemmer: bool = True
    """Compare Porter stems of the words with more than three characters, as the official ESO code does."""


def rouge_reward(options: RougeRewardOptions) -> RewardFunction:
    """Return the reward; a completion without any reference has none (None), one without a letter gets 0.

    Nor has one in letters of which ROUGE reads none (it knows a-z and 0-9 alone), or whose references are all so; the
    log says what share of the completions that is.
    """
    from harness_plugins.text.references import references_of
    from harness_plugins.text.rouge import RougeScorer, unread

    scorer = RougeScorer(stemmer=options.use_stemmer)

    def rouge(
        *,
        prompts: list[str],  # noqa: ARG001  # TRL's signature
        completions: list[str],
        completion_ids: list[list[int]],  # noqa: ARG001  # TRL's signature
        **columns: Any,
    ) -> list[float | None]:
        references = references_of("rouge", completions, columns)
        lost = [
            unread(text) or (bool(texts) and all(map(unread, texts)))
            for text, texts in zip(completions, references, strict=True)
        ]
        if any(lost) and (log := columns.get("log_metric")) is not None:
            log("rouge: share of samples in letters of which it reads none", sum(lost) / len(lost))
        return scorer.scores(options.variant, completions, references)

    return rouge


@hookimpl
def harness_register_rewards() -> Iterable[RewardRegistration]:
    """Offer ``rouge``."""
    return [
        RewardRegistration(
            name="rouge",
            summary="ROUGE-1, 2 or L F-measure against the best reference, bit-equal to rouge-score",
            build="harness_plugins.rewards.rouge:rouge_reward",
            options=RougeRewardOptions,
            source="https://aclanthology.org/W04-1013/",
            range=(0.0, 1.0),
            reads=("references",),
        )
    ]
