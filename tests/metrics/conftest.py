"""What the tests of metrics share: making samples, and models that answer from a table."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from harness.api import Divergence, Sample

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path


@pytest.fixture
def samples() -> Callable[..., list[Sample]]:
    """Return a function that makes samples from pairs of answer and references; further keys hold for all of them."""

    def make(pairs: Sequence[tuple[str, Sequence[str]]], **fields: Any) -> list[Sample]:
        defaults = {"draw": 0, "prompt": "p", "finished": True}
        return [
            Sample(
                **{
                    **defaults,
                    "tokens": len(text.split()),
                    **fields,
                    "id": str(number),
                    "text": text,
                    "references": tuple(known),
                }
            )
            for number, (text, known) in enumerate(pairs)
        ]

    return make


@pytest.fixture(scope="session")
def real_pairs(real_data: Path) -> list[tuple[str, tuple[str, ...]]]:
    """Return 250 real texts with one or two real references each."""
    with gzip.open(real_data / "dolly" / "databricks-dolly-15k.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line, _ in zip(lines, range(250), strict=False)]
    pairs = []
    for number, row in enumerate(rows):
        answer = " ".join((row["context"] or row["instruction"]).split()[:60])
        second = (row["instruction"],) if number % 2 else ()
        pairs.append((answer, (row["response"], *second)))
    return pairs


@dataclass
class TableServices:
    """Models whose likelihoods stand in a table by text; it records what it was asked."""

    table: dict[str, tuple[float, int]] = field(default_factory=dict)
    scorer_label: str = "gpt2 (fixed)"
    asked: list[Sample] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    answers: dict[str, list[Sample]] = field(default_factory=dict)
    apart: dict[tuple[str, str], Divergence] = field(default_factory=dict)

    def answer_nll(self, samples: Sequence[Sample]) -> Sequence[tuple[float, int]]:
        """Look up the answers."""
        self.asked.extend(samples)
        return [self.table[sample.text] for sample in samples]

    def reference_nll(self, samples: Sequence[Sample]) -> Sequence[tuple[float, int]]:
        """Look up the first references."""
        self.asked.extend(samples)
        return [self.table[sample.references[0]] for sample in samples]

    def prefix_nll(self, samples: Sequence[Sample]) -> Sequence[Sequence[tuple[float, float]]]:
        """Look up the loss of each first reference, the same at every position; answers make it half a nat worse."""
        self.asked.extend(samples)
        return [
            [(self.table[s.references[0]][0], self.table[s.references[0]][0] + 0.5 * (t > 0)) for t in range(40)]
            if s.references
            else []
            for s in samples
        ]

    def text_nll(self, texts: Sequence[str]) -> Sequence[tuple[float, int]]:
        """Look up the texts."""
        self.texts.extend(texts)
        return [self.table[text] for text in texts]

    def answers_of(self, label: str) -> Sequence[Sample]:
        """Return the answers of a row."""
        return self.answers[label]

    def divergences(self, samples: Sequence[Sample], label: str) -> Sequence[Divergence]:
        """Look up the texts, of whichever row."""
        self.asked.extend(samples)
        return [self.apart[label, sample.text] for sample in samples]

    def rewards(self, samples: Sequence[Sample], texts: Sequence[str]) -> Sequence[float]:
        """Look up the texts."""
        self.asked.extend(samples)
        return [self.table[text][0] for text in texts]


@pytest.fixture
def services() -> TableServices:
    """Return models that know nothing yet."""
    return TableServices()
