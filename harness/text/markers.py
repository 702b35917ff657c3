"""Texts of which some parts may become the tokenizer's added tokens, and others never do.

A chat template writes role markers, and what it puts between them is somebody's data, which may read just like them.
The text has to be tokenised in one go, since what a tokenizer makes of a piece depends on what stands beside it; so the
markers get another spelling in it, one that no data has, in the text and in a copy of the tokenizer alike.
"""

from __future__ import annotations

import json
import re
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: The first of the private-use characters that begin another spelling, how many there are to choose from, and the
#: first of those that tell markers apart.
_FIRST, _CHOICES, _NUMBER = 0x10_F000, 0x800, 0xF_0000


class Piece(NamedTuple):
    """A part of a text."""

    text: str
    is_data: bool = False
    """Whether it is somebody's data, none of which becomes a marker."""


class MarkedTexts:
    """Tokenises texts made of pieces.

    Markers are the special tokens, and those other added tokens that the template names and that are more than white
    space.
    """

    def __init__(self, tokenizer: str, template: str) -> None:
        """Take the JSON of a tokenizer of the package ``tokenizers``, and the source of a chat template."""
        self._json: dict[str, Any] = json.loads(tokenizer)
        self.markers: dict[str, int] = {
            token["content"]: token["id"]
            for token in self._json["added_tokens"]
            if token["special"] or (token["content"].strip() and token["content"] in template)
        }
        longest_first = sorted(self.markers, key=len, reverse=True)
        self._marker = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")
        self._numbers = {content: number for number, content in enumerate(self.markers)}
        self._backends: dict[str, Any] = {}

    def first_marker(self, text: str) -> tuple[int, int] | None:
        """Return the id of the first marker in a text of the template's, and where the marker ends."""
        match = self._marker.search(text)
        return None if match is None else (self.markers[match[0]], match.end())

    def encode(self, texts: Sequence[Sequence[Piece]]) -> list[list[int]]:
        """Return the ids of each text.

        Raises:
            InputError: data holds every character that another spelling may begin with.
        """
        sign = self._unused(piece.text for pieces in texts for piece in pieces if piece.is_data)
        spelt = [
            "".join(piece.text if piece.is_data else self._spell(piece.text, sign) for piece in pieces)
            for pieces in texts
        ]
        if sign not in self._backends:
            self._backends[sign] = self._with_other_spellings(sign)
        return [encoding.ids for encoding in self._backends[sign].encode_batch_fast(spelt, add_special_tokens=False)]

    def _unused(self, data: Iterable[str]) -> str:
        data = list(data)
        for sign in self._signs:
            if not any(sign in text for text in data):
                return sign
        raise InputError("texts together hold every private-use character there is to tell markers from them")

    @cached_property
    def _signs(self) -> Sequence[str]:
        return [chr(_FIRST + number) for number in range(_CHOICES)]

    def _spell(self, text: str, sign: str) -> str:
        return self._marker.sub(lambda match: sign + chr(_NUMBER + self._numbers[match[0]]), text)

    def _with_other_spellings(self, sign: str) -> Any:
        """Return the tokenizer with the markers spelt as :meth:`_spell` does, each with its own id.

        Their usual spelling is in no vocabulary any more, so that it cannot be reached by way of ordinary text either.
        """
        from tokenizers import Tokenizer

        content = json.loads(json.dumps(self._json))
        content |= {"post_processor": None, "padding": None, "truncation": None}
        other = {marker: self._spell(marker, sign) for marker in self.markers}
        for token in content["added_tokens"]:
            token["content"] = other.get(token["content"], token["content"])
        model = content["model"]
        if "unk_token" in model:
            model["unk_token"] = other.get(model["unk_token"], model["unk_token"])
        if isinstance(model["vocab"], dict):
            model["vocab"] = {other.get(token, token): number for token, number in model["vocab"].items()}
        else:
            model["vocab"] = [[other.get(token, token), score] for token, score in model["vocab"]]
        if "merges" in model:
            model["merges"] = [merge for merge in model["merges"] if not other.keys() & _made_of(merge)]
        backend = Tokenizer.from_str(json.dumps(content))
        for marker, number in self.markers.items():
            if backend.token_to_id(other[marker]) != number:
                raise InputError("the tokenizer's added tokens cannot be told from text", got=marker)
        return backend


@lru_cache(maxsize=4)
def marked_texts(tokenizer: str, template: str) -> MarkedTexts:
    """Return what tokenises for a tokenizer's JSON and a template; checkpoints of one model share it."""
    return MarkedTexts(tokenizer, template)


def _made_of(merge: str | Sequence[str]) -> set[str]:
    """Return the two tokens of a merge, and the one that they become."""
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return {left, right, left + right}
