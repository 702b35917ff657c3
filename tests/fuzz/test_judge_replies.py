"""Whatever a judge's endpoint sends back: a verdict that stands in it, or none, counted by its reason."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import pytest
from fuzz.campaign import Campaign
from hypothesis import given
from hypothesis import strategies as st
from metrics.win_rate.cases import CANARY, VARIABLE, Services, answers, judged, options
from metrics.win_rate.server import completion
from report.synthetic import in_memory

from harness.api import StageError
from harness_plugins.metrics.win_rate import endpoint
from harness_plugins.metrics.win_rate.replies import read_refusal, read_reply
from harness_plugins.metrics.win_rate.request import Wording

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from harness_plugins.metrics.win_rate.comparison import Outcome
    from harness_plugins.metrics.win_rate.replies import Refusal, Reply

REPLIES = Campaign("judge replies", few=80, many=5_000)
CORPUS = Path(__file__).parent / "corpus" / "judge-replies"
#: Stands for the code of a request, which the reply must repeat.
CODE: Final = "CODE"
#: Comparisons of one answer: it and the null answer with the reference, in both orders.
COMPARISONS: Final = 4

PIECES = st.sampled_from([
    CODE, f"{CODE} A", f"{CODE} B", f"{CODE} TIE", f"**{CODE} B**", f"`{CODE}` A", f"{CODE}  A", f"{CODE} C",
    f"{CODE} a",
    "A", "B", "\n", " ", "A is better.", "```",
    "<think>", "</think>", "[/THINK]", "\u2028", "\x85", "\r\n", "\t", "\uff41",
    "\u0410", '"', "'", "…", "0123456789abcdef A",
])  # fmt: skip
TEXTS = st.lists(PIECES | st.text(max_size=4), max_size=6).map("".join)
RIGHT = st.builds(
    lambda before, around, letter, after: (f"{before}\n{around}{CODE} {letter}{around}{after}", letter),
    st.sampled_from(["B is shorter.", "<think>\nCODE A\n</think>\nA says more.", "One sentence: A, not B."]),
    st.sampled_from(["", "**", "`", "  ", '"']),
    st.sampled_from("AB"),
    st.sampled_from(["", "\n", "\n\n", "\n```", " "]),
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)
PARTS = st.lists(
    st.fixed_dictionaries({"type": st.sampled_from(["text", "output_text", "thinking", "refusal", 3]), "text": VALUES}),
    max_size=3,
)


def places(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, child in items:
        yield (*path, key)
        yield from places(child, (*path, key))


BODY: Final = completion(f"A says more.\n{CODE} A")


@st.composite
def bodies(draw: st.DrawFn) -> str:
    """Return a body with anything in a wrong place, sometimes cut or with broken characters in it."""
    value = copy.deepcopy(BODY)
    value["choices"][0]["message"]["content"] = draw(TEXTS | RIGHT.map(lambda made: made[0]) | PARTS | VALUES)
    for _ in range(draw(st.integers(0, 2))):
        path = draw(st.sampled_from(list(places(value))))
        holder: Any = value
        for key in path[:-1]:
            holder = holder[key]
        if draw(st.booleans()):
            holder[path[-1]] = draw(VALUES)
        else:
            del holder[path[-1]]
    text = json.dumps(value)
    if draw(st.integers(0, 4)) == 0:
        start, end = draw(st.integers(0, len(text))), draw(st.integers(0, 5))
        text = text[:start] + draw(st.text(max_size=3)) + text[start + end :]
    return text if draw(st.integers(0, 9)) else text[: draw(st.integers(0, len(text)))]


class Scripted:
    """Takes the place of the client of an endpoint; each request has the next of some replies."""

    def __init__(self, replies: Sequence[tuple[int, Mapping[str, str], str]]) -> None:
        self._replies = iter(replies)
        self.given: list[tuple[str, str]] = []
        """Code and body of what was sent back."""

    def __call__(self, _options: Any, _key: Any) -> Self:
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def ask(self, body: Mapping[str, Any]) -> Reply | Refusal:
        found = re.search(r"<<< PROMPT ([0-9a-f]{16})", body["messages"][0]["content"])
        assert found is not None
        status, headers, text = next(self._replies)
        text = text.replace(CODE, found[1])
        self.given.append((found[1], text))
        return read_reply(text) if status == 200 else read_refusal(status, headers, text)


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, CANARY)


def stands(text: str, code: str) -> str | None:
    """Return the letter that the last line with a word in it gives, of what follows thinking, as anybody reads it."""
    text = re.split(r"</think>|\[/THINK\]", text)[-1]
    lines = [words for line in text.split("\n") if (words := re.findall(r"\w+", line))]
    return lines[-1][1] if lines and len(lines[-1]) == 2 and lines[-1][0] == code else None


def text_in(body: str) -> str:
    """Return the text of a body that is a completion."""
    content = json.loads(body)["choices"][0]["message"]["content"]
    if isinstance(content, str):
        return content
    kept = [part["text"] for part in content if part["type"] in {"text", "output_text"}]
    return "".join(text for text in kept if isinstance(text, str))


def said_so(error: StageError) -> None:
    assert all(line.isprintable() for line in str(error).split("\n"))
    assert CANARY not in str(error)


def compared(replies: Sequence[tuple[int, Mapping[str, str], str]], monkeypatch: pytest.MonkeyPatch) -> str:
    """Score one answer whose comparisons have these replies; return what became of it."""
    client = Scripted(replies)
    monkeypatch.setattr(endpoint, "Client", client)
    kept: list[tuple[str, Outcome]] = []
    keep = endpoint._Buying._outcome

    def outcome(buying: Any, reply: Any, request: Any, spent: Any) -> Outcome:
        kept.append((request.nonce, keep(buying, reply, request, spent)))
        return kept[-1][1]

    monkeypatch.setattr(endpoint._Buying, "_outcome", outcome)
    with in_memory() as folder:
        chosen = options(retries=0, max_unanswered=1.0, concurrency=1)
        try:
            result = judged(answers(1), Services(folder), chosen)
        except StageError as error:
            said_so(error)
            return "refused by the endpoint"
        finally:
            monkeypatch.undo()
            monkeypatch.setenv(VARIABLE, CANARY)
        stored = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
        assert CANARY.encode() not in stored
    given = dict(client.given)
    for code, told in kept:
        if told.choice is not None:
            letter = stands(text_in(given[code]), code)
            assert letter == {"first": "A", "second": "B"}[told.choice]
        assert type(told.input_tokens) is type(told.output_tokens) is int
        assert min(told.input_tokens, told.output_tokens) >= 0
    verdicts = sum(told.choice is not None for _, told in kept)
    reasons = sum(result.corpus[name] for name in ("unparsable", "refused", "unanswered"))
    assert verdicts + reasons == COMPARISONS
    json.dumps(dict(result.values), allow_nan=False)
    wins = [*result.values["win:chosen"], *result.values["null:chosen"]]
    assert verdicts == COMPARISONS or None in wins
    return {0: "without a verdict", COMPARISONS: "with every verdict"}.get(verdicts, "with some verdicts")


@REPLIES.settings(0.9)
@given(st.lists(bodies(), min_size=COMPARISONS, max_size=COMPARISONS))
def test_any_body(sent: list[str]) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch, REPLIES.case() as said:
        said(compared([(200, {}, body) for body in sent], monkeypatch))


@REPLIES.settings(0.05)  # there are no more than some 150
@given(RIGHT)
def test_a_reply_in_its_form_is_read(made: tuple[str, str]) -> None:
    text, letter = made
    with pytest.MonkeyPatch.context() as monkeypatch, REPLIES.case() as said:
        said(compared([(200, {}, json.dumps(completion(text)))] * COMPARISONS, monkeypatch))
        comparison = type("Any", (), {"prompt": "p", "first": "x", "second": "y"})()
        _, code = Wording().request(comparison)
        expected = {"A": "first", "B": "second"}[letter]
        assert Wording().read(text.replace(CODE, code), code) == expected


@REPLIES.settings(0.1)
@given(
    st.sampled_from([400, 401, 404, 408, 418, 429, 500, 503, 529]),
    st.text(max_size=8) | st.sampled_from(["1e400", "-5", "nan", "Wed, 21 Oct 2099 07:28:00 GMT", "1", "٣"]),
    VALUES.map(json.dumps)
    | st.text(max_size=20)
    | st.fixed_dictionaries({"error": st.fixed_dictionaries({"code": VALUES, "message": VALUES})}).map(json.dumps),
)
def test_any_status(status: int, wait: str, body: str) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch, REPLIES.case() as said:
        said(compared([(status, {"retry-after": wait}, body)] * COMPARISONS, monkeypatch))


@pytest.mark.parametrize("path", sorted(CORPUS.iterdir()), ids=lambda path: path.stem)
def test_what_once_failed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = path.read_text(encoding="utf-8")
    assert compared([(200, {}, sent)] * COMPARISONS, monkeypatch) == "without a verdict"
