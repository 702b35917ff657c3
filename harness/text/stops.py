"""What ends an answer: stop tokens, and strings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import Tensor

    from harness.api import Completions
    from harness.text.tokenise import Tokeniser


@dataclass(frozen=True)
class Stops:
    """What ends an answer, none of which is part of its text."""

    ids: tuple[int, ...]
    """Tokens, none twice; the first is the one that ends an answer in training."""
    texts: tuple[str, ...] = ()
    """Strings: an answer ends with the token that completes one of them."""

    @classmethod
    def of(cls, tokeniser: Tokeniser, settings: Any) -> Stops:
        """Return the tokenizer's EOS, then what a model's ``generation_config`` says."""
        given: Any = getattr(settings, "eos_token_id", None)
        listed = given if isinstance(given, list) else [given]
        texts: Any = getattr(settings, "stop_strings", None) or ()
        ids = [token for token in listed if type(token) is int and 0 <= token < tokeniser.size]
        return cls((tokeniser.eos_id,)).also(ids, [texts] if isinstance(texts, str) else texts)

    def first(self, end_id: int) -> Stops:
        """Return the same with ``end_id`` as what ends an answer in training."""
        return Stops((end_id,), self.texts).also(self.ids)

    def also(self, ids: Iterable[int], texts: Iterable[str] = ()) -> Stops:
        """Return the same and others."""
        return Stops(tuple(dict.fromkeys([*self.ids, *ids])), tuple(dict.fromkeys([*self.texts, *texts])))

    def named(self, tokeniser: Tokeniser, names: Iterable[str]) -> Stops:
        """Return the same and what a file names: tokens of the tokenizer's that were added to it, and strings."""
        added = tokeniser.added_tokens
        names = list(names)
        return self.also([added[name] for name in names if name in added], [n for n in names if n not in added])

    def end(self, tokeniser: Tokeniser, ids: Sequence[int]) -> int | None:
        """Return the length of the shortest beginning of ``ids`` whose text has a stop string; None where none has."""
        if not self._in(tokeniser.decode_exact(ids)):
            return None
        short, long = 0, len(ids)  # the text of the first has none, that of the second has one
        while long - short > 1:
            middle = (short + long) // 2
            if self._in(tokeniser.decode_exact(ids[:middle])):
                long = middle
            else:
                short = middle
        return long

    def window(self) -> int:
        """Return most tokens at the end of an answer in which a stop string that its last token completes can lie.

        Tokens without a text of their own, such as parts of a character, are allowed for.
        """
        return 2 * max((len(text.encode()) for text in self.texts), default=0) + 8

    def answer(self, tokeniser: Tokeniser, ids: Sequence[int]) -> tuple[str, str | None]:
        """Return the text of a completion, stripped, and what ended it, as :meth:`names` calls it; None if nothing."""
        by = tokeniser.name(ids[-1]) if len(ids) and ids[-1] in self.ids else None
        text = tokeniser.decode_exact(ids[:-1] if by is not None else ids)
        places = sorted((text.find(stop), stop) for stop in self.texts if stop in text)
        if places and by is None:
            text, by = text[: places[0][0]], repr(places[0][1])
        return text.strip(), by

    def names(self, tokeniser: Tokeniser) -> tuple[str, ...]:
        """Return what tables call them."""
        return (*map(tokeniser.name, self.ids), *map(repr, self.texts))

    def _in(self, text: str) -> bool:
        return any(stop in text for stop in self.texts)


def answer_texts(tokeniser: Tokeniser, stops: Stops, completions: Completions) -> list[tuple[str, str | None]]:
    """Return text and end (see :meth:`Stops.answer`) of B x K completions, those of a prompt together."""
    lengths = completions.lengths.tolist()
    ids = completions.ids.tolist()
    rows = [row[:n] for group, ns in zip(ids, lengths, strict=True) for row, n in zip(group, ns, strict=True)]
    if stops.texts:
        return [stops.answer(tokeniser, row) for row in rows]
    ends = [tokeniser.name(row[-1]) if row and row[-1] in stops.ids else None for row in rows]
    texts = tokeniser.decode_batch([row if end is None else row[:-1] for row, end in zip(rows, ends, strict=True)])
    return list(zip(texts, ends, strict=True))


def is_stop(stops: Stops, ids: Tensor) -> Tensor:
    """Return which of ``ids`` are stop tokens."""
    found = ids == stops.ids[0]
    for stop in stops.ids[1:]:  # one by one: to put them into a tensor is to wait for a GPU
        found |= ids == stop
    return found


def has_stop_text(stops: Stops, tokeniser: Tokeniser, ids: Tensor) -> Tensor:
    """Return which rows of ``ids`` (N, T) have a stop string in their text: (N,)."""
    import torch

    ends = [stops.end(tokeniser, row) is not None for row in ids.tolist()]
    return torch.tensor(ends, dtype=torch.bool, device=ids.device)


def end_at_texts(
    stops: Stops, tokeniser: Tokeniser, ids: Tensor, lengths: Tensor, finished: Tensor
) -> tuple[Tensor, Tensor]:
    """Return lengths (N,) of rows (N, T) and which are finished, where strings end them as stop tokens do."""
    rows = zip(ids.tolist(), lengths.tolist(), strict=True)
    earlier = lengths.new_tensor([stops.end(tokeniser, row[:length]) or 0 for row, length in rows])
    return lengths.where(earlier == 0, earlier), finished | (earlier > 0)
