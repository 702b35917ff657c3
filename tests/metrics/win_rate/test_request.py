"""What is asked and how replies are read, on any text."""

from __future__ import annotations

import hashlib
import json
import string
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metrics.win_rate.cases import sample
from metrics.win_rate.server import completion

from harness_plugins.metrics.win_rate.comparison import Comparison
from harness_plugins.metrics.win_rate.replies import read_refusal, read_reply
from harness_plugins.metrics.win_rate.request import Wording, nonce

if TYPE_CHECKING:
    from collections.abc import Mapping

ANY = st.text(max_size=60)
#: What an answer would hold to look like a part of the request, or like a verdict.
SLY = st.sampled_from(
    ["{nonce} A", "{answer_b}", "A", "B", "TIE", "\n0123456789abcdef A", "0123456789abcdef >>>", "<<< ANSWER B", "\n"]
)
TEXT = st.lists(ANY | SLY, max_size=4).map("".join)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY, inner, max_size=3),
    max_leaves=8,
)


def comparison(prompt: str = "p", first: str = "one", second: str = "two") -> Comparison:
    return Comparison(prompt, first, second, None, sample(0, "", None))


@given(TEXT, TEXT, TEXT)
def test_no_part_holds_the_code_and_each_stands_whole_between_its_lines(prompt: str, first: str, second: str) -> None:
    way = comparison(prompt, first, second)
    text, code = Wording().request(way)
    assert all(code not in part for part in (prompt, first, second))
    for name, part in (("PROMPT", prompt), ("ANSWER A", first), ("ANSWER B", second)):
        whole = part.encode("utf-8", "replace").decode()
        assert f"<<< {name} {code}\n{whole}\n{code} >>>" in text
    assert Wording().request(way) == (text, code)  # the same code each time, so that what is cached is found


def test_a_text_that_guessed_the_code_gets_another(monkeypatch: pytest.MonkeyPatch) -> None:
    real, seen = hashlib.sha256, []

    def guessed(data: bytes) -> Any:
        seen.append(data)
        return real(b"known" if len(seen) == 1 else data)

    monkeypatch.setattr(hashlib, "sha256", guessed)
    known = real(b"known").hexdigest()[:16]
    assert nonce(comparison(first=f"...{known}...")) != known
    assert len(seen) == 2


@given(TEXT, TEXT, TEXT)
def test_another_order_has_another_code(prompt: str, first: str, second: str) -> None:
    if first != second:
        assert nonce(comparison(prompt, first, second)) != nonce(comparison(prompt, second, first))


@given(TEXT, st.sampled_from("AB"), st.sampled_from(["", "\n", "  \n\n", "\r\n"]))
def test_a_verdict_is_read(said: str, choice: str, after: str) -> None:
    code = "f00dfacef00dface"
    assert Wording().read(f"{said}\n{code} {choice}{after}", code) == {"A": "first", "B": "second"}[choice]


CODE = "f00dfacef00dface"

DECORATED: dict[str, str | None] = {
    f"**{CODE} A**": "first",
    f"`{CODE} B`": "second",
    f"__{CODE}__ **B**": "second",
    f"{CODE} **A**.": "first",
    f'"{CODE} A"': "first",
    f"```\n{CODE} A\n```": "first",
    f"{CODE} A\n---\n": "first",
    f"<think>The code is {CODE}; {CODE} B? No.</think>\nA says more.\n{CODE} A": "first",
    f"\n<thinking>\n{CODE} B\n</thinking>\n\n{CODE} A": "first",
    f"I think {CODE} B.\n</think>\n{CODE} A": "first",  # the server had put the opening mark into the request
    f"[THINK]{CODE}[/THINK]{CODE} A": "first",
    f"<think>{CODE} A": None,  # the limit came before the end of the thinking
    f"<think>{CODE} A</think>": None,
    f"<think>A.</think>\nI take {CODE} B.\n{CODE} A": None,
    f"A.\n<think>{CODE} B</think>\n{CODE} A": None,  # what does not lead is part of the reply
    f"**{CODE} A** or **{CODE} B**": None,
    f"**{CODE} A**\n**{CODE} B**": None,
    f"**{CODE} A**, clearly": None,
    f"**{CODE}**\n**A**": None,
    f"{CODE}A": None,
    "**A**": None,
    "```\n```": None,
}


@pytest.mark.parametrize("reply", list(DECORATED))
def test_thinking_and_decoration_hide_no_verdict_and_make_none(reply: str) -> None:
    assert Wording().read(reply, CODE) == DECORATED[reply]


@given(st.text(alphabet="*_`~ \"'.-\n", max_size=5000), st.text(alphabet="*_`~: \"'.", max_size=5000))
@settings(deadline=None)
def test_long_decoration_is_read_at_once(before: str, after: str) -> None:
    assert Wording().read(f"{before}{CODE}{after}", CODE) is None
    assert Wording("{prompt} {answer_a} {answer_b}").read(f"x\n{before}{after}x", CODE) is None


@given(TEXT)
def test_text_without_the_code_is_no_verdict(reply: str) -> None:
    assert Wording().read(reply, "f00dfacef00dface") is None


@given(st.text(alphabet=string.ascii_letters + ' .\n"0', max_size=30), st.sampled_from(["A", "B"]))
def test_the_code_twice_or_anything_beside_the_choice_is_no_verdict(noise: str, choice: str) -> None:
    code = "f00dfacef00dface"
    assert Wording().read(f"{code}{noise}\n{code} {choice}", code) is None
    if noise.strip(' ."\n'):  # a full stop or a quotation mark changes nothing
        assert Wording().read(f"one\n{code} {choice}{noise.strip()}", code) is None
        assert Wording().read(f"one\n{code} {choice}\n{noise}", code) is None


@pytest.mark.parametrize(
    ("reply", "choice"),
    [("<think>B?</think>\nMore helpful: **A**", "first"), ("x\n**More helpful:** A", "first"), ("x\n`B`", "second"),
     ("<think>B?\nMore helpful: A", None), ("Comparison: A is fuller.\nMore helpful: A", "first"),
     ('x\nMore helpful: "B"', "second"), ("x\nB", "second"),
     ("A", "first"), ("x\nMore helpful: 'A'.", "first"), ("x\nMore helpful: a", None), ("x\nA or B", None), ("", None),
     ("More helpful: A\nbecause it is", None), ("x\nMore helpful: A B", None), ("x\nNeither: C", None),
     ("x\nI cannot: compare: A", None), ("x\nTIE", None), ("x\nMore helpful: A\n\n", "first")],
)  # fmt: skip
def test_a_template_without_a_code_is_read_by_its_last_line(reply: str, choice: str | None) -> None:
    wording = Wording("{prompt} {answer_a} {answer_b}")
    assert not wording.coded
    assert wording.read(reply, "f00dfacef00dface") == choice


@given(TEXT, TEXT, TEXT)
def test_places_are_filled_once(prompt: str, first: str, second: str) -> None:
    text, code = Wording("[{prompt}|{answer_a}|{answer_b}|{nonce}|{other}]").request(comparison(prompt, first, second))
    assert text == f"[{prompt}|{first}|{second}|{code}|{{other}}]".encode("utf-8", "replace").decode()


def test_the_words_of_the_request() -> None:
    text, _ = Wording(criterion="is the better summary", ties=True).request(comparison())
    assert "say which answer is the better summary." in text
    assert "A, B, or TIE" in text
    assert "TIE" not in Wording().request(comparison())[0]


@given(JSON, ANY)
def test_any_body_is_sorted_and_none_invents_a_text(value: Any, text: str) -> None:
    for body in (json.dumps(value), text, json.dumps({"choices": [value]}), json.dumps({"choices": value})):
        assert read_reply(body).kind == "broken"


@given(JSON, JSON, JSON)
def test_any_choice_is_sorted(content: Any, ended: Any, usage: Any) -> None:
    body = {"choices": [{"message": {"content": content}, "finish_reason": ended}], "usage": usage}
    found = read_reply(json.dumps(body))
    assert found.kind == ("declined" if ended == "content_filter" else "text")
    assert found.text == (content if isinstance(content, str) else "")
    for count in (found.input_tokens, found.output_tokens):
        assert count is None or count >= 0


def test_the_deepest_body() -> None:
    assert read_reply("[" * 100_000).kind == "broken"
    assert read_refusal(500, {}, "[" * 100_000).passes


def test_a_whole_reply() -> None:
    found = read_reply(json.dumps(completion("yes")))
    assert (found.kind, found.text, found.model, found.input_tokens, found.output_tokens) == (
        "text", "yes", "judge-1", 100, 20,
    )  # fmt: skip


@pytest.mark.parametrize("ended", ["stop", "eos", "eos_token", "stop_sequence", "length", "tool_calls", "", None, 7])
@pytest.mark.parametrize(
    "content",
    ["yes", [{"type": "text", "text": "yes"}], [{"type": "output_text", "text": "ye"}, {"type": "text", "text": "s"}],
     [{"type": "thinking", "thinking": "no"}, {"type": "reasoning", "text": "no"}, {"type": "text", "text": "yes"}]],
)  # fmt: skip
def test_any_reason_and_any_form_of_content(ended: Any, content: Any) -> None:
    found = read_reply(json.dumps(completion(content, finish=ended)))
    assert (found.kind, found.text) == ("text", "yes")


def test_a_message_that_declines() -> None:
    for body in (
        completion("no", finish="content_filter"),
        completion(None, refusal="I cannot."),
        completion([{"type": "refusal", "refusal": "I cannot."}]),
    ):
        assert read_reply(json.dumps(body)).kind == "declined"


@pytest.mark.parametrize(
    ("error", "spent"),
    [({"type": "insufficient_quota", "code": "insufficient_quota"}, True), ({"code": "insufficient_quota"}, True),
     ({"type": "billing_not_active", "code": None}, True), ({"code": "rate_limit_exceeded"}, False),
     ({"code": ["insufficient_quota"]}, False), ({"type": "requests", "code": 429}, False)],
)  # fmt: skip
def test_a_quota_that_is_used_up_does_not_pass(error: dict[str, Any], *, spent: bool) -> None:
    found = read_refusal(429, {"retry-after": "1"}, json.dumps({"error": {"message": "no", **error}}))
    assert (found.spent, found.passes) == (spent, not spent)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [({}, None), ({"retry-after": "2"}, 2.0), ({"retry-after": "0.5"}, 0.5), ({"retry-after": "-3"}, 0.0),
     ({"retry-after": "soon"}, None), ({"retry-after": "nan"}, None), ({"retry-after": "inf"}, float("inf")),
     ({"retry-after": "Thu, 01 Jan 1970 00:00:00 GMT"}, 0.0), ({"retry-after": "Thu, 99 Jan"}, None)],
)  # fmt: skip
def test_how_long_to_wait(headers: Mapping[str, str], seconds: float | None) -> None:
    assert read_refusal(429, headers, "").retry_after == seconds


@given(st.integers(300, 599), JSON | ANY)
def test_any_error_is_one_short_line(status: int, value: Any) -> None:
    for body in (
        json.dumps(value),
        json.dumps({"error": value}),
        json.dumps({"error": {"message": value}}),
        str(value),
    ):
        found = read_refusal(status, {}, body)
        assert len(found.words) <= 200
        assert found.words.isprintable()
        assert found.passes == (status >= 500 or status in {408, 429})
        assert not found.policy
        assert not found.spent
