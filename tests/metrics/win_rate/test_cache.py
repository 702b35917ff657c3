"""What is on the disk: replies that are whole, claims that one process holds, an account that adds up."""

from __future__ import annotations

import json
import os
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from harness.api import MachineError, StageError
from harness_plugins.metrics.win_rate.cache import ReplyCache, key_of
from harness_plugins.metrics.win_rate.comparison import Outcome
from harness_plugins.metrics.win_rate.ledger import Exhausted, Ledger, Spent
from harness_plugins.metrics.win_rate.options import Price

if TYPE_CHECKING:
    from pathlib import Path

KEY = key_of({"a": 1})


def ledger(path: Path, *, max_calls: int | None = None, max_cost: float | None = None) -> Ledger:
    return Ledger(path, price=Price(input=1.0, output=2.0), max_calls=max_calls, max_cost=max_cost)


def test_a_verdict_is_found_again(tmp_path: Path) -> None:
    cache = ReplyCache(tmp_path / "verdicts")
    assert cache.find(KEY) is None
    outcome = Outcome("first", None, 10, 2)
    cache.put(KEY, outcome, reply="x\ud800" * 5000, model="m")
    kept = ReplyCache(tmp_path / "verdicts").find(KEY)
    assert kept is not None
    assert kept.outcome == outcome
    assert 0 < time.time() - kept.bought < 600
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [f"{KEY}.json"]
    assert cache.find(key_of({"a": 2})) is None


def changed(**values: Any) -> Any:
    return lambda text: json.dumps({**json.loads(text), **values})


@pytest.mark.parametrize(
    "damage",
    [lambda _: "", lambda text: text[:-9], lambda _: "[]", lambda _: "null", changed(choice="second"),
     changed(input_tokens=7), changed(format=2), lambda text: text.replace("first", "third")],
)  # fmt: skip
def test_a_damaged_verdict_is_none(tmp_path: Path, damage: Any) -> None:
    cache = ReplyCache(tmp_path)
    cache.put(KEY, Outcome("first"), reply="", model="")
    (path,) = tmp_path.rglob("*.json")
    path.write_text(damage(path.read_text(encoding="utf-8")), encoding="utf-8")
    assert cache.find(KEY) is None
    cache.put(KEY, Outcome("tie"), reply="", model="")
    kept = cache.find(KEY)
    assert kept is not None
    assert kept.outcome == Outcome("tie")


def test_a_reply_without_a_verdict_is_kept_with_its_end(tmp_path: Path) -> None:
    cache = ReplyCache(tmp_path)
    cache.put(KEY, Outcome(None, "unparsable", 3, 4), reply="x" * 300_000 + "the end", model="m")
    kept = cache.find(KEY)
    assert kept is not None
    assert kept.outcome == Outcome(None, "unparsable", 3, 4)
    assert kept.reply.endswith("the end")
    with pytest.raises(AssertionError):
        cache.put(KEY, Outcome(None, "unanswered"), reply="", model="m")


def test_one_at_a_time_may_buy(tmp_path: Path) -> None:
    first, second = ReplyCache(tmp_path), ReplyCache(tmp_path)
    with first.claim(KEY) as mine:
        assert mine
        with second.claim(KEY) as also, second.claim(key_of({"b": 1})) as other:
            assert (also, other) == (False, True)
        with second.claim(KEY) as also:  # a vain try takes nothing away
            assert not also
    with second.claim(KEY) as mine:
        assert mine
    assert not list(tmp_path.rglob("*.claim"))


def test_a_claim_left_by_a_process_that_ended_holds_nobody_up(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        held = ReplyCache(tmp_path).claim(KEY)
        os._exit(0 if held.__enter__() else 1)
    os.waitpid(child, 0)
    assert len(list(tmp_path.rglob("*.claim"))) == 1
    with ReplyCache(tmp_path).claim(KEY) as mine:
        assert mine


def test_what_cannot_be_written_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "verdicts").write_text("a file", encoding="utf-8")
    with pytest.raises(MachineError, match="the judge's cache cannot be written"):
        ReplyCache(tmp_path / "verdicts").put(KEY, Outcome("tie"), reply="", model="")


def test_an_account(tmp_path: Path) -> None:
    account = ledger(tmp_path / "a.json", max_calls=3, max_cost=0.001)
    account.reserve(Spent(1, 100, 200))  # 500 millionths
    account.reserve(Spent(1, 100, 200))
    with pytest.raises(Exhausted, match="max_cost"):
        account.reserve(Spent(1, 1, 0))
    account.settle(Spent(1, 100, 200), Spent(1, 10, 10))
    account.reserve(Spent(1, 100, 100))
    with pytest.raises(Exhausted, match="max_calls"):
        account.reserve(Spent(1, 0, 0))
    assert ledger(tmp_path / "a.json").read() == Spent(3, 210, 310)
    assert Spent(3, 210, 310).cost(Price(input=1.0, output=2.0)) == pytest.approx(830e-6)


def test_threads_lose_no_entry(tmp_path: Path) -> None:
    def work() -> None:
        mine = ledger(tmp_path / "a.json")
        for _ in range(25):
            mine.reserve(Spent(1, 5, 5))
            mine.settle(Spent(1, 5, 5), Spent(1, 2, 1))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ledger(tmp_path / "a.json").read() == Spent(100, 200, 100)


def test_a_damaged_account_stops_the_spending(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{", encoding="utf-8")
    with pytest.raises(StageError, match="the ledger of the judge is damaged"):
        ledger(tmp_path / "a.json").reserve(Spent(1, 0, 0))
