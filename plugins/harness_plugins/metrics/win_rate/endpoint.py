"""The judge behind an endpoint: buys what is not in the cache, so many at a time, within the limits."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from harness.api import HarnessError, StageError
from harness_plugins.metrics.win_rate.cache import ReplyCache, key_of
from harness_plugins.metrics.win_rate.client import Client, NoReply
from harness_plugins.metrics.win_rate.comparison import Outcome
from harness_plugins.metrics.win_rate.ledger import Exhausted, Ledger, Spent
from harness_plugins.metrics.win_rate.options import read_template
from harness_plugins.metrics.win_rate.replies import TOO_MANY, Refusal, Reply
from harness_plugins.metrics.win_rate.request import PROTOCOL, Wording
from harness_plugins.metrics.win_rate.secret import read_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from harness.api import MetricServices, Sample
    from harness_plugins.metrics.win_rate.comparison import Comparison, Reason
    from harness_plugins.metrics.win_rate.options import WinRateOptions

#: Tokens that an endpoint may add around a message.
_AROUND = 64

#: Seconds between two looks at a verdict that another process is buying.
_LOOK = 0.05


@dataclass(frozen=True)
class _Request:
    comparison: Comparison
    body: dict[str, Any]
    nonce: str
    key: str
    most: Spent
    """The most that it can cost: a token has a byte at least."""


class EndpointJudge:
    """Implements :class:`Judge` with a model that somebody else runs."""

    def __init__(self, options: WinRateOptions) -> None:
        """Read the template and nothing else: the key is read when it is needed."""
        self._options = options
        template = None if options.template is None else read_template(options.template)
        self._wording = Wording(template, criterion=options.criterion, ties=options.ties)

    def beside(self, sample: Sample) -> None:
        """Return None: a request holds the prompt and the two answers and nothing else of a row."""

    def compare(self, wanted: Sequence[Comparison], services: MetricServices) -> Mapping[Comparison, Outcome]:
        """Return an outcome for every comparison, from the cache or bought.

        Raises:
            StageError: A limit is reached, the endpoint refuses the settings, or too many requests stay unanswered.
                What was bought until then is in the cache.
            InputError: There is no key.
        """
        if not wanted:
            return {}
        folder = services.cache("win-rate")
        shelf = _Shelf(ReplyCache(folder / "verdicts"), self._wording, services.retry_before)
        requests = [self._request(comparison) for comparison in wanted]
        cached = {request.comparison: reply for request in requests if (reply := shelf.find(request))}
        missing = [request for request in requests if request.comparison not in cached]
        buying = _Buying(self._options, self._wording, shelf, self._ledger(folder), services, cached, len(wanted))
        if missing:
            asyncio.run(buying.buy(missing))
        return buying.outcomes

    def _request(self, comparison: Comparison) -> _Request:
        options = self._options
        text, nonce = self._wording.request(comparison)
        body: dict[str, Any] = {
            "model": options.model,
            "messages": [{"role": "user", "content": text}],
            options.limit_name: options.max_tokens,
        }
        if options.temperature is not None:
            body["temperature"] = options.temperature
        how = {"coded": self._wording.coded, "ties": options.ties}
        key = key_of({"protocol": PROTOCOL, "base_url": options.base_url, "body": body, **how})
        return _Request(comparison, body, nonce, key, Spent(1, len(text.encode()) + _AROUND, options.max_tokens))

    def _ledger(self, folder: Any) -> Ledger:
        options = self._options
        account = hashlib.sha256(f"{options.base_url}\0{options.model}".encode()).hexdigest()[:16]
        return Ledger(
            folder / f"ledger-{account}.json",
            price=options.price_per_million,
            max_calls=options.max_calls,
            max_cost=options.max_cost,
        )


class _Shelf:
    """The replies that were bought before, as they are read today."""

    def __init__(self, cache: ReplyCache, wording: Wording, retry_before: float) -> None:
        self._wording = wording
        self._retry_before = retry_before
        self.claim = cache.claim
        self.put = cache.put
        self._find = cache.find

    def find(self, request: _Request) -> Outcome | None:
        """Return what a reply on the shelf comes to; None where there is none, or it is to be asked for again."""
        kept = self._find(request.key)
        if kept is None or kept.outcome.choice is not None:
            return kept.outcome if kept else None
        choice = self._wording.read(kept.reply, request.nonce)  # an earlier reading may have been stricter
        if choice is not None:
            return replace(kept.outcome, choice=choice, reason=None)
        return kept.outcome if kept.bought >= self._retry_before else None


class _Buying:
    """One round of purchases. A failure lets the requests under way end, so that none is paid for and lost."""

    def __init__(
        self,
        options: WinRateOptions,
        wording: Wording,
        shelf: _Shelf,
        ledger: Ledger,
        services: MetricServices,
        outcomes: dict[Comparison, Outcome],
        total: int,
    ) -> None:
        self.outcomes = outcomes
        self._options = options
        self._wording = wording
        self._shelf = shelf
        self._ledger = ledger
        self._services = services
        self._total = total
        self._where = f"metric 'win-rate', judge {options.model}"
        self._failure: HarnessError | None = None
        self._under_way = 0
        self._unanswered: list[str] = []
        self._bought = Spent()
        self._not_before = 0.0

    async def buy(self, requests: Sequence[_Request]) -> None:
        """Buy all that is missing; raise what went wrong once everything under way has ended."""
        key = read_key(self._options.api_key_env, self._where)
        self._stop = asyncio.Event()
        self._tell()
        async with Client(self._options, key) as client:
            queue = iter(requests)
            workers = min(self._options.concurrency, len(requests))
            # a worker raises only what is a defect, and then the others must not go on buying
            async with asyncio.TaskGroup() as group:
                for _ in range(workers):
                    group.create_task(self._work(client, queue))
        if self._failure is not None:
            raise self._failure

    async def _work(self, client: Client, queue: Iterator[_Request]) -> None:
        for request in queue:
            if self._stop.is_set():
                return
            try:
                outcome = await self._have(client, request)
            except HarnessError as error:
                self._fail(error)
                return
            if outcome is None:
                return
            self.outcomes[request.comparison] = outcome
            self._tell()

    async def _have(self, client: Client, request: _Request) -> Outcome | None:
        """Return what becomes of a request; None where the round has been stopped before it was sent."""
        while not self._stop.is_set():
            with self._shelf.claim(request.key) as mine:
                bought = self._shelf.find(request)  # another process may have bought it meanwhile
                if bought is not None or mine:
                    return bought or await self._ask(client, request)
            await self._pause(_LOOK)
        return None

    async def _ask(self, client: Client, request: _Request) -> Outcome | None:
        """Send a request until there is a reply, at most 1 + ``retries`` times."""
        last = ""
        for attempt in range(self._options.retries + 1):
            if not await self._wait_for_turn() or not await self._reserve(request):
                return None
            self._under_way += 1
            spent = request.most
            try:
                answer = await client.ask(request.body)
                spent = _spent(answer, request)
            finally:
                self._under_way -= 1
                self._ledger.settle(request.most, spent)
                self._bought += spent
            if isinstance(answer, Reply) and answer.kind != "broken":
                return self._outcome(answer, request, spent)
            if isinstance(answer, Refusal) and not answer.passes:
                if not answer.policy:
                    raise self._refused(answer)
                return self._keep(request, Outcome(None, "refused", spent.input_tokens, spent.output_tokens), "", "")
            last = _words(answer)
            asked = answer.retry_after if isinstance(answer, Refusal) else None
            wait = max(asked or 0.0, self._backoff(request, attempt))
            if wait > self._options.max_wait and asked is not None and asked > self._options.max_wait:
                last += f" (asked to wait {asked:.0f} s)"
                break
            if attempt == self._options.retries:
                break
            if isinstance(answer, Refusal) and answer.status == TOO_MANY and asked:
                self._not_before = max(self._not_before, asyncio.get_running_loop().time() + asked)
            await self._pause(wait)
        return self._without_reply(last)

    def _outcome(self, reply: Reply, request: _Request, spent: Spent) -> Outcome:
        choice = self._wording.read(reply.text, request.nonce)
        reason: Reason | None = None
        if choice is None:
            reason = "refused" if reply.kind == "declined" else "unparsable"
        outcome = Outcome(choice, reason, spent.input_tokens, spent.output_tokens)
        return self._keep(request, outcome, reply.text, reply.model)

    def _keep(self, request: _Request, outcome: Outcome, reply: str, model: str) -> Outcome:
        self._shelf.put(request.key, outcome, reply=reply, model=model)
        return outcome

    async def _reserve(self, request: _Request) -> bool:
        """Put the request down in the ledger; False where the round was stopped meanwhile.

        What is under way is put down at the most it can cost: where that is too much, its end may leave room.
        """
        while not self._stop.is_set():
            try:
                self._ledger.reserve(request.most)
            except Exhausted as error:
                if error.limit == "max_cost" and self._under_way:
                    await self._pause(_LOOK)
                    continue
                raise self._exhausted(error.limit) from None
            return True
        return False

    async def _wait_for_turn(self) -> bool:
        """Wait while the endpoint has asked everybody to; return whether the round goes on."""
        while (left := self._not_before - asyncio.get_running_loop().time()) > 0 and not self._stop.is_set():
            await self._pause(left)
        return not self._stop.is_set()

    async def _pause(self, seconds: float) -> None:
        """Sleep, but no longer than the round goes on."""
        try:
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        except TimeoutError:
            pass

    def _backoff(self, request: _Request, attempt: int) -> float:
        """Return the doubled wait, less a part that the request determines, so that not all come back at once."""
        drawn = hashlib.sha256(f"{request.key} {attempt}".encode()).digest()[0] / 255
        return min(self._options.max_wait, self._options.backoff * 2.0**attempt) * (1 - drawn / 2)

    def _without_reply(self, words: str) -> Outcome:
        self._unanswered.append(words)
        if len(self._unanswered) > self._options.max_unanswered * self._total:
            raise StageError(
                f"{len(self._unanswered)} of {self._total} comparisons had no reply after {self._options.retries + 1}"
                f" requests: {words}",
                where=self._where,
                expected=f"an endpoint that answers at {self._options.base_url}",
                hint="start the server, or correct base_url, model or timeout, and run again: "
                "verdicts that were bought are kept",
            )
        return Outcome(None, "unanswered")

    def _refused(self, answer: Refusal) -> StageError:
        hints = {
            401: f"is the key in {self._options.api_key_env} valid there?",
            403: f"is the key in {self._options.api_key_env} valid there?",
            404: "are base_url and model right?",
        }
        hint = hints.get(answer.status, "correct the options, and run again: verdicts that were bought are kept")
        if answer.spent:
            hint = "the account has no quota left: add to it, and run again: verdicts that were bought are kept"
        return StageError(
            f"the endpoint {self._options.base_url} refuses the request with status {answer.status}: {answer.words}",
            where=self._where,
            hint=hint,
        )

    def _exhausted(self, limit: str) -> StageError:
        spent = self._ledger.read()
        price = self._options.price_per_million
        cost = f", {spent.cost(price):.4g} spent" if price else ""
        return StageError(
            f"the limit {limit}: {getattr(self._options, limit):g} is reached with {len(self.outcomes)} of"
            f" {self._total} comparisons done ({spent.calls} requests ever sent to this judge{cost})",
            where=self._where,
            hint=f"raise {limit} and run again: verdicts that were bought are kept",
        )

    def _fail(self, error: HarnessError) -> None:
        self._failure = self._failure or error
        self._stop.set()

    def _tell(self) -> None:
        note = f"{self._bought.calls} requests"
        if self._options.price_per_million is not None:
            note += f", cost {self._bought.cost(self._options.price_per_million):.4f}"
        self._services.tell(len(self.outcomes), self._total, note)


def _spent(answer: Reply | Refusal | NoReply, request: _Request) -> Spent:
    """Return what a request did cost: what the endpoint counted, and the most where it may charge without saying."""
    if isinstance(answer, Refusal) or (isinstance(answer, NoReply) and not answer.sent):
        return Spent(1)  # an error costs nothing, but it was a request
    if isinstance(answer, NoReply):
        return request.most
    told, most = (answer.input_tokens, answer.output_tokens), request.most
    return Spent(
        1,
        most.input_tokens if told[0] is None else told[0],
        most.output_tokens if told[1] is None else told[1],
    )


def _words(answer: Reply | Refusal | NoReply) -> str:
    if isinstance(answer, Refusal):
        return f"status {answer.status}: {answer.words}"
    return answer.words if isinstance(answer, NoReply) else "a body that is not a chat completion"
