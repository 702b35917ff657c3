"""How good the benchmark's reward model holds the answers to be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.api import Column, MetricRegistration, MetricResult, NoOptions, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harness.api import MetricServices, Sample


class MeanReward:
    """The reward model's score of each answer, normalised as the benchmark file says.

    It says how well a row pleases the model that some rows were trained to please: a check of their optimisation, and
    no measure of quality beyond the reward model's own accuracy on held-out pairs.
    """

    def __init__(self, options: NoOptions) -> None:
        """Take no options."""

    def score(self, samples: Sequence[Sample], services: MetricServices) -> MetricResult:
        """Return ``reward``."""
        from harness_plugins.text.signature import signature

        values = services.rewards(samples, [sample.text for sample in samples]) if samples else []
        return MetricResult(values={"reward": list(values)}, signature=signature("reward-model", given="prompt"))


@hookimpl
def harness_register_metrics() -> Iterable[MetricRegistration]:
    """Offer ``reward-model``."""
    return [
        MetricRegistration(
            name="reward-model",
            summary="mean score of the answers under the benchmark's reward model",
            build="harness_plugins.metrics.reward_model:MeanReward",
            needs=frozenset({"reward_model"}),
            columns=(Column("reward", "reward", higher_is_better=True, digits=3),),
        )
    ]
