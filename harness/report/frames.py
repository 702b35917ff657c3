"""Results as pandas data frames, for questions that no table answers.

Each line is one thing that was observed (a prompt's scores, an answer, a step, a stage), or one number. What the tables
show is read from ``leaderboard.json`` alone, which is what gets published; what is behind them (each answer and its
values, each step of training) from the store.
"""

from __future__ import annotations

import json
from pathlib import Path
from sys import intern
from typing import TYPE_CHECKING, Any, Final

import pandas as pd
from pydantic import BaseModel, ValidationError

from harness.errors import InputError
from harness.report.export import ABOUT, NUMBERS
from harness.report.results import read_manifest
from harness.report.score_records import read_scores
from harness.spec.results.generate import Answer, GenerateSummary
from harness.spec.results.rows import DataRow
from harness.spec.results.score import AnswerValues, ScoreMeans, ScoreSummary
from harness.spec.results.train import PHASES, TrainStep, TrainSummary
from harness.store.stages import Store

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from harness.spec.results.run import CellStages, RowSeed, RunManifest, RunRow

#: The columns that say whose answer it is.
_PLACE: Final = ("model", "row", "seed", "dataset", "decoding")
#: The columns that say what a stage's time was spent on.
_STAGE: Final = ("model", "row", "seed", "kind", "segment", "dataset", "decoding")
#: The columns that say which number of which table it is.
_CELL: Final = ("table", "model", "row", "group", "column", *ABOUT, "higher_is_better")
#: The columns that every step of training has.
_STEP: Final = (
    "step", "epoch", "learning_rate", "grad_norm", "tokens.generated", "tokens.trained", "micro_batches",
    *(f"seconds.{phase}" for phase in PHASES),
)  # fmt: skip


class _Column(BaseModel):
    name: str
    group: str = ""
    dataset: str = ""
    decoding: str = ""
    metric: str = ""
    statistic: str = ""
    baseline: str = ""
    higher_is_better: bool | None = None


class _Row(BaseModel):
    label: str
    model: str
    cells: dict[str, dict[str, Any]]


class _Table(BaseModel):
    columns: list[_Column]
    rows: list[_Row]


class _Board(BaseModel):
    """As much of ``leaderboard.json`` as is read here."""

    tables: dict[str, _Table]


def numbers(run: Path | str) -> pd.DataFrame:
    """Return every number of a run's tables.

    Args:
        run: the run's folder, such as ``results/dolly/quick``, or a published one.

    Returns:
        ``table``, ``model``, ``row``, ``group``, ``column``, ``dataset``, ``decoding``, ``metric``, ``statistic``
        (``mean``, ``difference``, …), ``baseline`` (of a difference), ``higher_is_better``, ``value`` (in the unit that
        the table shows), and what else is known of a cell: ``low``, ``high``, ``letters``, ``seeds``, ``missing``, ….

    Raises:
        InputError: there are no tables, or the file is not one that a report wrote.
    """
    return _frame(_cells(Path(run) / "leaderboard.json"), (*_CELL, *NUMBERS))


def _cells(path: Path) -> Iterator[dict[str, Any]]:
    for table, content in _board(path).tables.items():
        columns = {column.name: column for column in content.columns}
        for row in content.rows:
            for name, cell in row.cells.items():
                about = columns.get(name)
                if about is None:
                    raise _not_a_leaderboard(
                        path, f"tables.{table}", f"a cell of the column {name!r}, which is not there"
                    )
                said = [getattr(about, each) for each in ABOUT]
                place = (table, row.model, row.label, about.group, name, *said, about.higher_is_better)
                yield {**dict(zip(_CELL, place, strict=True)), **cell}


def _board(path: Path) -> _Board:
    try:
        return _Board.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise InputError("no run has left its tables here", where=str(path), expected="leaderboard.json") from None
    except ValidationError as error:  # which is a ValueError too
        first = error.errors(include_url=False, include_input=False)[0]
        raise _not_a_leaderboard(path, ".".join(map(str, first["loc"])), first["msg"]) from None
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be read: {error}", where=str(path)) from None


def _not_a_leaderboard(path: Path, key: str, what: str) -> InputError:
    return InputError(
        "this is not a leaderboard as this release writes it", where=f"{path}: {key}" if key else str(path), got=what,
        hint="`harness report` makes it again",
    )  # fmt: skip


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
    lines = (
        {**place, "metric": metric, "column": column, "id": intern(line.id), "draw": line.draw, "value": value}
        for place, stages in _evaluations(read_manifest(run))
        for metric, stage in stages.scores.items()
        if stage
        for line in store.open("score", stage).lines(AnswerValues)
        for column, value in line.values.items()  # noqa: PD011  # no frame
    )
    return _frame(lines, (*_PLACE, "metric", "column", "id", "draw", "value"))


def scores(run: Path | str, results: Path | str | None = None) -> pd.DataFrame:
    """Return what each prompt's answers scored, as means over draws: a line a row, seed, data set, decoding and prompt.

    Arguments and errors are those of :func:`values`.

    Returns:
        ``model``, ``row``, ``seed``, ``dataset``, ``decoding``, ``id`` (the prompt's), and a column a number of a
        metric (``rouge.rougeL``), as the metric gave it, without the table's scale; NaN where it is missing.
    """
    run, store = _opened(run, results)
    lines = (
        line
        for place, stages in _evaluations(read_manifest(run))
        for line in prompt_lines(
            place,
            {metric: read_scores(store.open("score", stage))[0] for metric, stage in stages.scores.items() if stage},
        )
    )
    return _frame(lines, (*_PLACE, "id"))


def prompt_lines(place: Mapping[str, Any], means: Mapping[str, ScoreMeans]) -> Iterator[dict[str, Any]]:
    """Yield the scores of one row's answers prompt by prompt, with the ``place`` that says whose they are."""
    columns = {
        f"{metric}.{name}": values for metric, of in means.items() for name, values in of.columns.items()
    }  # no frame
    for number, name in enumerate(next(iter(means.values())).ids if means else ()):
        yield {**place, "id": intern(name), **{column: numbers[number] for column, numbers in columns.items()}}


def corpus(run: Path | str, results: Path | str | None = None) -> pd.DataFrame:
    """Return the numbers that a metric has for all answers at once, which are no means over prompts (corpus BLEU).

    Arguments and errors are those of :func:`values`.

    Returns:
        ``model``, ``row``, ``seed``, ``dataset``, ``decoding``, ``metric``, ``column``, ``value``.
    """
    run, store = _opened(run, results)
    lines = (
        {**place, "metric": metric, "column": column, "value": value}
        for place, stages in _evaluations(read_manifest(run))
        for metric, stage in stages.scores.items()
        if stage
        for column, value in store.open("score", stage).read(ScoreSummary).corpus.items()
    )
    return _frame(lines, (*_PLACE, "metric", "column", "value"))


def timings(run: Path | str, results: Path | str | None = None) -> pd.DataFrame:
    """Return what each stage of training and of answering took.

    Arguments and errors are those of :func:`values`.

    Returns:
        ``model``, ``row``, ``seed``, ``kind`` (``train`` or ``generate``), ``segment`` (of training) or ``dataset`` and
        ``decoding``, ``seconds`` in all, ``tokens`` (trained on, or generated in answers), ``peak_memory_bytes``,
        ``concurrent`` (other stages ran beside it, so that its seconds say less), and of training ``steps``,
        ``tokens_sampled`` and ``seconds.PHASE``. A row at a point of a budget has its answers alone: its training is
        the row's that goes on from there.
    """
    run, store = _opened(run, results)
    return _frame(_times(read_manifest(run), store), (*_STAGE, "seconds", "tokens", "peak_memory_bytes", "concurrent"))


def _times(manifest: RunManifest, store: Store) -> Iterator[dict[str, Any]]:
    for row in manifest.rows:
        for seed, part in row.seeds.items():
            whose = {"model": row.model, "row": row.label, "seed": seed}
            for segment, stage in enumerate(_trained(row, part)):
                if stage:
                    trained = store.open("train", stage).read(TrainSummary)
                    yield {
                        **whose, "kind": "train", "segment": segment, "seconds": sum(trained.seconds.values()),
                        "tokens": trained.tokens_trained, "peak_memory_bytes": trained.peak_memory_bytes,
                        "concurrent": trained.concurrent, "steps": trained.steps,
                        "tokens_sampled": trained.tokens_generated,
                        **{f"seconds.{phase}": seconds for phase, seconds in trained.seconds.items()},
                    }  # fmt: skip
            for dataset, decodings in part.evaluations.items():
                for decoding, stages in decodings.items():
                    if stages.generate:
                        answered = store.open("generate", stages.generate).read(GenerateSummary)
                        yield {
                            **whose, "kind": "generate", "dataset": dataset, "decoding": decoding,
                            "seconds": answered.seconds, "tokens": answered.tokens,
                            "peak_memory_bytes": answered.peak_memory_bytes, "concurrent": answered.concurrent,
                        }  # fmt: skip


def texts(run: Path | str, results: Path | str | None = None) -> pd.DataFrame:
    """Return each answer beside what was asked.

    Arguments and errors are those of :func:`values`.

    Returns:
        What :func:`answers` returns, then the row of the data set: ``prompt.FIELD`` for each text that its prompt was
        made of, and ``references`` (a tuple; the demonstration alone where the row has no others).
    """
    folder, store = _opened(run, results)
    stages = {data.label: data.stage for data in read_manifest(folder).datasets if data.role != "train"}
    asked = (
        {
            "dataset": label, "id": intern(row.id), **{f"prompt.{name}": text for name, text in row.fields.items()},
            "references": row.references or tuple(filter(None, (row.completion or row.chosen,))),
        }
        for label, stage in stages.items()
        if stage
        for row in store.open("prepare", stage).lines(DataRow)
    )  # fmt: skip
    rows = _frame(asked, ("dataset", "id", "references"))
    return answers(run, results).merge(rows, on=["dataset", "id"], how="left")


def answers(run: Path | str, results: Path | str | None = None) -> pd.DataFrame:
    """Return each answer.

    Arguments and errors are those of :func:`values`.

    Returns:
        ``model``, ``row``, ``seed``, ``dataset``, ``decoding``, ``id``, ``draw``, ``text``, ``tokens`` (without the
        end), ``finished``, ``cut`` (the prompt was), ``entropy`` (mean nats a token).
    """
    run, store = _opened(run, results)
    lines = (
        {**place, **dict(line)}
        for place, stages in _evaluations(read_manifest(run))
        if stages.generate
        for line in store.open("generate", stages.generate).lines(Answer)
    )
    return _frame(lines, (*_PLACE, *Answer.model_fields))


def steps(run: Path | str, results: Path | str | None = None) -> pd.DataFrame:
    """Return what was recorded of each step of training.

    Arguments and errors are those of :func:`values`.

    Returns:
        ``model``, ``row``, ``seed``, ``segment`` (0 for the first stage of a row's training, which rows may share),
        and the columns of ``train.jsonl``, with one for each number that a method logs: what lies within another has a
        dot before its name (``loss.sft``), and of several numbers each has its place (``reward.by_candidate.0``). A row
        at a point of a budget has no line: its training is the row's that goes on from there.
    """
    run, store = _opened(run, results)
    place = ("model", "row", "seed", "segment")
    lines = (
        {**dict(zip(place, (row.model, row.label, seed, segment), strict=True)), **_flat(line.model_dump())}
        for row in read_manifest(run).rows
        for seed, part in row.seeds.items()
        for segment, stage in enumerate(_trained(row, part))
        if stage
        for line in store.open("train", stage).lines(TrainStep)
    )
    return _frame(lines, (*place, *_STEP))


def _frame(lines: Iterable[Mapping[str, Any]], columns: Iterable[str]) -> pd.DataFrame:
    """Return lines as a frame that has ``columns`` even where there is none, and those of its lines behind them.

    Of many millions of lines, no more than one is a mapping at a time: what is kept is a list a column.
    """
    kept: dict[str, list[Any]] = {name: [] for name in columns}
    count = 0
    for line in lines:
        for name, value in line.items():
            column = kept.setdefault(name, [])
            if len(column) < count:  # earlier lines did not have it
                column.extend([None] * (count - len(column)))
            column.append(value)
        count += 1
    for column in kept.values():
        column.extend([None] * (count - len(column)))
    return pd.DataFrame(kept)


def _opened(run: Path | str, results: Path | str | None) -> tuple[Path, Store]:
    run = Path(run)
    return run, Store(run.absolute().parent.parent if results is None else Path(results))


def _evaluations(manifest: RunManifest) -> Iterator[tuple[dict[str, Any], CellStages]]:
    """Give each place of a run's answers, with the stages that made and scored them."""
    for row in manifest.rows:
        for seed, part in row.seeds.items():
            for dataset, decodings in part.evaluations.items():
                for decoding, stages in decodings.items():
                    place = (row.model, row.label, seed, dataset, decoding)
                    yield dict(zip(_PLACE, place, strict=True)), stages


def _trained(row: RunRow, part: RowSeed) -> tuple[str | None, ...]:
    """Return the stages of a row's own training; none of a row that is a point within another's."""
    return part.train if row.kind != "point" else ()


def _flat(value: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Return nested values under names with dots, the parts of a sequence under their places; None is left out."""
    flat: dict[str, Any] = {}
    for name, part in value.items():
        if isinstance(part, tuple):
            part = {str(place): each for place, each in enumerate(part)}  # noqa: PLW2901  # a cell holds one value
        if isinstance(part, dict):
            flat |= _flat(part, f"{before}{name}.")
        elif part is not None:
            flat[f"{before}{name}"] = part
    return flat
