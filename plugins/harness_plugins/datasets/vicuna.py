"""Vicuna's 80 questions, with the stored answers of a stronger model as references; for evaluation only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

from harness.api import DatasetRegistration, Example, InputError, Options, Provenance, hookimpl
from harness_plugins.upstream.lines import present, read_lines, text
from harness_plugins.upstream.local import check_exists, combined, content_sha256, find, unpack
from harness_plugins.upstream.remote import GitHubFile, fetch, identity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

_QUESTIONS: Final = "question.jsonl"
_ANSWERS: Final = "answers.jsonl"
#: FastChat's files, which QLoRA's repository keeps together with GPT-4's answers.
_REPOSITORY: Final = "artidoro/qlora"
_COMMIT: Final = "7f4e95a68dc076bea9b3a413d2b512eca6d004e5"
_SHA256: Final = {
    "question": "590c39157bc561eadd7f03cad4be18c2b597f93029780af65f86718f39eafa87",
    "gpt35": "c6545739b0738eba5f9348e77f680031aec076a72ecba71b3014e7b1b0dfe099",
    "gpt4": "facba5a7bfa628034ab93683dc060ee15d1e4a6f087dba5e67f4c81b5f72a94d",
    "bard": "3b807061959b50b2c7cc2d278c02ce4a1608c6afe366d22613ba90be6c9a3f3f",
    "vicuna-13b": "d1a4b3a5d2e3ca90d2d55084ee25d4d90e63e65ac647bf50359da8633e16d0b8",
}


class VicunaOptions(Options):
    """Which reference, and which upstream content."""

    reference: Literal["gpt35", "gpt4", "bard", "vicuna-13b"] = "gpt35"
    """Whose answers are the references: those of gpt-3.5-turbo are most likely what papers after MiniLLM used."""
    revision: str | None = None
    """Commit of the repository on GitHub; without it the commit whose content is known."""


class Vicuna:
    """One split, ``test``: the questions in either of FastChat's forms, with the answers to them.

    A ``path:`` is a folder (or the question file in it) with ``question.jsonl`` and ``answer_NAME.jsonl``, the latter
    also in a folder ``answer``; each may be gzip.
    """

    def __init__(self, options: VicunaOptions) -> None:
        """Keep the options."""
        self._reference = options.reference
        self._revision = options.revision

    def identity(self, source: Path | None) -> Mapping[str, Any]:
        """Return the sha256 of both files, or the revision asked for."""
        if source is not None:
            return {name: {"sha256": content_sha256(path)} for name, path in self._files(source).items()}
        return {name: dict(identity(file, self._revision)) for name, file in self._upstream().items()}

    def prepare(self, source: Path | None, folder: Path) -> Provenance:
        """Put the plain files into ``folder``."""
        notes = (f"references: the answers of {self._reference}",)
        if source is not None:
            digests = {name: unpack(path, folder / name) for name, path in self._files(source).items()}
            return Provenance(origin="file", sha256=combined(digests), notes=notes)
        fetched = {
            name: fetch(file, self._revision, folder / name, dataset="vicuna")
            for name, file in self._upstream().items()
        }
        whole = combined({name: part.sha256 or "" for name, part in fetched.items()})
        first = fetched[_QUESTIONS]
        return Provenance(origin=first.origin, revision=first.revision, sha256=whole, notes=notes)

    def load(self, folder: Path, split: str) -> Iterator[Example]:
        """Yield the questions in the file's order."""
        if split != "test":
            raise InputError("vicuna has one split", got=split, expected="test")
        answers = _by_question(folder / _ANSWERS)
        for question, (where, row) in _by_question(folder / _QUESTIONS).items():
            if question not in answers:
                raise InputError(f"question {question} has no answer of {self._reference}", where=where)
            answer_where, answer = answers[question]
            reference = _first_turn(answer, answer_where)
            yield Example(
                id=f"vicuna-{question:02}",
                fields={"instruction": _first_turn(row, where), "context": ""},
                completion=reference,
                references=(reference,),
                columns={"category": text(row, "category", where)},
            )

    def _files(self, source: Path) -> dict[str, Path]:
        check_exists(source, dataset="vicuna")
        folder = source.parent if source.is_file() else source
        answers = f"answer_{self._reference}.jsonl"
        return {
            _QUESTIONS: source if source.is_file() else find(folder, [_QUESTIONS], dataset="vicuna"),
            _ANSWERS: find(folder, [answers, f"answer/{answers}"], dataset="vicuna"),
        }

    def _upstream(self) -> dict[str, GitHubFile]:
        answers = f"eval/generations/vicuna/answer_{self._reference}.jsonl"
        return {
            _QUESTIONS: GitHubFile(
                _REPOSITORY, "eval/prompts/vicuna_questions.jsonl", _SHA256["question"], commit=_COMMIT
            ),
            _ANSWERS: GitHubFile(_REPOSITORY, answers, _SHA256[self._reference], commit=_COMMIT),
        }


def _by_question(path: Path) -> dict[int, tuple[str, dict[str, Any]]]:
    """Return a file's rows by the number of the question, with where they stand."""
    rows: dict[int, tuple[str, dict[str, Any]]] = {}
    for _, where, row in read_lines(path):
        question = present(row, "question_id", where)
        if type(question) is not int:
            raise InputError("the field 'question_id' is not a whole number", where=where, got=question)
        if question in rows:
            raise InputError(f"question {question} is here twice, first in {rows[question][0]}", where=where)
        rows[question] = where, row
    return rows


def _first_turn(row: Mapping[str, Any], where: str) -> str:
    """Return the text of a question or an answer: FastChat first wrote ``text``, later ``turns``."""
    if "text" not in row:
        choices = row.get("choices")
        holder = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else row
        turns = holder.get("turns")
        if isinstance(turns, list) and turns and isinstance(turns[0], str) and turns[0].strip():
            return turns[0].strip()
    return text(row, "text", where).strip()


@hookimpl
def harness_register_datasets() -> Iterable[DatasetRegistration]:
    """Offer ``vicuna``."""
    return [
        DatasetRegistration(
            name="vicuna",
            summary="Vicuna's 80 questions, with the answers of a model of your choice as references",
            build="harness_plugins.datasets.vicuna:Vicuna",
            options=VicunaOptions,
            source="https://github.com/lm-sys/FastChat",
            splits=("test",),
            licence="Apache-2.0; the answers are model outputs",
            revision=_COMMIT,
        )
    ]
