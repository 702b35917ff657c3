"""Benchmark harness for post-fine-tuning methods of language models. Importing it loads no heavy library."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from harness.report.run_frames import RunFrames

__version__ = "0.1.0"

#: The version of ``harness.api`` that plugins are written against.
API_VERSION = 1


def load_results(path: Path | str, results: Path | str | None = None) -> RunFrames:
    """Return the results of a run as tidy pandas frames.

    ``scores`` (a line a row, seed, data set, decoding and prompt), ``corpus``, ``training`` (a line a step),
    ``timings``, ``texts`` (a line an answer, beside its prompt) and ``tables``, each read when it is first asked for.

    Args:
        path: the run's folder, such as ``results/dolly/quick``, or one above it that holds no other run.
        results: the folder that holds the run's ``store``, unless the run lies two folders below it.

    Raises:
        InputError: there is no run, or more than one.
    """
    from importlib import import_module

    # by a computed name: whatever imports the harness would else count the reports among what it computes with
    loaded: RunFrames = import_module(f"{__name__}.report.run_frames").load_run(path, results)
    return loaded
