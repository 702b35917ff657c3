"""Results as pandas data frames, for questions that no table answers.

The frames are long: a line a number. What stands in the tables is read from ``leaderboard.json`` alone, which is what
gets published; what stands behind them (each answer and its values, each step of training) from the store.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from harness.errors import InputError
from harness.report.results import read_manifest
from harness.spec.results.generate import Answer
from harness.spec.results.score import AnswerValues
from harness.spec.results.train import TrainStep
from harness.store.stages import Store

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

#: The columns that say whose answer it is.
_PLACE = ("model", "row", "seed", "dataset", "decoding")


def numbers(run: Path | str) -> pd.DataFrame:
    """Return every number of a run's tables.

    Args:
        run: the run's folder, such as ``results/dolly/quick``, or a published one.

    Returns:
        ``table``, ``model``, ``row``, ``group``, ``column``, ``higher_is_better``, ``value`` (in the unit that the
        table shows), and what else is known of a cell: ``low``, ``high``, ``letters``, ``seeds``, ``missing``, ….

    Raises:
        InputError: there are no tables.
    """
    path = Path(run) / "leaderboard.json"
    try:
        board = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError("no run has left its tables here", where=str(path), expected="leaderboard.json") from None
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be read: {error}", where=str(path)) from None
    found = []
    for name, table in board["tables"].items():
        columns = {column["name"]: column for column in table["columns"]}
        for row in table["rows"]:
            for column, cell in row["cells"].items():
                about = columns[column]
                found.append({
                    "table": name, "model": row["model"], "row": row["label"], "group": about.get("group", ""),
                    "column": column, "higher_is_better": about.get("higher_is_better"), **cell,
                })  # fmt: skip
    return pd.DataFrame(found)


def values(run: Path | str, results: Path | str | None = None) -> pd.DataFrame:
    """Return what each metric says of each answer.

    Args:
        run: the run's folder.
        results: the folder that holds ``store``, unless the run lies two folders below it.

    Returns:
        ``model``, ``row``, ``seed``, ``dataset``, ``decoding``, ``metric``, ``column``, ``id`` (the prompt's),
        ``draw``, ``value`` (as the metric gave it, without the table's scale). An answer without a value has no line.

    Raises:
        InputError: there is no run.
        StageError: a stage that it names is not in the store.
        CorruptError: a file is not what was written.
    """
    run, store = _opened(run, results)
    found = [
        {**place, "metric": metric, "column": column, "id": line.id, "draw": line.draw, "value": value}
        for place, stages in _evaluations(read_manifest(run))
        for metric, stage in stages["scores"].items()
        if stage
        for line in store.open("score", stage).lines(AnswerValues)
        for column, value in line.values.items()  # noqa: PD011  # no frame
    ]
    return pd.DataFrame(found, columns=[*_PLACE, "metric", "column", "id", "draw", "value"])


def answers(run: Path | str, results: Path | str | None = None) -> pd.DataFrame:
    """Return each answer.

    Arguments and errors are those of :func:`values`.

    Returns:
        ``model``, ``row``, ``seed``, ``dataset``, ``decoding``, ``id``, ``draw``, ``text``, ``tokens`` (without the
        end), ``finished``, ``cut`` (the prompt was), ``entropy`` (mean nats a token).
    """
    run, store = _opened(run, results)
    found = [
        {**place, **line.model_dump()}
        for place, stages in _evaluations(read_manifest(run))
        if stages["generate"]
        for line in store.open("generate", stages["generate"]).lines(Answer)
    ]
    return pd.DataFrame(found, columns=[*_PLACE, *Answer.model_fields])


def steps(run: Path | str, results: Path | str | None = None) -> pd.DataFrame:
    """Return what was recorded of each step of training.

    Arguments and errors are those of :func:`values`.

    Returns:
        ``model``, ``row``, ``seed``, ``segment`` (0 for the first stage of a row's training, which rows may share),
        and the columns of ``train.jsonl``, with one for each number that a method logs.
    """
    run, store = _opened(run, results)
    found = [
        {"model": row["model"], "row": row["label"], "seed": int(seed), "segment": segment, **_flat(line.model_dump())}
        for row in read_manifest(run)["rows"]
        for seed, part in row["seeds"].items()
        for segment, stage in enumerate(part["train"])
        if stage
        for line in store.open("train", stage).lines(TrainStep)
    ]
    return pd.DataFrame(found)


def _opened(run: Path | str, results: Path | str | None) -> tuple[Path, Store]:
    run = Path(run)
    return run, Store(run.absolute().parent.parent if results is None else Path(results))


def _evaluations(manifest: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], Mapping[str, Any]]]:
    """Give each place of a run's answers, with the stages that made and scored them."""
    for row in manifest["rows"]:
        for seed, part in row["seeds"].items():
            for dataset, decodings in part["evaluations"].items():
                for decoding, stages in decodings.items():
                    place: Sequence[Any] = (row["model"], row["label"], int(seed), dataset, decoding)
                    yield dict(zip(_PLACE, place, strict=True)), stages


def _flat(value: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Return nested numbers under names with dots; what there is not is left out."""
    found: dict[str, Any] = {}
    for name, part in value.items():
        if isinstance(part, dict):
            found |= _flat(part, f"{before}{name}.")
        elif part is not None:
            found[f"{before}{name}"] = part
    return found
