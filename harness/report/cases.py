"""Case studies: the answers of every row to chosen prompts, side by side."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.report import captions
from harness.report.answers import Passage, answers_of, asked, given, name_of
from harness.report.markdown import escaped
from harness.report.page.render import render, visible_lines
from harness.spec.results.rows import DataRow
from harness.store.files import dump

if TYPE_CHECKING:
    from harness.report.results import Results


@dataclass(frozen=True)
class Case:
    """One prompt with everything that was answered to it."""

    id: str
    prompt: tuple[Passage, ...]
    answers: tuple[Passage, ...]
    """The data set's own first, then each row's."""


@dataclass(frozen=True)
class CaseStudies:
    """All chosen prompts."""

    title: str
    notes: tuple[str, ...]
    cases: tuple[Case, ...]


def case_studies(results: Results) -> CaseStudies | None:
    """Return the chosen prompts of a run; None where its file chooses none.

    The answers are those of the first seed, and of several draws the first.
    """
    wanted = results.manifest.config.cases
    if not wanted or not results.evaluated:
        return None
    data = next((d for d in results.manifest.datasets if d.label == wanted.dataset and d.role != "train"), None)
    record = results.find("prepare", data.stage) if data else None
    title = f"Case studies: {results.manifest.title or results.manifest.benchmark} ({results.manifest.profile})"
    if record is None:
        return CaseStudies(title, (f"{wanted.dataset}: its rows are not stored.",), ())
    rows = {row.id: row for row in record.lines(DataRow)}
    chosen = list(wanted.ids) or list(rows)[: wanted.count]
    notes = [f"No row of {wanted.dataset} has the id {name}." for name in chosen if name not in rows]
    there = [name for name in chosen if name in rows]
    answers = {
        name_of(row, results): answers_of(row, results, wanted.dataset, wanted.decoding, there) for row in results.rows
    }
    cases = [
        Case(
            name,
            asked(rows[name]),
            (*given(rows[name]), *(Passage(label, *by_prompt[name]) for label, by_prompt in answers.items())),
        )
        for name in there
    ]
    notes += captions.data_lines(results, [wanted.dataset])
    notes += captions.decoding_lines(results, [wanted.decoding])
    notes.append(
        f"Answers of seed {results.seeds[0]}; of several draws the first. The file chose the prompts, not the answers."
    )
    return CaseStudies(title, tuple(notes), tuple(cases))


def case_files(studies: CaseStudies) -> dict[str, str]:
    """Return ``cases.json``, ``cases.html`` and ``cases.md``."""
    return {"cases.json": dump(_json(studies)), "cases.html": _html(studies), "cases.md": _markdown(studies)}


def _json(studies: CaseStudies) -> dict[str, Any]:
    return {
        "title": studies.title,
        "notes": list(studies.notes),
        "cases": [
            {
                "id": case.id,
                "prompt": {part.name: part.text for part in case.prompt},
                "answers": [
                    {"name": part.name, "text" if part.answered else "status": part.text} for part in case.answers
                ],
            }
            for case in studies.cases
        ],
    }


def _html(studies: CaseStudies) -> str:
    return render("cases.html", title=studies.title, notes=studies.notes, cases=studies.cases)


def _markdown(studies: CaseStudies) -> str:
    blocks = [f"# {escaped(studies.title)}", *(escaped(note) for note in studies.notes)]
    for case in studies.cases:
        blocks.append(f"## Prompt {escaped(case.id)}")
        for part in (*case.prompt, *case.answers):
            blocks.append(f"**{escaped(part.name)}**")
            blocks.append(_fenced(part.text) if part.answered else escaped(part.text))
    return "\n\n".join(blocks) + "\n"


def _fenced(text: str) -> str:
    """Return a text in a fence that nothing in it closes."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{visible_lines(text)}\n{fence}"
