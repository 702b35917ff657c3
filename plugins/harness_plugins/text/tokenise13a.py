"""The tokens of mteval-v13a, as sacrebleu's BLEU sees them: the words of GLEU, distinct-n and repetition."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def tokenise_13a(text: str) -> tuple[str, ...]:
    """Return the tokens of one text; none where it holds white space only.

    Trailing white space is taken off first, as sacrebleu does before it calls its tokenizer.
    """
    return tuple(_tokeniser()(text.rstrip()).split())


@cache
def _tokeniser() -> Callable[[str], str]:
    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

    return Tokenizer13a()  # type: ignore[no-untyped-call]  # sacrebleu types its functions only in part
