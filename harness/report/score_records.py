"""What a score stage left behind, as far as its files fit each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.errors import StageError
from harness.spec.results.score import ScoreMeans, ScoreSummary

if TYPE_CHECKING:
    from harness.store.records import Record


def read_scores(record: Record) -> tuple[ScoreMeans, ScoreSummary]:
    """Read each prompt's means and what is said of all answers.

    Raises:
        StageError: a column has more or fewer values than there are prompts, or only one of the two files knows it.
    """
    means, summary = record.read(ScoreMeans), record.read(ScoreSummary)
    for column, values in means.columns.items():
        if len(values) != len(means.ids):
            what = f"{ScoreMeans.file}: the column {column!r} has not one value a prompt"
            raise StageError(what, where=record.label, got=str(len(values)), expected=str(len(means.ids)))
    if alone := sorted(means.columns.keys() ^ summary.columns.keys()):
        what = f"only one of {ScoreMeans.file} and {ScoreSummary.file} has the column {alone[0]!r}"
        raise StageError(what, where=record.label)
    return means, summary
