"""The policy's tokenizer as methods and rewards see it. Implements :class:`harness.api.Tokenizer`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.text.tokenise import Tokeniser


class PluginTokenizer:
    """Text to ids and back, as the harness itself does it."""

    def __init__(self, tokeniser: Tokeniser, end_id: int) -> None:
        """Show ``tokeniser``, and the id that ends an answer in training: a chat template has one of its own."""
        self._tokeniser = tokeniser
        self.vocab_size = tokeniser.size
        self.eos_id = end_id

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text as part of a completion: no BOS before it, no EOS behind it."""
        return self._tokeniser.completion(text)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids without special tokens, stripped of white space at both ends."""
        return self._tokeniser.decode(list(ids))
