"""Every prompt with every row's answer and its scores, in files of their own below ``answers/``.

Each page holds as many prompts as stay below a size; beside it lies a script with the same texts, which the page of
contents loads when something is searched for: a page that was opened from disk may not fetch anything else.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from harness.report import captions
from harness.report.answers import answers_of, asked, categories, given, name_of
from harness.report.page.render import render, visible_lines
from harness.report.page.view import slug, view
from harness.report.table import Heading, Table, TableCell, TableRow
from harness.spec.results.rows import DataRow
from harness.spec.results.score import AnswerValues

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from harness.api.registration import Column
    from harness.report.answers import Passage
    from harness.report.page.view import View
    from harness.report.results import ResultRow, Results
    from harness.spec.results.run import RunMetric

#: Where the files lie, below the folder of the tables.
FOLDER: Final = "answers"
#: Bytes from which a page of answers is full, a little below what opens at once on a phone.
FULL: Final = 600_000
#: About how many bytes of markup stand around one text.
_MARKUP: Final = 100


class Card(NamedTuple):
    """One row's answer."""

    row: int
    name: str
    scores: str
    text: str
    answered: bool


class Prompt(NamedTuple):
    """One prompt."""

    number: int
    """From 1, in the order of the pages."""
    id: str
    category: str
    asked: tuple[Passage, ...]
    given: Sequence[Passage]
    cards: list[Card]


class _Page(NamedTuple):
    name: str
    prompts: list[Prompt]


@dataclass(frozen=True)
class _Set:
    """One data set under one decoding."""

    dataset: str
    decoding: str
    rows: list[str]
    pages: list[_Page]
    table: View | None
    """Means by category."""
    notes: list[str]

    @property
    def label(self) -> str:
        return f"{self.dataset}, {self.decoding}"

    @property
    def count(self) -> int:
        return sum(len(page.prompts) for page in self.pages)


def answer_files(results: Results, title: str, *, full: int = FULL) -> dict[str, str]:
    """Return every page of answers by its name, and what they are searched by; nothing where no prompt is stored.

    Args:
        results: the run's.
        title: of its page.
        full: bytes from which a page takes no more prompts; one prompt is never parted.
    """
    sets = list(_sets(results, full))
    if not sets:
        return {}
    files = {}
    for of in sets:
        for number, page in enumerate(of.pages):
            files[f"{FOLDER}/{page.name}.html"] = _page(of, number, title)
            files[f"{FOLDER}/{page.name}.js"] = _words(of, page)
    listed = sorted({prompt.category for of in sets for page in of.pages for prompt in page.prompts} - {""})
    note = (
        f"Answers of seed {results.seeds[0]}; of several draws the first. Beside each answer stand its own scores, and "
        "in brackets the prompt's mean over all seeds and draws."
    )
    files[f"{FOLDER}/index.html"] = render(
        "answers_index.html", title=f"Answers: {title}", notes=[note], sets=sets, categories=json.dumps(listed),
        answers="index", loads=True,
    )  # fmt: skip
    return files


def _page(of: _Set, number: int, title: str) -> str:
    page = of.pages[number]
    first, last = page.prompts[0].number, page.prompts[-1].number
    return render(
        "answers.html",
        title=f"Answers to {of.dataset} under {of.decoding}, prompts {first} to {last} of {of.count}",
        notes=[title],
        prompts=page.prompts,
        rows=json.dumps([visible_lines(name) for name in of.rows]),
        before=of.pages[number - 1].name if number else "",
        after=of.pages[number + 1].name if number + 1 < len(of.pages) else "",
        answers="prompts",
    )


def _words(of: _Set, page: _Page) -> str:
    """Return a script that hands the texts of a page to the one that loads it."""
    found = {
        "page": f"{page.name}.html",
        "set": of.label,
        "rows": of.rows,
        "prompts": [
            [
                prompt.number, prompt.id, prompt.category,
                "\n".join(part.text for part in (*prompt.asked, *prompt.given)),
                [card.text if card.answered else "" for card in prompt.cards],
            ]
            for prompt in page.prompts
        ],
    }  # fmt: skip
    return f"answersOf({json.dumps(_visible(found), ensure_ascii=False, separators=(',', ':'))});\n"


def _visible(value: Any) -> Any:
    if isinstance(value, str):
        return visible_lines(value)
    if isinstance(value, dict):
        return {name: _visible(part) for name, part in value.items()}
    return [_visible(part) for part in value] if isinstance(value, list) else value


def _sets(results: Results, full: int) -> Iterator[_Set]:
    taken: set[str] = set()
    for data in results.manifest.datasets:
        record = results.find("prepare", data.stage) if data.role != "train" else None
        if record is None:
            continue
        rows = list(record.lines(DataRow))
        kinds = categories(rows)
        # one category after the other, and what has none last
        rows = [row for kind in (*sorted(set(kinds.values())), "") for row in rows if kinds.get(row.id, "") == kind]
        for decoding in results.decodings:
            there = [row for row in results.rows if (data.label, decoding) in row.cells]
            if not there or not rows:
                continue
            base = slug(f"{data.label}-{decoding}", taken)
            taken.add(base)
            place = (data.label, decoding)
            pages = _pages(base, _prompts(results, there, rows, kinds, place), full)
            yield _Set(
                data.label, decoding, [name_of(row, results) for row in there], pages,
                _table(results, there, kinds, place, pages) if kinds else None,
                [*captions.data_lines(results, [data.label]), *captions.decoding_lines(results, [decoding])],
            )  # fmt: skip


def _prompts(
    results: Results, there: Sequence[ResultRow], rows: Sequence[DataRow], kinds: Mapping[str, str],
    place: tuple[str, str],
) -> Iterator[Prompt]:  # fmt: skip
    ids = [row.id for row in rows]
    answers = [answers_of(row, results, *place, ids) for row in there]
    scores = [_scores(row, results, place) for row in there]
    names = [name_of(row, results) for row in there]
    for number, row in enumerate(rows, start=1):
        cards = [
            Card(at, name, said.get(row.id, ""), *texts[row.id])
            for at, (name, texts, said) in enumerate(zip(names, answers, scores, strict=True))
        ]
        yield Prompt(number, row.id, kinds.get(row.id, ""), asked(row), given(row), cards)


def _pages(base: str, prompts: Iterator[Prompt], full: int) -> list[_Page]:
    pages: list[_Page] = []
    size = full
    for prompt in prompts:
        texts = [prompt.id, *(text for card in prompt.cards for text in (card.name, card.scores))]
        parts = [*(part.text for part in (*prompt.asked, *prompt.given)), *(card.text for card in prompt.cards)]
        own = sum(map(_bytes, texts)) + sum(_bytes(text) + _MARKUP for text in parts)
        if size + own > full:
            pages.append(_Page(f"{base}-{len(pages) + 1}", []))
            size = 0
        pages[-1].prompts.append(prompt)
        size += own
    return pages


def _bytes(text: str) -> int:
    """Return about how many bytes a text takes once nothing of it is markup."""
    return len(text.encode(errors="replace")) + 4 * sum(map(text.count, "<>&\"'"))


def _headline(metric: RunMetric) -> Column:
    return next(column for column in metric.columns if column.name == metric.headline)


def _scores(row: ResultRow, results: Results, place: tuple[str, str]) -> dict[str, str]:
    """Return what is said of a row's answer to each prompt: each metric's headline, the answer's own and the mean."""
    cell = row.cells[place]
    seed = row.described.seeds.get(results.seeds[0])
    stages = seed.evaluations.get(place[0], {}).get(place[1]) if seed else None
    said: dict[str, list[str]] = {}
    for metric in results.manifest.metrics:
        column = _headline(metric)
        matrix = cell.matrix(metric.use, column.name, results.seeds)
        if matrix is None:
            continue
        record = results.find("score", stages.scores.get(metric.use)) if stages else None
        lines = record.lines(AnswerValues) if record is not None else ()
        own = {line.id: line.values.get(column.name) for line in lines if line.draw == 0}
        several = cell.answers > len(cell.ids)
        for name, mean in zip(cell.ids, _means(matrix), strict=True):
            found = own.get(name)
            parts = [_number(found, column)] if found is not None else []
            if not np.isnan(mean) and (several or found is None):
                parts.append(f"[{_number(mean, column)}]")
            if parts:
                said.setdefault(name, []).append(f"{_label(column)} {' '.join(parts)}")
    return {name: ", ".join(parts) for name, parts in said.items()}


def _means(matrix: np.ndarray[Any, np.dtype[np.float64]]) -> list[float]:
    """Return the mean (N,) over seeds of values (S, N); NaN where no seed has one."""
    present = ~np.isnan(matrix)
    with np.errstate(invalid="ignore"):
        means: list[float] = (np.where(present, matrix, 0).sum(axis=0) / present.sum(axis=0)).tolist()
    return means


def _label(column: Column) -> str:
    return f"{column.label} ({column.unit})" if column.unit not in {"", column.label} else column.label


def _number(value: float, column: Column) -> str:
    text = f"{value * column.scale:.{column.digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _table(
    results: Results, there: Sequence[ResultRow], kinds: Mapping[str, str], place: tuple[str, str],
    pages: Sequence[_Page],
) -> View | None:  # fmt: skip
    """Return the mean of every row in each category, of the first metric that has values there; None without one.

    The name of a category leads to its first prompt.
    """
    for metric in results.manifest.metrics:
        column = _headline(metric)
        means = {
            name_of(row, results): dict(zip(row.cells[place].ids, _means(matrix), strict=True))
            for row in there
            if (matrix := row.cells[place].matrix(metric.use, column.name, results.seeds)) is not None
        }
        if means:
            break
    else:
        return None
    headings = [
        Heading("prompts", "prompts", "", 0),
        *(Heading(name, name, "", column.digits, column.scale, column.higher_is_better) for name in means),
    ]
    rows = []
    for kind in sorted(set(kinds.values())):
        ids = [name for name, of in kinds.items() if of == kind]
        cells = {"prompts": TableCell(float(len(ids)))}
        for name, by_prompt in means.items():
            values = [value for of in ids if not np.isnan(value := by_prompt.get(of, np.nan))]
            cells[name] = TableCell(float(np.mean(values))) if values else TableCell()
        rows.append(TableRow(kind, "", cells))
    title = f"{_label(column)} by category: {place[0]}, {place[1]}"
    table = Table("categories", title, tuple(headings), tuple(rows), names=("category", "model"))
    links: dict[str, str] = {}
    for page in pages:
        for prompt in page.prompts:
            links.setdefault(prompt.category, f"{page.name}.html#p{prompt.number}")
    return view(table, links=links)
