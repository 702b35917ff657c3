"""Teacher-forced loss on the references: what supervised training minimises, measured on the test rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.api import Column, MetricRegistration, MetricResult, NoOptions, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harness.api import MetricServices, Sample


class ReferenceLoss:
    """Negative log-likelihood of the first reference given the prompt under the policy itself.

    It does not depend on what was generated, so it is computed once an example and given to each of its answers.
    """

    def __init__(self, options: NoOptions) -> None:
        """Take no options."""

    def score(self, samples: Sequence[Sample], services: MetricServices) -> MetricResult:
        """Return ``reference_loss`` in nats a token, missing without a reference.

        Over the list: ``reference_loss`` with every token of every example weighing the same, and
        ``reference_perplexity``, e to that power.
        """
        from harness_plugins.text.likelihood import over_all, per_token, perplexity
        from harness_plugins.text.signature import signature

        examples = {sample.id: sample for sample in samples if sample.references}
        sums = services.reference_nll(list(examples.values())) if examples else []
        pairs = dict(zip(examples, sums, strict=True))
        losses = {
            name: per_token(nll, tokens, where=f"metric 'reference-loss', example {name!r}")
            for name, (nll, tokens) in pairs.items()
        }
        mean = over_all(pairs.values())
        return MetricResult(
            values={"reference_loss": [losses.get(sample.id) for sample in samples]},
            corpus={}
            if mean is None
            else {
                "reference_loss": mean,
                "reference_perplexity": perplexity(mean, where="metric 'reference-loss'"),
            },
            signature=signature("reference-loss", ref="first", given="prompt"),
        )


@hookimpl
def harness_register_metrics() -> Iterable[MetricRegistration]:
    """Offer ``reference-loss``."""
    return [
        MetricRegistration(
            name="reference-loss",
            summary="teacher-forced loss of the policy on the first reference",
            build="harness_plugins.metrics.reference_loss:ReferenceLoss",
            needs=frozenset({"policy"}),
            reads=("references",),
            columns=(
                Column(
                    "reference_loss",
                    "reference loss",
                    higher_is_better=False,
                    unit="nats/token",
                    digits=3,
                    range=(0.0, None),
                ),
            ),
            corpus=(
                Column(
                    "reference_loss",
                    "corpus reference loss",
                    higher_is_better=False,
                    digits=3,
                    shown=False,
                    range=(0.0, None),
                ),
                Column("reference_perplexity", "reference perplexity", higher_is_better=False, range=(1.0, None)),
            ),
        )
    ]
