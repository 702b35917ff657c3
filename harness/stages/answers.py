"""``generate``: the answers that a file already has to the rows of one data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import InputError, StageError, suggest
from harness.spec.results.generate import Answer, GenerateSummary
from harness.stages.answers_file import digest_of, read_answers
from harness.stages.environment import environment
from harness.stages.locate import locate
from harness.stages.stored_rows import read
from harness.text.templates import render, users_text
from harness.text.tokenise import Tokeniser

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.api import Example
    from harness.plugins.registry import Registry
    from harness.spec.model import Template
    from harness.spec.stages.answers import AnswersConfig
    from harness.stages.answers_file import GivenAnswers
    from harness.stages.request import StageRequest, Tell
    from harness.store.records import Record
    from harness.store.stages import Store

#: How many of several mistakes of one kind a message names.
_NAMED = 3


def run(
    request: StageRequest[AnswersConfig],
    store: Store,
    registry: Registry,  # noqa: ARG001  # the common signature
    tell: Tell,
) -> Record:
    """Put the file's answers in the order of the rows, with their lengths in tokens of the benchmark's own model."""
    tell(0, 0, "file", "")
    config, path = request.config, Path(request.runtime.path or "")
    lines = _lines(request, path)
    examples = list(read(store.open("prepare", request.parents["rows"].id)))
    by_id, left_out = matched(lines, examples, config.template, path, partial=config.partial)
    draws = len(next(iter(by_id.values())).texts)
    tokeniser = Tokeniser.load(locate(request, store, "model").folder)
    samples = []
    for example in examples:
        line = by_id[example.id]
        for draw, ids in enumerate(tokeniser.completions(line.texts)):
            text = line.texts[draw].strip()
            answer = Answer(id=example.id, draw=draw, text=text, tokens=len(ids), finished=line.finished, cut=False)
            samples.append(answer)
    with store.draft(request.kind, request.id) as draft:
        draft.write_lines(Answer, samples)
        draft.write(
            GenerateSummary(
                n=len(examples),
                draws=draws,
                prompts_cut=0,
                prompts_dropped=0,
                truncated=sum(not answer.finished for answer in samples),
                empty=sum(not answer.text for answer in samples),
                tokens=sum(answer.tokens for answer in samples),
                seconds=0.0,
                tokens_per_second=0.0,
                peak_memory_bytes=0,
                concurrent=False,
                left_out=left_out,
            )
        )
        return store.commit(
            draft, config=config.to_json(), environment=environment(request, device="cpu"), label=request.label
        )


def _lines(request: StageRequest[AnswersConfig], path: Path) -> list[GivenAnswers]:
    """Return the lines that the plan had in mind."""
    wanted = set(request.runtime.lines)
    lines = [line for line in read_answers(path) if line.line in wanted]
    if digest_of(lines) != request.config.answers:
        raise StageError("the file of answers has changed since the run was planned", where=str(path), hint="run again")
    return lines


def matched(
    lines: Sequence[GivenAnswers], examples: Sequence[Example], template: Template, path: Path, *, partial: bool
) -> tuple[Mapping[str, GivenAnswers], int]:
    """Return the line of each row, by the row's id, and how many lines are about other rows.

    Args:
        lines: the answers to one data set under one decoding with one seed.
        examples: the rows.
        template: how a row becomes a prompt.
        path: the file, for messages.
        partial: whether there are further rows, which lines may be about.

    Raises:
        InputError: rows without an answer, or with two; lines about no row; other numbers of draws.
    """
    ids = {example.id for example in examples}
    by_prompt = _prompts(examples, template)
    by_id: dict[str, GivenAnswers] = {}
    left_out = 0
    for line in lines:
        where = f"{path}:{line.line}"
        name = line.id if line.id is not None else _row_of(line, by_prompt, where)
        if name is None or name not in ids:
            if partial:
                left_out += 1
                continue
            near = None if line.id is None else suggest(line.id, sorted(ids))
            what = "answers a row that the data set has not got"
            raise InputError(what, where=where, got=line.named, expected=_such_as(ids), did_you_mean=near)
        if name in by_id:
            raise InputError(
                f"a second answer to row {name!r} (the first: line {by_id[name].line})",
                where=where,
                expected="one line a row; several draws as a list: answers: […]",
            )
        by_id[name] = line
    missing = [example.id for example in examples if example.id not in by_id]
    if missing:
        raise InputError(
            f"has no answer to {len(missing)} of {len(examples)} rows ({_some(missing)})",
            where=str(path),
            expected="an answer to every row that is evaluated",
        )
    draws: dict[int, GivenAnswers] = {}
    for line in by_id.values():
        draws.setdefault(len(line.texts), line)
    if len(draws) > 1:
        (few, one), (many, other) = sorted(draws.items())[:2]
        raise InputError(
            f"line {one.line} has {few} answers and line {other.line} has {many}",
            where=str(path),
            expected="as many draws for every row",
        )
    return by_id, left_out


def _prompts(examples: Sequence[Example], template: Template) -> dict[str, list[str]]:
    """Return the rows that a text may mean: what the template makes a user say, or their fields alone."""
    by_prompt: dict[str, list[str]] = {}
    for example in examples:
        texts = {"\n".join(text for text in example.fields.values() if text).strip()}
        if not template.chat:
            texts.add(render(template, example.fields).strip())
        elif not example.turns:
            texts.add(users_text(template, example.fields).strip())
        for text in texts:
            by_prompt.setdefault(text, []).append(example.id)
    return by_prompt


def _row_of(line: GivenAnswers, by_prompt: Mapping[str, Sequence[str]], where: str) -> str | None:
    rows = by_prompt.get((line.prompt or "").strip(), ())
    if len(rows) > 1:
        raise InputError(f"{len(rows)} rows have this prompt ({_some(rows)})", where=where, expected="id of the row")
    return rows[0] if rows else None


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _such_as(ids: set[str]) -> str:
    return f"ids such as {_some(sorted(ids)[:2])}" if ids else "rows"
