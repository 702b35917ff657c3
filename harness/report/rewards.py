"""The reward model of a run: how well it tells held-out pairs apart, and which rows and judges depend on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import scipy

from harness.report.differences import own_interval
from harness.report.proportions import wilson
from harness.report.results import FAILED, NOT_RUN, NOT_STORED
from harness.report.statistics import Interval
from harness.report.table import Heading, Table, TableCell, TableRow
from harness.spec.results.reward_statistics import PairScores, RewardStatistics
from harness.spec.results.train import TrainSummary

if TYPE_CHECKING:
    from harness.report.results import ResultRow, Results
    from harness.report.statistics import Array
    from harness.store.records import Record

#: Bins of predicted probability, from ½ to 1: a pair and its mirror image say the same.
BINS = 10


class HeldOutPairs(NamedTuple):
    """Raw scores of the held-out pairs (N,), and the lengths of their answers in tokens."""

    chosen: Array
    rejected: Array
    chosen_tokens: Array
    rejected_tokens: Array

    @property
    def margins(self) -> Array:
        """How much more the chosen answer is given."""
        return self.chosen - self.rejected


class Bin(NamedTuple):
    """Pairs with about the same predicted probability."""

    predicted: float
    observed: float
    pairs: int


def statistics_of(results: Results, model: str) -> Record | None:
    """Return the stored statistics of a model's reward model."""
    described = results.manifest.reward_models.get(model)
    return results.find("precompute", described.statistics) if described else None


def read_pairs(record: Record) -> HeldOutPairs | None:
    """Return the scores of the held-out pairs; None where the file names none."""
    rows = list(record.lines(PairScores))
    if not rows:
        return None
    numbers = [(row.chosen, row.rejected, row.chosen_tokens, row.rejected_tokens) for row in rows]
    return HeldOutPairs(*np.array(numbers, dtype=np.float64).T)


def accuracy(pairs: HeldOutPairs) -> Interval:
    """Return the share of pairs whose chosen answer is given more, equal scores half, with Wilson's interval."""
    right = np.where(pairs.margins > 0, 1.0, np.where(pairs.margins == 0, 0.5, 0.0))
    share = float(right.mean())
    return Interval(share, *wilson(share, len(right)))


def calibration(pairs: HeldOutPairs) -> tuple[float, list[Bin]]:
    """Return the expected calibration error of σ(margin) and its bins.

    The prediction is that the answer with the larger score is the chosen one, made with probability σ(|margin|); 10
    bins of equal width from ½ to 1. The error is the mean over pairs of a bin's |predicted − observed| (Guo et al.
    2017).
    """
    predicted = scipy.special.expit(np.abs(pairs.margins))
    right = np.where(pairs.margins > 0, 1.0, np.where(pairs.margins == 0, 0.5, 0.0))
    place = np.minimum(((predicted - 0.5) * 2 * BINS).astype(int), BINS - 1)
    bins = []
    for index in range(BINS):
        chosen = place == index
        if chosen.any():
            bins.append(Bin(float(predicted[chosen].mean()), float(right[chosen].mean()), int(chosen.sum())))
    error = sum(part.pairs * abs(part.predicted - part.observed) for part in bins) / len(predicted)
    return error, bins


def length_correlation(pairs: HeldOutPairs) -> float | None:
    """Return Pearson's correlation of score and length over all answers; None where either never varies."""
    scores = np.concatenate([pairs.chosen, pairs.rejected])
    lengths = np.concatenate([pairs.chosen_tokens, pairs.rejected_tokens])
    present = ~np.isnan(scores) & ~np.isnan(lengths)
    if present.sum() < 2 or scores[present].std() == 0 or lengths[present].std() == 0:
        return None
    return float(np.corrcoef(scores[present], lengths[present])[0, 1])


def accuracy_cell(results: Results, model: str) -> TableCell:
    """Return the accuracy beside every win rate which depends on the reward model."""
    record = statistics_of(results, model)
    if record is None:
        return TableCell(status=_why(results, model))
    pairs = read_pairs(record)
    if pairs is None:
        return TableCell(status="no held-out pairs")
    interval = accuracy(pairs)
    return TableCell(interval.mean, interval)


def _why(results: Results, model: str) -> str:
    described = results.manifest.reward_models.get(model)
    if described is None:
        return NOT_RUN
    return NOT_STORED if described.statistics else FAILED


def trained_on_it(row: ResultRow) -> bool:
    """Return whether a row's own training held a reward model."""
    held = (part for record in row.training.values() for part in record.read(TrainSummary).models_held)
    return any(part.role == "reward" for part in held)


def reward_model_table(results: Results) -> Table:
    """Held-out accuracy, margin, calibration and length of each model's reward model."""
    headings = (
        Heading("accuracy", "accuracy %", "", 1, 100.0, True),
        Heading("margin", "margin", "", 3),
        Heading("calibration", "calibration error", "", 3, 1.0, False),
        Heading("length", "correlation with length", "", 2),
        Heading("longer", "chosen longer %", "", 1, 100.0),
        Heading("pairs", "pairs", "", 0),
        Heading("normalise", "normalised by"),
        *(Heading(f"bin {i}", f"bin {i}", "", 3, shown=False) for i in range(BINS)),
    )
    section = results.manifest.config.reward_model
    existing = section.model if section else None
    label = (section and section.use) or (existing and existing.shown) or "reward model"
    rows, bins_said = [], []
    for model in results.manifest.reward_models:
        record = statistics_of(results, model)
        if record is None:
            cells = {heading.name: TableCell(status=_why(results, model)) for heading in headings[:7]}
            rows.append(TableRow(label, model, cells))
            continue
        summary = record.read(RewardStatistics)
        pairs = read_pairs(record)
        cells = {"normalise": TableCell(_normalised(summary))}
        if pairs is None:
            cells |= {heading.name: TableCell(status="no held-out pairs") for heading in headings[:6]}
        else:
            cells |= _cells(pairs)
            _, bins = calibration(pairs)
            cells |= {f"bin {i}": TableCell(_bin(part)) for i, part in enumerate(bins)}
            who = f"{model}: " if len(results.manifest.reward_models) > 1 else ""
            bins_said.append(f"{who}{'; '.join(map(_bin, bins))}")
        rows.append(TableRow(label, model, cells))
    caption = [
        (
            "Accuracy: how often the chosen answer of a held-out pair is given more, with Wilson's 95 % confidence "
            "interval over pairs. Margin: its raw score minus that of the rejected answer, with a t interval over "
            "pairs."
        ),
        (
            f"Calibration error: of σ(margin) against how often it is right, in {BINS} bins from 50 to 100 %; "
            f"predicted, observed and pairs of each: {' | '.join(bins_said) or 'none'}."
        ),
        (
            "Correlation with length: of an answer's raw score and its tokens, over both answers of all pairs; chosen "
            "longer: how often length alone would have been right. What was trained on the score may grow longer by it."
        ),
    ]
    names = ("reward model", "model")
    return Table("reward-model", "Reward model", headings, tuple(rows), tuple(caption), names=names)


def _cells(pairs: HeldOutPairs) -> dict[str, TableCell]:
    right, error = accuracy(pairs), calibration(pairs)[0]
    own = own_interval(pairs.margins[None])
    margin = own[0] if own else None
    lengths = pairs.chosen_tokens - pairs.rejected_tokens
    present = lengths[~np.isnan(lengths)]
    return {
        "accuracy": TableCell(right.mean, right),
        "margin": TableCell(margin.mean if margin else None, margin),
        "calibration": TableCell(error),
        "length": TableCell(length_correlation(pairs)),
        "longer": TableCell(float(((present > 0) + 0.5 * (present == 0)).mean()) if present.size else None),
        "pairs": TableCell(float(len(pairs.margins))),
    }


def _bin(part: Bin) -> str:
    return f"{100 * part.predicted:.0f} → {100 * part.observed:.0f} % ({part.pairs})"


def _normalised(summary: RewardStatistics) -> str:
    how = summary.normalise
    if how == "none":
        return how
    text = f"{how}: mean {summary.mean:.3f}"
    if how == "zscore":
        text += f", sd {summary.sd:.3f}"
    return f"{text}, of {summary.n} demonstrations"
