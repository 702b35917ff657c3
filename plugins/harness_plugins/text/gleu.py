"""GLEU, the sentence-level relative of BLEU that is meant as a reward; equal to nltk's on the same tokens.

Source: Wu et al. 2016 (arXiv:1609.08144), section 5: the smaller of precision and recall over all n-grams of order
1 to 4. The corpus score adds up matches and the larger total before it divides, as nltk's ``corpus_gleu``.
"""

from __future__ import annotations

from collections import Counter
from itertools import chain
from typing import TYPE_CHECKING, Final, NamedTuple

from harness_plugins.text.ngrams import ngrams, total_ngrams
from harness_plugins.text.tokenise13a import tokenise_13a

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_ORDERS: Final = (1, 2, 3, 4)

#: References whose n-grams a scorer keeps before it forgets all of them.
_MOST_REFERENCES: Final = 20_000


class Match(NamedTuple):
    """An answer against its best reference."""

    matches: int
    """N-grams in common."""
    total: int
    """N-grams of the answer or of the reference, whichever has more; 0 where both are empty."""

    @property
    def score(self) -> float:
        """Sentence GLEU in [0, 1]; 0 where answer and reference are both empty."""
        return self.matches / self.total if self.total else 0.0


class _Grams(NamedTuple):
    counts: Counter[tuple[str, ...]]
    total: int


class GleuScorer:
    """Scores answers against references on 13a tokens; keeps the references' n-grams between calls."""

    def __init__(self) -> None:
        """Start with nothing kept."""
        self._references: dict[str, _Grams] = {}

    def matches(self, answers: Iterable[str], references: Iterable[Sequence[str]]) -> list[Match | None]:
        """Return each answer's match with its best reference (the first of equals); None where it has no reference."""
        return [self._best(answer, texts) if texts else None for answer, texts in zip(answers, references, strict=True)]

    def _best(self, answer: str, references: Sequence[str]) -> Match:
        grams = _grams(answer)
        matches = [_match(grams, self._reference(text)) for text in references]
        # an empty answer equals an empty reference, but nltk weighs it against the others where there are any
        return max(filter(lambda match: match.total, matches), key=lambda match: match.score, default=Match(0, 0))

    def _reference(self, text: str) -> _Grams:
        grams = self._references.get(text)
        if grams is None:
            if len(self._references) >= _MOST_REFERENCES:
                self._references.clear()
            grams = self._references[text] = _grams(text)
        return grams


def corpus_gleu(matches: Iterable[Match | None]) -> float | None:
    """Return corpus GLEU in [0, 1] over the answers that have a reference; None where no answer has one."""
    present = [match for match in matches if match is not None]
    total = sum(match.total for match in present)
    if not present:
        return None
    return sum(match.matches for match in present) / total if total else 0.0


def _grams(text: str) -> _Grams:
    tokens = tokenise_13a(text)
    counts = Counter(chain.from_iterable(ngrams(tokens, order) for order in _ORDERS))
    return _Grams(counts, sum(total_ngrams(len(tokens), order) for order in _ORDERS))


def _match(answer: _Grams, reference: _Grams) -> Match:
    few, many = sorted((answer.counts, reference.counts), key=len)
    matches = sum(min(count, many[gram]) for gram, count in few.items() if gram in many)
    return Match(matches, max(answer.total, reference.total))
