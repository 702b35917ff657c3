"""A paper's tables in its own shape: printed beside measured, and what no run has is said to be not run."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import resources
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from report.synthetic import METRICS, ROUGE_L, Run

from harness.cli import main
from harness.errors import InputError
from harness.report.paper import paper_tables, read_paper
from harness.report.table import shown

if TYPE_CHECKING:
    from pathlib import Path

    from harness.report.table import Table

NAME = "eso-coling-2025"


def benchmark(run: Run, name: str) -> Path:
    """Write the run as one of a benchmark; return its folder."""
    run.manifest = {"benchmark": name}
    folder = run.write()
    target = run.root / name / "quick"
    target.parent.mkdir(parents=True, exist_ok=True)
    return folder.rename(target)


def texts(table: Table) -> dict[tuple[str, str], list[str]]:
    return {
        (row.model, row.label): [shown(row.cells[heading.name], heading) for heading in table.headings]
        for row in table.rows
    }


def test_without_runs_every_table_is_there_with_its_figures(tmp_path: Path) -> None:
    tables = {table.name: table for table in paper_tables(NAME, tmp_path, []).tables}
    assert list(tables) == [*(f"table-{number}" for number in range(1, 7)), "figure-2", "section-5-10"]
    assert texts(tables["table-5"])["not run", "0.50"] == ["30.27", "not run"]
    assert texts(tables["figure-2"])["not run", "DPO"] == ["–", "not run"]
    assert any("Not run: ablation-coef." in line for line in tables["table-5"].caption)


def test_runs_stand_beside_and_the_others_are_not_run(run: Run) -> None:
    run.rows = ("base", "sft", "eso")
    folder = benchmark(run, "xsum")
    tables = {table.name: table for table in paper_tables(NAME, run.root, [folder]).tables}
    found = texts(tables["table-1"])
    assert [heading.group for heading in tables["table-1"].headings][1::2] == ["Dolly", "XSum"]
    assert found["tiny (quick)", "ESO"][:3] == ["–", "not run", "29.20"]
    assert found["tiny (quick)", "ESO"][3].startswith("35.23 ± ")
    assert found["tiny (quick)", "RRHF"] == ["–", "not run", "–", "not run"]
    assert texts(tables["table-4"])["not run", "k = 6"] == ["–", "not run"]
    assert "Here: from xsum/quick." in tables["table-1"].caption


def test_rows_are_found_by_their_options(run: Run) -> None:
    run.rows = ("sft", "eso[a]", "eso[b]")
    run.options = lambda row: {"temperatures": [1.0] * (8 if row == "eso[b]" else 4), "k_reduction": "sum"}
    folder = benchmark(run, "ablation-k")
    table = next(t for t in paper_tables(NAME, run.root, [folder]).tables if t.name == "table-4")
    here = {label: cells[1].split()[0] for (_, label), cells in texts(table).items()}
    assert here["k = 6"] == "not"
    assert here["k = 4"] != here["k = 8"]


def test_seeds_have_their_deviation(run: Run) -> None:
    run.value = lambda place: 0.2 + 0.01 * place.seed
    table = next(t for t in paper_tables(NAME, run.root, [benchmark(run, "seeds")]).tables if t.name == "table-6")
    assert texts(table)["tiny (quick)", "SFT"][2:] == ["0.23", "1.00"]


def test_cross_data_and_other_scores_are_found(run: Run) -> None:
    run.datasets = {"generated": "in-data", "generated-vicuna": "cross"}
    run.metrics = [{**METRICS[0], "columns": [ROUGE_L, {**ROUGE_L, "name": "rouge1", "label": "ROUGE-1"}]}]
    folder = benchmark(run, "dolly")
    tables = {table.name: table for table in paper_tables(NAME, run.root, [folder]).tables}
    assert texts(tables["table-3"])["tiny (quick)", "SFT"][1] == "not scored"
    assert texts(tables["table-3"])["tiny (quick)", "SFT"][3].startswith("32.")
    scores = texts(tables["table-2"])["tiny (quick)", "SFT"]
    assert scores[1].startswith("32.")
    assert scores[3] == "not scored"


def test_its_figures_are_those_of_the_figures_file() -> None:
    folder = resources.files("harness.report").joinpath("figures")
    known = json.loads(folder.joinpath(f"{NAME}.json").read_text(encoding="utf-8"))["figures"]
    paper = read_paper(NAME)
    printed = {value for table in paper.tables for column in table.columns for value in column.printed.values()}
    for figure in known:
        if figure["row"] != "reward model":  # stands in the text
            assert figure["value"] in printed, figure
    for table in paper.tables:
        labels = {row.label for row in paper.rows(table)}
        for column in table.columns:
            assert set(column.printed) <= labels


def test_unknown_papers_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"eso-coling-2024.*did you mean 'eso-coling-2025'"):
        paper_tables("eso-coling-2024", tmp_path, [])


def test_one_command_prints_them(run: Run) -> None:
    other = replace(run, rows=("sft", "eso"))
    benchmark(run, "xsum")
    benchmark(other, "seeds")
    arguments = ["report", "--results", str(run.root), "--paper", NAME]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    assert done.output.count("\n## Table ") == 6
    assert "## Figure 2" in done.output
    assert "| SFT " in done.output
    done = CliRunner().invoke(main, ["latex", *arguments[1:], "--layout", "paper", "--table", "table-6"])
    assert r"\label{tab:eso-coling-2025-table-6}" in done.output
    assert "figure-2" not in done.output
