"""What a benchmark that times training says beside its numbers: the steps left out, sizes, stops and the start."""

from __future__ import annotations

import statistics as stats
from typing import TYPE_CHECKING

from harness.report.table import Heading, TableCell
from harness.spec.recipe import Sampling
from harness.spec.results.train import PHASES, Quartiles, StepSeconds, TrainStep, TrainSummary
from harness.spec.stages.train import TrainConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.report.results import Results
    from harness.store.records import Record

SIZES = (
    Heading("batch", "batch", "", 0),
    Heading("prompt", "prompt ≤", "", 0),
    Heading("completion", "completion ≤", "", 0),
    Heading("sampled", "sampled length", "", 1),
    Heading("stops", "stops"),
)


def warmup_steps(results: Results) -> int:
    """Return how many first steps of each row's own training are left out; 0 where training is not what is timed."""
    timing = results.manifest.config.timing
    return timing.warmup_steps if timing else 0


def measured(record: Record, warmup: int) -> TrainSummary:
    """Return a training stage's summary without its first steps; with all where that would leave none."""
    summary = record.read(TrainSummary)
    log = list(record.lines(TrainStep))[warmup:] if warmup > 0 else []
    if not log:
        return summary
    laps = {phase: [step.seconds[phase] for step in log] for phase in PHASES}
    phases = {phase: _quartiles(laps[phase]) for phase in PHASES}
    timed = {
        "steps": len(log),
        "step_seconds": StepSeconds(**phases, total=_quartiles([step.total_seconds for step in log])),
        "seconds": {phase: sum(laps[phase]) for phase in PHASES},
        "tokens_generated": sum(step.tokens.generated for step in log),
        "tokens_trained": sum(step.tokens.trained for step in log),
        "reward_calls": sum(step.reward.calls for step in log if step.reward is not None),
    }
    return summary.model_copy(update=timed)


def _quartiles(values: Sequence[float]) -> Quartiles:
    """Return the quartiles as the summary has them: linear between order statistics."""
    q1, median, q3 = stats.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3
    return Quartiles(q1=q1, median=median, q3=q3)


def size_cells(records: Sequence[Record]) -> dict[str, TableCell]:
    """Return the cells under :data:`SIZES`: what a row's own training was told, and the mean length of its samples."""
    config = records[0].read(TrainConfig)
    steps = [step for record in records for step in record.lines(TrainStep)]
    lengths = [step.samples.mean_length for step in steps if step.samples is not None]
    sampling = config.sampling or Sampling()
    stops = "suppressed" if sampling.suppress_stops else "natural"
    return {
        "batch": TableCell(config.recipe.batch_size),
        "prompt": TableCell(config.recipe.max_prompt_length),
        "completion": TableCell(sampling.generate_length or config.recipe.max_completion_length),
        "sampled": TableCell(stats.fmean(lengths) if lengths else None),
        "stops": TableCell(stops if lengths else "samples nothing"),
    }


def lines(results: Results) -> list[str]:
    """Return what the caption of a timing says more than that of any table."""
    warmup = warmup_steps(results)
    short = [
        row.label
        for row in results.rows
        for record in row.training.values()
        if record.read(TrainSummary).steps <= warmup
    ]
    text = f"The first {warmup} steps of each row's own training are left out of every number but the peak."
    if short:
        text += f" Shorter than that, and whole: {', '.join(dict.fromkeys(short))}."
    return [
        text,
        (
            "Prompt and completion: the longest, in tokens; sampled length: the mean of what was sampled, all steps "
            "counted. Stops suppressed: no completion ends before its limit."
        ),
        *_starts(results),
        *_pairs(results),
    ]


def _starts(results: Results) -> list[str]:
    """Say whether all rows of a model and seed start from one checkpoint."""
    starts: dict[tuple[str, int], dict[str, list[str]]] = {}
    for row in results.rows:
        for seed, described in row.described.seeds.items():
            if row.trained:
                start = str(([None, *described.train])[-2])
                starts.setdefault((row.model, seed), {}).setdefault(start, []).append(row.label)
    if all(len(rows) == 1 for rows in starts.values()):
        return ["All rows of a model start from the same checkpoint."]
    groups = dict.fromkeys(" / ".join(", ".join(labels) for labels in rows.values()) for rows in starts.values())
    return [f"Rows start from different checkpoints: {'; '.join(groups)}."]


def _pairs(results: Results) -> list[str]:
    if not results.manifest.config.train.pair_with:
        return []
    return [
        (
            "The data have no preferences: for methods that learn from pairs, rejected is the answer of another row, "
            "cut to no more words. Their times are those of pairs so long, and their losses mean nothing."
        )
    ]
