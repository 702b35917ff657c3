"""Vicuna's 80 questions, with the stored answers of a stronger model as references; for evaluation only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

from harness.api import DatasetRegistration, Example, InputError, Options, Provenance, hookimpl
from harness_plugins.datasets.upstream import HubFile, content_sha256, fetch, find, read_lines, text, unpack

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

_QUESTIONS: Final = "question.jsonl"


class VicunaOptions(Options):
    """Which reference, and which upstream content."""

    reference: Literal["gpt35", "gpt4", "bard", "vicuna-13b"] = "gpt35"
    """Whose answers are the references: those of gpt-3.5-turbo are most likely what papers after MiniLLM used."""
    repository: str | None = None
    """Data-set repository on the hub that holds FastChat's files; FastChat itself keeps them on GitHub alone."""
    folder: str = ""
    """Where in that repository the files lie."""
    revision: str | None = None
    """Commit of that repository."""


class Vicuna:
    """One split, ``test``. Reads ``question.jsonl`` and ``answer_NAME.jsonl`` in FastChat's form from one folder."""

    def __init__(self, options: VicunaOptions) -> None:
        """Keep the options."""
        self._options = options
        self._answers = f"answer_{options.reference}.jsonl"

    def identity(self, source: Path | None) -> Mapping[str, Any]:
        """Return the sha256 of both files, or where on the hub they are."""
        if source is not None:
            return {name: content_sha256(find(_folder(source), [name], dataset="vicuna")) for name in self._names()}
        options = self._options
        return {"repository": options.repository, "folder": options.folder, "revision": options.revision}

    def prepare(self, source: Path | None, folder: Path) -> Provenance:
        """Put the plain files into ``folder``."""
        notes = (f"references: answers of {self._options.reference}, stored with the questions",)
        if source is not None:
            digests = [unpack(find(_folder(source), [n], dataset="vicuna"), folder / n) for n in self._names()]
            return Provenance(origin="file", sha256=digests[0], notes=notes)
        options = self._options
        if options.repository is None:
            raise InputError(
                "the 80 questions have no home on the hub that is known",
                where="data set 'vicuna'",
                expected="a folder with question.jsonl and " + self._answers,
                hint="-o sources.vicuna=FOLDER, `path:` in the file, or the option `repository:` of the data set",
            )
        prefix = f"{options.folder.strip('/')}/" if options.folder else ""
        files = [HubFile(options.repository, prefix + name) for name in self._names()]
        found = [
            fetch(file, options.revision, folder / name, dataset="vicuna")
            for file, name in zip(files, self._names(), strict=True)
        ]
        return Provenance(found[0].origin, found[0].revision, found[0].sha256, notes)

    def load(self, folder: Path, split: str) -> Iterator[Example]:
        """Yield the questions in the file's order."""
        if split != "test":
            raise InputError("vicuna has one split", got=split, expected="test")
        answers: dict[Any, str] = {}
        for number, row in read_lines(folder / self._answers, self._answers):
            where = f"{self._answers}:{number}"
            answers[_question_id(row, where)] = text(row, "text", where).strip()
        for number, row in read_lines(folder / _QUESTIONS, _QUESTIONS):
            where = f"{_QUESTIONS}:{number}"
            question = _question_id(row, where)
            if question not in answers:
                raise InputError(f"question {question} has no answer in {self._answers}", where=where)
            yield Example(
                id=f"vicuna-{question:02}" if isinstance(question, int) else f"vicuna-{question}",
                fields={"instruction": text(row, "text", where).strip(), "context": ""},
                completion=answers[question],
                references=(answers[question],),
                columns={"category": text(row, "category", where)},
            )

    def _names(self) -> tuple[str, str]:
        return _QUESTIONS, self._answers


def _folder(source: Path) -> Path:
    """Return the folder of the user's path, which may name the question file in it."""
    return source.parent if source.is_file() else source


def _question_id(row: Mapping[str, Any], where: str) -> Any:
    if "question_id" not in row:
        raise InputError("the field 'question_id' is missing", where=where)
    return row["question_id"]


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
            modules=("harness_plugins.datasets.upstream",),
        )
    ]
