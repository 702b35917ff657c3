"""The verifiable reward: whether a completion is right, by the row's own answer or by its task's own scorer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from harness.api import RewardRegistration, hookimpl
from harness_plugins.answers.options import AnswerOptions, reads

if TYPE_CHECKING:
    from collections.abc import Iterable

    from harness.api import RewardFunction


class VerifiableOptions(AnswerOptions):
    """What is right, and how strictly an answer is read."""

    parse: Literal["strict", "flexible"] = "strict"
    """Which reading is the reward; both are logged. ``strict``: the completion is the answer and nothing else.
    ``flexible``: the answer is found in it (behind a mark such as ``\\boxed``, else what stands last)."""


def verifiable_reward(options: VerifiableOptions) -> RewardFunction:
    """Return the reward: 1 or 0, or what a task's own scorer gives; None for a row without a right answer.

    It logs the mean under both readings, so that a rising reward is told apart from a better form.
    """
    from harness_plugins.answers.judging import Judge

    judge = Judge(options, "reward 'verifiable'")

    def verifiable(
        *,
        prompts: list[str],  # noqa: ARG001  # TRL's signature
        completions: list[str],
        completion_ids: list[list[int]],  # noqa: ARG001  # TRL's signature
        **columns: Any,
    ) -> list[float | None]:
        scores = judge.column(columns, completions)
        present = [score for score in scores if score is not None]
        if present and (log := columns.get("log_metric")) is not None:
            log("verifiable: strict", sum(score.strict for score in present) / len(present))
            log("verifiable: flexible", sum(score.flexible for score in present) / len(present))
        return [None if score is None else getattr(score, options.parse) for score in scores]

    return verifiable


@hookimpl
def harness_register_rewards() -> Iterable[RewardRegistration]:
    """Offer ``verifiable``."""
    return [
        RewardRegistration(
            name="verifiable",
            summary="whether the answer is right: a number, a choice, a text, a pattern, or by reasoning-gym's scorer",
            build="harness_plugins.rewards.verifiable:verifiable_reward",
            options=VerifiableOptions,
            range=(0.0, 1.0),
            reads=("answer",),
            by_options=reads,
        )
    ]
