"""The metric behind ``win-rate``: which answers are compared, and what the judge's choices come to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.api import InputError, MetricResult
from harness_plugins.metrics.win_rate.comparison import SAME, Pair, orders, settle
from harness_plugins.metrics.win_rate.offline import RewardModelJudge, RuleJudge
from harness_plugins.metrics.win_rate.options import CHOSEN
from harness_plugins.metrics.win_rate.request import PROTOCOL, READING
from harness_plugins.text.signature import signature

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.api import MetricServices, Sample
    from harness_plugins.metrics.win_rate.comparison import Comparison, Judge, Outcome
    from harness_plugins.metrics.win_rate.options import WinRateOptions


class WinRate:
    """Compares every answer, and the null answer, with each opponent's answer to the same prompt."""

    def __init__(self, options: WinRateOptions) -> None:
        """Choose the judge; nothing is asked and no key is read."""
        self._options = options
        self._judge = _judge(options)

    def score(self, samples: Sequence[Sample], services: MetricServices) -> MetricResult:
        """Return ``win``, ``consistent``, ``first``, ``null`` and ``margin_length`` against each opponent.

        All but the last are in [0, 1]. A comparison without a choice is missing, and so is one without an opponent's
        answer. ``margin_length`` is in characters, because the data set's own answers have no token counts.
        """
        others = {name: self._opponent(name, samples, services) for name in self._options.against}
        null = self._options.null_answer
        wanted: dict[Comparison, None] = {}
        for texts in others.values():
            for sample, other in zip(samples, texts, strict=True):
                for answer in (sample.text, null):
                    wanted.update(dict.fromkeys(self._orders(sample, answer, other)))
        outcomes = self._judge.compare(list(wanted), services)
        values: dict[str, Sequence[float | None]] = {}
        for name, texts in others.items():
            pairs = [self._pair(s, s.text, other, outcomes) for s, other in zip(samples, texts, strict=True)]
            nulls = [self._pair(s, null, other, outcomes) for s, other in zip(samples, texts, strict=True)]
            values[f"win:{name}"] = [pair.win for pair in pairs]
            values[f"consistent:{name}"] = [pair.consistent for pair in pairs]
            values[f"first:{name}"] = [pair.first for pair in pairs]
            values[f"null:{name}"] = [pair.win for pair in nulls]
            values[f"margin_length:{name}"] = [
                None if other is None else float(len(s.text) - len(other))
                for s, other in zip(samples, texts, strict=True)
            ]
        return MetricResult(values=values, corpus=self._corpus(outcomes), signature=self._signature())

    def _opponent(self, name: str, samples: Sequence[Sample], services: MetricServices) -> list[str | None]:
        if name != CHOSEN:
            return [other.text for other in services.answers_of(name)]
        column = self._options.column
        if column is None:
            return [sample.references[0].strip() if sample.references else None for sample in samples]
        return [_text(sample, column) for sample in samples]

    def _orders(self, sample: Sample, answer: str, other: str | None) -> list[Comparison]:
        if other is None or answer == other:
            return []
        return orders(sample, answer, other, self._options.order, self._judge.beside(sample))

    def _pair(self, sample: Sample, answer: str, other: str | None, outcomes: Mapping[Comparison, Outcome]) -> Pair:
        if other is None:
            return Pair(None, None, None)
        if answer == other:
            return SAME
        return settle(answer, self._orders(sample, answer, other), outcomes)

    def _corpus(self, outcomes: Mapping[Comparison, Outcome]) -> dict[str, float]:
        reasons = [outcome.reason for outcome in outcomes.values()]
        bought = self._options.judge == "endpoint"
        corpus = {reason: float(reasons.count(reason)) for reason in ("unparsable", "refused", "unanswered")}
        corpus["calls"] = float(len(reasons) - reasons.count("unanswered")) if bought else 0.0
        price = self._options.price_per_million
        if price is not None:
            spent = [(o.input_tokens, o.output_tokens) for o in outcomes.values()]
            total = sum(i for i, _ in spent) * price.input + sum(o for _, o in spent) * price.output
            corpus["cost"] = total / 1e6
        return corpus

    def _signature(self) -> str:
        options = self._options
        who = {"endpoint": options.model, "reward-model": "reward-model", "rule": options.rule}[options.judge]
        asked: dict[str, Any] = {}
        if options.judge == "endpoint":
            template = options.template_sha256[:12] if options.template_sha256 else "own"
            asked = {"reading": READING, "template": template, "criterion": options.criterion, "ties": options.ties}
            asked |= {"temperature": options.temperature}
        return signature("win-rate", judge=who, order=options.order, protocol=PROTOCOL, **asked)


def _judge(options: WinRateOptions) -> Judge:
    if options.judge == "rule":
        return RuleJudge(options.rule)
    if options.judge == "reward-model":
        return RewardModelJudge()
    from harness_plugins.metrics.win_rate.endpoint import EndpointJudge

    return EndpointJudge(options)


def _text(sample: Sample, column: str) -> str | None:
    value = sample.columns.get(column)
    if value is None or isinstance(value, str):
        return value
    raise InputError(
        f"the column {column!r} holds no text for {sample.id}", where="metric 'win-rate'", got=type(value).__name__
    )
