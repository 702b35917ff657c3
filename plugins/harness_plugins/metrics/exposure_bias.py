"""Exposure bias: how much worse the reference's next token is predicted behind what the model drew itself."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from harness.api import Column, MetricRegistration, MetricResult, NoOptions, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harness.api import MetricServices, Sample

#: Positions (the first token is 1, and is left out: nothing was drawn before it) that stand for themselves in a table.
BUCKETS: Final = ((2, 4), (5, 8), (9, 16), (17, 32), (33, None))


class ExposureBias:
    """Loss of the reference given a drawn beginning, less that given its own beginning of the same length.

    At position t the policy predicts the reference's token r_t once behind r_<t and once behind the answer's a_<t. In
    training a model sees the one alone, in use the other alone. The gap holds more than a weakness of the model: behind
    another beginning another continuation can be right. Compare it between rows, and not with 0.
    """

    def __init__(self, options: NoOptions) -> None:
        """Take no options."""

    def score(self, samples: Sequence[Sample], services: MetricServices) -> MetricResult:
        """Return ``own``, ``drawn`` and ``gap``, means in nats a token over the positions from the second on.

        Missing without a reference, and where there is no second position: an empty answer, an empty reference. Over
        the list: ``gap FROM-TO`` and ``gap past 32``, the mean gap over all tokens at these positions.
        """
        from harness_plugins.text.signature import signature

        losses = services.prefix_nll(samples) if samples else []
        pairs = [list(each)[1:] for each in losses]
        own = [_mean([mine for mine, _ in each]) for each in pairs]
        drawn = [_mean([theirs for _, theirs in each]) for each in pairs]
        gaps = [_mean([theirs - mine for mine, theirs in each]) for each in pairs]
        corpus = {}
        for first, last in BUCKETS:
            inside = [
                theirs - mine for each in pairs for mine, theirs in each[first - 2 : None if last is None else last - 1]
            ]
            mean = _mean(inside)
            if mean is not None:
                corpus[_name(first, last)] = mean
        return MetricResult(
            values={"own": own, "drawn": drawn, "gap": gaps},
            corpus=corpus,
            signature=signature("exposure-bias", ref="first", positions="2+"),
        )


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _name(first: int, last: int | None) -> str:
    return f"gap {first}-{last}" if last else f"gap past {first - 1}"


@hookimpl
def harness_register_metrics() -> Iterable[MetricRegistration]:
    """Offer ``exposure-bias``."""
    return [
        MetricRegistration(
            name="exposure-bias",
            summary="loss of the reference behind what the model drew, less that behind its own beginning",
            build="harness_plugins.metrics.exposure_bias:ExposureBias",
            needs=frozenset({"policy"}),
            role="fluency",
            headline="gap",
            reads=("references",),
            columns=(
                Column("own", "own prefix", unit="nats/token", digits=3, shown=False, range=(0.0, None)),
                Column("drawn", "drawn prefix", unit="nats/token", digits=3, shown=False, range=(0.0, None)),
                Column("gap", "exposure gap", higher_is_better=False, unit="nats/token", digits=3),
            ),
            corpus=tuple(
                Column(_name(first, last), _name(first, last), unit="nats/token", digits=3) for first, last in BUCKETS
            ),
        )
    ]
