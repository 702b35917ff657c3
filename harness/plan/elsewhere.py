"""Rows whose model was trained elsewhere: the stages that find a checkpoint, or take answers from a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness.plan.cells import Answerer, data_label, row_of, scores_of
from harness.plan.graph import Cell, Row
from harness.spec.model import Model
from harness.spec.stages.answers import AnswersConfig
from harness.stages.answers_file import Known, about, check_names, digest_of, read_answers

if TYPE_CHECKING:
    from harness.plan.graph import Stage
    from harness.plan.planner import Planner
    from harness.spec.benchmark import Benchmark
    from harness.spec.elsewhere import ElsewhereEntry
    from harness.stages.answers_file import GivenAnswers


def elsewhere_rows(planner: Planner, model: Model, entry: ElsewhereEntry, scorer: Stage) -> list[Row]:
    """Return one row in the tables of ``model``, seed by seed; of a file of answers those seeds that it has.

    Raises:
        InputError: a file of answers that cannot be read, or names what the benchmark has not got.
    """
    seeds = planner.benchmark.seeds
    if entry.use == "checkpoint":
        found = model_elsewhere(entry, model)
        return [
            row_of(
                planner, Answerer(model, entry.label, seed, planner.model(found, seed), scorer), None, "elsewhere", ()
            )
            for seed in seeds
        ]
    path = Path(entry.path or "")
    known = known_names(planner.benchmark)
    lines = read_answers(path)
    check_names(lines, known, path)
    rows = (_row(planner, Answerer(model, entry.label, seed, planner.model(model, seed), scorer), path, lines)
            for seed in seeds)  # fmt: skip
    return [row for row in rows if row.cells]


def model_elsewhere(entry: ElsewhereEntry, model: Model) -> Model:
    """Return the checkpoint of an entry, to be loaded as ``model`` is."""
    name = entry.name or entry.label
    return Model(
        name=name, label=entry.label, path=entry.path, base=entry.base, revision=entry.revision, dtype=model.dtype,
        attention=model.attention,
    )  # fmt: skip


def known_names(benchmark: Benchmark) -> Known:
    """Return what the lines of a file of answers may name."""
    datasets = tuple(data_label(use) for use in benchmark.evaluate)
    return Known(datasets, tuple(benchmark.decoding), benchmark.seeds)


def _row(planner: Planner, answerer: Answerer, path: Path, lines: tuple[GivenAnswers, ...]) -> Row:
    benchmark = planner.benchmark
    known = known_names(benchmark)
    cells = []
    for use in benchmark.evaluate:
        for decoding in benchmark.decoding:
            chosen = about(lines, known, data_label(use), decoding, answerer.seed)
            if not chosen:
                continue
            config = AnswersConfig(
                answers=digest_of(chosen), template=benchmark.template, partial=use.limit is not None
            )
            runtime = planner.runtime(path=str(path), lines=tuple(line.line for line in chosen))
            label = f"{answerer.model.shown}/{answerer.label}/seed {answerer.seed}/{data_label(use)}/{decoding}"
            parents = {"rows": planner.data(use), "model": answerer.checkpoint}
            answers = planner.add(label, config, parents, runtime)
            cells.append(Cell(data_label(use), decoding, answers, scores_of(planner, answerer, use, decoding, answers)))
    model = answerer.model.shown
    return Row(answerer.label, "elsewhere", None, model, answerer.seed, (), answerer.checkpoint, tuple(cells))
