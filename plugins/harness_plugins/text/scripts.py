"""Scripts that are written without spaces, in which what is cut at white space is a whole sentence."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: Thai, Lao, Tibetan, Myanmar, Khmer; kana, Bopomofo and the CJK ideographs (Unicode 16, chapters 16 to 18). Hangul has
#: spaces.
_UNSPACED: Final = re.compile(
    "[\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u312f\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\U00020000-\U0003ffff]"
)


def unspaced(text: str) -> bool:
    """Return whether more than half of a text's letters and digits are of a script without spaces."""
    count = len(_UNSPACED.findall(text))
    return count > 0 and 2 * count > sum(character.isalnum() for character in text)


def unspaced_notes(
    answers: Iterable[str], references: Iterable[Sequence[str]] = (), advice: str = ""
) -> dict[str, int]:
    """Count answers that are compared by tokens of 13a though they, or all of their references, have no spaces."""
    listed = list(answers)
    beside = list(references) or [()] * len(listed)
    count = sum(
        unspaced(answer) or (bool(texts) and all(unspaced(text) for text in texts))
        for answer, texts in zip(listed, beside, strict=True)
    )
    what = "answers in a script without spaces, of which its tokens are whole clauses"
    return {f"{what}{f' ({advice})' if advice else ''}": count} if count else {}
