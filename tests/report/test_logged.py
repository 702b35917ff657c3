"""What methods log for tables, and rows that were trained elsewhere, in the tables of a hand-written run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from report.synthetic import Run, step

from harness.report.results import load_results
from harness.report.training import signal_table
from harness.report.write import build

if TYPE_CHECKING:
    from pathlib import Path

CLIPPED = {"name": "clipped", "label": "clipped %", "higher_is_better": None, "unit": "", "scale": 100.0, "digits": 1,
           "shown": True}  # fmt: skip


def log(row: str, seed: int) -> list[dict[str, Any]]:
    told = [{"clipped": 0.25, "other": 3.0}, {"clipped": 0.5 + seed}, {}] if row == "eso" else [{}]
    return [{**step(row), **({"method": each} if each else {})} for each in told]


def test_columns_of_a_registration_stand_in_the_table_of_signals(tmp_path: Path) -> None:
    run = Run(tmp_path, seeds=(0, 1), log=log, described=lambda row: {"logs": [CLIPPED]} if row == "eso" else {})
    table = signal_table(load_results(run.root, run.write()))
    heading = next(heading for heading in table.headings if heading.name == "logged.clipped")
    assert (heading.label, heading.scale, heading.digits) == ("clipped %", 100.0, 1)
    cells = {row.label: row.cells for row in table.rows}
    assert cells["eso"]["logged.clipped"].value == pytest.approx((0.25 + 0.5 + 0.25 + 1.5) / 4)
    assert "logged.clipped" not in cells["sft"]
    assert "logged.other" not in cells["eso"]
    assert any("What methods log themselves: clipped %" in line for line in table.caption)


def elsewhere(row: str) -> dict[str, Any]:
    foreign = {"kind": "elsewhere", "method": None, "origin": "their-model", "active": None, "start": None,
               "notes": ["dequantised from Q4_1"]}  # fmt: skip
    return foreign if row == "theirs" else {}


def test_a_row_from_elsewhere_is_in_no_comparison(tmp_path: Path) -> None:
    run = Run(tmp_path, rows=("base", "sft", "eso", "theirs"), described=elsewhere, tables=("scores", "decoding"))

    def untrained(manifest: dict[str, Any]) -> None:
        for row in manifest["rows"]:
            if row["kind"] == "elsewhere":
                for seed in row["seeds"].values():
                    seed["train"] = []
        manifest["config"]["compare"] = {"pairs": "all"}
        manifest["config"]["methods"] = [m for m in manifest["config"]["methods"] if m["label"] != "theirs"]

    run.change = untrained
    report = build(load_results(run.root, run.write()))
    for table in report.tables:
        if table.name not in {"summary", "scores", "decoding"}:
            assert all(row.label != "theirs" for row in table.rows) or table.name in {"seeds", "settings"}
            continue
        row = next(row for row in table.rows if row.label == "theirs")
        assert row.marks == ("trained elsewhere, budget unknown",)
        assert not any(cell.letters or cell.difference for cell in row.cells.values())
        others = next(row for row in table.rows if row.label == "eso")
        assert any(cell.letters for cell in others.cells.values())
        assert any("theirs (their-model, dequantised from Q4_1)" in line for line in table.caption)
    scores = next(table for table in report.tables if table.name == "scores")
    row = next(row for row in scores.rows if row.label == "theirs")
    (cell,) = [cell for name, cell in row.cells.items() if name.endswith("rouge.rougeL")]
    assert cell.interval is not None
    assert cell.interval.known
