"""A real run's results as data frames: the numbers behind the tables give the tables."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from harness import load_results
from harness.errors import InputError, StageError
from harness.plugins.closure import Sources
from harness.report import frames
from harness.stages.entries import ENTRIES

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


def test_all_of_a_run_by_its_folder_or_one_above(run: Path) -> None:
    found = load_results(run)
    assert repr(found) == f"<results of {run}: scores, corpus, training, timings, texts, tables>"
    pd.testing.assert_frame_equal(load_results(str(run.parent.parent)).scores, found.scores)
    pd.testing.assert_frame_equal(found.training, frames.steps(run))
    pd.testing.assert_frame_equal(found.tables, frames.numbers(run))


def test_scores_are_a_line_a_prompt_with_means_over_draws(run: Path) -> None:
    scores, values = load_results(run).scores, frames.values(run)
    place = ["model", "row", "seed", "dataset", "decoding", "id"]
    assert list(scores.columns[:6]) == place
    assert len(scores) == 3 * 6  # rows, prompts
    means = values[values.column == "rougeL"].groupby(place).value.mean()
    pd.testing.assert_series_equal(
        scores.set_index(place)["rouge.rougeL"].sort_index(), means.sort_index(), check_names=False
    )


def test_scores_csv_is_that_frame(run: Path) -> None:
    written = pd.read_csv(run / "scores.csv", dtype={"id": str})
    pd.testing.assert_frame_equal(written, load_results(run).scores, check_exact=True)


def test_timings_are_a_line_a_stage(run: Path) -> None:
    timings = load_results(run).timings
    assert set(timings.kind) == {"train", "generate"}
    assert timings.seconds.gt(0).all()
    assert timings[timings.kind == "generate"].tokens.sum() == frames.answers(run).tokens.sum()
    trained = timings[timings.kind == "train"]
    phases = [name for name in timings.columns if name.startswith("seconds.")]
    assert trained[phases].sum(axis=1).to_list() == pytest.approx(trained.seconds.to_list())
    assert trained.steps.sum() == len(frames.steps(run))


def test_texts_stand_beside_their_prompts(run: Path) -> None:
    texts = load_results(run).texts
    assert len(texts) == len(frames.answers(run))
    assert texts["prompt.instruction"].str.len().gt(0).all()
    assert texts.references.map(len).gt(0).all()
    assert texts.groupby("id")["prompt.instruction"].nunique().eq(1).all()


def test_a_folder_of_several_runs(run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run has left its results here"):
        load_results(tmp_path)
    for profile in ("one", "two"):
        shutil.copytree(run, tmp_path / "tiny" / profile)
    with pytest.raises(InputError, match="there are several runs: say which"):
        load_results(tmp_path)


def test_importing_the_harness_stays_light() -> None:
    code = "import sys, harness; print({'pandas', 'torch', 'numpy', 'pydantic'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_reports_are_no_part_of_what_a_stage_computes_with() -> None:
    modules = Sources().closure([ENTRIES["train"]])
    assert "harness" in modules
    assert not [name for name in modules if name.startswith("harness.report")]
