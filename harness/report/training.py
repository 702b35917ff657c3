"""The tables about training: what it cost, and the signal that each method had."""

from __future__ import annotations

import statistics as stats
from typing import TYPE_CHECKING, Any

from harness.report.table import Heading, Table, TableCell, TableRow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from harness.report.results import ResultRow, Results
    from harness.store import Record

PHASES = ("sampling", "reward", "forward_backward", "optimiser", "other")


def is_inactive(row: ResultRow) -> bool:
    """Return whether the method's own term never moved a weight, in any seed that was trained."""
    if row.kind != "method" or not row.training:
        return False
    return all(not _moved(row, record) for record in row.training.values())


def _moved(row: ResultRow, record: Record) -> bool:
    active: Mapping[str, bool] = record.json("summary.json")["active"]
    shared = row.described.get("shared_terms", ())
    own = {name: moved for name, moved in active.items() if name not in shared}
    return any((own or active).values())


def timing_table(results: Results) -> Table:
    """Seconds a step by phase, tokens, memory and models, from the stage in which the method was active."""
    headings = (
        Heading("total", "s/step", "", 3),
        Heading("quartiles", "quartiles"),
        *(Heading(phase, phase.replace("_", "/"), "of which", 3) for phase in PHASES),
        Heading("steps", "steps", "", 0),
        Heading("generated", "tokens generated", "", 0),
        Heading("rate", "tokens/s", "", 0),
        Heading("reward_calls", "reward calls", "", 0),
        Heading("memory", "peak MB", "", 0),
        Heading("models", "models held"),
        Heading("device", "device"),
    )
    rows, beside, evaluation = [], False, []
    for row in results.rows:
        if row.kind == "base":
            continue
        summaries = [record.json("summary.json") for record in row.training.values()]
        if not summaries:
            rows.append(TableRow(row.label, row.model, {h.name: TableCell(status="failed") for h in headings}))
            continue
        beside = beside or any(summary["concurrent"] for summary in summaries)
        rows.append(TableRow(row.label, row.model, _timing_cells(summaries)))
    for row in results.rows:
        parts = [s for cell in row.cells.values() for s in cell.summaries]
        seconds = sum(part["seconds"] for part in parts)
        if seconds:
            evaluation.append(f"{row.label} {sum(part['tokens'] for part in parts) / seconds:.0f}")
    caption = [
        (
            "Median over steps, then mean over seeds, of the stage in which the row's own method is active; phases are "
            "medians too and need not add up. Tokens per second: generated and trained on, over the whole stage."
        ),
        f"Evaluation, tokens generated per second: {', '.join(evaluation)}.",
    ]
    if beside:
        caption.append("Timed while other stages ran on the same processor: compare rows, not machines.")
    return Table("timing", "Timing", headings, tuple(rows), tuple(caption))


def _timing_cells(summaries: list[dict[str, Any]]) -> dict[str, TableCell]:
    def mean(read: Callable[[dict[str, Any]], float]) -> TableCell:
        return TableCell(stats.fmean(read(summary) for summary in summaries))

    quartiles = [stats.fmean(summary["step_seconds"]["total"][name] for summary in summaries) for name in ("q1", "q3")]
    held = summaries[0]["models_held"]
    return {
        "total": mean(lambda s: s["step_seconds"]["total"]["median"]),
        "quartiles": TableCell(f"{quartiles[0]:.3f}–{quartiles[1]:.3f}"),
        **{phase: mean(lambda s, phase=phase: s["step_seconds"].get(phase, {}).get("median", 0.0)) for phase in PHASES},  # type: ignore[misc]  # a default argument binds the loop variable
        "steps": mean(lambda s: s["steps"]),
        "generated": mean(lambda s: s["tokens_generated"]),
        "rate": mean(lambda s: (s["tokens_generated"] + s["tokens_trained"]) / max(sum(s["seconds"].values()), 1e-9)),
        "reward_calls": mean(lambda s: s["reward_calls"]),
        "memory": mean(lambda s: s["peak_memory_bytes"] / 1e6),
        "models": TableCell(", ".join(f"{m['role']} {m['parameters'] / 1e6:.1f}M" for m in held)),
        "device": TableCell(f"{summaries[0]['device']}, {summaries[0]['threads']} thread(s) × {summaries[0]['ranks']}"),
    }


def signal_table(results: Results) -> Table:
    """What each method had to learn from: the same numbers for every row, means over the steps of its stage."""
    headings = (
        Heading("supervised_norm", "supervised term", "gradient norm", 3),
        Heading("method_norm", "method term", "gradient norm", 3),
        Heading("reward", "mean", "reward", 3),
        Heading("reward_sd", "sd in group", "reward", 3),
        Heading("by_candidate", "by candidate", "reward"),
        Heading("without_spread", "groups without spread %", "", 1, 100.0),
        Heading("empty", "empty %", "samples", 1, 100.0),
        Heading("truncated", "cut %", "samples", 1, 100.0),
        Heading("length", "tokens", "samples", 1),
        Heading("entropy", "entropy", "samples", 2),
        Heading("kl", "KL to start, at the end", "", 4),
    )
    rows = []
    for row in results.rows:
        if row.kind == "base" or not row.training:
            continue
        steps = [step for record in row.training.values() for step in record.jsonl("train.jsonl")]
        last = [list(record.jsonl("train.jsonl"))[-1:] for record in row.training.values()]
        shared = row.described.get("shared_terms", ())
        marks = ("inactive",) if is_inactive(row) else ()
        rows.append(TableRow(row.label, row.model, _signal_cells(steps, last, shared), marks))
    caption = (
        (
            "Means over all steps and seeds of the stage in which the row's method is active; gradient norms over the "
            "steps on which each term was differentiated by itself. Candidates stand in the order in which the method "
            "samples them. KL: mean nats a token from the policy to its start, on fixed prompts."
        ),
    )
    return Table("signal", "Training signal", headings, tuple(rows), caption)


def _signal_cells(
    steps: list[dict[str, Any]], last: list[list[dict[str, Any]]], shared: Iterable[str]
) -> dict[str, TableCell]:
    def mean(numbers: Iterable[float | None]) -> TableCell:
        present = [number for number in numbers if number is not None]
        return TableCell(stats.fmean(present) if present else None)

    def part(step: Mapping[str, Any], *names: str) -> float | None:
        value: Any = step
        for name in names:
            value = value.get(name) if isinstance(value, dict) else None
        return None if value is None else float(value)

    def share(step: Mapping[str, Any], above: str, count: str, whole: str) -> float | None:
        total = part(step, above, whole)
        return (part(step, above, count) or 0.0) / total if total else None

    norms = [step["grad_norms"] for step in steps if step.get("grad_norms")]
    groups = [step["reward"]["by_candidate"] for step in steps if step.get("reward")]
    width = max((len(group) for group in groups), default=0)
    by_candidate = [
        stats.fmean(v for group in groups if len(group) > i and (v := group[i]) is not None) for i in range(width)
    ]
    return {
        "supervised_norm": mean(v for norm in norms for name, v in norm.items() if name in shared),
        "method_norm": mean(v for norm in norms for name, v in norm.items() if name not in shared),
        "reward": mean(part(step, "reward", "mean") for step in steps),
        "reward_sd": mean(part(step, "reward", "sd") for step in steps),
        "by_candidate": TableCell(" / ".join(f"{v:.3f}" for v in by_candidate) or None),
        "without_spread": mean(share(step, "groups", "without_spread", "count") for step in steps),
        "empty": mean(share(step, "samples", "empty", "count") for step in steps),
        "truncated": mean(share(step, "samples", "truncated", "count") for step in steps),
        "length": mean(part(step, "samples", "mean_length") for step in steps),
        "entropy": mean(part(step, "samples", "entropy") for step in steps),
        "kl": mean(part(step, "kl") for steps_ in last for step in steps_),
    }
