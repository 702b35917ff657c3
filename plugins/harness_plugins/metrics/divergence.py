"""Divergence from another row's model, and entropy: how far training has moved the policy, exact at each token."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from pydantic import Field

from harness.api import Column, MetricRegistration, MetricResult, Options, StageError, hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from harness.api import Divergence, MetricServices, Sample

#: Whose tokens each number is a mean over, and which sum it divides.
_PER_TOKEN: Final[Mapping[str, tuple[str, Callable[[Divergence], float]]]] = {
    "forward_kl": ("theirs", lambda sums: sums.forward),
    "reverse_kl": ("own", lambda sums: sums.reverse),
    "entropy": ("own", lambda sums: sums.entropy),
}

_POSITIVE: Final = (0.0, None)


class DivergenceOptions(Options):
    """What the policy is compared with."""

    to: str = "base"
    """Label of the row whose model is the start: ``base`` (the untrained model) or a row that is trained, such as
    ``sft`` where methods start after it."""
    share: float = Field(1.0, gt=0.0, le=1.0)
    """Share of the prompts that is asked about, chosen by their ids; the others' values are missing."""


class DivergenceMetric:
    """Kullback-Leibler divergences between the policy and the start, and the policy's entropy, in nats a token.

    With p the policy's and q the start's distribution of the next token, x a prompt and y an answer of T tokens, its
    closing EOS one of them::

        forward_kl = 1/T sum_t KL(q(. | x, y_<t) || p(. | x, y_<t)),   y an answer of the start
        reverse_kl = 1/T sum_t KL(p(. | x, y_<t) || q(. | x, y_<t)),   y an answer of the policy
        entropy    = 1/T sum_t H(p(. | x, y_<t)),                      y an answer of the policy
        answer_kl  = T x reverse_kl, in nats an answer

    Each term is exact over the vocabulary; nothing but the answers is drawn. Where these are samples at temperature 1,
    whole and not cut, the sums over t have the divergences of whole answers as their means: KL(start || policy) forward
    (what work on forgetting calls the forward KL to the base model, arXiv:2509.04259) and KL(policy || start) in
    reverse, which RLHF's penalty bounds and whose root is the distance d of Gao et al. 2023 (arXiv:2210.10760).
    Truncated answers count as far as they go. Under another decoding the terms are the same along other texts.

    Costs: two forwards (policy and start) over the row's own answers, two over the start's; no backward, which on a CPU
    can be more than making the answers: ``share`` bounds it. The start's
    own row needs one each, and its divergences are exactly 0.
    """

    def __init__(self, options: DivergenceOptions) -> None:
        """Keep the row's label, and which share of the prompts is asked about."""
        self._to = options.to
        self._share = options.share

    def score(self, samples: Sequence[Sample], services: MetricServices) -> MetricResult:
        """Return ``forward_kl``, ``reverse_kl``, ``entropy`` and ``answer_kl``; missing without a token.

        Over the list: the first three with every token weighing the same.
        """
        from harness_plugins.text.share import among_all, of_share
        from harness_plugins.text.signature import signature

        asked = of_share(samples, self._share)
        theirs = of_share(services.answers_of(self._to), self._share) if samples else []
        sums = {"own": list(services.divergences(asked, self._to)) if samples else []}
        sums["theirs"] = list(services.divergences(theirs, self._to)) if samples else []
        values: dict[str, list[float | None]] = {}
        corpus: dict[str, float] = {}
        for name, (whose, nats) in _PER_TOKEN.items():
            for sample, each in zip(asked, sums[whose], strict=True):
                if not math.isfinite(nats(each)):
                    where = f"metric 'divergence', example {sample.id!r}"
                    raise StageError(f"{name} is not finite", where=where, got=str(nats(each)))
            means = [nats(each) / each.tokens if each.tokens else None for each in sums[whose]]
            values[name] = among_all(means, asked, samples)
            tokens = sum(each.tokens for each in sums[whose])
            if tokens:
                corpus[name] = math.fsum(map(nats, sums[whose])) / tokens
        whole = [each.reverse if each.tokens else None for each in sums["own"]]
        values["answer_kl"] = among_all(whole, asked, samples)
        said: dict[str, Any] = {} if self._share == 1.0 else {"share": self._share}
        return MetricResult(
            values=values,
            corpus=corpus,
            signature=signature("divergence", to=self._to, given="prompt", eos="counted", **said),
        )


def _columns(to: str) -> tuple[Column, ...]:
    return (
        Column(
            "forward_kl", f"forward KL from {to}", higher_is_better=False, unit="nats/token", digits=4, range=_POSITIVE
        ),
        Column(
            "reverse_kl", f"reverse KL from {to}", higher_is_better=False, unit="nats/token", digits=4, range=_POSITIVE
        ),
        Column("entropy", "entropy", unit="nats/token", digits=3, range=_POSITIVE),
        Column(
            "answer_kl",
            f"reverse KL from {to}",
            higher_is_better=False,
            unit="nats/answer",
            digits=3,
            shown=False,
            range=_POSITIVE,
        ),
    )


def _corpus(to: str) -> tuple[Column, ...]:
    columns = (column for column in _columns(to) if column.name in _PER_TOKEN)
    return tuple(replace(column, label=f"corpus {column.label}", shown=False) for column in columns)


def _by_options(options: DivergenceOptions) -> Mapping[str, Any]:
    to = options.to
    return {"opponents": (to,), "models_of": (to,), "columns": _columns(to), "corpus": _corpus(to)}


@hookimpl
def harness_register_metrics() -> Iterable[MetricRegistration]:
    """Offer ``divergence``."""
    return [
        MetricRegistration(
            name="divergence",
            summary="forward and reverse KL between the policy and the row it started from, and its entropy",
            build="harness_plugins.metrics.divergence:DivergenceMetric",
            options=DivergenceOptions,
            source="https://arxiv.org/abs/2509.04259",
            role="paid",
            needs=frozenset({"policy"}),
            columns=_columns("start"),
            corpus=_corpus("start"),
            by_options=_by_options,
        )
    ]
