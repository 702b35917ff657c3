"""The tables about training: what it cost, and the signal that each method had."""

from __future__ import annotations

import statistics as stats
from typing import TYPE_CHECKING, Any

from harness.report import timing
from harness.report.absent import no_training, of_all
from harness.report.table import Heading, Table, TableCell, TableRow

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from harness.report.results import ResultRow, Results
    from harness.store import Record

PHASES = ("sampling", "reward", "forward_backward", "optimiser", "other")


def inactive_mark(row: ResultRow) -> tuple[str, ...]:
    """Return the mark of a method whose own term never moved a weight, naming the seeds unless it is all of them."""
    if row.kind != "method":
        return ()
    still = [seed for seed, record in sorted(row.training.items()) if not _moved(row, record)]
    if not still:
        return ()
    if len(still) == len(row.training):
        return ("inactive",)
    return (f"inactive for seed {', '.join(str(seed) for seed in still)}",)


def _moved(row: ResultRow, record: Record) -> bool:
    active: Mapping[str, bool] = record.json("summary.json")["active"]
    shared = row.described.get("shared_terms", ())
    own = {name: moved for name, moved in active.items() if name not in shared}
    return any((own or active).values())


def no_training_at_all(row: ResultRow, results: Results) -> str:
    """Return why nothing is known of a row's training."""
    return of_all(no_training(row, seed) for seed in results.seeds)


def step_seconds(row: ResultRow) -> float | None:
    """Return the median seconds a step, averaged over seeds, of the stage in which a row's method is active."""
    medians = [record.json("summary.json")["step_seconds"]["total"]["median"] for record in row.training.values()]
    return stats.fmean(medians) if medians else None


def timing_table(results: Results) -> Table:
    """Seconds a step by phase, tokens, memory and models, from the stage in which the method was active."""
    timed = bool(results.manifest["config"].get("timing"))
    headings = (
        Heading("total", "s/step", "", 3),
        Heading("quartiles", "quartiles"),
        *(Heading(phase, phase.replace("_", "/"), "", 3) for phase in PHASES),
        *(timing.SIZES if timed else ()),
        Heading("steps", "steps", "", 0, foldable=True),
        Heading("generated", "tokens sampled", "", 0),
        Heading("rate", "tokens/s", "", 0),
        Heading("reward_calls", "reward calls", "", 0),
        Heading("memory", "peak MB", "", 0),
        Heading("models", "models held", foldable=True),
        Heading("device", "device", foldable=True),
    )
    rows = []
    beside: list[str] = []
    trained = [row for row in results.rows if row.kind != "base"]
    for row in trained:
        records = [record for _, record in sorted(row.training.items())]
        summaries = [timing.measured(record, timing.warmup_steps(results)) for record in records]
        cells = {h.name: TableCell(status=no_training_at_all(row, results)) for h in headings}
        if summaries:
            cells = _timing_cells(summaries) | (timing.size_cells(records) if timed else {})
            beside += [_name(row, results)] if any(summary["concurrent"] for summary in summaries) else []
        rows.append(TableRow(row.label, row.model, cells, inactive_mark(row)))
    caption = [
        (
            "Of the stage in which the row's own method is active: the median over steps, averaged over seeds. The "
            "phases are medians too and need not add up to s/step. Tokens/s: sampled and trained on, over the whole "
            "stage. Peak: of tensors on a GPU, of the whole process on a processor."
        ),
        *_beforehand(trained, results),
        *(timing.lines(results) if timed else ()),
        *_evaluation(results),
    ]
    if beside:
        who = "every row" if len(beside) == len(trained) else ", ".join(beside)
        caption.append(f"Timed while other stages ran on the same machine: {who}. Compare rows, not machines.")
    return Table("timing", "Timing", headings, tuple(rows), tuple(caption))


def _name(row: ResultRow, results: Results) -> str:
    return f"{row.label} ({row.model})" if len(results.models) > 1 else row.label


def _evaluation(results: Results) -> list[str]:
    """Say how fast the rows answered."""
    rates = []
    for row in results.rows:
        seconds = sum(cell.total("seconds") for cell in row.cells.values())
        if seconds:
            tokens = sum(cell.total("tokens") for cell in row.cells.values())
            rates.append(f"{_name(row, results)} {tokens / seconds:.0f}")
    return [f"Tokens sampled a second in evaluation: {', '.join(rates)}."] if rates else []


def _timing_cells(summaries: list[dict[str, Any]]) -> dict[str, TableCell]:
    def mean(read: Callable[[dict[str, Any]], float]) -> TableCell:
        return TableCell(stats.fmean(read(summary) for summary in summaries))

    def phase(name: str) -> TableCell:
        return mean(lambda summary: summary["step_seconds"].get(name, {}).get("median", 0.0))

    def every(read: Callable[[dict[str, Any]], str]) -> TableCell:
        return TableCell("; ".join(dict.fromkeys(read(summary) for summary in summaries)))

    quartiles = [stats.fmean(summary["step_seconds"]["total"][name] for summary in summaries) for name in ("q1", "q3")]
    return {
        "total": mean(lambda s: s["step_seconds"]["total"]["median"]),
        "quartiles": TableCell(f"{quartiles[0]:.3f}–{quartiles[1]:.3f}"),
        **{name: phase(name) for name in PHASES},
        "steps": mean(lambda s: s["steps"]),
        "generated": mean(lambda s: s["tokens_generated"]),
        "rate": mean(lambda s: (s["tokens_generated"] + s["tokens_trained"]) / max(sum(s["seconds"].values()), 1e-9)),
        "reward_calls": mean(lambda s: s["reward_calls"]),
        "memory": mean(lambda s: s["peak_memory_bytes"] / 1e6),
        "models": every(_models),
        "device": every(_device),
    }


def _models(summary: Mapping[str, Any]) -> str:
    """Name what was held in memory; a reference model whose log-probs were stored was not."""
    held = [f"{model['role']} {model['parameters'] / 1e6:.1f}M" for model in summary["models_held"]]
    asked = "reference_logprobs" in summary and not any(m["role"] == "reference" for m in summary["models_held"])
    return ", ".join([*held, *(["reference log-probs computed beforehand"] if asked else [])])


def _beforehand(rows: Iterable[ResultRow], results: Results) -> list[str]:
    """Say what the reference log-probs cost that rows found stored."""
    costs = []
    for row in rows:
        summaries = [record.json("summary.json") for _, record in sorted(row.training.items())]
        seconds = [s["reference_logprobs"]["seconds"] for s in summaries if "reference_logprobs" in s]
        if seconds:
            costs.append(f"{_name(row, results)} {stats.fmean(seconds):.1f}")
    if not costs:
        return []
    return [
        (
            "Seconds of computing the reference model's log-probs of all pairs once, before training, not in s/step; "
            f"rows that start alike share them: {', '.join(costs)}."
        )
    ]


def _device(summary: Mapping[str, Any]) -> str:
    text = f"{summary['device']}, {summary['threads']} thread{'s' if summary['threads'] > 1 else ''}"
    return text + (f", {summary['ranks']} processes" if summary["ranks"] > 1 else "")


def signal_table(results: Results) -> Table:
    """What each method had to learn from: the same numbers for every row, means over the steps of its stage."""
    headings = (
        Heading("supervised_norm", "grad SFT", "", 3),
        Heading("method_norm", "grad own", "", 3),
        Heading("reward", "reward", "", 3),
        Heading("reward_sd", "sd in group", "", 3),
        Heading("by_candidate", "reward by candidate"),
        Heading("without_spread", "flat groups %", "", 1, 100.0),
        Heading("empty", "empty %", "", 1, 100.0),
        Heading("truncated", "cut %", "", 1, 100.0),
        Heading("length", "tokens", "", 1),
        Heading("entropy", "entropy", "", 2),
        Heading("kl", "KL at end", "", 4),
    )
    rows = []
    for row in results.rows:
        if row.kind == "base":
            continue
        logs = [list(record.jsonl("train.jsonl")) for _, record in sorted(row.training.items())]
        cells = {h.name: TableCell(status=no_training_at_all(row, results)) for h in headings}
        if logs:
            cells = _signal_cells(logs, row.described.get("shared_terms", ()))
        rows.append(TableRow(row.label, row.model, cells, inactive_mark(row)))
    caption = (
        (
            "Means over all steps and seeds of the stage in which the row's own method is active. Grad: the norm of "
            "the gradient of the supervised term and of the method's own, all its terms together, on the steps that "
            "measure it."
        ),
        (
            "Reward: as the method was given it, not times 100; sd within the candidates of one prompt; by candidate "
            "in the order in which the method samples them. Flat groups: all candidates have the same reward. Empty, "
            "cut, tokens, entropy (nats a token, temperature 1): of the sampled candidates."
        ),
        "KL at end: mean nats a token from the policy to the model its stage started from, on fixed prompts.",
    )
    return Table("signal", "Training signal", headings, tuple(rows), (*caption, *_inactive_lines(results)))


def _inactive_lines(results: Results) -> list[str]:
    """Say why the rows that are marked as inactive never moved a weight, where their rewards tell."""
    said: dict[str, list[str]] = {}
    for row in results.rows:
        if not inactive_mark(row):
            continue
        still = [record for _, record in sorted(row.training.items()) if not _moved(row, record)]
        rewards = [step.get("reward") or {} for record in still for step in record.jsonl("train.jsonl")]
        groups = [step.get("groups") or {} for record in still for step in record.jsonl("train.jsonl")]
        if any(rewards) and not any("mean" in reward for reward in rewards):
            why = "no sample had a reward"
        elif any(groups) and all(group.get("count") == group.get("without_spread") for group in groups if group):
            why = "all candidates of every prompt had the same reward"
        else:
            continue
        notes = [reward["notes"] for reward in rewards if reward.get("notes")]
        shares = {name: stats.fmean(note.get(name, 0.0) for note in notes) for note in notes for name in note}
        why += "".join(f"; {name} {value:.3g}" for name, value in shares.items() if "share of samples" in name)
        said.setdefault(why, []).append(_name(row, results))
    return [f"Inactive: {', '.join(rows)}: {why}." for why, rows in said.items()]


def _signal_cells(logs: list[list[dict[str, Any]]], shared: Iterable[str]) -> dict[str, TableCell]:
    def mean(numbers: Iterable[float | None]) -> TableCell:
        present = [number for number in numbers if number is not None]
        return TableCell(stats.fmean(present) if present else None)

    def part(step: Mapping[str, Any], *names: str) -> float | None:
        value: Any = step
        for name in names:
            value = value.get(name) if isinstance(value, dict) else None
        return None if value is None else float(value)

    def share(step: Mapping[str, Any], above: str, count: str, whole: str) -> float | None:
        found = step.get(above) or {}
        total = found.get(whole)
        return (found.get(count) or 0.0) / total if total else None

    steps = [step for log in logs for step in log]
    shared = set(shared)
    norms = [step["grad_norms"] for step in steps if step.get("grad_norms")]
    groups = [step for step in steps if len(step.get("reward", {}).get("by_candidate", ())) != 1]  # one is no group
    return {
        "supervised_norm": mean(v for norm in norms for name, v in norm.items() if name in shared),
        "method_norm": mean(_own_norm(step, shared) for step in steps if step.get("grad_norms")),
        "reward": mean(part(step, "reward", "mean") for step in steps),
        "reward_sd": mean(part(step, "reward", "sd") for step in groups),
        "by_candidate": TableCell(_by_candidate(steps)),
        "without_spread": mean(share(step, "groups", "without_spread", "count") for step in groups),
        "empty": mean(share(step, "samples", "empty", "count") for step in steps),
        "truncated": mean(share(step, "samples", "truncated", "count") for step in steps),
        "length": mean(part(step, "samples", "mean_length") for step in steps),
        "entropy": mean(part(step, "samples", "entropy") for step in steps),
        "kl": mean(next((kl for step in reversed(log) if (kl := part(step, "kl")) is not None), None) for log in logs),
    }


def _own_norm(step: Mapping[str, Any], shared: Collection[str]) -> float | None:
    """Return the norm of the gradient of a method's own shares together: no mean over them, nor a sum of norms."""
    norms: Mapping[str, float] = step["grad_norms"]
    own = [name for name in norms if name not in shared]
    if len(own) < 2:
        return norms[own[0]] if own else None
    others = [name for name in norms if name in shared]
    if not others:
        return float(step["grad_norm"])
    without = step.get("grad_norms_without", {})
    return without.get(others[0]) if len(others) == 1 else None


def _by_candidate(steps: list[dict[str, Any]]) -> str | None:
    """Return the mean reward of each candidate; a candidate that never had one is a dash."""
    groups = [step.get("reward", {}).get("by_candidate", []) for step in steps]
    texts = []
    for index in range(max((len(group) for group in groups), default=0)):
        present = [group[index] for group in groups if len(group) > index and group[index] is not None]
        texts.append(f"{stats.fmean(present):.3f}" if present else "–")
    return " / ".join(texts) or None
