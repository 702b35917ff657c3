"""What a run left behind, gathered for tables: numbers by row, data set, decoding and column."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.errors import InputError, StageError
from harness.store import Store

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from harness.report.statistics import Array
    from harness.store import Record

FORMAT = 1


@dataclass
class CellData:
    """One row's answers on one data set under one decoding, all seeds."""

    seeds: list[int] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    values: dict[str, Array] = field(default_factory=dict)
    """Column to (S, N): means over draws, NaN where missing."""
    corpus: dict[str, Array] = field(default_factory=dict)
    """Column to (S,)."""
    missing: dict[str, int] = field(default_factory=dict)
    """Column to the number of answers without a value, over all seeds."""
    summaries: list[dict[str, Any]] = field(default_factory=list)
    """What each ``generate`` stage counted."""
    settings: list[Mapping[str, Any]] = field(default_factory=list)
    """The configuration of each ``generate`` stage."""

    @property
    def draws(self) -> int:
        """Answers per prompt."""
        return int(self.summaries[0]["draws"]) if self.summaries else 0

    def rate(self, name: str) -> float:
        """Return a count of the summaries as a share of all answers."""
        answers = sum(s["n"] * s["draws"] for s in self.summaries)
        return float(sum(s[name] for s in self.summaries) / max(answers, 1))


@dataclass
class ResultRow:
    """One row of the tables."""

    label: str
    model: str
    kind: str
    """``base``, ``start`` or ``method``."""
    method: str | None
    described: Mapping[str, Any]
    cells: dict[tuple[str, str], CellData] = field(default_factory=dict)
    training: dict[int, Record] = field(default_factory=dict)
    """The last training stage of each seed."""
    failures: dict[int, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """A name that is unique over models."""
        return f"{self.model}\x1f{self.label}"


@dataclass
class Results:
    """All rows of one run."""

    manifest: Mapping[str, Any]
    rows: list[ResultRow]
    signatures: dict[str, dict[str, str]]
    """Model, then metric, to the metric's signature: the same in every row of a model."""

    @property
    def decodings(self) -> list[str]:
        """The decodings in the file's order; the first is the tables' own."""
        return list(self.manifest["decodings"])

    def datasets(self, role: str) -> list[str]:
        """Labels of the evaluation sets with a role."""
        return [data["label"] for data in self.manifest["datasets"] if data["role"] == role]

    def metrics(self, role: str) -> list[Mapping[str, Any]]:
        """Return the metrics with a role."""
        return [metric for metric in self.manifest["metrics"] if metric["role"] == role]

    @property
    def seeds(self) -> list[int]:
        """Every seed of the run."""
        return [int(seed) for seed in self.manifest["config"]["seeds"]]


def load_results(root: Path, folder: Path) -> Results:
    """Read a run's manifest and what it names from the store below ``root``.

    Raises:
        InputError: no manifest, or one of another format.
        StageError: rows that must not be compared, or a damaged file.
    """
    path = folder / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError("no run has left its results here", where=str(path), expected="manifest.json") from None
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be read: {error}", where=str(path)) from None
    if manifest.get("format") != FORMAT:
        raise InputError(
            "written in another format", where=str(path), got=manifest.get("format"), expected=f"format {FORMAT}"
        )
    store = Store(root)
    signatures: dict[str, dict[str, str]] = {}
    rows = [_row(row, store, signatures.setdefault(row["model"], {})) for row in manifest["rows"]]
    results = Results(manifest, rows, signatures)
    _refuse_mixtures(results)
    return results


def _row(described: Mapping[str, Any], store: Store, signatures: dict[str, str]) -> ResultRow:
    row = ResultRow(described["label"], described["model"], described["kind"], described["method"], described)
    for name, seed in described["seeds"].items():
        if seed["failed"]:
            row.failures[int(name)] = seed["failed"]
        if seed["train"] and seed["train"][-1]:
            record = store.find("train", seed["train"][-1])
            if record is not None:
                row.training[int(name)] = record
        for dataset, decodings in seed["evaluations"].items():
            for decoding, stages in decodings.items():
                cell = row.cells.setdefault((dataset, decoding), CellData())
                _add_seed(cell, int(name), stages, store, signatures)
    return row


def _add_seed(cell: CellData, seed: int, stages: Mapping[str, Any], store: Store, signatures: dict[str, str]) -> None:
    """Add one seed's numbers; a seed with any unfinished stage is left out of the cell as a whole."""
    generated = store.find("generate", stages["generate"]) if stages["generate"] else None
    scored = {name: store.find("score", stage) if stage else None for name, stage in stages["scores"].items()}
    if generated is None or any(record is None for record in scored.values()):
        return
    cell.seeds.append(seed)
    cell.summaries.append(generated.json("summary.json"))
    cell.settings.append(generated.config)
    for metric, record in scored.items():
        assert record is not None
        means, summary = record.json("means.json"), record.json("metrics.json")
        cell.ids = cell.ids or means["ids"]
        if means["ids"] != cell.ids:
            raise StageError("two seeds of a row answered different prompts", where=record.label)
        if signatures.setdefault(metric, summary["signature"]) != summary["signature"]:
            raise StageError(
                "rows scored by different versions of a metric cannot stand in one table",
                where=record.label,
                got=summary["signature"],
                expected=signatures[metric],
            )
        for column, values in means["columns"].items():
            numbers = np.array([[np.nan if value is None else value for value in values]], dtype=np.float64)
            _append(cell.values, f"{metric}.{column}", numbers)
            missing = summary["columns"][column]["missing"]
            cell.missing[f"{metric}.{column}"] = cell.missing.get(f"{metric}.{column}", 0) + missing
        for column, value in summary["corpus"].items():
            _append(cell.corpus, f"{metric}.{column}", np.array([value], dtype=np.float64))


def _append(columns: dict[str, Array], name: str, seed: Array) -> None:
    columns[name] = np.concatenate([columns[name], seed]) if name in columns else seed


def _refuse_mixtures(results: Results) -> None:
    """Refuse rows whose prompts, templates or decoding differ within one column of a table."""
    expected: dict[tuple[str, str], tuple[Any, ...]] = {}
    for row in results.rows:
        for place, cell in row.cells.items():
            for settings in cell.settings:
                found = (
                    cell.ids, settings["template"], settings["decoding"], settings["max_prompt_length"],
                    settings["overlong"], settings["model"],
                )  # fmt: skip
                wanted = expected.setdefault((f"{place[0]}/{row.model}", place[1]), found)
                if found != wanted:
                    raise StageError(
                        "rows with different prompts, templates or decoding cannot stand in one table",
                        where=f"{row.label} on {place[0]} under {place[1]}",
                    )
