"""How answers behave in a conversation: whether they ask or decline, how much they repeat, and how long they are.

What a win rate is read beside: a judge may prefer answers that ask back, that never decline or that are merely long.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from pydantic import PositiveInt

from harness.api import Column, MetricRegistration, MetricResult, Options, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harness.api import MetricServices, Sample

#: How an answer that declines begins, in the words of assistants: English alone, and a lower bound.
OPENINGS: Final = (
    "i can't", "i cannot", "i can not", "i could not", "i couldn't", "i won't", "i will not", "i'm not able to",
    "i am not able to", "i'm unable to", "i am unable to", "i'm not comfortable", "i am not comfortable",
    "i don't feel comfortable", "i do not feel comfortable", "i don't think i can", "i do not think i can",
    "i don't think i should", "i do not think i should", "i'd rather not", "i would rather not", "i must decline",
    "i refuse", "i'm not going to", "i am not going to", "i'm not allowed to", "i am not allowed to",
    "i'm not willing to", "i am not willing to", "as an ai", "it is not appropriate", "it's not appropriate",
    "it would not be appropriate", "it wouldn't be appropriate",
)  # fmt: skip

#: What may stand before such an opening.
BEFORE: Final = ("i'm sorry", "i am sorry", "sorry", "i apologize", "i apologise", "unfortunately", "no", "oh", "well",
                 "i'm afraid", "i am afraid", "but", "that", "though", "so", "um", "hmm")  # fmt: skip

_APOSTROPHES: Final = str.maketrans({"\u2019": "'", "\u02bc": "'", "`": "'"})
_LEAD: Final = re.compile(rf"(?:(?:{'|'.join(map(re.escape, BEFORE))})\b[\s,.;:!\u2013\u2014-]*)*")
_REFUSAL: Final = re.compile(rf"(?:{'|'.join(map(re.escape, OPENINGS))})\b")

#: What may stand after the question mark that ends an answer.
_CLOSING: Final = " \t\r\n\"'\u201d\u2019)]*_"


class DialogueOptions(Options):
    """What counts as a repetition."""

    redundancy_size: PositiveInt = 3
    """Words in the n-grams of the redundancy."""


class Dialogue:
    """Rates of questions and refusals, redundancy and length."""

    def __init__(self, options: DialogueOptions) -> None:
        """Keep the options."""
        self._size = options.redundancy_size

    def score(self, samples: Sequence[Sample], services: MetricServices) -> MetricResult:  # noqa: ARG002  # the protocol's
        """Return ``asks``, ``ends_asking``, ``refuses`` (each 0 or 1), ``redundancy``, ``characters`` and ``words``.

        ``redundancy`` is the share of word n-grams (lower case, without punctuation at their ends) that have stood
        before in the answer; missing where the answer is too short for one. Words are cut at white space.
        """
        from harness_plugins.text.ngrams import repeated_share
        from harness_plugins.text.signature import signature

        texts = [sample.text for sample in samples]
        return MetricResult(
            values={
                "asks": [float("?" in text) for text in texts],
                "ends_asking": [float(text.rstrip(_CLOSING).endswith("?")) for text in texts],
                "refuses": [float(refuses(text)) for text in texts],
                "redundancy": [repeated_share(_words(text), self._size) for text in texts],
                "characters": [float(len(text)) for text in texts],
                "words": [float(len(text.split())) for text in texts],
            },
            signature=signature("dialogue", openings=len(OPENINGS), redundancy=f"rep-{self._size}"),
        )


def refuses(text: str) -> bool:
    """Return whether an answer begins as one that declines: with any of ``BEFORE``, then one of ``OPENINGS``."""
    plain = " ".join(text.translate(_APOSTROPHES).lower().split())
    begin = _LEAD.match(plain)
    return _REFUSAL.match(plain, begin.end() if begin else 0) is not None


def _words(text: str) -> list[str]:
    stripped = (word.strip(".,;:!?\"'()[]*_\u201c\u201d\u2018\u2019") for word in text.lower().split())
    return [word for word in stripped if word]


@hookimpl
def harness_register_metrics() -> Iterable[MetricRegistration]:
    """Offer ``dialogue``."""
    return [
        MetricRegistration(
            name="dialogue",
            summary="rates of questions and refusals, redundancy and length of answers in a conversation",
            build="harness_plugins.metrics.dialogue:Dialogue",
            options=DialogueOptions,
            role="other",
            headline="ends_asking",
            columns=(
                Column("asks", "asks", unit="%", scale=100.0, digits=1, range=(0.0, 1.0)),
                Column("ends_asking", "ends with a question", unit="%", scale=100.0, digits=1, range=(0.0, 1.0)),
                Column("refuses", "refuses", unit="%", scale=100.0, digits=1, range=(0.0, 1.0)),
                Column(
                    "redundancy",
                    "redundancy",
                    higher_is_better=False,
                    unit="%",
                    scale=100.0,
                    digits=1,
                    range=(0.0, 1.0),
                ),
                Column("characters", "characters", unit="characters", digits=1, range=(0.0, None)),
                Column("words", "words", unit="words", digits=1, range=(0.0, None)),
            ),
        )
    ]
