"""A generated task: which questions there are, which split each belongs to, and which demonstrations slip."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

from harness.api import Example, InputError, Provenance
from harness_plugins.datasets.generated_instructions.draw import mix, seed_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from harness_plugins.datasets.generated_tasks import TaskOptions

SPLITS: Final = ("train", "validation", "test")
#: Of so many questions one goes to the test, one to validation, the others to training.
PARTS: Final = 10
_WORD: Final = 1 << 64


class Question(NamedTuple):
    """One question of a task."""

    key: str
    """What it is about: questions with the same key (3 + 4, 4 + 3) are in one split."""
    fields: Mapping[str, str]
    """What a template may name; ``instruction`` is a sentence."""
    right: str
    wrong: str
    """What the demonstrator writes who makes the task's mistake; may be right by chance."""


class GeneratedTask(ABC):
    """Rows made on the spot: nothing is read from outside, ``prepare`` has nothing to fetch.

    A row's columns are ``answer`` (right), ``slip`` (whether the demonstration was written with the mistake) and
    ``majority_answer``, the most frequent training demonstration.
    """

    NAME: ClassVar[str]
    #: Changes whenever a row changes; a golden hash holds it.
    VERSION: ClassVar[int]
    #: The mistake, behind "the demonstrator".
    SLIP: ClassVar[str]

    def __init__(self, options: TaskOptions) -> None:
        """Keep the options."""
        self.options = options
        self._start = seed_of(self.NAME, options.seed)

    @abstractmethod
    def questions(self) -> Iterable[Question]:
        """Return all questions, in any order that is always the same."""

    def identity(self, source: Path | None) -> Mapping[str, Any]:
        """Return the generator's version and options; InputError where a ``path`` is given."""
        self._no_source(source)
        return {"generator": self.NAME, "version": self.VERSION, **self.options.model_dump(mode="json")}

    def prepare(self, source: Path | None, folder: Path) -> Provenance:  # noqa: ARG002  # the protocol's argument: rows are made in load
        """Say where the rows come from; nothing is written."""
        self._no_source(source)
        return Provenance(
            "generated", notes=(f"made by seeded code, version {self.VERSION}, seed {self.options.seed}",)
        )

    def load(self, folder: Path, split: str) -> Iterator[Example]:  # noqa: ARG002  # the protocol's argument: rows are made here
        """Yield the rows of a split in an order that a hash settles, so that the first N are a fair choice."""
        if split not in SPLITS:
            raise InputError("no such split", where=self.NAME, got=split, expected=", ".join(SPLITS))
        return self._rows(split)

    def notes(self, folder: Path, split: str) -> list[str]:  # noqa: ARG002  # the protocol's argument: rows are made here
        """Say how many demonstrations of a split slip, and how many of these are wrong."""
        if split != "train" or not self.options.slips:
            return [f"every answer of {split} is right"]
        rows = list(self._rows(split))
        slips = [row for row in rows if row.columns["slip"]]
        wrong = sum(row.completion != row.columns["answer"] for row in slips)
        said = f"fallible demonstrations: in {len(slips) / len(rows):.1%} the demonstrator {self.SLIP}"
        effect = f"which makes {wrong / len(rows):.1%} of all wrong"
        return [f"{said}, {effect}; the reward compares with right answers all the same"]

    def _no_source(self, source: Path | None) -> None:
        if source is not None:
            raise InputError(
                "this data set is made by code and reads no file", where=self.NAME, got=str(source),
                hint="leave out `path`, or use the data set `files` for a file of your own",
            )  # fmt: skip

    def _rows(self, split: str) -> Iterator[Example]:
        ranked = sorted(
            (mix(self._start ^ seed_of(question.key)), number, question)
            for number, question in enumerate(self.questions())
        )
        train = [(rank, question) for rank, _, question in ranked if _part(rank) == "train"]
        counts = Counter(self._demonstration(rank, question)[0] for rank, question in train)
        majority = min(counts, key=lambda answer: (-counts[answer], answer))
        order = {id(question): mix(rank ^ number) for rank, number, question in ranked}
        mine = [(rank, question) for rank, _, question in ranked if _part(rank) == split]
        for rank, question in sorted(mine, key=lambda pair: order[id(pair[1])]):
            answer, slip = self._demonstration(rank, question) if split == "train" else (question.right, False)
            yield Example(
                id=question.fields["instruction"],
                fields=question.fields,
                completion=answer,
                references=(question.right,),
                columns={"answer": question.right, "slip": slip, "majority_answer": majority},
            )

    def _demonstration(self, rank: int, question: Question) -> tuple[str, bool]:
        slip = seed_of("slip", rank, question.fields["instruction"]) < self.options.slips * _WORD
        return question.wrong if slip else question.right, slip


def _part(rank: int) -> str:
    return ("test", "validation", "train")[min(rank % PARTS, 2)]
