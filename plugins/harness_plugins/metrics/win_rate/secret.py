"""A key that is used and never shown."""

from __future__ import annotations

import os
from typing import Final, NoReturn

from harness.api import InputError

#: Shorter ones are not keys, and stand in every other word.
_SHORTEST: Final = 4


class Secret:
    """Text that no ``repr``, message or copy gives away."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        """Keep it."""
        self._text = text

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __format__(self, how: str) -> str:
        return "***"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is neither copied nor stored")

    def reveal(self) -> str:
        """Return the text, for the one place that sends it."""
        return self._text

    def hide(self, text: str) -> str:
        """Return ``text`` without the secret: an endpoint may repeat what it was sent."""
        return text.replace(self._text, "***") if len(self._text) >= _SHORTEST else text


def read_key(variable: str | None, where: str) -> Secret:
    """Return the key that an environment variable holds; an empty secret where None is named.

    Raises:
        InputError: The variable is not set, is empty, or holds what no request can carry.
    """
    if variable is None:
        return Secret("")
    text = os.environ.get(variable, "").strip()
    if not text:
        raise InputError(
            f"the judge needs a key, and the environment variable {variable} is not set",
            where=where,
            expected=f"export {variable}=…, or api_key_env: null for an endpoint that wants none",
        )
    if not text.isascii() or not text.isprintable() or " " in text:
        raise InputError(
            f"the environment variable {variable} holds no key: a key is printable ASCII without blanks", where=where
        )
    return Secret(text)
