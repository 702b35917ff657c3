"""The table of settings: what each row was given, how often it was tried, and what it keeps in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.report.captions import settings_text
from harness.report.plugins import makers
from harness.report.table import Heading, Table, TableCell, TableRow
from harness.spec.results.train import TrainSummary

if TYPE_CHECKING:
    from harness.report.results import ResultRow, Results

#: Bytes in a megabyte, as disks and papers count.
_MEGABYTE = 1e6


def settings_table(results: Results) -> Table:
    """Options that differ from their defaults, trials with what they chose, and the models held in training."""
    headings = (
        Heading("trials", "trials", "", 0),
        Heading("chosen", "chosen values"),
        Heading("tuned_on", "chosen on", foldable=True),
        Heading("options", "options set"),
        Heading("recipe", "recipe set"),
        Heading("plugin", "method from"),
        Heading("models", "models held"),
        Heading("held", "models", "", 0, shown=False),
        Heading("parameters", "parameters", "", 0, shown=False),
        Heading("bytes", "bytes", "", 0, shown=False),
    )
    rows = [TableRow(row.label, row.model, _cells(row, results)) for row in results.rows]
    used = {name for row in rows for name in row.cells}
    caption = (
        (
            "Options set: those that differ from the method's defaults. Models held: in memory while the row's own "
            "method trains, with their parameters and the bytes of these; a model that two roles share is named under "
            "one."
        ),
        "Trials: configurations that this row was given. No value is ever chosen on a test split.",
    )
    kept = tuple(heading for heading in headings if heading.name in used)
    return Table("settings", "What each row was given", kept, tuple(rows), caption)


def _cells(row: ResultRow, results: Results) -> dict[str, TableCell]:
    described = row.described
    cells: dict[str, TableCell] = {}
    if row.method:
        cells["trials"] = TableCell(float(described.trials))
    if chosen := described.chosen:
        cells["chosen"] = TableCell(settings_text(chosen))
        cells["tuned_on"] = TableCell(str(described.tuned_on or "–"))
    if changed := described.options_set:
        cells["options"] = TableCell(settings_text(changed))
    if recipe := described.recipe_set:
        cells["recipe"] = TableCell(settings_text(recipe))
    if made_by := makers(results, row.label, row.method):
        cells["plugin"] = TableCell(made_by)
    summaries = [record.read(TrainSummary) for _, record in sorted(row.training.items())]
    if summaries:
        cells["models"] = TableCell("; ".join(dict.fromkeys(held_text(summary) for summary in summaries)))
        held = summaries[0].models_held
        cells["held"] = TableCell(float(len(held)))
        cells["parameters"] = TableCell(float(sum(part.parameters for part in held)))
        cells["bytes"] = TableCell(float(sum(part.bytes for part in held)))
    return cells


def held_text(summary: TrainSummary) -> str:
    """Return the models of one training stage: role, parameters and bytes of each."""
    return ", ".join(
        f"{part.role} {part.parameters / 1e6:.1f}M ({part.bytes / _MEGABYTE:.0f} MB)"
        + ("" if part.trained is None else f", {part.trained / 1e6:.2f}M of them trained")
        for part in summary.models_held
    )
