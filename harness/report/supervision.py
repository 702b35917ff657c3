"""What supervised rows were trained on, in words: demonstrations, chosen answers, references, and what was left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.report.findings import listed
from harness.spec.results.train import TrainSummary

if TYPE_CHECKING:
    from harness.report.results import Results
    from harness.spec.benchmark import DataUse
    from harness.spec.results.train import TaughtRows


def supervision_lines(results: Results) -> list[str]:
    """Say once for each supervised row, and for each model where that differs, what its training rows gave it."""
    use = results.manifest.config.train
    said: dict[str, dict[str, list[str]]] = {}
    for row in results.rows:
        for record in row.training.values():
            counts = record.read(TrainSummary).trained_on
            if counts is not None:
                text = taught(counts, use)
                models = said.setdefault(text, {}).setdefault(row.label, [])
                models += [row.model] if row.model not in models else []
    lines = []
    for text, labels in said.items():
        everywhere = all(set(models) == set(results.models) for models in labels.values())
        who = [label if everywhere else f"{label} ({', '.join(models)})" for label, models in labels.items()]
        lines.append(f"{listed(who)} {'were' if len(who) > 1 else 'was'} trained on {text}.")
    return lines


def taught(counts: TaughtRows, use: DataUse) -> str:
    """Return what the counts of a training summary say, given how the file uses the training data."""
    completions = "the demonstrations"
    if use.kind == "unpaired_preferences":
        completions = "the desirable completions"
    elif use.train_on_reference and use.kind == "references":
        completions = f"reference {use.train_on_reference}"
    parts = []
    if counts.completion:
        parts.append(f"{completions} of {_count(counts.completion, 'row')}")
    if counts.chosen:
        parts.append(f"the chosen answers of {_count(counts.chosen, 'pair')}")
    text = " and ".join(parts)
    left = []
    if counts.undesirable:
        left.append(f"{_count(counts.undesirable, 'row')} with an undesirable completion")
    if counts.without:
        left.append(f"{_count(counts.without, 'row')} without a demonstration")
    return f"{text}; it left out {' and '.join(left)}" if left else text


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
