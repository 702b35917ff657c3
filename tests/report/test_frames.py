"""Results as data frames: the same columns whatever a run has, one value a cell, and one message for a wrong file."""

from __future__ import annotations

import json
import tracemalloc
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from harness.errors import InputError
from harness.report import frames
from harness.report.write import write_tables

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from report.synthetic import Run

PLACE = ["model", "row", "seed", "dataset", "decoding"]


def test_numbers_are_those_of_the_tables(run: Run) -> None:
    folder = run.write()
    write_tables(run.root, folder)
    table = json.loads((folder / "leaderboard.json").read_text(encoding="utf-8"))["tables"]["scores"]
    numbers = frames.numbers(folder)
    scores = numbers[numbers.table == "scores"]
    assert len(scores) == sum(len(row["cells"]) for row in table["rows"])
    for row in table["rows"]:
        for name, cell in row["cells"].items():
            (line,) = scores[(scores.row == row["label"]) & (scores.column == name)].to_dict("records")
            for key, value in cell.items():
                assert line[key] == value


def test_a_table_without_rows_has_the_columns_of_one_with_rows(run: Run) -> None:
    folder = run.write()
    write_tables(run.root, folder)
    whole = list(frames.numbers(folder).columns)
    (folder / "leaderboard.json").write_text('{"tables": {"scores": {"columns": [], "rows": []}}}', encoding="utf-8")
    numbers = frames.numbers(folder)
    assert numbers.empty
    assert list(numbers.columns) == whole


def test_frames_without_lines_keep_their_columns(run: Run) -> None:
    run.rows = ("base",)  # which is not trained, and whose values nobody kept
    folder = run.write()
    assert frames.steps(folder).empty
    assert {"model", "row", "seed", "segment", "step", "seconds.sampling"} <= set(frames.steps(folder).columns)
    assert frames.values(folder).empty
    assert list(frames.values(folder).columns) == [*PLACE, "metric", "column", "id", "draw", "value"]


def test_a_cell_of_a_step_holds_one_value(run: Run) -> None:
    steps = frames.steps(run.write())
    eso = steps[steps.row == "eso"]
    assert list(eso["reward.by_candidate.0"].unique()) == [0.4]
    assert list(eso["reward.by_candidate.1"].unique()) == [0.2]
    assert steps[steps.row == "sft"]["reward.by_candidate.0"].isna().all()
    assert not steps.map(lambda value: isinstance(value, list | tuple | dict)).to_numpy().any()


def test_a_point_of_a_budget_has_answers_and_no_training_of_its_own(run: Run) -> None:
    point = {"kind": "point", "method": None, "of": "eso", "at": "50 %"}
    run.rows = ("base", "sft", "eso", "eso at 50 %", "drl")
    run.described = lambda row: point if row == "eso at 50 %" else {}
    folder = run.write()
    assert set(frames.steps(folder).row) == {"sft", "eso", "drl"}
    timings = frames.timings(folder)
    assert set(timings[timings.kind == "train"].row) == {"sft", "eso", "drl"}
    assert set(timings[timings.kind == "generate"].row) == set(run.rows)
    scores = frames.scores(folder)
    assert set(scores.row) == set(run.rows)
    write_tables(run.root, folder)
    written = pd.read_csv(folder / "scores.csv", dtype={"id": str})
    pd.testing.assert_frame_equal(written, scores, check_exact=True)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[]", "leaderboard.json: this is not a leaderboard as this release writes it"),
        ("{}", "leaderboard.json: tables: this is not a leaderboard as this release writes it, got 'Field required'"),
        ('{"tables": {"scores": {"columns": [{"label": "x"}], "rows": []}}}',
         "leaderboard.json: tables.scores.columns.0.name: this is not a leaderboard"),
        ('{"tables": {"scores": {"columns": [], "rows": [{"label": "a", "model": "b", "cells": {"c": 1}}]}}}',
         "leaderboard.json: tables.scores.rows.0.cells.c: this is not a leaderboard"),
        ('{"tables": {"scores": {"columns": [], "rows": [{"label": "a", "model": "b", "cells": {"c": {}}}]}}}',
         'leaderboard.json: tables.scores: this is not a leaderboard as this release writes it, got "a cell of the'),
        ('{"tables"', "leaderboard.json: cannot be read: "),
    ],
)  # fmt: skip
def test_a_file_of_another_shape_is_one_message(content: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "leaderboard.json").write_text(content, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        frames.numbers(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}/{says}")


def test_many_lines_are_kept_as_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """A million answers must fit in memory: what a line costs beside the frame is less than a mapping a line."""
    names = [*PLACE, "metric", "column", "id", "draw", "value"]

    def lines(count: int) -> Iterator[dict[str, Any]]:
        for number in range(count):
            yield dict(zip(names, ("m", "r", 0, "d", "t", "rouge", "rougeL", "id", 0, float(number)), strict=True))

    count = 20_000
    monkeypatch.setattr(pd, "DataFrame", len)  # what pandas needs is its own affair
    tracemalloc.start()
    try:
        frames._frame(lines(count), names)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < count * 200
