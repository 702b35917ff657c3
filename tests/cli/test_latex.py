"""``harness latex``."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from report.synthetic import Run

from harness.cli import main

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path / "results", seeds=(0,), examples=3)


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["latex", *(str(argument) for argument in arguments)])


def test_all_tables_of_the_only_run(run: Run) -> None:
    run.write()
    result = call("--results", run.root)
    assert result.exit_code == 0, result.output
    named = CliRunner().invoke(main, ["report", "--results", str(run.root), "--json"])
    for table in json.loads(named.stdout)["tables"]:  # by name
        assert f"\\label{{tab:small-quick-{table}}}" in result.stdout


def test_some_rows_and_columns_for_a_column_of_a_paper(run: Run) -> None:
    run.write()
    result = call("small/quick", "--results", run.root, "--layout", "paper", "--table", "scores", "--rows", "sft, eso",
                  "--columns", "rouge.*", "--digits", 1)  # fmt: skip
    assert result.exit_code == 0, result.output
    assert result.stdout.count("\\begin{tabular}") == 1
    assert "\\label{tab:small-quick-scores}" in result.stdout
    assert "sft" in result.stdout
    assert "\nbase &" not in result.stdout.partition("\\begin{tabular}")[2].partition("\\end{tabular}")[0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--rows", "eso2"), "eso"),
        (("--table", "score"), "scores"),
        (("small/quick", "small/quick"), "--paper NAME"),
        (("--paper", "eso"), "eso-coling-2025"),
    ],
)
def test_what_cannot_be_is_one_message(run: Run, arguments: tuple[str, ...], said: str) -> None:
    run.write()
    result = call(*arguments, "--results", run.root)
    assert result.exit_code == 2
    assert said in result.stderr
    assert "Traceback" not in result.output


def test_what_lacks_is_said(run: Run) -> None:
    run.write()
    shutil.rmtree(next((run.root / "store" / "score").iterdir()))
    assert call("--results", run.root).exit_code == 2
    partial = call("--results", run.root, "--partial")
    assert partial.exit_code == 0, partial.output
    assert "stages are not in the store" in partial.stderr
    assert "\\begin{tabular}" in partial.stdout
