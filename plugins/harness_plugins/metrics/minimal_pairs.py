"""A probe of grammar: whether the policy finds a sentence more probable than the same with one word that is wrong."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from pydantic import Field, PositiveInt

from harness.api import Column, MetricRegistration, MetricResult, Options, StageError, hookimpl
from harness_plugins.text.paradigms import PARADIGMS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harness.api import MetricServices, Sample


class MinimalPairsOptions(Options):
    """How many pairs are tried."""

    pairs: PositiveInt = len(PARADIGMS)
    """Pairs of sentences for each evaluated prompt, the paradigms by turns."""
    share: float = Field(1.0, gt=0.0, le=1.0)
    """Share of the prompts that is asked about, chosen by their ids; the others' values are missing."""


class MinimalPairs:
    """Share of generated pairs of which the policy gives the grammatical sentence the higher log-probability.

    The comparison is BLiMP's (Warstadt et al. 2020, arXiv:1912.00582): log-probabilities of whole sentences, without a
    prompt. The sentences are this harness's own (:mod:`harness_plugins.text.paradigms`): plain English, not in any
    training set of ours, and alike in all but one word. 50 % is chance; equal log-probabilities count half.

    What is probed has nothing to do with the answers: the id of each evaluated prompt draws pairs of its own, the same
    for every row and seed, so that rows are compared on equal pairs and an interval over prompts is one over pairs.

    Costs: a forward over two sentences a pair, some twenty tokens; asked once an example, whatever its draws.
    """

    def __init__(self, options: MinimalPairsOptions) -> None:
        """Keep how many, and for which share of the prompts."""
        self._pairs = options.pairs
        self._share = options.share

    def score(self, samples: Sequence[Sample], services: MetricServices) -> MetricResult:
        """Return ``grammatical`` in [0, 1] and ``margin``, mean log p(right) - log p(wrong) in nats a pair.

        Over the list: the share of each paradigm.
        """
        from harness_plugins.text.paradigms import VERSION, minimal_pairs
        from harness_plugins.text.share import of_share
        from harness_plugins.text.signature import signature

        asked = of_share(samples, self._share)
        drawn = {sample.id: minimal_pairs(sample.id, self._pairs) for sample in asked}
        listed = [pair for pairs in drawn.values() for pair in pairs]
        texts = [text for pair in listed for text in (pair.right, pair.wrong)]
        nats = [loss for loss, _ in services.text_nll(texts)] if texts else []
        if not all(map(math.isfinite, nats)):
            raise StageError("the likelihood of a sentence is not finite", where="metric 'minimal-pairs'")
        margins = [wrong - right for right, wrong in zip(nats[::2], nats[1::2], strict=True)]
        won = [float(margin > 0) + 0.5 * (margin == 0) for margin in margins]
        places = {name: range(n * self._pairs, (n + 1) * self._pairs) for n, name in enumerate(drawn)}
        shares = {name: math.fsum(won[i] for i in each) / len(each) for name, each in places.items()}
        means = {name: math.fsum(margins[i] for i in each) / len(each) for name, each in places.items()}
        corpus = {}
        for paradigm in PARADIGMS:
            mine = [share for share, pair in zip(won, listed, strict=True) if pair.paradigm == paradigm]
            if mine:
                corpus[paradigm] = math.fsum(mine) / len(mine)
        said: dict[str, Any] = {} if self._share == 1.0 else {"share": self._share}
        return MetricResult(
            values={
                "grammatical": [shares.get(sample.id) for sample in samples],
                "margin": [means.get(sample.id) for sample in samples],
            },
            corpus=corpus,
            signature=signature("minimal-pairs", generator=VERSION, pairs=self._pairs, **said),
        )


@hookimpl
def harness_register_metrics() -> Iterable[MetricRegistration]:
    """Offer ``minimal-pairs``."""
    return [
        MetricRegistration(
            name="minimal-pairs",
            summary="share of generated sentence pairs of which the policy prefers the grammatical one",
            build="harness_plugins.metrics.minimal_pairs:MinimalPairs",
            options=MinimalPairsOptions,
            source="https://arxiv.org/abs/1912.00582",
            role="paid",
            needs=frozenset({"policy"}),
            columns=(
                Column(
                    "grammatical",
                    "grammatical",
                    higher_is_better=True,
                    unit="%",
                    scale=100.0,
                    digits=1,
                    range=(0.0, 1.0),
                ),
                Column("margin", "grammar margin", higher_is_better=True, unit="nats/pair", digits=3, shown=False),
            ),
            corpus=tuple(
                Column(
                    name,
                    f"grammatical, {name}",
                    higher_is_better=True,
                    unit="%",
                    scale=100.0,
                    digits=1,
                    shown=False,
                    range=(0.0, 1.0),
                )
                for name in PARADIGMS
            ),
        )
    ]
