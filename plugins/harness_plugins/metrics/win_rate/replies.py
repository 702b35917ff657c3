"""What an endpoint sent back, sorted by what there is to do about it."""

from __future__ import annotations

import email.utils
import json
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

#: HTTP status of errors that pass: too many requests, and the server's own.
TOO_MANY: Final = 429
_PASSING: Final = frozenset({408, TOO_MANY})

#: What endpoints call a request that their content policy stops (a 400, and no mistake of the settings).
_POLICY: Final = frozenset({"content_filter", "content_policy_violation"})

#: What endpoints call an account that has nothing left to spend: a 429 that no waiting mends.
_SPENT: Final = frozenset(
    {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "insufficient_credits"}
)

#: Parts of a message that are its text; others hold what the model thought, or an image.
_TEXTS: Final = frozenset({"text", "output_text"})

#: Most characters of an endpoint's own words that a message repeats.
_WORDS: Final = 200

Kind: TypeAlias = Literal["text", "declined", "broken"]


@dataclass(frozen=True)
class Reply:
    """A body with status 200."""

    kind: Kind
    """``text``: what the model said, however it ended. ``declined``: the model or a filter says that it declined; the
    text may hold a verdict all the same. ``broken``: no completion at all."""
    text: str = ""
    model: str = ""
    input_tokens: int | None = None
    output_tokens: int | None = None


def read_reply(body: str) -> Reply:
    """Read a chat completion: exactly one choice with a message in it.

    Why it ended is not asked: servers call that ``stop``, ``eos``, ``eos_token``, ``length`` or nothing at all, and a
    reply with a verdict in its last line has said what it was asked for. A message without text is an empty text.
    """
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return Reply("broken")
    if not isinstance(value, dict) or not isinstance(value.get("choices"), list) or len(value["choices"]) != 1:
        return Reply("broken")
    choice = value["choices"][0]
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(message, dict):
        return Reply("broken")
    usage = value.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    about: dict[str, Any] = {
        "model": value["model"][:_WORDS] if isinstance(value.get("model"), str) else "",
        "input_tokens": _count(usage.get("prompt_tokens")),
        "output_tokens": _count(usage.get("completion_tokens")),
    }
    declined = choice.get("finish_reason") == "content_filter" or bool(message.get("refusal"))
    text, part_declined = _text(message.get("content"))
    return Reply("declined" if declined or part_declined else "text", text, **about)


def _text(content: Any) -> tuple[str, bool]:
    """Return the text of a message, which is a string, a list of parts or nothing; and whether a part declines."""
    if isinstance(content, str):
        return content, False
    parts = [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []
    kinds = [str(part.get("type")) for part in parts]  # it may be anything
    texts = [part.get("text") for part, kind in zip(parts, kinds, strict=True) if kind in _TEXTS]
    return "".join(text for text in texts if isinstance(text, str)), "refusal" in kinds


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


@dataclass(frozen=True)
class Refusal:
    """A status that is not a success."""

    status: int
    words: str
    """The endpoint's own, on one line and cut short."""
    passes: bool
    """Whether the same request may succeed later."""
    policy: bool
    """Whether the endpoint declined to judge these texts."""
    spent: bool
    """Whether the account has nothing left to spend."""
    retry_after: float | None
    """Seconds that the endpoint asks to wait."""


def read_refusal(status: int, headers: Mapping[str, str], body: str) -> Refusal:
    """Read an error response."""
    words, codes = body, set[Any]()
    try:
        value = json.loads(body)
        error = value.get("error", value) if isinstance(value, dict) else {}
        if isinstance(error, dict):
            words = str(error.get("message") or body)
            codes = {name for name in (error.get("code"), error.get("type")) if isinstance(name, str)}
        else:
            words = str(error)
    except (ValueError, RecursionError):
        pass
    words = " ".join("".join(char if char.isprintable() else " " for char in words[: 4 * _WORDS]).split())
    words = words if len(words) <= _WORDS else words[: _WORDS - 1] + "…"
    spent = status == TOO_MANY and bool(codes & _SPENT)
    passes = not spent and (status in _PASSING or status >= 500)
    policy = status == 400 and bool(codes & _POLICY)
    return Refusal(status, words, passes, policy, spent, _retry_after(headers.get("retry-after")))


def _retry_after(value: str | None) -> float | None:
    """Return the seconds of a Retry-After header, which says seconds or a date; None where it says neither."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return None
    return max(0.0, seconds) if not math.isnan(seconds) else None
