"""One side of a comparison: a row of a run, with what it was given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.errors import InputError, suggest
from harness.spec.results.environment import MadeUnder
from harness.spec.results.train import TrainSummary

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from harness.report.results import ResultRow, Results
    from harness.spec.recipe import Recipe
    from harness.store.records import Record


@dataclass(frozen=True)
class Side:
    """A row of a run."""

    name: str
    """What the user called it."""
    results: Results
    row: ResultRow

    @property
    def seeds(self) -> list[int]:
        """Seeds with which the row was asked for."""
        return sorted(self.row.described.seeds)

    def records(self, *, trained: bool) -> Iterator[Record]:
        """Yield the stages that trained the row, or those that answered."""
        for seed in self.row.described.seeds.values():
            cells = (cell for decodings in seed.evaluations.values() for cell in decodings.values())
            stages: Sequence[str | None] = seed.train if trained else [cell.generate for cell in cells]
            for stage in stages:
                record = self.results.find("train" if trained else "generate", stage)
                if record is not None:
                    yield record

    def environments(self) -> list[Mapping[str, Any]]:
        """Return what the row's stages were made under, each once."""
        found: dict[str, Mapping[str, Any]] = {}
        for trained in (True, False):
            for record in self.records(trained=trained):
                if (name := record.digest(MadeUnder.file)) not in found:
                    found[name] = record.read(MadeUnder).to_json()
        return list(found.values())

    def recipe(self) -> Recipe | None:
        """Return how the row was trained; None for one that was not trained here."""
        config = self.results.manifest.config
        if not self.row.trained or not (self.row.method or self.row.described.of):
            return None
        label = self.row.described.of or self.row.label
        return next((entry.recipe for entry in config.methods if entry.label == label), config.recipe)

    def start_sums(self) -> dict[int, tuple[float, ...]]:
        """Return sums over the weights at which each seed's training began, where a release recorded them."""
        found = {}
        for number, seed in self.row.described.seeds.items():
            record = self.results.find("train", seed.train[0]) if seed.train else None
            sums = record.read(TrainSummary).start_sums if record is not None else None
            if sums:
                found[number] = tuple(sums)
        return found


def side(name: str, results: Results, label: str, model: str | None = None) -> Side:
    """Return a row of a run by its label; ``model`` says which, where several models have one.

    Raises:
        InputError: there is no such row, or more than one.
    """
    rows = [*results.rows, *results.points]
    models = list(dict.fromkeys(row.model for row in rows))
    if model is not None and model not in models:
        raise InputError(
            "there is no such model", where=name, got=model, expected=f"one of {', '.join(models)}",
            did_you_mean=suggest(model, models),
        )  # fmt: skip
    found = [row for row in rows if row.label == label and model in {None, row.model}]
    if len(found) == 1:
        return Side(name, results, found[0])
    if found:
        listed = ", ".join(row.model for row in found)
        raise InputError(
            "several models have this row: say which with --model", where=name, expected=f"one of {listed}"
        )
    labels = list(dict.fromkeys(row.label for row in rows))
    raise InputError(
        "there is no such row", where=name, got=label, expected=f"one of {', '.join(labels)}",
        did_you_mean=suggest(label, labels),
    )  # fmt: skip
