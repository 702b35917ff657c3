"""The scores of each row and seed as plain numbers, for whoever logs them elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from harness.report.statistics import mean
from harness.spec.results.train import TrainSummary

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.report.results import ResultRow, Results


class SeedScores(NamedTuple):
    """One row with one seed."""

    row: ResultRow
    seed: int
    step: int
    """The last of its training; 0 where it was not trained here."""
    numbers: dict[str, float]
    """``DATASET/DECODING/METRIC.COLUMN`` to the mean over prompts, as the metric gives it."""
    stages: frozenset[tuple[str, str]]
    """Kind and id of all that it was made from."""


def seed_scores(results: Results) -> Iterator[SeedScores]:
    """Yield the scores of every row with every seed that has any."""
    for row in results.rows:
        for seed, part in row.described.seeds.items():
            numbers: dict[str, float] = {}
            stages = {("train", stage) for stage in part.train if stage}
            for (dataset, decoding), cell in row.cells.items():
                named = part.evaluations.get(dataset, {}).get(decoding)
                if named is not None:
                    stages |= {("generate", named.generate)} if named.generate else set()
                    stages |= {("score", stage) for stage in named.scores.values() if stage}
                for metric, by_seed in cell.scores.items():
                    if seed in by_seed:
                        place = f"{dataset}/{decoding}/{metric}"
                        means = {name: mean(values) for name, values in by_seed[seed].columns.items()}
                        numbers |= {f"{place}.{name}": value for name, value in means.items() if value is not None}
                        numbers |= {f"{place}.corpus.{name}": v for name, v in by_seed[seed].corpus.items()}
            if numbers:
                last = results.find("train", part.train[-1]) if part.train else None
                step = last.read(TrainSummary).last_step if last is not None else 0
                yield SeedScores(row, seed, step, numbers, frozenset(stages))
