"""Rows of a data set become token ids, and token ids become batches.

Every over-long row is dealt with here, over all its columns, so that all methods train on the same rows.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from harness.api.types import Batch, Completions, Pairs, Prompts
from harness.errors import InputError
from harness.text.formats import format_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import torch
    from numpy.typing import NDArray

    from harness.api.types import Example
    from harness.spec.model import Template
    from harness.spec.recipe import RowLimits
    from harness.text.formats import Format
    from harness.text.tokenise import Tokeniser

#: Rows tokenised together.
_CHUNK = 2048
#: The columns of an example that are answers.
_ANSWERS = ("completion", "chosen", "rejected")


@dataclass(frozen=True, slots=True)
class Answer:
    """A tokenised completion."""

    ids: NDArray[np.int32]
    """(T,), the EOS included where ``finished``."""
    finished: bool
    """Whether EOS is its last token."""


@dataclass(frozen=True, slots=True)
class EncodedRow:
    """A tokenised row."""

    id: str
    prompt: NDArray[np.int32]
    """(P,), BOS included where the tokenizer puts one."""
    text: str
    """The prompt as it was tokenised, after any cut; an :class:`harness.api.Conversation` under a chat template."""
    completion: Answer | None = None
    chosen: Answer | None = None
    rejected: Answer | None = None
    columns: Mapping[str, Any] = field(default_factory=dict)
    """The example's columns, and ``references``."""
    cut: bool = False
    """Whether the prompt lost something on its left."""
    label: bool | None = None
    """Whether the completion is desirable, for unpaired preferences."""

    @property
    def demonstration(self) -> Answer | None:
        """What supervised training learns (see :attr:`harness.api.Example.demonstration`)."""
        if self.label is False:
            return None
        return self.chosen if self.completion is None else self.completion


@dataclass(frozen=True)
class Encoded:
    """The rows of a split that are used, and what became of the others."""

    rows: tuple[EncodedRow, ...]
    counts: Mapping[str, int]
    """``rows`` read, ``kept``, ``cut`` prompts, ``dropped`` rows and, of these (a row may count in several),
    ``dropped_prompt``, ``dropped_completion``, ``dropped_chosen``, ``dropped_rejected`` (too long) and
    ``dropped_empty`` (an answer without a single target token). Evaluation: ``answers_cut`` completions."""

    def __len__(self) -> int:
        """Return the number of rows kept."""
        return len(self.rows)


@dataclass(frozen=True, kw_only=True)
class EncodingParams:
    """How long rows may be, and what becomes of those that are longer."""

    max_prompt: int
    """Longest prompt in tokens, BOS included."""
    max_completion: int
    """Longest completion in tokens, EOS included (whether or not it is trained on, so that the rows used do not depend
    on ``train_eos``)."""
    training: bool
    """Whether the rows are trained on."""
    overlong: Literal["cut", "drop"] = "cut"
    """What happens to a long prompt at evaluation."""
    train_eos: bool = True
    """Whether EOS ends each answer."""

    @classmethod
    def of_training(cls, limits: RowLimits) -> EncodingParams:
        """Return what a recipe says of the rows that are trained on."""
        return cls(
            max_prompt=limits.max_prompt_length,
            max_completion=limits.max_completion_length,
            training=True,
            train_eos=limits.train_eos,
        )


def encode(
    examples: Iterable[Example],
    tokeniser: Tokeniser,
    template: Template,
    params: EncodingParams,
    *,
    positions: int | None = None,
    where: str | None = None,
) -> Encoded:
    """Tokenise a split.

    Training drops every row of which the prompt, the completion, the chosen or the rejected answer is too long. At
    evaluation a prompt that is too long loses tokens on the left of its ``truncate`` field and, where even an empty
    field is too long, on its own left, so that the marker at its end stays (a conversation loses its oldest turns, see
    :meth:`harness.text.formats.ChatFormat.cut`); ``overlong="drop"`` drops it instead.
    References are not touched; a demonstration (for teacher forcing) is cut on its right.

    Args:
        examples: the rows.
        tokeniser: the model's tokenizer.
        template: how a row becomes a prompt.
        params: how long rows may be.
        positions: the model's context, if it has a limit.
        where: the data set and split, for messages.

    Raises:
        InputError: an empty split, no row left, an empty prompt, an id twice, a field that is not there, a template
            of text that writes special tokens itself, a chat template that is not there or refuses a conversation, or
            limits that exceed the context.
    """
    check_fits(params.max_prompt, params.max_completion, positions, where=where)
    encoder = _Encoder(format_of(template, tokeniser, where=where), params, where)
    rows: list[EncodedRow] = []
    source = iter(examples)
    while chunk := list(islice(source, _CHUNK)):
        rows.extend(encoder.encode(chunk))
    counts = dict(encoder.counts)
    if not counts["rows"]:
        raise InputError("the split is empty", where=where, expected="at least one row")
    if not rows:
        raise InputError(
            f"no row is left: all {counts['rows']} are too long or empty",
            where=where,
            hint=f"max_prompt_length is {params.max_prompt}, max_completion_length {params.max_completion} tokens",
        )
    counts["kept"] = len(rows)
    counts["dropped"] = counts["rows"] - len(rows)
    return Encoded(tuple(rows), counts)


def check_fits(prompt: int, completion: int, positions: int | None, *, where: str | None = None) -> None:
    """Raise InputError where a prompt and a completion of these lengths (tokens) exceed a context of ``positions``."""
    if positions is not None and prompt + completion > positions:
        raise InputError(
            f"a prompt of {prompt} and a completion of {completion} tokens make {prompt + completion}, "
            f"more than the model's context of {positions}",
            where=where,
            hint="lower max_prompt_length or max_completion_length (max_new_tokens at evaluation)",
        )


def check_room(positions: int | None, longest: int, *, where: str | None = None) -> None:
    """Raise InputError where a context of ``positions`` has no room for a token behind a prompt of ``longest``."""
    if positions is not None and positions <= longest:
        raise InputError(
            f"the model's context of {positions} tokens has no room for an answer behind a prompt of {longest}",
            where=where,
            expected=f"a context of more than {longest} tokens",
            hint="lower max_prompt_length, or name a scorer with a longer context",
        )


class _Encoder:
    """The settings of one call of :func:`encode`, and its counts."""

    def __init__(self, format_: Format, params: EncodingParams, where: str | None) -> None:
        self.format = format_
        self.params = params
        self.where = where
        self.seen: set[str] = set()
        names = ["rows", "kept", "dropped", "cut", "dropped_prompt"]
        names += [f"dropped_{name}" for name in (*_ANSWERS, "empty")] if params.training else ["answers_cut"]
        self.counts = Counter(dict.fromkeys(names, 0))

    def encode(self, examples: Sequence[Example]) -> Iterator[EncodedRow]:
        """Yield the rows of ``examples`` that are kept."""
        texts = [self.format.render(example, where=self._blame(example)) for example in examples]
        prompts = self.format.prompts(texts)
        answers = {name: self._answers(texts, [getattr(example, name) for example in examples]) for name in _ANSWERS}
        for i, example in enumerate(examples):
            self.counts["rows"] += 1
            if example.id in self.seen:
                raise InputError("two rows have one id", where=self.where, got=example.id)
            self.seen.add(example.id)
            text, prompt = texts[i], prompts[i]
            if not prompt:
                raise InputError("the prompt is empty", where=self._blame(example))
            row_answers = {name: column[i] for name, column in answers.items()}
            if self._unusable(prompt, row_answers):
                continue
            cut = len(prompt) > self.params.max_prompt
            if cut:
                self.counts["cut"] += 1
                text = self.format.cut(example, self.params.max_prompt, where=self._blame(example))
                (prompt,) = self.format.prompts([text])
            demonstration = example.demonstration
            references = example.references or (() if demonstration is None else (demonstration,))
            yield EncodedRow(
                id=example.id,
                prompt=np.asarray(prompt, dtype=np.int32),
                text=text,
                columns={**example.columns, "references": references},
                cut=cut,
                label=example.label,
                **{name: self._answer(ids) for name, ids in row_answers.items()},
            )

    def _answers(self, prompts: Sequence[str], texts: Sequence[str | None]) -> list[list[int] | None]:
        """Return the ids of each answer that is there, without EOS."""
        pairs = [(prompt, text) for prompt, text in zip(prompts, texts, strict=True) if text is not None]
        present = iter(self.format.answers([prompt for prompt, _ in pairs], [text for _, text in pairs]))
        return [None if text is None else next(present) for text in texts]

    def _answer(self, ids: list[int] | None) -> Answer | None:
        if ids is None:
            return None
        if len(ids) + 1 > self.params.max_completion:  # only at evaluation: training has dropped the row
            self.counts["answers_cut"] += 1
            return Answer(np.asarray(ids[: self.params.max_completion], dtype=np.int32), finished=False)
        ids = [*ids, self.format.end_id] if self.params.train_eos else ids
        return Answer(np.asarray(ids, dtype=np.int32), finished=self.params.train_eos)

    def _unusable(self, prompt: list[int], answers: Mapping[str, list[int] | None]) -> bool:
        """Whether the row is dropped; counts why."""
        if not self.params.training and self.params.overlong == "cut":
            return False
        reasons = ["prompt"] if len(prompt) > self.params.max_prompt else []
        if self.params.training:
            present = {name: ids for name, ids in answers.items() if ids is not None}
            reasons += [name for name, ids in present.items() if len(ids) + 1 > self.params.max_completion]
            if not self.params.train_eos and not all(present.values()):
                reasons.append("empty")
        for reason in reasons:
            self.counts[f"dropped_{reason}"] += 1
        return bool(reasons)

    def _blame(self, example: Example) -> str:
        return f"{self.where}, row {example.id}" if self.where else f"row {example.id}"


def collate(rows: Sequence[EncodedRow], device: torch.device | str = "cpu") -> Batch:
    """Return one batch of ``rows``, padded at the right end with zeros that mean nothing.

    An answer that a row lacks has length 0. There are ``labels``, and ``completions``, where every row is declared to
    be desirable or not; a column that happens to be called ``label`` is a column.
    """
    import torch

    lengths = [len(row.prompt) for row in rows]
    ids = np.zeros((len(rows), max(lengths)), dtype=np.int64)
    for i, row in enumerate(rows):
        ids[i, : lengths[i]] = row.prompt
    prompts = Prompts(
        torch.from_numpy(ids).to(device), torch.tensor(lengths, device=device), tuple(row.text for row in rows)
    )
    pairs = None
    if any(row.chosen is not None and row.rejected is not None for row in rows):
        pairs = Pairs(
            _completions([row.chosen for row in rows], device), _completions([row.rejected for row in rows], device)
        )
    names = dict.fromkeys(name for row in rows for name in row.columns)
    columns = {name: tuple(row.columns.get(name) for row in rows) for name in names}
    labels = [row.label for row in rows if row.label is not None]
    labelled = len(labels) == len(rows)
    return Batch(
        ids=tuple(row.id for row in rows),
        prompts=prompts,
        demonstrations=_completions([row.demonstration for row in rows], device),
        pairs=pairs,
        labels=torch.tensor(labels, device=device) if labelled else None,
        columns=columns,
        completions=_completions([row.completion for row in rows], device) if labelled else None,
    )


def collate_answers(groups: Sequence[Sequence[Answer | None]], device: torch.device | str = "cpu") -> Completions:
    """Return the answers of each prompt (B, K, T), padded with zeros; what is missing has length 0."""
    import torch

    size = max((len(group) for group in groups), default=0)
    rows = [[*group, *[None] * (size - len(group))] for group in groups]
    lengths = [[0 if answer is None else len(answer.ids) for answer in group] for group in rows]
    ids = np.zeros((len(rows), size, max(map(max, lengths), default=0)), dtype=np.int64)
    for i, group in enumerate(rows):
        for k, answer in enumerate(group):
            if answer is not None:
                ids[i, k, : lengths[i][k]] = answer.ids
    finished = [[answer is not None and answer.finished for answer in group] for group in rows]
    return Completions(
        torch.from_numpy(ids).to(device),
        torch.tensor(lengths, device=device),
        torch.tensor(finished, device=device),
    )


def _completions(answers: Sequence[Answer | None], device: torch.device | str) -> Completions:
    return collate_answers([[answer] for answer in answers], device)
