"""What a benchmark that times training says beside its numbers: the steps left out, sizes, stops and the start."""

from __future__ import annotations

import statistics as stats
from typing import TYPE_CHECKING, Any

from harness.report.table import Heading, TableCell

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.report.results import Results
    from harness.store import Record

SIZES = (
    Heading("batch", "batch", "", 0),
    Heading("prompt", "prompt ≤", "", 0),
    Heading("completion", "completion ≤", "", 0),
    Heading("sampled", "sampled length", "", 1),
    Heading("stops", "stops"),
)


def warmup_steps(results: Results) -> int:
    """Return how many first steps of each row's own training are left out; 0 where training is not what is timed."""
    timing = results.manifest["config"].get("timing")
    return int(timing["warmup_steps"]) if timing else 0


def measured(record: Record, warmup: int) -> dict[str, Any]:
    """Return a training stage's summary without its first steps; with all where that would leave none."""
    summary: dict[str, Any] = record.json("summary.json")
    log = list(record.jsonl("train.jsonl"))[warmup:] if warmup > 0 else []
    if not log:
        return summary
    phases = list(log[0]["seconds"])
    laps = {phase: [row["seconds"][phase] for row in log] for phase in phases}
    laps["total"] = [sum(row["seconds"].values()) for row in log]
    return {
        **summary,
        "steps": len(log),
        "step_seconds": {name: _quartiles(values) for name, values in laps.items()},
        "seconds": {phase: sum(laps[phase]) for phase in phases},
        "tokens_generated": sum(row["tokens"]["generated"] for row in log),
        "tokens_trained": sum(row["tokens"]["trained"] for row in log),
        "reward_calls": sum(row["reward"]["calls"] for row in log if "reward" in row),
    }


def _quartiles(values: Sequence[float]) -> dict[str, float]:
    """Return the quartiles as the summary has them: linear between order statistics."""
    q1, median, q3 = stats.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3
    return {"q1": q1, "median": median, "q3": q3}


def size_cells(records: Sequence[Record]) -> dict[str, TableCell]:
    """Return the cells under :data:`SIZES`: what a row's own training was told, and the mean length of its samples."""
    recipe: Mapping[str, Any] = records[0].config["recipe"]
    lengths = [
        row["samples"]["mean_length"] for record in records for row in record.jsonl("train.jsonl") if "samples" in row
    ]
    stops = "suppressed" if recipe.get("suppress_stops") else "natural"
    return {
        "batch": TableCell(recipe["batch_size"]),
        "prompt": TableCell(recipe["max_prompt_length"]),
        "completion": TableCell(recipe.get("generate_length") or recipe["max_completion_length"]),
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
        if record.json("summary.json")["steps"] <= warmup
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
    starts: dict[tuple[str, str], dict[str, list[str]]] = {}
    for row in results.rows:
        for seed, described in row.described["seeds"].items():
            if row.kind != "base":
                start = str(([None, *described["train"]])[-2])
                starts.setdefault((row.model, seed), {}).setdefault(start, []).append(row.label)
    if all(len(rows) == 1 for rows in starts.values()):
        return ["All rows of a model start from the same checkpoint."]
    groups = dict.fromkeys(" / ".join(", ".join(labels) for labels in rows.values()) for rows in starts.values())
    return [f"Rows start from different checkpoints: {'; '.join(groups)}."]


def _pairs(results: Results) -> list[str]:
    if not results.manifest["config"]["train"].get("pair_with"):
        return []
    return [
        (
            "The data have no preferences: for methods that learn from pairs, rejected is the answer of another row, "
            "cut to no more words. Their times are those of pairs so long, and their losses mean nothing."
        )
    ]
