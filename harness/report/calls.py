"""What a caption says of the differences in a table: what they are, when one is claimed, and what could be found."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from harness.report.components import GROUPS_FOR_CLAIMS
from harness.report.differences import FEW_GROUPS
from harness.report.groups import group_column
from harness.report.statistics import SEEDS_FOR_CLAIMS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.report.columns import ComparedColumn
    from harness.report.differences import Compared, Difference
    from harness.report.results import Results

_COLUMNS = "Nothing corrects over columns: of twenty, one calls something by chance."


def claim_lines(columns: Sequence[ComparedColumn], results: Results) -> list[str]:
    """Say what the differences mean and how large one could have been found, or why nothing is claimed."""
    compared = [column for column in columns if not column.place.corpus]
    comparisons = [comparison for column in compared for comparison in column.comparisons.values()]
    said = [pair for comparison in comparisons for pair in comparison.pairs.values()]
    if not any(pair.claims for pair in said):
        return [_no_claim(said, results), *_shown_anyway(said, results), *_groups(compared, results)]
    lines = [_family(results)]
    if any(pair.seeds < SEEDS_FOR_CLAIMS for pair in said):
        lines.append(
            f"A row with values for fewer than {SEEDS_FOR_CLAIMS} seeds is not part of any claim; with two, both "
            "seeds' differences are in parentheses."
        )
    if len(results.models) > 1:
        lines.append("Rows are compared with rows of the same model.")
    lines += _groups(compared, results)
    sizes = [f"{column.label} {size}" for column in _headlines(compared, results) if (size := _sizes(column))]
    if sizes:
        whom = "" if results.every_pair else f" from {results.baseline}"
        lines.append(
            f"Minimum detectable effect (the true difference{whom} that a repetition of the run, with variances as "
            f"measured, would find four times in five): {', '.join(sizes)}."
        )
    return lines


def pareto_lines(results: Results) -> list[str]:
    """Say which differences count between all rows, where the table itself shows none."""
    if len(results.seeds) < SEEDS_FOR_CLAIMS:
        return [_no_claim([], results)]
    return [
        (
            "A difference counts where its 95 % confidence interval for new seeds and new prompts, adjusted for all "
            f"pairs of rows of the column together, excludes 0. {_COLUMNS}"
        )
    ]


def _family(results: Results) -> str:
    baseline = results.baseline
    significant = "A difference is statistically significant (claimed) exactly where its interval excludes 0"
    interval = "a 95 % confidence interval for new seeds and new prompts, family-wise: adjusted for"
    if results.every_pair:
        return (
            f"Δ {baseline}: the row minus {baseline}. In brackets {interval} all pairs of rows of the column together. "
            f"{significant}. Rows that share a letter are not told apart, which does not make them equal; a is best. "
            f"{_COLUMNS}"
        )
    return (
        f"Δ {baseline}: the row minus {baseline}. In brackets {interval} all comparisons of the column with {baseline} "
        f"together. {significant}; what is not claimed is not told apart, which does not make it equal. {_COLUMNS}"
    )


def _no_claim(said: Sequence[Difference], results: Results) -> str:
    if not any(pair.seeds for pair in said) and len(results.seeds) >= SEEDS_FOR_CLAIMS:
        return f"No claim: {results.baseline} or every other row has no values to compare."
    if any(pair.note == FEW_GROUPS for pair in said):
        return (
            f"No claim: there are fewer than {GROUPS_FOR_CLAIMS} groups of prompts, or a few hold nearly all prompts."
        )
    if notes := sorted({pair.note for pair in said if pair.seeds >= SEEDS_FOR_CLAIMS and pair.note}):
        return f"No claim: the differences have no interval ({', '.join(notes)})."
    count = max((pair.seeds for pair in said), default=len(results.seeds))
    return (
        f"No claim: with {count} seed{'s' if count > 1 else ''} no difference between rows is called one; that takes "
        f"two rows with {SEEDS_FOR_CLAIMS} seeds or more."
    )


def _shown_anyway(said: Sequence[Difference], results: Results) -> list[str]:
    """Say what is in the column of differences where nothing is claimed."""
    most = max((pair.seeds for pair in said), default=0)
    if most == 2:
        return [f"Δ {results.baseline}: the row minus {results.baseline}, and in parentheses that of each seed."]
    if most == 1:
        return [
            (
                f"Δ {results.baseline}: the row minus {results.baseline}. In brackets a 95 % confidence interval for "
                "these runs and new prompts, adjusted for nothing: how much other training runs would differ is not in "
                "it."
            )
        ]
    return []


def _groups(columns: Sequence[ComparedColumn], results: Results) -> list[str]:
    """Say which prompts count as one."""
    named = {column.place.dataset: group_column(results, column.place.dataset) for column in columns}
    return [
        f"{dataset}: prompts with the same {name} belong together, and are counted as groups."
        for dataset, name in named.items()
        if name is not None
    ]


def _sizes(column: ComparedColumn) -> str:
    """Return the smallest and the largest difference that could be found in a column, as text."""
    sizes = [size for comparison in column.comparisons.values() for size in _found(comparison)]
    if not sizes:
        return ""
    low, high = (f"{size * column.heading.scale:.2g}" for size in (min(sizes), max(sizes)))
    return low if low == high else f"{low} to {high}"


def _found(comparison: Compared) -> list[float]:
    return [pair.detectable for pair in comparison.pairs.values() if not math.isnan(pair.detectable)]


def _headlines(columns: Sequence[ComparedColumn], results: Results) -> list[ComparedColumn]:
    """Return one column for each metric, data set and decoding: its headline, or the first of those that are shown."""
    chosen: dict[tuple[str, str, str], ComparedColumn] = {}
    for column in columns:
        place = column.place
        headline = next(metric.headline for metric in results.manifest.metrics if metric.use == place.metric)
        key = (place.dataset, place.decoding, place.metric)
        if column.heading.shown and (key not in chosen or place.column == headline):
            chosen[key] = column
    return list(chosen.values())
