"""What judges said of the rows, and how far the reward model's probabilities can be believed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.report.pictures.figure import Axis, Cell, Dots, Figure, Frame, Line, Look, Panel, Slope, Span
from harness.report.pictures.source import first_of, known
from harness.report.proportions import WIN, wilson
from harness.report.rewards import calibration, read_pairs, statistics_of
from harness.report.wins import judged

if TYPE_CHECKING:
    from harness.report.columns import ComparedColumn
    from harness.report.pictures.figure import Part
    from harness.report.pictures.source import Source
    from harness.spec.results.run import RunMetric

#: Rows and opponents of a matrix that a page holds.
_MOST, _MOST_OPPONENTS = 40, 12
_MODEL = Look("blue", "square")


def wins(source: Source) -> Figure | None:
    """Draw how often each row's answers were preferred to each opponent's, as a matrix."""
    results = source.results
    if not judged(results):
        return None
    panels, lines = [], []
    notes: dict[str, None] = {}
    for metric in results.metrics("judge"):
        for dataset in source.datasets:
            against = _opponents(source, metric, dataset)
            for model in results.models:
                panel, found, said = _matrix(source, metric, dataset, against, model)
                panels += panel
                lines += found
                notes |= dict.fromkeys(said)
    if not panels:
        return None
    caption = (
        "How often a judge preferred the answers of the row to those of the opponent above, in per cent, ties half, as "
        "in the table of win rates; differences between rows are claimed there alone."
    )
    columns = ("judge", "dataset", "model", "row", "opponent", "wins_percent", "low", "high")
    return Figure("wins", "Win rates", caption, tuple(panels), (), tuple(notes), Frame(columns, tuple(lines)))


def _opponents(source: Source, metric: RunMetric, dataset: str) -> list[tuple[str, ComparedColumn]]:
    columns = source.columns.of_metric(metric, dataset, source.results.decodings[0])
    wanted = [column for column in columns if not column.place.corpus and column.place.column.startswith(WIN)]
    return [(column.place.column.removeprefix(WIN), column) for column in wanted]


def _matrix(
    source: Source, metric: RunMetric, dataset: str, against: list[tuple[str, ComparedColumn]], model: str
) -> tuple[list[Panel], list[tuple[str | float | None, ...]], tuple[str, ...]]:
    """Return the panel of one judge and data set (none where nothing was judged), its numbers and what to note."""
    rows, notes = first_of([row for row in source.results.rows if row.model == model], _MOST, "Win rates")
    cells: list[Part] = []
    lines: list[tuple[str | float | None, ...]] = []
    for y, row in enumerate(rows):
        for x, (opponent, column) in enumerate(against):
            found = source.score(row, column)
            if row.label == opponent or found is None:
                if x < _MOST_OPPONENTS:
                    cells.append(Cell(x, y, -1.0, "–"))
                continue
            whose = (metric.use, dataset, model, row.label, opponent)
            percent = 100 / column.heading.scale
            numbers = [value * percent for value in (found.value, found.low, found.high)]
            lines.append((*whose, numbers[0], known(numbers[1]), known(numbers[2])))
            if x < _MOST_OPPONENTS:
                tip = f"{row.label} against {opponent}: {numbers[0]:.1f} %"
                cells.append(Cell(x, y, numbers[0] / 100, f"{numbers[0]:.1f}", tip))
    if not lines:
        return [], [], ()
    if len(against) > _MOST_OPPONENTS:
        notes = (*notes, f"Against the first {_MOST_OPPONENTS} of {len(against)} opponents.")
    by = f", {metric.use}" if len(source.results.metrics("judge")) > 1 else ""
    across = Axis(names=tuple(opponent for opponent, _ in against[:_MOST_OPPONENTS]))
    down = Axis(names=tuple(row.label for row in rows))
    title = f"Wins % on {dataset}{by}{source.several(model)}, against"
    return [Panel(title, across, down, tuple(cells), names_on_top=True)], lines, notes


def reward_model(source: Source) -> Figure | None:
    """Draw how often the reward model was right over how sure it was, on held-out pairs."""
    results, panels, lines = source.results, [], []
    for model in results.manifest.reward_models:
        record = statistics_of(results, model)
        pairs = read_pairs(record) if record is not None else None
        if pairs is None:
            continue
        error, bins = calibration(pairs)
        spans, tips = [], []
        for part in bins:
            low, high = wilson(part.observed, part.pairs)
            spans.append(
                Span((100 * part.predicted, 100 * low), (100 * part.predicted, 100 * high), _MODEL, thick=False)
            )
            tips.append(f"{100 * part.predicted:.0f} → {100 * part.observed:.0f} %, {part.pairs} pairs")
            lines.append((model, part.predicted, part.observed, low, high, part.pairs))
        xs, ys = tuple(100 * part.predicted for part in bins), tuple(100 * part.observed for part in bins)
        parts: tuple[Part, ...] = (
            Slope(),
            *spans,
            Line(xs, ys, _MODEL, marked=False),
            Dots(xs, ys, _MODEL, "full", tuple(tips)),
        )
        title = f"Calibration error {error:.3f}{source.several(model)}, {len(pairs.margins)} pairs"
        across, up = Axis("how sure it was (%)", at=(50.0, 60.0, 70.0, 80.0, 90.0, 100.0)), Axis("right (%)")
        panels.append(Panel(title, across, up, parts))
    if not panels:
        return None
    caption = (
        "Held-out pairs in bins of σ(|margin|): how often the answer with the larger score was the preferred one, with "
        "Wilson's 95 % confidence intervals over pairs; on the dotted line it would be as right as it is sure."
    )
    columns = ("model", "predicted", "observed", "low", "high", "pairs")
    frame = Frame(columns, tuple(lines))
    return Figure("reward-model", "Calibration of the reward model", caption, tuple(panels), (), (), frame)
