"""One request to an OpenAI-compatible endpoint, without repetitions: those are counted, and paid for, one by one."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from harness.api import StageError
from harness_plugins.metrics.win_rate.replies import Refusal, Reply, read_refusal, read_reply

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness_plugins.metrics.win_rate.options import WinRateOptions
    from harness_plugins.metrics.win_rate.secret import Secret

#: Names of the errors of the HTTP library after which nothing can have been sent.
_NOTHING_SENT = frozenset(
    {"ConnectError", "ConnectTimeout", "PoolTimeout", "UnsupportedProtocol", "LocalProtocolError"}
)


@dataclass(frozen=True)
class NoReply:
    """A request that ended without any response."""

    words: str
    sent: bool
    """Whether the endpoint may have worked on it, and may charge for it."""


class Client:
    """A connection to the judge's endpoint. Whatever leaves it has been searched for the key."""

    def __init__(self, options: WinRateOptions, key: Secret) -> None:
        """Connect to nothing yet."""
        import openai

        self._openai = openai
        self._timeout = options.timeout
        self._key = key
        self._client = openai.AsyncOpenAI(
            api_key=key.reveal() or "none",
            base_url=options.base_url,
            max_retries=0,
            timeout=options.timeout,
            # a redirect would carry texts, and perhaps the key, to somebody else's host
            http_client=openai.DefaultAsyncHttpxClient(follow_redirects=False),
        )

    async def __aenter__(self) -> Self:
        """Return itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connections."""
        await self._client.close()

    async def ask(self, body: Mapping[str, Any]) -> Reply | Refusal | NoReply:
        """Send one request and return what became of it; nothing that is about the key is ever raised."""
        try:
            # the library's own limit is for each part of a response: an endpoint that drips would never reach it
            async with asyncio.timeout(self._timeout):
                raw = await self._client.chat.completions.with_raw_response.create(**body)
                text = raw.http_response.text
        except self._openai.APIStatusError as error:
            response = error.response
            return read_refusal(response.status_code, response.headers, self._key.hide(response.text))
        except (TimeoutError, self._openai.APITimeoutError) as error:
            connecting = type(error.__cause__).__name__ in _NOTHING_SENT
            return NoReply(f"no reply within {self._timeout:g} s", sent=not connecting)
        except self._openai.APIConnectionError as error:
            cause = error.__cause__ or error
            words = self._key.hide(" ".join(str(cause).split()))[:200]
            return NoReply(words or type(cause).__name__, sent=type(cause).__name__ not in _NOTHING_SENT)
        except UnicodeError:
            return Reply("broken")
        except Exception as error:  # noqa: BLE001  # a library's words about a request may hold its headers
            words = self._key.hide(f"{type(error).__name__}: {error}")
            raise StageError(f"the request to the judge could not be made: {words}") from None
        return read_reply(self._key.hide(text))
