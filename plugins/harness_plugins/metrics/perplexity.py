"""Perplexity of the answers under a fixed model: the cheapest sign of text that no longer reads as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.api import Column, MetricRegistration, MetricResult, NoOptions, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harness.api import MetricServices, Sample


class Perplexity:
    """Negative log-likelihood of each answer given its prompt under the benchmark's scoring model.

    A low value is no virtue by itself: repeated and copied text has the lowest of all. Read it beside the diversity.
    """

    def __init__(self, options: NoOptions) -> None:
        """Take no options: the model is the benchmark's ``scorer``."""

    def score(self, samples: Sequence[Sample], services: MetricServices) -> MetricResult:
        """Return ``log_perplexity`` in nats a token for each answer, missing for an empty one.

        Over the list: ``log_perplexity`` with every token weighing the same, and ``perplexity``, e to that power.
        """
        from harness_plugins.text.likelihood import over_all, per_token, perplexity
        from harness_plugins.text.signature import signature

        written = [index for index, sample in enumerate(samples) if sample.text]
        pairs = services.answer_nll([samples[index] for index in written]) if written else []
        values: list[float | None] = [None] * len(samples)
        for index, (nll, tokens) in zip(written, pairs, strict=True):
            values[index] = per_token(nll, tokens, where=f"metric 'perplexity', example {samples[index].id!r}")
        mean = over_all(pairs)
        return MetricResult(
            values={"log_perplexity": values},
            corpus={}
            if mean is None
            else {"log_perplexity": mean, "perplexity": perplexity(mean, where="metric 'perplexity'")},
            signature=signature("perplexity", scorer=services.scorer_label, given="prompt", empty="missing"),
        )


@hookimpl
def harness_register_metrics() -> Iterable[MetricRegistration]:
    """Offer ``perplexity``."""
    return [
        MetricRegistration(
            name="perplexity",
            summary="perplexity of the answers under the benchmark's fixed scoring model",
            build="harness_plugins.metrics.perplexity:Perplexity",
            role="fluency",
            needs=frozenset({"scorer"}),
            columns=(
                Column(
                    "log_perplexity",
                    "log perplexity",
                    higher_is_better=False,
                    unit="nats/token",
                    digits=3,
                    range=(0.0, None),
                ),
            ),
            corpus=(
                Column("perplexity", "perplexity", higher_is_better=False, range=(1.0, None)),
                Column(
                    "log_perplexity",
                    "corpus log perplexity",
                    higher_is_better=False,
                    digits=3,
                    shown=False,
                    range=(0.0, None),
                ),
            ),
        )
    ]
