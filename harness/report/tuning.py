"""How often each method was tried, what was chosen on which data, and whether further values might be better."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from harness.report.captions import settings_text
from harness.report.table import Heading, Table, TableCell, TableRow
from harness.report.terms import term_lines

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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


_HEADINGS: Final = (
    Heading("tried", "tried"),
    Heading("trials", "trials", digits=0),
    Heading("on", "validation data"),
    Heading("decoding", "decoding", foldable=True),
    Heading("seeds", "seeds", foldable=True),
    Heading("metric", "chosen by", foldable=True),
    Heading("scores", "scores"),
    Heading("chosen", "chosen"),
    Heading("score", "score", digits=4, shown=False),
    Heading("edge", "at the edge of what was tried"),
)


def tuned(results: Results) -> bool:
    """Return whether the file tunes any row."""
    return results.manifest.config.tune is not None


def tuning_table(results: Results) -> Table:
    """Return a row for each row that was tuned: what was tried, on what, and what was chosen."""
    rows = [row for row in results.rows if row.described.trials > 1 or row.described.tuning]
    made = [TableRow(row.label, row.model, _cells(row)) for row in rows]
    names = [f"{row.label} ({row.model})" if len(results.models) > 1 else row.label for row in rows]
    edges = [f"{name} ({edge})" for name, row in zip(names, rows, strict=True) if (edge := _at_edge(row))]
    caption = ["The scores are those of the validation data, in the column's own unit, means over the seeds."]
    if edges:
        caption.append(
            f"Warning: the choice lies at the edge of what was tried, so that values beyond it may be better still, of "
            f"{', '.join(edges)}."
        )
    return Table("tuning", "Tuning", _HEADINGS, tuple(made), (*caption, *term_lines(results)))


def _cells(row: ResultRow) -> dict[str, TableCell]:
    described = row.described
    cells = {"trials": TableCell(float(described.trials)), "on": TableCell(described.tuned_on)}
    tuning = described.tuning
    if tuning is None:
        return cells | {"chosen": TableCell("not yet: trials are missing")}
    scored = [f"{settings_text(trial.settings)}: {_score(trial.score)}" for trial in tuning.scores]
    best = next((trial.score for trial in tuning.scores if trial.settings == described.chosen), None)
    values = _values([trial.settings for trial in tuning.scores])
    return cells | {
        "tried": TableCell("; ".join(f"{name}: {', '.join(map(str, tried))}" for name, tried in values.items())),
        "decoding": TableCell(tuning.decoding),
        "seeds": TableCell(", ".join(map(str, tuning.seeds))),
        "metric": TableCell(tuning.metric),
        "scores": TableCell("; ".join(scored)),
        "chosen": TableCell(settings_text(described.chosen) if described.chosen else "nothing: every trial failed"),
        "score": TableCell(best),
        "edge": TableCell(_at_edge(row) or "no"),
    }


def _at_edge(row: ResultRow) -> str:
    """Name the options whose chosen value is the smallest or the largest of those tried; empty where none is."""
    tuning, chosen = row.described.tuning, row.described.chosen
    if tuning is None or not chosen:
        return ""
    edges = []
    for name, tried in _values([trial.settings for trial in tuning.scores]).items():
        numbers = [value for value in tried if isinstance(value, (int, float)) and not isinstance(value, bool)]
        if len(numbers) == len(tried) > 1 and chosen.get(name) in {min(numbers), max(numbers)}:
            edges.append(f"{name} {chosen[name]} is the {'smallest' if chosen[name] == min(numbers) else 'largest'}")
    return ", ".join(edges)


def _values(settings: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return the values of each option that were tried, in their order."""
    tried: dict[str, list[Any]] = {}
    for one in settings:
        for name, value in one.items():
            values = tried.setdefault(name, [])
            if value not in values:
                values.append(value)
    return tried


def _score(score: float | None) -> str:
    return "no score" if score is None else format(score, ".4g")


def _tuned(row: ResultRow, tuning: RowTuning, results: Results) -> str:
    described = row.described
    chosen = described.chosen
    name = f"{row.label} ({row.model})" if len(results.models) > 1 else row.label
    seeds = ", ".join(str(seed) for seed in tuning.seeds)
    where = f"{described.tuned_on} under {tuning.decoding}, seed{'s' if len(tuning.seeds) > 1 else ''} {seeds}"
    scores = ", ".join(f"{settings_text(trial.settings)}: {_score(trial.score)}" for trial in tuning.scores)
    what = f"{settings_text(chosen)} chosen" if chosen else "nothing could be chosen"
    return f"{name}: {what} by {tuning.metric} on {where} ({scores})."
