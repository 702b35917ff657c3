"""Passages of held-out text, one for each key, drawn with replacement."""

from __future__ import annotations

import re
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

from harness_plugins.datasets.generated_instructions.draw import Draw, seed_of

if TYPE_CHECKING:
    from collections.abc import Sequence

_WORD: Final = re.compile(r"\S+")
#: What stands before the beginning of a sentence: a stop, quotation marks and brackets behind it, white space.
_ENDS: Final = (".", "!", "?", "…")
_CLOSING: Final = "\"')]}”’»"

#: Texts of a generated data set that are drawn from: a fair choice of all.
_GENERATED: Final = 500


def passages_of(text: str, words: int, keys: Sequence[str]) -> list[str]:
    """Return a passage of ``words`` words for each key, the whole text where it has no more than that.

    It begins at the first word of a sentence or a line from which so many words follow (at any such word where none
    begins a sentence), all of them equally likely, and keeps the white space between its words.
    """
    spans = [match.span() for match in _WORD.finditer(text)]
    last = max(0, len(spans) - words)
    starts = [place for place in range(last + 1) if place == 0 or _begins(text, spans[place - 1], spans[place])]
    if len(starts) == 1:
        starts = list(range(last + 1))
    passages = []
    for key in keys:
        start = Draw(seed_of("passage", key)).pick(starts)
        end = min(start + words, len(spans)) - 1
        passages.append(text[spans[start][0] : spans[end][1]])
    return passages


def generated_passages(name: str, keys: Sequence[str]) -> list[str]:
    """Return for each key a text of a generated data set's test split: the news, or the answers to instructions."""
    texts = _summaries() if name == "generated-summaries" else _instructions()
    return [Draw(seed_of("passage", key)).pick(texts) for key in keys]


def _begins(text: str, before: tuple[int, int], word: tuple[int, int]) -> bool:
    if "\n" in text[before[1] : word[0]]:
        return True
    return text[before[0] : before[1]].rstrip(_CLOSING).endswith(_ENDS)


@cache
def _summaries() -> tuple[str, ...]:
    from harness_plugins.datasets.generated_summaries import GeneratedSummariesOptions
    from harness_plugins.datasets.generated_summaries.corpus import GeneratedSummaries

    rows = GeneratedSummaries(GeneratedSummariesOptions()).load(Path(), "test")
    return tuple(row.fields["document"] for row in islice(rows, _GENERATED))


@cache
def _instructions() -> tuple[str, ...]:
    from harness_plugins.datasets.generated_instructions import GeneratedOptions
    from harness_plugins.datasets.generated_instructions.corpus import GeneratedInstructions

    rows = GeneratedInstructions(GeneratedOptions()).load(Path(), "test")
    return tuple(f"{row.fields['instruction']}\n{row.completion}" for row in islice(rows, _GENERATED))
