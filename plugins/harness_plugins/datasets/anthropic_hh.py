"""Anthropic's HH-RLHF: pairs of replies to a person in a dialogue, of which people preferred one (Bai et al. 2022)."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from harness.api import DatasetRegistration, Example, InputError, Options, Provenance, Turn, hookimpl
from harness_plugins.upstream.lines import fold, read_lines, text
from harness_plugins.upstream.local import check_exists, combined, content_sha256, find, unpack
from harness_plugins.upstream.remote import HubFile, fetch, identity
from harness_plugins.upstream.split import one_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from harness.api import Role

_REPOSITORY: Final = "Anthropic/hh-rlhf"
#: The hub's commit of May 2023, the newest known.
_COMMIT: Final = "09be8c5bbc57cb3887f3a9732ad6aa7ec602a1fa"
_SPLITS: Final = ("train", "validation", "test")
_HUMAN: Final = "\n\nHuman:"
_ASSISTANT: Final = "\n\nAssistant:"
_SPEAKER: Final = re.compile(f"({_HUMAN}|{_ASSISTANT})")
#: One in so many first turns of the training dialogues is for validation.
_VALIDATION: Final = 20
_DROPPED: Final = {
    "no shared prompt": "whose dialogues differ before the last reply",
    "blank": "with a blank reply",
    "equal": "with equal replies",
    "several turns": "of more than one turn",
    "overlap": "for training with a prompt of the test",
}

Subset = Literal["helpful-base", "harmless-base", "helpful-online", "helpful-rejection-sampled"]
File = Annotated[
    str,
    Field(pattern=r"^(helpful-base|harmless-base|helpful-online|helpful-rejection-sampled)/(train|test)$"),
]


class AnthropicHHOptions(Options):
    """Which of the upstream's files, and which dialogues of them."""

    subsets: tuple[Subset, ...] = Field(
        ("harmless-base", "helpful-base", "helpful-online", "helpful-rejection-sampled"), min_length=1
    )
    """Whose ``train`` and ``test`` files are read, where the next two options do not say otherwise."""
    train_files: tuple[File, ...] | None = None
    """Files to train on, such as ``[helpful-online/test]`` where only the upstream's test files are at hand; the tables
    then say so. An empty list where the data set is for evaluation only."""
    test_files: tuple[File, ...] | None = None
    """Files of the test, in this order, each in its own, so that ``limit`` takes the first pairs of the first."""
    turns: Literal["all", "single"] = "all"
    """``single``: only dialogues in which the person speaks once."""
    revision: str | None = None
    """Commit of the hub's repository; without it one that is known."""

    @model_validator(mode="after")
    def _files(self) -> Self:
        if twice := set(self.training()) & set(self.testing()):
            raise ValueError(f"{min(twice)} cannot be for training and for the test")
        if not self.testing() and not self.training():
            raise ValueError("name a file at least in train_files or test_files")
        return self

    def training(self) -> tuple[str, ...]:
        """Return the files that training and validation are taken from."""
        return self.train_files if self.train_files is not None else tuple(f"{name}/train" for name in self.subsets)

    def testing(self) -> tuple[str, ...]:
        """Return the files of the test."""
        return self.test_files if self.test_files is not None else tuple(f"{name}/test" for name in self.subsets)


class _Pair(NamedTuple):
    """A pair of replies to one dialogue, all stripped but for the prompt."""

    prompt: str
    chosen: str
    rejected: str


class AnthropicHH:
    """A row is a dialogue up to and with the ``Assistant:`` of its last turn, and two replies to it.

    Replies are stripped of white space at both ends, as the text of a sampled answer is; what lies between prompt and
    reply is the template's business. A chat template gets the turns without their markers. The test is the upstream's,
    pair by pair in its order. Training pairs whose whole prompt is in the test are left out, and validation is cut from
    training by the dialogue's first turn, so that no prompt is in two splits.

    A ``path:`` is a folder with ``SUBSET/train.jsonl`` and ``SUBSET/test.jsonl``, plain or gzip, or one such file where
    only one is asked for.
    """

    def __init__(self, options: AnthropicHHOptions) -> None:
        """Keep the options."""
        self._options = options
        self._names = (*options.testing(), *options.training())

    def identity(self, source: Path | None) -> Mapping[str, Any]:
        """Return the sha256 of each file, or the revision."""
        if source is not None:
            return {name: {"sha256": content_sha256(path)} for name, path in self._paths(source).items()}
        return {name: dict(identity(_hub(name), self._options.revision or _COMMIT)) for name in self._names}

    def prepare(self, source: Path | None, folder: Path) -> Provenance:
        """Put the plain files into ``folder``, and count what :meth:`load` will leave out."""
        if source is not None:
            digests = {name: unpack(path, folder / _plain(name)) for name, path in self._paths(source).items()}
            return Provenance(origin="file", sha256=combined(digests), notes=self._notes(folder))
        fetched = {
            name: fetch(_hub(name), self._options.revision or _COMMIT, folder / _plain(name), dataset="anthropic-hh")
            for name in self._names
        }
        whole = combined({name: part.sha256 or "" for name, part in fetched.items()})
        revision = next(iter(fetched.values())).revision
        return Provenance(origin=_REPOSITORY, revision=revision, sha256=whole, notes=self._notes(folder))

    def load(self, folder: Path, split: str) -> Iterator[Example]:
        """Yield a split's pairs in the order of the files."""
        if split not in _SPLITS:
            raise InputError("anthropic-hh has no such split", got=split, expected="train, validation or test")
        wanted = self._options.testing() if split == "test" else self._options.training()
        if not wanted:
            option = "test_files" if split == "test" else "train_files"
            raise InputError(f"anthropic-hh was given no file for the split {split!r}", expected=f"names in {option}")
        return (example for place, example in self._examples(folder, Counter()) if place == split)

    def _examples(self, folder: Path, counts: Counter[str]) -> Iterator[tuple[str, Example]]:
        """Yield every pair that is kept, those of the test first, with its split; count the others by reason."""
        tested: set[str] = set()
        for name in self._names:
            test = name in self._options.testing()
            for number, where, row in read_lines(folder / _plain(name)):
                counts["pairs"] += 1
                pair = _pair(text(row, "chosen", where), text(row, "rejected", where))
                reason = "no shared prompt" if isinstance(pair, str) else self._reason(pair)
                if isinstance(pair, str) or reason:
                    counts[reason] += 1
                    continue
                if not test and fold(pair.prompt) in tested:
                    counts["overlap"] += 1
                    continue
                if test:
                    tested.add(fold(pair.prompt))
                    place = "test"
                else:
                    place = "validation" if one_in(_first_turn(pair.prompt), _VALIDATION) else "train"
                yield place, _example(f"hh-{name.replace('/', '-')}-{number:06}", name, pair)

    def _reason(self, pair: _Pair) -> str:
        """Say why a pair is left out; nothing where it is not."""
        if not pair.chosen or not pair.rejected:
            return "blank"
        if pair.chosen == pair.rejected:
            return "equal"
        if self._options.turns == "single" and pair.prompt.count(_HUMAN) > 1:
            return "several turns"
        return ""

    def _notes(self, folder: Path) -> tuple[str, ...]:
        counts: Counter[str] = Counter()
        for place, _ in self._examples(folder, counts):
            counts[place] += 1
        notes = []
        if self._options.training():
            notes.append(
                f"training pairs: {', '.join(self._options.training())}; validation cut from them by first turn"
            )
        if self._options.testing():
            notes.append(f"test pairs: {', '.join(self._options.testing())}")
        if stand_in := [name for name in self._options.training() if name.endswith("/test")]:
            notes.append(f"trained on what is a test file upstream: {', '.join(stand_in)}")
        dropped = [f"{counts[reason]} {words}" for reason, words in _DROPPED.items() if counts[reason]]
        notes.append(f"of {counts['pairs']} pairs left out: {', '.join(dropped) or 'none'}")
        return tuple(notes)

    def _paths(self, source: Path) -> dict[str, Path]:
        check_exists(source, dataset="anthropic-hh")
        if source.is_file() and len(self._names) > 1:
            raise InputError(
                f"one file was given for data set 'anthropic-hh', and it reads {len(self._names)}", where=str(source),
                expected=f"a folder with {self._names[0]}.jsonl[.gz] and so on",
                hint="or name one file in test_files, with train_files: []",
            )  # fmt: skip
        return {name: find(source, [f"{name}.jsonl"], dataset="anthropic-hh") for name in self._names}


def _hub(name: str) -> HubFile:
    return HubFile(_REPOSITORY, f"{name}.jsonl.gz")


def _plain(name: str) -> str:
    return f"{name.replace('/', '.')}.jsonl"


def _pair(chosen: str, rejected: str) -> _Pair | str:
    """Cut two dialogues at their last reply; the reason where they share no prompt that ends before it."""
    prompt, marker, reply = chosen.rpartition(_ASSISTANT)
    other_prompt, _, other_reply = rejected.rpartition(_ASSISTANT)
    if not marker or prompt != other_prompt:
        return "no shared prompt"
    return _Pair(prompt + marker, reply.strip(), other_reply.strip())


def _turns(prompt: str) -> tuple[Turn, ...]:
    """Return a dialogue as turns, those that one side says in a row together; none where a person does not begin it."""
    before, *parts = _SPEAKER.split(prompt.removesuffix(_ASSISTANT))
    turns: list[Turn] = []
    for marker, said in zip(parts[::2], parts[1::2], strict=True):
        role: Role = "user" if marker == _HUMAN else "assistant"
        if turns and turns[-1].role == role:
            turns[-1] = Turn(role, f"{turns[-1].content}\n\n{said.strip()}")
        else:
            turns.append(Turn(role, said.strip()))
    alternate = not before.strip() and turns and turns[0].role == turns[-1].role == "user"
    return tuple(turns) if alternate else ()


def _first_turn(prompt: str) -> str:
    return prompt.split(_ASSISTANT, 1)[0]


def _example(name: str, file: str, pair: _Pair) -> Example:
    return Example(
        id=name,
        fields={"prompt": pair.prompt},
        turns=_turns(pair.prompt),
        # the prompt ends with a colon: what is trained on parts from it by a blank of its own, as in the upstream
        completion=f" {pair.chosen}",
        references=(pair.chosen,),
        chosen=f" {pair.chosen}",
        rejected=f" {pair.rejected}",
        columns={"subset": file.partition("/")[0], "turns": pair.prompt.count(_HUMAN)},
    )


@hookimpl
def harness_register_datasets() -> Iterable[DatasetRegistration]:
    """Offer ``anthropic-hh``."""
    return [
        DatasetRegistration(
            name="anthropic-hh",
            summary="Anthropic's HH-RLHF: dialogues with a preferred and a rejected last reply",
            build="harness_plugins.datasets.anthropic_hh:AnthropicHH",
            options=AnthropicHHOptions,
            provides="preferences",
            source="https://huggingface.co/datasets/Anthropic/hh-rlhf",
            licence="MIT",
            revision=_COMMIT,
        )
    ]
