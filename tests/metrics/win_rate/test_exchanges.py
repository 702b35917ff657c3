"""Hundreds of exchanges with a server that does everything wrong, processes that are killed, and limits that hold."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from execution import warm
from metrics.win_rate.cases import CANARY, Services, answers, judged, options
from metrics.win_rate.server import Asked, FakeJudge, completion, serving

from harness_plugins.metrics.win_rate.comparison import orders
from harness_plugins.metrics.win_rate.request import nonce

TESTS = Path(__file__).resolve().parents[2]

#: 50 answers and the null answer, each against the reference, each pair in both orders.
ANSWERS = 50

FAULTS: list[Any] = [
    (429, {"retry-after": "0.01"}, "{}"), (429, {}, "{}"), (500, {}, "oops"), (503, {}, "{}"), ("cut", 0.3), "reset",
    ("sleep", 0.02, None), {"choices": 3}, None, None, None, None,
]  # fmt: skip


def _drawn(code: str, salt: str, among: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{salt} {code}".encode()).digest()[:4], "big") % among


def final(code: str) -> str:
    """Return what the server says in the end of the request with this code, whatever it does before."""
    kinds = ["garbage", "truncated", "refusal", "policy", "lie", "several"]
    return ["honest", *kinds][max(0, _drawn(code, "final", 40) - 33)]


@dataclass
class Hostile:
    """The script: at most two faults, then the last word."""

    attempts: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, _number: int, asked: Asked) -> Any:
        with self.lock:
            attempt = self.attempts[asked.nonce]
            self.attempts[asked.nonce] += 1
        if attempt < 2:
            fault = FAULTS[_drawn(asked.nonce, f"fault {attempt}", len(FAULTS))]
            if fault is not None:
                return ("sleep", 0.02, self.last(asked)) if fault[0] == "sleep" else fault
        return self.last(asked)

    def last(self, asked: Asked) -> Any:
        match final(asked.nonce):
            case "garbage":
                return "Both are fine: A is longer, B is shorter."
            case "truncated":
                return completion(asked.verdict()[:-2], finish="length")
            case "refusal":
                return completion(None, refusal="no")
            case "policy":
                return (400, {}, json.dumps({"error": {"code": "content_filter", "message": "no"}}))
            case "lie":
                return asked.verdict("A")
            case "several":
                return f"{asked.nonce} A\n{asked.nonce} B"
        return None


def expected(count: int) -> tuple[list[float | None], Counter[str]]:
    """Return the wins and the kinds of last words, worked out without the metric."""
    wins: list[float | None] = []
    kinds: dict[str, str] = {}
    for sample in answers(count):
        known = sample.references[0].strip()
        scores: list[float | None] = []
        for text in (sample.text, "I do not know."):
            for way in orders(sample, text, known, "both"):
                code = nonce(way)
                kinds[code] = kind = final(code)
                longer = way.first if len(way.first) >= len(way.second) else way.second
                preferred = {"honest": longer, "lie": way.first}.get(kind)
                if text == sample.text:
                    scores.append(None if preferred is None else float(preferred == text))
        present = [score for score in scores if score is not None]
        wins.append(None if len(present) < 2 else 0.5 if present[0] != present[1] else present[0])
    return wins, Counter(kinds.values())


def start(server: FakeJudge, folder: Path, count: int, **more: Any) -> subprocess.Popen[str]:
    told = {"url": server.url, "folder": str(folder), "count": count, "options": more}
    path = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "metrics.win_rate.buyer", json.dumps(told)]
    environment = {**os.environ, "PYTHONPATH": path}
    return warm.started(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def end(process: subprocess.Popen[str], code: int = 0) -> dict[str, Any]:
    out, err = process.communicate(timeout=240)
    assert CANARY not in out + err
    assert process.returncode == code, err
    value: dict[str, Any] = json.loads(out)
    return value


def written(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def check(found: dict[str, Any], count: int) -> None:
    wins, kinds = expected(count)
    assert found["values"]["win:chosen"] == wins
    corpus = found["corpus"]
    assert corpus["unparsable"] == kinds["garbage"] + kinds["truncated"] + kinds["several"]
    assert corpus["refused"] == kinds["refusal"] + kinds["policy"]
    assert corpus["unanswered"] == 0
    assert corpus["calls"] == 4 * count


@pytest.mark.timeout(600)
def test_two_hundred_exchanges_with_a_process_killed_in_the_middle(tmp_path: Path) -> None:
    kinds = expected(ANSWERS)[1]
    assert sum(kinds.values()) == 200
    assert len(kinds) == 7
    with serving(Hostile()) as server:
        process = start(server, tmp_path, ANSWERS)
        while len(server.requests) < 120 and process.poll() is None:
            time.sleep(0.01)
        process.kill()
        process.communicate()
        assert process.returncode == -9
        check(end(start(server, tmp_path, ANSWERS)), ANSWERS)
        twice = [count for count in server.bought.values() if count > 1]
        assert len(twice) <= 8  # what was under way: a process has eight requests at a time
        assert set(twice) <= {2}
        sold = len(server.bought)
        check(end(start(server, tmp_path, ANSWERS)), ANSWERS)
        assert len(server.bought) == sold
        assert [count for count in server.bought.values() if count > 1] == twice
    assert CANARY.encode() not in written(tmp_path)
    assert not list(tmp_path.rglob("*.claim"))[8:]


@pytest.mark.timeout(600)
def test_two_processes_at_once_buy_nothing_twice(tmp_path: Path) -> None:
    with serving(Hostile()) as server:
        first, second = (start(server, tmp_path, 30) for _ in range(2))
        found = [end(first), end(second)]
        assert set(server.bought.values()) == {1}
        assert server.most_at_once <= 16
    for one in found:
        check(one, 30)


@pytest.mark.timeout(600)
def test_a_limit_on_calls_holds_over_processes_and_runs(tmp_path: Path) -> None:
    with serving(Hostile()) as server:
        both = [start(server, tmp_path, 30, max_calls=100) for _ in range(2)]
        for process in both:
            found = end(process, code=1)
            assert "the limit max_calls: 100 is reached with" in found["error"]
            assert "raise max_calls and run again" in found["error"]
        assert len(server.requests) == 100
        end(start(server, tmp_path, 30, max_calls=100), code=1)
        assert len(server.requests) == 100
        check(end(start(server, tmp_path, 30, max_calls=2000)), 30)
        assert set(server.bought.values()) == {1}


@pytest.mark.timeout(600)
def test_a_limit_on_money_holds_whatever_a_reply_costs(tmp_path: Path) -> None:
    price, limit = {"input": 1.0, "output": 3.0}, 0.05

    def dear(_number: int, asked: Asked) -> Any:
        size = len(asked.body["messages"][0]["content"].encode())
        return completion(asked.verdict(), usage={"prompt_tokens": size, "completion_tokens": 256})

    with serving(dear) as server:
        for process in [start(server, tmp_path, 30, max_cost=limit, price_per_million=price) for _ in range(2)]:
            assert "the limit max_cost: 0.05 is reached" in end(process, code=1)["error"]
        sizes = [len(asked.body["messages"][0]["content"].encode()) for asked in server.requests]
        spent = sum(size + 3 * 256 for size in sizes) / 1e6
        assert limit * 0.9 < spent <= limit


def test_room_that_replies_leave_is_used(services: Services) -> None:
    """A reply costs far less than was put down for it: what is under way does not make a limit be reached early."""
    with serving() as server:
        chosen = options(server.url, max_cost=0.0085, price_per_million={"input": 1.0, "output": 10.0})
        assert judged(answers(4), services, chosen).values["win:chosen"] == [1.0, 0.0, 1.0, 0.0]
    assert len(server.requests) == 16
