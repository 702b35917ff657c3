"""How often each method was tried, and what was chosen on which data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.report.captions import settings_text

if TYPE_CHECKING:
    from harness.report.results import ResultRow, Results
    from harness.spec.results.run import RowTuning


def trial_lines(results: Results) -> list[str]:
    """Say which methods were given more than one configuration: the best of many looks better than it is."""
    if results.manifest.config.timing:
        return []  # nothing is compared but time
    given: dict[tuple[str, str], list[int]] = {}
    for row in results.rows:
        if row.method:
            given.setdefault((row.method, row.model), []).append(int(row.described.trials))
    more = {method: sum(trials) for (method, _), trials in given.items() if sum(trials) > 1}
    if not more:
        return ["Every method was given one configuration."] if given else []
    tried = f"Configurations tried: {', '.join(f'{m} {n}' for m, n in more.items())}, every other method 1."
    if any(len(trials) > 1 for trials in given.values()):
        tried += " The best of several rows, chosen here, is flattered by it."
    return [tried, *(_tuned(row, row.described.tuning, results) for row in results.rows if row.described.tuning)]


def _tuned(row: ResultRow, tuning: RowTuning, results: Results) -> str:
    described = row.described
    chosen = described.chosen
    name = f"{row.label} ({row.model})" if len(results.models) > 1 else row.label
    seeds = ", ".join(str(seed) for seed in tuning.seeds)
    where = f"{described.tuned_on} under {tuning.decoding}, seed{'s' if len(tuning.seeds) > 1 else ''} {seeds}"
    scores = ", ".join(
        f"{settings_text(trial.settings)}: {'no score' if trial.score is None else format(trial.score, '.4g')}"
        for trial in tuning.scores
    )
    what = f"{settings_text(chosen)} chosen" if chosen else "nothing could be chosen"
    return f"{name}: {what} by {tuning.metric} on {where} ({scores})."
