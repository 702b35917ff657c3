"""A look at rows before anything is made of them: as the model's tokenizer cuts them, with what is learnt of each."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from harness.errors import InputError
from harness.models.tokenizer_folder import tokenizer_folder
from harness.spec.results.provenance import DataProvenance
from harness.stages import stored_rows
from harness.stages.rows import gather
from harness.stages.tokenizer import texts_of
from harness.text.bpe import train_bpe
from harness.text.encode import EncodingParams, encode
from harness.text.tokenise import Tokeniser

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from harness.api import Example
    from harness.plugins.registry import Registry
    from harness.spec.model import Model, Template
    from harness.spec.stages.rows import RowsConfig
    from harness.store.records import Record
    from harness.text.encode import Encoded, EncodedRow

_ANSWERS: Final = ("completion", "chosen", "rejected")
#: Longer than any row.
_ENDLESS: Final = 2**40
_QUANTILES: Final = {"median": 0.5, "90 %": 0.9, "99 %": 0.99}


@dataclass(frozen=True)
class Rows:
    """The rows of one use of a data set."""

    examples: tuple[Example, ...]
    notes: tuple[str, ...]
    """What captions say of them: where they come from, what was left out."""


@dataclass(frozen=True)
class Segment:
    """A part of a row, as ids."""

    name: str
    """``prompt``, ``completion``, ``chosen`` or ``rejected``."""
    role: str
    """What is made of it, in words."""
    trained: bool
    """Whether supervised training learns it."""
    ids: tuple[int, ...]
    pieces: tuple[tuple[str, bool], ...]
    """Its text, cut at special tokens, each of which says True."""


@dataclass(frozen=True)
class ShownRow:
    """A row, and what becomes of it."""

    id: str
    fate: str
    """``used``, or what is cut, or why it is left out."""
    segments: tuple[Segment, ...]


@dataclass(frozen=True)
class Preview:
    """The rows of a data set under one model's tokenizer."""

    rows: int
    used: int
    counts: Mapping[str, int]
    """See :class:`harness.text.encode.Encoded`."""
    lengths: Mapping[str, Mapping[str, int]]
    """Of each segment: least, median, 90 %, 99 % and most tokens, and the limit."""
    shown: tuple[ShownRow, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def read_rows(config: RowsConfig, path: str | None, label: str, record: Record | None, registry: Registry) -> Rows:
    """Return rows from the store where it has them, or else as the stage would prepare them; nothing is kept."""
    if record is not None:
        return Rows(tuple(stored_rows.read(record)), record.read(DataProvenance).notes)
    dataset = registry.build("dataset", config.dataset.name, config.dataset.options)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(path).expanduser() if path else None
        examples, provenance = gather(dataset, config, source, Path(folder), label)
    return Rows(tuple(examples), provenance.notes)


def tokeniser_of(model: Model, template: Template, train: Iterable[Example]) -> Tokeniser:
    """Return a model's tokenizer; that of a new model is trained on the training rows, as its stage trains it."""
    with tempfile.TemporaryDirectory() as folder:
        if model.config is None:
            return Tokeniser.load(tokenizer_folder(model, Path(folder)))
        assert model.vocab_size is not None  # checked with the file
        texts = (text for example in train for text in texts_of(example, template))
        return train_bpe(texts, model.vocab_size, Path(folder))


def preview(
    examples: Sequence[Example],
    tokeniser: Tokeniser,
    template: Template,
    params: EncodingParams,
    *,
    count: int,
    where: str,
    parted: bool = False,
) -> Preview:
    """Return the first ``count`` rows as they are tokenised (``parted``: token by token), and the lengths of all.

    Raises:
        InputError: the rows do not fit the template, or there is none.
    """
    endless = EncodingParams(
        max_prompt=_ENDLESS, max_completion=_ENDLESS, training=params.training, train_eos=params.train_eos
    )
    whole = encode(examples, tokeniser, template, endless, where=where)
    kept = _kept(examples, tokeniser, template, params, where)
    used = {} if kept is None else {row.id: row for row in kept.rows}
    counts = {"rows": len(whole), "kept": 0, "dropped": len(whole)} if kept is None else dict(kept.counts)
    shown = []
    for row in whole.rows[:count]:
        segments = _segments(used.get(row.id, row), tokeniser, params, parted=parted)
        shown.append(ShownRow(row.id, _fate(row, used.get(row.id), params), segments))
    return Preview(len(whole), len(used), counts, _lengths(whole, params), tuple(shown))


def _kept(
    examples: Sequence[Example], tokeniser: Tokeniser, template: Template, params: EncodingParams, where: str
) -> Encoded | None:
    """Return the rows that are used; None where there is none, which a look at them has to show."""
    try:
        return encode(examples, tokeniser, template, params, where=where)
    except InputError as error:
        if error.what.startswith("no row is left"):
            return None
        raise


def _fate(whole: EncodedRow, used: EncodedRow | None, params: EncodingParams) -> str:
    sizes = {"prompt": len(whole.prompt), **{name: size for name in _ANSWERS if (size := _answer_size(whole, name))}}
    limits = dict.fromkeys(_ANSWERS, params.max_completion) | {"prompt": params.max_prompt}
    over = [(name, size, limits[name]) for name, size in sizes.items() if size > limits[name]]
    if used is None:
        reasons = ", ".join(f"the {name} has {size} tokens, {most} at most" for name, size, most in over)
        return f"left out: {reasons or 'an answer has no token to learn'}"
    if not over:
        return "used"
    return "; ".join(f"the {name} is cut from {size} to {_size(used, name)} tokens" for name, size, _ in over)


def _answer_size(row: EncodedRow, name: str) -> int:
    """Return the tokens of an answer with its EOS, which counts whether or not it is trained on; 0 for none."""
    answer = getattr(row, name)
    return 0 if answer is None else len(answer.ids) + (not answer.finished)


def _size(row: EncodedRow, name: str) -> int:
    return len(row.prompt) if name == "prompt" else len(getattr(row, name).ids)


def _segments(row: EncodedRow, tokeniser: Tokeniser, params: EncodingParams, *, parted: bool) -> tuple[Segment, ...]:
    def segment(name: str, role: str, ids: Iterable[int], *, trained: bool) -> Segment:
        plain = tuple(int(token) for token in ids)
        pieces = (
            [piece for token in plain for piece in tokeniser.pieces([token])] if parted else tokeniser.pieces(plain)
        )
        return Segment(name, role, trained, plain, tuple(pieces))

    segments = [segment("prompt", "not trained on", row.prompt, trained=False)]
    for name in _ANSWERS:
        if (answer := getattr(row, name)) is not None:
            trained = params.training and answer is row.demonstration
            segments.append(segment(name, _role(row, name, params, trained=trained), answer.ids, trained=trained))
    return tuple(segments)


def _role(row: EncodedRow, name: str, params: EncodingParams, *, trained: bool) -> str:
    if not params.training:
        return "not trained on: what answers are compared with" if name == "completion" else "not trained on"
    pair = {"chosen": "the preferred answer", "rejected": "the other answer"}.get(name, "")
    if name == "completion" and row.label is not None:
        pair = "desirable" if row.label else "undesirable"
    learnt = "trained on" if trained else "no supervised training"
    return f"{learnt}; {pair}" if pair else learnt


def _lengths(whole: Encoded, params: EncodingParams) -> dict[str, dict[str, int]]:
    found: dict[str, list[int]] = {"prompt": [len(row.prompt) for row in whole.rows]}
    for name in _ANSWERS:
        if present := [size for row in whole.rows if (size := _answer_size(row, name))]:
            found[name] = present
    return {
        name: {
            "least": min(sizes),
            **{label: int(np.quantile(sizes, share, method="higher")) for label, share in _QUANTILES.items()},
            "most": max(sizes),
            "limit": params.max_prompt if name == "prompt" else params.max_completion,
        }
        for name, sizes in found.items()
    }
