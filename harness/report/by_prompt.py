"""``scores.csv``: what each prompt's answers scored, with every row and seed, for programs."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any, Final

from harness.report.export import field

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.report.results import Results

#: The columns that say whose score it is, as in :func:`harness.report.frames.scores`.
_PLACE: Final = ("model", "row", "seed", "dataset", "decoding", "id")


def scores_csv(results: Results) -> str:
    """Return the scores of every prompt as means over draws: the lines and columns of ``frames.scores``.

    A number that is missing is empty. Texts are written as in ``leaderboard.csv``.
    """
    lines = list(_lines(results))
    names = list(dict.fromkeys(name for _, columns in lines for name in columns))
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([*_PLACE, *names])
    for place, columns in lines:
        numbers = [columns.get(name) for name in names]
        *whose, ids = place
        for number, identity in enumerate(ids):
            writer.writerow([*map(field, (*whose, identity)), *(_number(values, number) for values in numbers)])
    return stream.getvalue()


def _number(values: Any, place: int) -> str:
    if values is None or values[place] != values[place]:  # NaN alone differs from itself
        return ""
    return repr(float(values[place]))


def _lines(results: Results) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
    """Yield whose answers they are with the prompts' ids last, and the numbers (N,) of each column."""
    read = {(row.model, row.label): row for row in (*results.rows, *results.points)}
    for described in results.manifest.rows:
        row = read[described.model, described.label]
        for seed, part in described.seeds.items():
            for dataset, decodings in part.evaluations.items():
                for decoding in decodings:
                    cell = row.cells[dataset, decoding]
                    scored = {metric: by_seed[seed] for metric, by_seed in cell.scores.items() if seed in by_seed}
                    columns = {
                        f"{metric}.{name}": kept for metric, of in scored.items() for name, kept in of.columns.items()
                    }
                    if columns:
                        yield (row.model, row.label, seed, dataset, decoding, cell.ids), columns
