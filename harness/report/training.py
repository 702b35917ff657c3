"""The tables about training: what it cost, and the signal that each method had."""

from __future__ import annotations

import statistics as stats
from typing import TYPE_CHECKING

from harness.report import timing
from harness.report.absent import no_training, of_all
from harness.report.table import Heading, Table, TableCell, TableRow
from harness.spec.results.train import PHASES, TrainStep, TrainSummary

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from harness.api.registration import Column
    from harness.report.results import ResultRow, Results
    from harness.spec.results.train import HeldModel, Phase, StepRewards
    from harness.store.records import Record


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
    active = record.read(TrainSummary).active
    shared = row.described.shared_terms
    own = {name: moved for name, moved in active.items() if name not in shared}
    return any((own or active).values())


def no_training_at_all(row: ResultRow, results: Results) -> str:
    """Return why nothing is known of a row's training."""
    return of_all(no_training(row, seed) for seed in results.seeds)


def step_seconds(row: ResultRow) -> float | None:
    """Return the median seconds a step, averaged over seeds, of the stage in which a row's method is active."""
    medians = [record.read(TrainSummary).step_seconds.total.median for record in row.training.values()]
    return stats.fmean(medians) if medians else None


def timing_table(results: Results) -> Table:
    """Seconds a step by phase, tokens, memory and models, from the stage in which the method was active."""
    timed = bool(results.manifest.config.timing)
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
    trained = [row for row in results.rows if row.trained]
    for row in trained:
        records = [record for _, record in sorted(row.training.items())]
        summaries = [timing.measured(record, timing.warmup_steps(results)) for record in records]
        cells = {h.name: TableCell(status=no_training_at_all(row, results)) for h in headings}
        if summaries:
            cells = _timing_cells(summaries) | (timing.size_cells(records) if timed else {})
            beside += [_name(row, results)] if any(summary.concurrent for summary in summaries) else []
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
        seconds = sum(cell.total(lambda s: s.seconds) for cell in row.cells.values())
        if seconds:
            tokens = sum(cell.total(lambda s: s.tokens) for cell in row.cells.values())
            rates.append(f"{_name(row, results)} {tokens / seconds:.0f}")
    return [f"Tokens sampled a second in evaluation: {', '.join(rates)}."] if rates else []


def _timing_cells(summaries: list[TrainSummary]) -> dict[str, TableCell]:
    def mean(read: Callable[[TrainSummary], float]) -> TableCell:
        return TableCell(stats.fmean(read(summary) for summary in summaries))

    def phase(name: Phase) -> TableCell:
        return mean(lambda summary: summary.step_seconds.of(name).median)

    def every(read: Callable[[TrainSummary], str]) -> TableCell:
        return TableCell("; ".join(dict.fromkeys(read(summary) for summary in summaries)))

    totals = [summary.step_seconds.total for summary in summaries]
    low, high = stats.fmean(total.q1 for total in totals), stats.fmean(total.q3 for total in totals)
    return {
        "total": mean(lambda s: s.step_seconds.total.median),
        "quartiles": TableCell(f"{low:.3f}–{high:.3f}"),
        **{name: phase(name) for name in PHASES},
        "steps": mean(lambda s: s.steps),
        "generated": mean(lambda s: s.tokens_generated),
        "rate": mean(lambda s: (s.tokens_generated + s.tokens_trained) / max(sum(s.seconds.values()), 1e-9)),
        "reward_calls": mean(lambda s: s.reward_calls),
        "memory": mean(lambda s: s.peak_memory_bytes / 1e6),
        "models": every(_models),
        "device": every(_device),
    }


def _models(summary: TrainSummary) -> str:
    """Name what was held in memory; a reference model whose log-probs were stored was not."""
    held = [_held(model) for model in summary.models_held]
    asked = summary.reference_logprobs and not any(model.role == "reference" for model in summary.models_held)
    return ", ".join([*held, *(["reference log-probs computed beforehand"] if asked else [])])


def _held(model: HeldModel) -> str:
    trained = "" if model.trained is None else f" ({model.trained / 1e6:.2f}M trained)"
    return f"{model.role} {model.parameters / 1e6:.1f}M{trained}"


def _beforehand(rows: Iterable[ResultRow], results: Results) -> list[str]:
    """Say what the reference log-probs cost that rows found stored."""
    costs = []
    for row in rows:
        found = [record.read(TrainSummary).reference_logprobs for _, record in sorted(row.training.items())]
        seconds = [cost.seconds for cost in found if cost is not None]
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


def _device(summary: TrainSummary) -> str:
    text = f"{summary.device}, {summary.threads} thread{'s' if summary.threads > 1 else ''}"
    return text + (f", {summary.ranks} processes" if summary.ranks > 1 else "")


def signal_table(results: Results) -> Table:
    """What each method had to learn from: the same numbers for every row, means over the steps of its stage."""
    logged = {column.name: column for row in results.rows for column in row.described.logs}
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
        *(_logged_heading(column) for column in logged.values()),
    )
    rows = []
    for row in results.rows:
        if not row.trained:
            continue
        logs = [list(record.lines(TrainStep)) for _, record in sorted(row.training.items())]
        cells = {h.name: TableCell(status=no_training_at_all(row, results)) for h in headings}
        if logs:
            cells = _signal_cells(logs, row.described.shared_terms) | _logged_cells(logs, row)
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
    own = (f"What methods log themselves: {', '.join(column.label for column in logged.values())}.",) if logged else ()
    return Table("signal", "Training signal", headings, tuple(rows), (*caption, *own, *_inactive_lines(results)))


def _logged_heading(column: Column) -> Heading:
    """Return the heading of a number that methods log, which has no name in common with the table's own."""
    return Heading(
        f"logged.{column.name}", column.label, "", column.digits, column.scale, column.higher_is_better, column.shown
    )


def _logged_cells(logs: list[list[TrainStep]], row: ResultRow) -> dict[str, TableCell]:
    """Return the mean of what a row's method logs for tables, over the steps that logged it."""
    cells = {}
    for column in row.described.logs:
        told = [step.method or {} for log in logs for step in log]
        said = [each[column.name] for each in told if column.name in each]
        cells[f"logged.{column.name}"] = TableCell(stats.fmean(said) if said else None)
    return cells


def _inactive_lines(results: Results) -> list[str]:
    """Say why the rows that are marked as inactive never moved a weight, where their rewards tell."""
    said: dict[str, list[str]] = {}
    for row in results.rows:
        if not inactive_mark(row):
            continue
        still = [record for _, record in sorted(row.training.items()) if not _moved(row, record)]
        steps = [step for record in still for step in record.lines(TrainStep)]
        rewards = [step.reward for step in steps if step.reward is not None]
        groups = [step.groups for step in steps if step.groups is not None]
        if rewards and all(reward.mean is None for reward in rewards):
            why = "no sample had a reward"
        elif groups and all(group.count == group.without_spread for group in groups):
            why = "all candidates of every prompt had the same reward"
        else:
            continue
        notes = [reward.notes for reward in rewards if reward.notes]
        shares = {name: stats.fmean(note.get(name, 0.0) for note in notes) for note in notes for name in note}
        why += "".join(f"; {name} {value:.3g}" for name, value in shares.items() if "share of samples" in name)
        said.setdefault(why, []).append(_name(row, results))
    return [f"Inactive: {', '.join(rows)}: {why}." for why, rows in said.items()]


def _signal_cells(logs: list[list[TrainStep]], shared: Iterable[str]) -> dict[str, TableCell]:
    def mean(numbers: Iterable[float | None]) -> TableCell:
        present = [number for number in numbers if number is not None]
        return TableCell(stats.fmean(present) if present else None)

    steps = [step for log in logs for step in log]
    shared = set(shared)
    rewards = [step.reward for step in steps if step.reward is not None]
    grouped = [step for step in steps if step.reward is None or not _alone(step.reward)]
    groups = [step.groups for step in grouped if step.groups is not None and step.groups.count]
    samples = [step.samples for step in steps if step.samples is not None]
    drawn = [sample for sample in samples if sample.count]
    ends = [next((step.kl for step in reversed(log) if step.kl is not None), None) for log in logs]
    return {
        "supervised_norm": mean(v for step in steps for name, v in (step.grad_norms or {}).items() if name in shared),
        "method_norm": mean(_own_norm(step, shared) for step in steps),
        "reward": mean(reward.mean for reward in rewards),
        "reward_sd": mean(step.reward.sd for step in grouped if step.reward is not None),
        "by_candidate": TableCell(_by_candidate(rewards)),
        "without_spread": mean(group.without_spread / group.count for group in groups),
        "empty": mean(sample.empty / sample.count for sample in drawn),
        "truncated": mean(sample.truncated / sample.count for sample in drawn),
        "length": mean(sample.mean_length for sample in samples),
        "entropy": mean(sample.entropy for sample in samples),
        "kl": mean(ends),
    }


def _alone(reward: StepRewards) -> bool:
    """Return whether each prompt had one candidate, which is not a group."""
    return len(reward.by_candidate or ()) == 1


def _own_norm(step: TrainStep, shared: Collection[str]) -> float | None:
    """Return the norm of the gradient of a method's own shares together: no mean over them, nor a sum of norms."""
    norms = step.grad_norms or {}
    own = [name for name in norms if name not in shared]
    if len(own) < 2:
        return norms[own[0]] if own else None
    others = [name for name in norms if name in shared]
    if not others:
        return step.grad_norm
    return (step.grad_norms_without or {}).get(others[0]) if len(others) == 1 else None


def _by_candidate(rewards: Iterable[StepRewards]) -> str | None:
    """Return the mean reward of each candidate."""
    groups = [reward.by_candidate for reward in rewards if reward.by_candidate]
    longest = max(map(len, groups), default=0)
    means = [stats.fmean(group[index] for group in groups if len(group) > index) for index in range(longest)]
    return " / ".join(f"{mean:.3f}" for mean in means) or None
