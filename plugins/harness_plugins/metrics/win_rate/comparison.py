"""Two answers to one prompt in one order, and what a judge says of them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from harness.api import MetricServices, Sample

Choice: TypeAlias = Literal["first", "second", "tie"]

#: Why there is no choice: the reply holds no verdict; the judge declined; no reply came; there is nothing to go by.
Reason: TypeAlias = Literal["unparsable", "refused", "unanswered", "undefined"]


@dataclass(frozen=True)
class Comparison:
    """Two answers, in the order in which the judge sees them. What a judge reads alike is one comparison."""

    prompt: str
    first: str
    second: str
    beside: Hashable
    """What the judge reads of the row beside these texts: see :meth:`Judge.beside`."""
    sample: Sample = field(compare=False, repr=False)
    """An answer to the same prompt, for judges that need the row behind it."""


@dataclass(frozen=True)
class Outcome:
    """What a judge says of a comparison."""

    choice: Choice | None
    reason: Reason | None = None
    """Why there is no choice."""
    input_tokens: int = 0
    output_tokens: int = 0
    """What the endpoint counted, or the most it can have been where it did not say."""


class Judge(Protocol):
    """Whoever compares answers."""

    def beside(self, sample: Sample) -> Hashable:
        """Return what this judge reads of a row beside its prompt and two answers; None for nothing.

        Rows that differ in it are never given each other's outcomes.
        """

    def compare(self, wanted: Sequence[Comparison], services: MetricServices) -> Mapping[Comparison, Outcome]:
        """Return what becomes of every comparison."""


def orders(
    sample: Sample, answer: str, other: str, order: Literal["both", "random"], beside: Hashable = None
) -> list[Comparison]:
    """Return the comparisons of ``answer`` with ``other``: either first, or one drawn from a hash of the pair.

    The draw does not depend on whose answer is which, so that two rows that compare with each other share it.
    """
    ways = [Comparison(sample.prompt, *pair, beside, sample) for pair in ((answer, other), (other, answer))]
    if order == "both":
        return ways
    low, high = sorted((answer, other))
    drawn = hashlib.sha256("\0".join((f"{len(low)}", sample.prompt, low, high)).encode("utf-8", "surrogatepass"))
    front = low if drawn.digest()[0] % 2 else high
    return [way for way in ways if way.first == front]


def score(answer: str, comparison: Comparison, outcome: Outcome) -> float | None:
    """Return 1 where ``answer`` was preferred, 0 where the other was, ½ for a tie, None without a choice."""
    if outcome.choice is None or outcome.choice == "tie":
        return None if outcome.choice is None else 0.5
    preferred = comparison.first if outcome.choice == "first" else comparison.second
    return float(preferred == answer)


@dataclass(frozen=True)
class Pair:
    """What the comparisons of one pair of answers come to."""

    win: float | None
    """1, ½ or 0 for the answer; None where a comparison has no choice."""
    consistent: float | None
    """1 where both orders give the same, 0 where not; None where there are not two."""
    first: float | None
    """Share of the decided orders in which the answer in the first place won; None where none is decided."""


#: Two answers that are the same text are equally good: nobody is asked.
SAME = Pair(0.5, None, None)


def settle(answer: str, ways: Sequence[Comparison], outcomes: Mapping[Comparison, Outcome]) -> Pair:
    """Put the orders of one pair together; orders that disagree are a tie."""
    scores = [score(answer, way, outcomes[way]) for way in ways]
    decided = [outcomes[way].choice for way in ways if outcomes[way].choice in {"first", "second"}]
    first = decided.count("first") / len(decided) if decided else None
    present = [value for value in scores if value is not None]
    if len(present) < len(scores):
        return Pair(None, None, first)
    agree = len(set(present)) == 1
    return Pair(present[0] if agree else 0.5, float(agree) if len(present) > 1 else None, first)
