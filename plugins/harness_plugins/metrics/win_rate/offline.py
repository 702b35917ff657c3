"""Judges that ask nobody outside: a plain rule, and the benchmark's reward model. Neither cares about the order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from harness_plugins.metrics.win_rate.comparison import Outcome

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from harness.api import MetricServices, Sample
    from harness_plugins.metrics.win_rate.comparison import Comparison


class RuleJudge:
    """Prefers by length or by ROUGE-L against the references; equal is a tie."""

    def __init__(self, rule: Literal["longer", "shorter", "rouge-l"]) -> None:
        """Keep the rule."""
        self._rule = rule

    def beside(self, sample: Sample) -> Hashable:
        """Return the references, where the rule is about them."""
        return tuple(sample.references) if self._rule == "rouge-l" else None

    def compare(self, wanted: Sequence[Comparison], services: MetricServices) -> Mapping[Comparison, Outcome]:
        """Return an outcome for every comparison."""
        firsts = self._values([(way.first, way.sample.references) for way in wanted])
        seconds = self._values([(way.second, way.sample.references) for way in wanted])
        services.tell(len(wanted), len(wanted), self._rule)
        return {way: _higher(a, b) for way, a, b in zip(wanted, firsts, seconds, strict=True)}

    def _values(self, texts: Sequence[tuple[str, Sequence[str]]]) -> list[float | None]:
        if self._rule != "rouge-l":
            sign = 1.0 if self._rule == "longer" else -1.0
            return [sign * len(text) for text, _ in texts]
        from harness_plugins.text.rouge import RougeScorer

        return RougeScorer().scores("rougeL", [text for text, _ in texts], [references for _, references in texts])


class RewardModelJudge:
    """Prefers the answer that the benchmark's reward model gives more; equal is a tie."""

    def beside(self, sample: Sample) -> Hashable:
        """Return the fields that the template renders: rows whose prompts read alike may have others."""
        fields: Mapping[str, str] = sample.columns.get("fields", {})
        return tuple(sorted(fields.items()))

    def compare(self, wanted: Sequence[Comparison], services: MetricServices) -> Mapping[Comparison, Outcome]:
        """Return an outcome for every comparison; each text is scored once a row."""
        texts: dict[tuple[Hashable, str], Sample] = {}
        for way in wanted:
            for text in (way.first, way.second):
                texts.setdefault(((way.prompt, way.beside), text), way.sample)
        scores = services.rewards(list(texts.values()), [text for _, text in texts]) if texts else []
        score_of = dict(zip(texts, map(float, scores), strict=True))
        ways = [(way, (way.prompt, way.beside)) for way in wanted]
        return {way: _higher(score_of[row, way.first], score_of[row, way.second]) for way, row in ways}


def _higher(first: float | None, second: float | None) -> Outcome:
    if first is None or second is None:
        return Outcome(None, "undefined")
    return Outcome("tie" if first == second else "first" if first > second else "second")
