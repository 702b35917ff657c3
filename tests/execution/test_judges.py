"""Judges through the command line: verdicts are bought once, a key is told to nobody, and its absence costs no work."""

from __future__ import annotations

import json
import shutil
import sys
from typing import TYPE_CHECKING, Any

import pytest
from execution.bench import tiny
from metrics.win_rate.cases import CANARY, VARIABLE
from metrics.win_rate.server import serving

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from execution.bench import Bench

pytestmark = pytest.mark.timeout(1800)  # on a machine that does ten other things

AGAINST = ["chosen", "base", "sft"]


#: The environment with the key.
KEY: dict[str, Any] = {VARIABLE: CANARY}


def endpoint(url: str, **more: Any) -> dict[str, Any]:
    return {
        "use": "win-rate",
        "judge": "endpoint",
        "model": "judge-1",
        "base_url": url,
        "api_key_env": VARIABLE,
        "against": AGAINST,
        "backoff": 0.01,
        "price_per_million": {"input": 1.0, "output": 2.0},
        **more,
    }


def scores(bench: Bench) -> dict[str, Any]:
    return {label.split("/")[1]: record for label, record in bench.stages("score").items() if "win-rate" in label}


def means(record: Any) -> Mapping[str, list[float | None]]:
    columns: Mapping[str, list[float | None]] = record.json("means.json")["columns"]
    return columns


def everything(bench: Bench) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(bench.folder.rglob("*")) if path.is_file())


def test_a_rule(copied: Callable[..., Bench], finished: Bench) -> None:
    bench = copied(metrics=["rouge", {"use": "win-rate", "judge": "rule", "against": AGAINST}])
    said = bench.run()
    assert "3 stages made" in said  # a score for each row, and nothing is trained or answered again
    found = scores(bench)
    assert set(found) == {"base", "sft", "eso"}
    kinds = ("win", "consistent", "first", "null", "margin_length")
    assert set(means(found["eso"])) == {f"{kind}:{other}" for kind in kinds for other in AGAINST}
    for label in ("base", "sft"):  # a row against itself
        assert set(means(found[label])[f"win:{label}"]) == {0.5}
        assert set(means(found[label])[f"margin_length:{label}"]) == {0.0}
    there, back = means(found["sft"])["win:base"], means(found["base"])["win:sft"]
    assert [a + b for a, b in zip(there, back, strict=True) if a is not None and b is not None] == [1.0] * 6
    old, new = finished.digests(), bench.digests()
    assert {stage: new[stage] for stage in old} == old


def test_an_endpoint(copied: Callable[..., Bench]) -> None:
    with serving() as server:
        bench = copied(metrics=["rouge", endpoint(server.url)])
        said = [bench.run("--jobs", "2", **KEY)]
        found = scores(bench)
        first = {label: means(record) for label, record in found.items()}
        assert set(server.bought.values()) == {1}
        assert {asked.key for asked in server.requests} == {f"Bearer {CANARY}"}
        summary = found["eso"].json("metrics.json")
        assert summary["corpus"]["unparsable"] == 0
        assert summary["corpus"]["calls"] > 0
        assert summary["corpus"]["cost"] == pytest.approx(summary["corpus"]["calls"] * 140 / 1e6)
        for column, values in first["eso"].items():
            present = {value for value in values if value is not None}  # equal answers are a tie that nobody is asked
            assert column.startswith("margin") or present <= {0.0, 0.25, 0.5, 0.75, 1.0}
        asked = len(server.requests)
        for record in found.values():
            shutil.rmtree(record.folder)
        said.append(bench.run(**KEY))
        said.append(bench.run())  # all is there: no key is needed
        assert {label: means(record) for label, record in scores(bench).items()} == first
        assert len(server.requests) == asked
    assert CANARY not in "".join(said)
    assert CANARY.encode() not in everything(bench)


def test_no_key_is_one_line_before_anything_is_made(copied: Callable[..., Bench]) -> None:
    bench = copied(metrics=["rouge", endpoint("http://127.0.0.1:9/v1")], seeds=[7])
    before = bench.digests()
    said = bench.run(code=2)
    (error,) = [line for line in said.splitlines() if line.startswith("error:")]
    assert f"the judge needs a key, and the environment variable {VARIABLE} is not set; expected export" in error
    assert bench.digests() == before
    validate = [sys.executable, "-m", "harness", "validate", str(bench.file)]  # which needs no secret
    done = bench.ended(validate, bench.surroundings())
    assert done.returncode == 0, done.stderr


def test_replies_without_a_verdict_are_asked_for_again_on_request(copied: Callable[..., Bench]) -> None:
    with serving(lambda number, _asked: "Neither." if number < 4 else None) as server:
        metric = endpoint(server.url, against=["chosen"], concurrency=1)
        bench = copied(metrics=["rouge", metric], methods=tiny()["methods"][:1])
        bench.run("--jobs", "1", **KEY)
        before = {label: record.json("metrics.json")["corpus"] for label, record in scores(bench).items()}
        assert sum(corpus["unparsable"] for corpus in before.values()) >= 4
        asked = len(server.requests)
        bench.run("--jobs", "1", **KEY)
        assert len(server.requests) == asked
        server.script = lambda _number, _asked: (503, {}, "{}")
        said = bench.run("--jobs", "1", "--retry-unparsed", **KEY)
        assert "asked again in vain, the earlier result stays" in said
        assert {label: record.json("metrics.json")["corpus"] for label, record in scores(bench).items()} == before
        server.script = lambda _number, _asked: None
        asked = len(server.requests)
        bench.run("--jobs", "1", "--retry-unparsed", **KEY)
        assert len(server.requests) == asked + 4
        assert all(record.json("metrics.json")["corpus"]["unparsable"] == 0 for record in scores(bench).values())
        bench.run("--jobs", "1", "--retry-unparsed", **KEY)
        assert len(server.requests) == asked + 4


def test_an_endpoint_that_fails_costs_its_cells_and_running_again_goes_on(copied: Callable[..., Bench]) -> None:
    with serving(lambda number, _asked: None if number < 10 else (503, {}, json.dumps({"error": CANARY}))) as server:
        bench = copied(metrics=["rouge", endpoint(server.url, retries=1, concurrency=2, against=["chosen"])])
        said = bench.run("--jobs", "1", code=1, **KEY)
        assert "failed: score new/base/seed 0/test/t1/win-rate: metric 'win-rate', judge judge-1: " in said
        assert "had no reply after 2 requests: status 503: ***" in said
        assert "run again: verdicts that were bought are kept" in said
        server.script = lambda _number, _asked: None
        bench.run("--jobs", "1", **KEY)
        assert set(server.bought.values()) == {1}
    assert set(scores(bench)) == {"base", "sft", "eso"}
    assert CANARY.encode() not in everything(bench)


def test_a_limit_is_one_message_and_costs_the_cells_alone(copied: Callable[..., Bench]) -> None:
    with serving() as server:
        bench = copied(metrics=["rouge", endpoint(server.url, max_calls=5)], methods=tiny()["methods"][:1])
        said = bench.run(code=1, **KEY)
        assert "the limit max_calls: 5 is reached with" in said
        assert len(server.requests) == 5
        assert '"rouge"' in bench.board("json").read_text(encoding="utf-8")
