"""Which rows supervised training learns from."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from harness.errors import InputError
from harness.spec.results.train import TaughtRows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.text.encode import EncodedRow


def taught(rows: Sequence[EncodedRow], where: str) -> tuple[list[EncodedRow], TaughtRows]:
    """Return the rows that supervised training learns from, and what becomes of all.

    Raises:
        InputError: no row is left.
    """
    counts: Counter[str] = Counter()
    kept = []
    for row in rows:
        answer = row.demonstration
        if answer is None or not len(answer.ids):
            counts["undesirable" if row.label is False else "without"] += 1
            continue
        # a completion that repeats the preferred answer is that answer
        same = row.chosen is not None and np.array_equal(answer.ids, row.chosen.ids)
        counts["chosen" if same else "completion"] += 1
        kept.append(row)
    if not kept:
        raise InputError(
            "there is nothing to train on: no row that is short enough has a demonstration",
            where=where,
            got=_left_out(counts),
            expected="rows with a completion, or with a chosen answer",
        )
    return kept, TaughtRows(**{name: counts[name] for name in TaughtRows.model_fields})


def _left_out(counts: Mapping[str, int]) -> str:
    return f"{counts['undesirable']} undesirable rows and {counts['without']} without an answer"
