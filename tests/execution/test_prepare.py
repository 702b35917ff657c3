"""What is fetched beforehand is all that a run reads: with the hub gone, the run goes through."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from execution.bench import Bench, tiny
from lm.fake_hub import COMMIT, Hub

from harness.benchmark import load_benchmark
from harness.cli.prepare import _carried
from harness.plugins.loader import load_registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.timeout(1800)


@pytest.fixture
def hub(finished: Bench, tmp_path: Path) -> Iterator[Hub]:
    """Return a hub on this machine that has one model."""
    hub = Hub()
    (record,) = [record for label, record in finished.stages("prepare").items() if "weights" in label]
    hub.repositories["org/tiny"] = tmp_path / "repository"
    shutil.copytree(record.path("checkpoint"), tmp_path / "repository")
    yield hub
    hub.stop()


def test_with_all_prepared_a_run_needs_no_hub(hub: Hub, tmp_path: Path) -> None:
    content = tiny(models=["org/tiny"], methods=["sft"], metrics=["rouge", "perplexity"])
    bench = Bench(tmp_path / "bench", content, {"HF_HOME": str(tmp_path / "cache")})
    there = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0"}
    done = bench.ended(bench.command("--json", name="prepare"), bench.surroundings(**there))
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    kinds = [(item["kind"], item["name"], item["origin"], item["revision"]) for item in said["fetched"]]
    assert ("model", "tiny", "hub", COMMIT) in kinds
    assert ("data set", "generated-instructions/train", "generated", None) in kinds
    assert [item["what"] for item in said["fetched"] if item["kind"] == "metric"] == ["tried on two answers"]
    assert {one["path"] for one in said["carry"]} == {str(bench.results / "store"), str(tmp_path / "cache")}
    assert {path.name for path in (bench.results / "store").iterdir() if path.name[0] != "."} == {"prepare"}
    assert hub.served

    served = list(hub.served)
    printed = bench.ended(bench.command(name="prepare"), bench.surroundings(**there)).stdout
    assert hub.served == served  # nothing is fetched twice
    assert f"model tiny: org/tiny of the hub at {COMMIT}" in printed
    assert f"HF_HUB_OFFLINE=1 harness run {bench.file}" in printed

    hub.stop()
    carried = Bench(tmp_path / "carried", bench.content, {"HF_HOME": str(tmp_path / "elsewhere")})
    shutil.copytree(bench.results, carried.results)
    shutil.copytree(tmp_path / "cache", tmp_path / "elsewhere", symlinks=True)
    shutil.rmtree(tmp_path / "cache")
    assert "stages made" in carried.run("--jobs", "1")


def test_all_that_the_file_names_is_carried(hub: Hub, tmp_path: Path) -> None:
    theirs, plugin = tmp_path / "answers.jsonl", tmp_path / "mine.py"
    rows = "".join(json.dumps({"id": str(number), "answer": "Yes."}) + "\n" for number in range(6))
    theirs.write_text(rows, encoding="utf-8")
    reward = "RewardRegistration(name='none', summary='Nothing', options=NoOptions, build=lambda _: lambda **rows: [])"
    plugin.write_text(f"from harness.api import NoOptions, RewardRegistration\nnone = {reward}\n", encoding="utf-8")
    content = tiny(models=["org/tiny"], methods=["sft", {"use": "answers", "path": str(theirs)}])
    bench = Bench(tmp_path / "bench", content, {"HF_HOME": str(tmp_path / "cache")})
    there = bench.surroundings(HF_ENDPOINT=hub.url, HF_HUB_OFFLINE="0")
    done = bench.ended(bench.command("--plugin", str(plugin), name="prepare"), there)
    assert done.returncode == 0, done.stderr
    for path in (theirs, plugin):
        assert f"  {path} (" in done.stdout
    assert f"harness run {bench.file} --plugin {plugin}" in done.stdout


def test_what_an_adapter_goes_on_is_carried(tmp_path: Path) -> None:
    for name in ("mine", "below"):
        (tmp_path / name).mkdir()
    entry = {"use": "checkpoint", "path": str(tmp_path / "mine"), "base": str(tmp_path / "below")}
    bench = Bench(tmp_path / "bench", tiny(methods=["sft", entry]))
    benchmark = load_benchmark(bench.file, registry=load_registry())
    assert {str(tmp_path / name) for name in ("mine", "below")} <= {
        one["path"] for one in _carried(benchmark, bench.store, [], [])
    }
