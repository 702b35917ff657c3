"""A benchmark that times training: what it may leave out, what it refuses, and what its table leaves out."""

from __future__ import annotations

import json
import statistics
from typing import TYPE_CHECKING, Any

import pytest
from execution.bench import Bench, tiny

if TYPE_CHECKING:
    from pathlib import Path


def timed(**changes: Any) -> dict[str, Any]:
    full = {"use": "eso", "label": "full", "temperatures": [0.5, 1.5], "recipe": {"suppress_stops": True}}
    content = tiny(
        timing={"warmup_steps": 2}, evaluate=None, decoding=None, metrics=None,
        train={"dataset": "generated-instructions", "limit": 30, "pair_with": "other-rows"},
        methods=["sft", {"use": "eso", "temperatures": [0.5, 1.5]}, full],
    )  # fmt: skip
    content["recipe"]["max_steps"] = 5
    return {**content, **changes}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    bench = Bench(tmp_path_factory.mktemp("timing"), timed())
    assert "1 at a time" in bench.run()
    return bench


def test_every_row_takes_as_many_steps_from_one_checkpoint(bench: Bench) -> None:
    own = {label: record for label, record in bench.stages("train").items() if "at most 5 steps" in label}
    assert len(own) == 3
    assert {len(list(record.jsonl("train.jsonl"))) for record in own.values()} == {5}
    manifest = json.loads((bench.results / "tiny/default/manifest.json").read_text(encoding="utf-8"))
    chains = [row["seeds"]["0"]["train"] for row in manifest["rows"] if row["kind"] != "base"]
    assert {len(chain) for chain in chains} == {2}
    assert len({chain[0] for chain in chains}) == 1
    assert not list(bench.store.records("generate"))


def test_suppressed_stops_sample_to_the_limit(bench: Bench) -> None:
    (record,) = [record for label, record in bench.stages("train").items() if "/full/" in label]
    for row in record.jsonl("train.jsonl"):
        assert (row["samples"]["mean_length"], row["samples"]["truncated"]) == (12.0, row["samples"]["count"])


def test_the_table_leaves_the_warm_up_out_and_says_so(bench: Bench) -> None:
    board = json.loads(bench.board("json").read_text(encoding="utf-8"))
    assert list(board["tables"]) == ["timing", "signal", "settings"]
    table = board["tables"]["timing"]
    rows = {row["label"]: row["cells"] for row in table["rows"]}
    for label, record in bench.stages("train").items():
        if "at most 5 steps" in label:
            seconds = [sum(row["seconds"].values()) for row in record.jsonl("train.jsonl")][2:]
            assert rows[label.split("/")[1]]["total"]["value"] == pytest.approx(statistics.median(seconds))
    assert {name: cells["stops"]["value"] for name, cells in rows.items()} == {
        "sft": "samples nothing", "eso": "natural", "full": "suppressed",
    }  # fmt: skip
    caption = " ".join(table["caption"])
    assert "The first 2 steps of each row's own training are left out" in caption
    assert "All rows of a model start from the same checkpoint." in caption
    assert "rejected is the answer of another row" in caption


def test_more_than_one_stage_at_a_time_is_refused(bench: Bench) -> None:
    assert "--jobs: what is timed is made one stage at a time, got 2" in bench.run("--jobs", "2", code=2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metrics": ["rouge"]}, "evaluate: is missing"),
        ({"timing": None}, "decoding: is missing"),
        ({"tables": ["scores", "timing"]}, 'tables: nothing is evaluated that this table could show, got "scores"'),
        ({"timing": {"warmup_steps": -1}}, "timing.warmup_steps: is wrong"),
    ],
)  # fmt: skip
def test_what_a_timing_may_not_leave_out(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    content = {name: value for name, value in timed(**changes).items() if value is not None}
    assert message in Bench(tmp_path, content).run(code=2)
