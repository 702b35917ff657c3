"""One run's results as data frames, each read when it is first asked for."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import InputError
from harness.report import frames
from harness.spec.results.run import RunManifest

if TYPE_CHECKING:
    import pandas as pd


class RunFrames:
    """The results of one run. Every property is a tidy pandas frame, read from the store when it is first asked for.

    Raises, when one is read:
        StageError: the store lacks a stage that the run names.
        CorruptError: a file is not what was written.
    """

    def __init__(self, run: Path, results: Path) -> None:
        """Read the run in the folder ``run``, whose store lies in ``results``."""
        self.run = run
        self.results = results

    def __repr__(self) -> str:
        """Name the run and what there is of it."""
        names = [name for name, value in vars(type(self)).items() if isinstance(value, functools.cached_property)]
        return f"<results of {self.run}: {', '.join(names)}>"

    @functools.cached_property
    def scores(self) -> pd.DataFrame:
        """See :func:`harness.report.frames.scores`: a line a row, seed, data set, decoding and prompt."""
        return frames.scores(self.run, self.results)

    @functools.cached_property
    def corpus(self) -> pd.DataFrame:
        """See :func:`harness.report.frames.corpus`: numbers that are no means over prompts."""
        return frames.corpus(self.run, self.results)

    @functools.cached_property
    def training(self) -> pd.DataFrame:
        """See :func:`harness.report.frames.steps`: a line a step of training."""
        return frames.steps(self.run, self.results)

    @functools.cached_property
    def timings(self) -> pd.DataFrame:
        """See :func:`harness.report.frames.timings`: a line a stage of training or answering."""
        return frames.timings(self.run, self.results)

    @functools.cached_property
    def texts(self) -> pd.DataFrame:
        """See :func:`harness.report.frames.texts`: a line an answer, beside its prompt."""
        return frames.texts(self.run, self.results)

    @functools.cached_property
    def tables(self) -> pd.DataFrame:
        """See :func:`harness.report.frames.numbers`: a line a number of the tables, with its interval."""
        return frames.numbers(self.run)


def load_run(path: Path | str, results: Path | str | None = None) -> RunFrames:
    """Return the results of a run; see :func:`harness.load_results`."""
    run = Path(path)
    if not (run / RunManifest.file).is_file():
        below = sorted(
            file.parent
            for depth in ("*", "*/*")
            for file in run.glob(f"{depth}/{RunManifest.file}")
            if not {"store", "published"} & {*file.parent.relative_to(run).parts}
        )
        if len(below) != 1:
            raise InputError(
                "there are several runs: say which" if below else "no run has left its results here",
                where=str(run),
                expected=f"one of {', '.join(map(str, below))}" if below else "a folder such as results/dolly/quick",
            )
        run = below[0]
    return RunFrames(run, run.absolute().parent.parent if results is None else Path(results))
