"""A comparison of two rows in words, and as JSON."""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tabulate import tabulate

from harness.report.grid import visible
from harness.spec.results.generate import Answer
from harness.spec.results.rows import DataRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from harness.report.comparison.contrasts import Category, Contrast, Moved
    from harness.report.comparison.sides import Side
    from harness.report.comparison.unlike import Unlike
    from harness.report.differences import Difference

#: Most characters of a prompt or an answer on the terminal.
_LONG: Final = 240
_WIDTH: Final = 100
_ONLY_HERE: Final = ", if no other comparison was looked at: among those of the run's tables it is not"


class Texts(NamedTuple):
    """A prompt and what both rows answered, by the first seed that both have and of several draws the first."""

    prompt: Mapping[str, str]
    first: str | None
    second: str | None


@dataclass(frozen=True)
class Comparison:
    """Two rows compared: first minus second."""

    first: Side
    second: Side
    contrasts: Sequence[Contrast]
    over: Sequence[Unlike]
    """Fields in which they differ and the user wanted to go on."""
    notes: Sequence[str]
    """What else is not the same."""
    texts: Mapping[tuple[str, str, str], Texts]
    """By data set, decoding and prompt; empty unless asked for."""
    same_run: bool


def texts_of(first: Side, second: Side, contrasts: Iterable[Contrast]) -> dict[tuple[str, str, str], Texts]:
    """Return the texts of every prompt that moves a headline."""
    found: dict[tuple[str, str, str], Texts] = {}
    rows: dict[str, dict[str, DataRow]] = {}
    answers: dict[tuple[int, str, str], dict[str, str]] = {}
    for contrast in contrasts:
        dataset, decoding = contrast.place.dataset, contrast.place.decoding
        if dataset not in rows:
            described = next(d for d in first.results.manifest.datasets if d.label == dataset and d.role != "train")
            record = first.results.find("prepare", described.stage)
            stored = record is not None and record.holds(DataRow.file)
            rows[dataset] = {row.id: row for row in record.lines(DataRow)} if record and stored else {}
        for number, side in enumerate((first, second)):
            if (number, dataset, decoding) not in answers:
                answers[number, dataset, decoding] = _answers(side, (first, second), dataset, decoding)
        for moved in contrast.moved if contrast.headline else ():
            row = rows[dataset].get(moved.id)
            given = [answers[number, dataset, decoding].get(moved.id) for number in (0, 1)]
            found[dataset, decoding, moved.id] = Texts({} if row is None else row.fields, given[0], given[1])
    return found


def _answers(side: Side, both: Sequence[Side], dataset: str, decoding: str) -> dict[str, str]:
    shared = [seed for seed in both[0].seeds if seed in both[1].seeds]
    for seed in shared:
        stages = side.row.described.seeds[seed].evaluations.get(dataset, {}).get(decoding)
        record = side.results.find("generate", stages.generate) if stages else None
        if record is not None and record.holds(Answer.file):
            return {answer.id: answer.text for answer in record.lines(Answer) if answer.draw == 0}
    return {}


def text(said: Comparison, *, full: bool = False) -> str:
    """Return a comparison for a terminal: every headline, or with ``full`` every column, then what is behind each."""
    shown = [contrast for contrast in said.contrasts if full or contrast.headline]
    blocks = [f"{said.first.name} minus {said.second.name}"]
    if said.over:
        blocks.append("\n".join(f"compared all the same, over {one}" for one in said.over))
    blocks += [_table(shown), textwrap.fill(_reading(said, shown), _WIDTH)]
    blocks += ["\n".join([f"{_name(contrast)}:", *_behind(contrast, said)]) for contrast in shown]
    if said.notes:
        blocks.append("\n".join(["Not the same on both sides:", *(f"  {note}" for note in said.notes)]))
    return "\n\n".join("\n".join(visible(line) for line in block.splitlines()) for block in blocks)


def _table(shown: Sequence[Contrast]) -> str:
    head = ["data", "decoding", "metric", "first", "second", "difference", "95 % interval", "p", "d", "n"]
    lines = [
        (
            contrast.place.dataset, contrast.place.decoding, f"{contrast.place.metric}.{contrast.place.column}",
            *(_number(mean, contrast) for mean in contrast.means),
            _number(contrast.difference.estimate, contrast, sign=True), _interval(contrast.difference, contrast),
            _p(contrast.difference.p), "–" if math.isnan(contrast.effect) else f"{contrast.effect:+.2f}",
            f"{contrast.difference.seeds} × {contrast.difference.prompts}",
        )
        for contrast in shown
    ]  # fmt: skip
    return tabulate(lines, headers=head, disable_numparse=True)


def _reading(said: Comparison, shown: Sequence[Contrast]) -> str:
    """Say what the numbers are, and what is otherwise in the run's own tables."""
    told = (
        "First minus second. Each interval is for new seeds and new prompts and holds for its line by itself; a "
        "difference is claimed where it excludes 0. d: in standard deviations of a prompt's score. n: seeds × prompts."
    )
    compared = [contrast for contrast in shown if contrast.in_table is not None]
    if not said.same_run:
        return told
    if not compared:
        return f"{told} The run's tables compare trained rows with the baseline, and so not these two."
    if compared[0].rows == 2:
        return f"{told} The run's tables compare the same two rows: their intervals are these."
    return (
        f"{told} The run's tables compare {compared[0].rows} rows: their intervals, which stand below, are adjusted "
        "for all of these comparisons, and borrow a part of the seeds' variance from the other rows."
    )


def _behind(contrast: Contrast, said: Comparison) -> list[str]:
    """Return what stands behind one line of the table."""
    lines = []
    better, worse = contrast.shares
    if not math.isnan(better):
        lines.append(f"  the first is better on {100 * better:.0f} % of the prompts, worse on {100 * worse:.0f} %")
    told = contrast.in_table
    only_here = told is not None and contrast.difference.claimed and not told.claimed
    lines.append(f"  to settle it: {contrast.settled.text}{_ONLY_HERE * only_here}")
    if told is not None and contrast.rows > 2:
        lines.append(
            f"  in the run's tables: {_number(told.estimate, contrast, sign=True)} {_interval(told, contrast)}"
            f"{'' if math.isnan(told.p) else f', p {_p(told.p)}'}"
        )
    return [*lines, *_moved(contrast, said), *_categories(contrast)]


def _moved(contrast: Contrast, said: Comparison) -> list[str]:
    lines = []
    for up, head in ((True, "prompts that raise it most, first − second:"), (False, "prompts that lower it most:")):
        listed = [moved for moved in contrast.moved if (moved.difference > 0) == up]
        if listed:
            lines.append(f"  {head}")
            lines += [line for moved in listed for line in _prompt(moved, contrast, said)]
    return lines


def _prompt(moved: Moved, contrast: Contrast, said: Comparison) -> list[str]:
    numbers = f"{_number(moved.first, contrast)} − {_number(moved.second, contrast)}"
    lines = [f"    {_number(moved.difference, contrast, sign=True)}  {moved.id}  ({numbers})"]
    texts = said.texts.get((contrast.place.dataset, contrast.place.decoding, moved.id))
    if texts is not None:
        lines += [f"        {name}: {_cut(value)}" for name, value in texts.prompt.items() if value]
        for side, answer in ((said.first, texts.first), (said.second, texts.second)):
            lines.append(f"        {side.name}: {'(not stored)' if answer is None else _cut(answer)}")
    return lines


def _categories(contrast: Contrast) -> list[str]:
    if len(contrast.categories) < 2:
        return []
    lines = ["  by category (intervals hold for all of them together):"]
    width = max(len(category.name) for category in contrast.categories)
    for category in contrast.categories:
        told = category.difference
        lines.append(
            f"    {category.name:<{width}}  {_number(told.estimate, contrast, sign=True):>8}  "
            f"{_interval(told, contrast)}  {category.prompts} prompts"
        )
    return lines


def _name(contrast: Contrast) -> str:
    place = contrast.place
    return f"{place.dataset}, {place.decoding}, {place.metric}.{place.column}"


def _number(value: float, contrast: Contrast, *, sign: bool = False) -> str:
    if math.isnan(value):
        return "–"
    described = contrast.described
    return f"{value * described.scale:{'+' if sign else ''}.{described.digits}f}"


def _interval(told: Difference, contrast: Contrast) -> str:
    if not told.known:
        return f"– ({told.note})" if told.note else "–"
    ends = f"[{_number(told.low, contrast, sign=True)}, {_number(told.high, contrast, sign=True)}]"
    return f"{ends} ({told.note})" if told.note else ends


def _p(value: float) -> str:
    if math.isnan(value):
        return "–"
    return f"{value:.3f}" if value >= 0.001 else "< 0.001"


def _cut(text: str) -> str:
    line = " ⏎ ".join(text.splitlines())
    return line if len(line) <= _LONG else f"{line[: _LONG - 1]}…"


def json_value(said: Comparison) -> dict[str, Any]:
    """Return a comparison as JSON values, numbers as the tables show them; what is not known is null."""
    return {
        "first": _side(said.first),
        "second": _side(said.second),
        "over": [one._asdict() for one in said.over],
        "notes": list(said.notes),
        "contrasts": [_contrast(contrast, said) for contrast in said.contrasts],
    }


def _side(side: Side) -> dict[str, Any]:
    manifest = side.results.manifest
    return {
        "name": side.name, "benchmark": manifest.benchmark, "profile": manifest.profile, "harness": manifest.harness,
        "row": side.row.label, "model": side.row.model, "kind": side.row.kind, "seeds": side.seeds,
    }  # fmt: skip


def _contrast(contrast: Contrast, said: Comparison) -> dict[str, Any]:
    place, described, scale = contrast.place, contrast.described, contrast.described.scale
    value = {
        "dataset": place.dataset, "decoding": place.decoding, "metric": place.metric, "column": place.column,
        "headline": contrast.headline, "unit": described.unit, "scale": scale,
        "higher_is_better": described.higher_is_better,
        "first": _finite(contrast.means[0] * scale), "second": _finite(contrast.means[1] * scale),
        **_difference(contrast.difference, scale),
        "effect": _finite(contrast.effect), "better": _finite(contrast.shares[0]), "worse": _finite(contrast.shares[1]),
        "settle": contrast.settled._asdict(),
        "prompts_moved": [_moved_value(moved, contrast, said) for moved in contrast.moved],
        "categories": [_category(category, scale) for category in contrast.categories],
    }  # fmt: skip
    if contrast.in_table is not None:
        value["table"] = {**_difference(contrast.in_table, scale), "rows": contrast.rows}
    return value


def _difference(told: Difference, scale: float) -> dict[str, Any]:
    return {
        "difference": _finite(told.estimate * scale), "low": _finite(told.low * scale),
        "high": _finite(told.high * scale), "p": _finite(told.p), "claimed": told.claimed, "seeds": told.seeds,
        "prompts": told.prompts, "by_seed": [value * scale for value in told.per_seed],
        "detectable": _finite(told.detectable * scale), "note": told.note,
    }  # fmt: skip


def _moved_value(moved: Moved, contrast: Contrast, said: Comparison) -> dict[str, Any]:
    scale = contrast.described.scale
    value: dict[str, Any] = {
        "id": moved.id, "difference": moved.difference * scale, "first": moved.first * scale,
        "second": moved.second * scale,
    }  # fmt: skip
    texts = said.texts.get((contrast.place.dataset, contrast.place.decoding, moved.id))
    if texts is not None and contrast.headline:
        value |= {"prompt": dict(texts.prompt), "first_answer": texts.first, "second_answer": texts.second}
    return value


def _category(category: Category, scale: float) -> dict[str, Any]:
    return {"category": category.name, "count": category.prompts, **_difference(category.difference, scale)}


def _finite(value: float) -> float | None:
    return None if math.isnan(value) else value
