"""Where each record of a run stands in its tables, in the words that people use."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.spec.results.run import CellStages, RunManifest, RunRow


class Cell(NamedTuple):
    """One row's answers to one data set under one decoding with one seed."""

    row: RunRow
    seed: int
    dataset: str
    decoding: str
    stages: CellStages
    checkpoint: str | None
    """The stage whose weights answered; None where it is not known from the manifest."""

    def __str__(self) -> str:
        return f"{row_name(self.row)}, seed {self.seed}, {self.dataset} under {self.decoding}"


def row_name(row: RunRow) -> str:
    """Return what people call a row."""
    return f"row {row.label} ({row.model})"


def cells(manifest: RunManifest) -> Iterator[Cell]:
    """Yield every cell of a run."""
    for row in manifest.rows:
        for seed, part in row.seeds.items():
            checkpoint = part.train[-1] if part.train and row.kind not in {"base", "elsewhere"} else None
            for dataset, decodings in part.evaluations.items():
                for decoding, stages in decodings.items():
                    yield Cell(row, seed, dataset, decoding, stages, checkpoint)


def stages(manifest: RunManifest) -> dict[tuple[str, str], str]:
    """Return every stage that a manifest names, by kind and id, with where it stands."""
    named: dict[tuple[str, str], str] = {}
    for data in manifest.datasets:
        if data.stage:
            named.setdefault(("prepare", data.stage), f"data {data.label}, {data.role}")
    for row in manifest.rows:
        for seed, part in row.seeds.items():
            for number, stage in enumerate(part.train):
                if stage:
                    named.setdefault(("train", stage), f"{row_name(row)}, seed {seed}, training stage {number + 1}")
    for cell in cells(manifest):
        if cell.stages.generate:
            named.setdefault(("generate", cell.stages.generate), f"{cell}, answers")
        for metric, stage in cell.stages.scores.items():
            if stage:
                named.setdefault(("score", stage), f"{cell}, {metric}")
    for model, ids in manifest.reward_models.items():
        if ids.statistics:
            named.setdefault(("precompute", ids.statistics), f"reward model of {model}")
    return named
