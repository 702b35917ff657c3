"""A real run's results as data frames: the numbers behind the tables give the tables."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from harness.errors import InputError, StageError
from harness.report import frames

if TYPE_CHECKING:
    from pathlib import Path

    from execution.bench import Bench


@pytest.fixture(scope="module")
def run(finished: Bench) -> Path:
    return finished.board("json").parent


def test_values_have_the_means_of_the_tables(run: Path) -> None:
    numbers, values = frames.numbers(run), frames.values(run)
    assert {"table", "model", "row", "group", "column", "higher_is_better", "value"} <= set(numbers.columns)
    scores = numbers[(numbers.table == "scores") & (numbers.column == "test/rouge.rougeL")].set_index("row").value
    assert set(scores.index) == {"base", "sft", "eso"}
    one = values[(values.metric == "rouge") & (values.column == "rougeL") & (values.decoding == "t1")]
    by_prompt = one.groupby(["row", "id"]).value.mean()
    pd.testing.assert_series_equal(
        100 * by_prompt.groupby("row").mean(), scores.loc[["base", "eso", "sft"]].astype(float), check_names=False
    )


def test_each_answer_is_a_line(run: Path) -> None:
    answers, values = frames.answers(run), frames.values(run)
    place = ["model", "row", "seed", "dataset", "decoding", "id", "draw"]
    assert len(answers) == 3 * 6 * 2  # rows, prompts, draws
    assert not answers.duplicated(place).any()
    assert all(isinstance(text, str) for text in answers.text)
    assert values.merge(answers, on=place, how="left").text.notna().all()


def test_steps_follow_each_other_through_the_segments(run: Path) -> None:
    steps = frames.steps(run)
    eso = steps[steps.row == "eso"].sort_values(["segment", "step"])
    assert eso.step.is_monotonic_increasing
    assert eso["loss.sft"].notna().all()
    assert eso[eso.segment == eso.segment.max()]["seconds.sampling"].gt(0).all()


def test_published_tables_need_no_store(run: Path, tmp_path: Path) -> None:
    alone = tmp_path / "published" / "tiny" / "default"
    alone.mkdir(parents=True)
    for name in ("leaderboard.json", "manifest.json"):
        shutil.copy(run / name, alone)
    pd.testing.assert_frame_equal(frames.numbers(alone), frames.numbers(run))
    with pytest.raises(StageError, match="no finished score stage"):
        frames.values(alone)
    pd.testing.assert_frame_equal(frames.values(alone, run.parent.parent), frames.values(run))


def test_a_folder_without_a_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run has left its tables here"):
        frames.numbers(tmp_path)
    with pytest.raises(InputError, match="no run has left its results here"):
        frames.values(tmp_path)
