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

#: Most characters of an endpoint's own words that a message repeats.
_WORDS: Final = 200

Verdict: TypeAlias = Literal["text", "refused", "truncated", "broken"]


@dataclass(frozen=True)
class Reply:
    """A body with status 200."""

    kind: Verdict
    """``text``: a whole answer. ``refused``: the model or a filter declined. ``truncated``: cut at the limit.
    ``broken``: no completion at all."""
    text: str = ""
    model: str = ""
    input_tokens: int | None = None
    output_tokens: int | None = None


def read_reply(body: str) -> Reply:
    """Read a chat completion strictly: exactly one choice, that ended by itself, with text in it."""
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
    text, ended = message.get("content"), choice.get("finish_reason")
    if ended == "content_filter" or message.get("refusal"):
        return Reply("refused", **about)
    if ended == "length":
        return Reply("truncated", **about)
    if not isinstance(text, str) or ended != "stop":
        return Reply("broken", **about)
    return Reply("text", text, **about)


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


@dataclass(frozen=True)
class Refusal:
    """A status that is no success."""

    status: int
    words: str
    """The endpoint's own, on one line and cut short."""
    passes: bool
    """Whether the same request may succeed later."""
    policy: bool
    """Whether the endpoint declined to judge these texts."""
    retry_after: float | None
    """Seconds that the endpoint asks to wait."""


def read_refusal(status: int, headers: Mapping[str, str], body: str) -> Refusal:
    """Read an error response."""
    words, code = body, None
    try:
        value = json.loads(body)
        error = value.get("error", value) if isinstance(value, dict) else {}
        if isinstance(error, dict):
            words, code = str(error.get("message") or body), error.get("code")
        else:
            words = str(error)
    except (ValueError, RecursionError):
        pass
    words = " ".join("".join(char if char.isprintable() else " " for char in words[: 4 * _WORDS]).split())
    words = words if len(words) <= _WORDS else words[: _WORDS - 1] + "…"
    passes = status in _PASSING or status >= 500
    return Refusal(status, words, passes, status == 400 and code in _POLICY, _retry_after(headers.get("retry-after")))


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
