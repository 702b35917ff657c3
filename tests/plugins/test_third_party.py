"""A real outside distribution, installed by pip into an environment of its own, and used in a benchmark there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from execution import warm
from scaffold import environments

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    Harness = Callable[..., subprocess.CompletedProcess[str]]

HERE = Path(__file__).resolve().parents[1] / "third_party"

BENCHMARK = """
benchmark: sums
profile: tiny
seeds: [0]
models:
  - {name: tiny, vocab_size: 280, config: {model_type: gpt2, n_embd: 8, n_head: 2, n_layer: 1, n_positions: 48}}
template: {text: "{instruction}", truncate: instruction}
train: {dataset: sums, split: train, largest: 6}
evaluate: [{dataset: sums, split: test, largest: 6}]
reward: {use: token-f1}
recipe: {epochs: 2, batch_size: 16, learning_rate: 0.005, max_prompt_length: 24, max_completion_length: 20}
decoding: {greedy: {temperature: 0.0, max_new_tokens: 20}}
methods: [sft, {use: es, pairs: 2, sigma: 0.02}]
metrics: [token-f1]
tables: [scores]
profiles: {tiny: {}}
"""


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("outside")


@pytest.fixture(scope="module")
def packages(outside: Path) -> Path:
    """Return where the environment of the distribution has its packages."""
    return environments.packages(outside / "venv")


@pytest.fixture(scope="module")
def harness(outside: Path) -> Harness:
    """Install the distribution, built by pip, and return the command line of that environment."""
    folder = outside
    python = environments.make_environment(folder / "venv")
    environments.install(
        python, shutil.copytree(HERE, folder / "source", ignore=shutil.ignore_patterns("__pycache__", ".*"))
    )
    (folder / "work").mkdir()

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        clean = {**environments.CLEAN, "OMP_NUM_THREADS": "1"}
        return warm.ended([str(python), "-m", "harness", *arguments], env=clean, cwd=folder / "work", timeout=600)

    return run


@pytest.fixture(scope="module")
def benchmark_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("file") / "sums.yaml"
    path.write_text(BENCHMARK, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def ran(
    harness: Harness, benchmark_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[subprocess.CompletedProcess[str], Path]:
    """Run the benchmark; return what was said and the folder of the results."""
    results = tmp_path_factory.mktemp("ran")
    return harness("run", str(benchmark_file), "--results", str(results), "--jobs", "1"), results


def test_it_is_listed_with_its_distribution_and_version(harness: Harness) -> None:
    rows: list[dict[str, Any]] = json.loads(harness("plugins", "--json").stdout)
    ours = [row for row in rows if row["distribution"] == "harness-es"]
    assert [(row["kind"], row["name"], row["version"], row["where"], row["status"]) for row in ours] == [
        ("method", "es", "0.3.1", "harness_es.es", "ok"),
        ("reward", "token-f1", "0.3.1", "harness_es.overlap", "ok"),
        ("dataset", "sums", "0.3.1", "harness_es.sums", "ok"),
        ("metric", "token-f1", "0.3.1", "harness_es.overlap", "ok"),
    ]
    assert {row["distribution"] for row in rows} >= {"harness-es", "posttune-harness"}


def test_its_options_are_shown(harness: Harness) -> None:
    text = harness("plugins", "show", "es").stdout
    assert text.startswith("method es, from harness-es 0.3.1 (harness_es.es)\n")
    assert "sigma        number > 0   0.01     Standard deviation of the perturbations of the weights." in text


def test_it_runs_in_a_benchmark(ran: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    result, folder = ran
    assert result.returncode == 0, result.stderr
    tables = folder / "sums" / "tiny"
    manifest = json.loads((tables / "manifest.json").read_text())
    assert [row["label"] for row in manifest["rows"]] == ["base", "sft", "es"]
    assert manifest["failures"] == []
    assert "Token F1 (%)" in (tables / "leaderboard.md").read_text()
    (es,) = [row for row in manifest["rows"] if row["label"] == "es"]
    log = folder / "store" / "train" / es["seeds"]["0"]["train"][-1] / "train.jsonl"
    steps = [json.loads(line) for line in log.read_text().splitlines()]
    assert len(steps) == 2
    for step in steps:
        assert step["tokens"]["trained"] == 0  # no backward pass
        assert step["reward"]["calls"] == 4 * 16  # two pairs, sixteen prompts
        assert set(step["method"]) == {"fitness", "fitness_sd", "pairs_alike"}
    assert any(step["moved"]["es"] for step in steps)
    assert made_by(manifest, "harness-es") == {
        ("dataset", "sums", "0.3.1", ()),
        ("method", "es", "0.3.1", ("es",)),
        ("metric", "token-f1", "0.3.1", ()),
        ("reward", "token-f1", "0.3.1", ("es",)),
    }
    assert {(kind, name, rows) for kind, name, _, rows in made_by(manifest, "posttune-harness")} == {
        ("method", "sft", ("sft", "es"))
    }
    record = json.loads((log.parent / "manifest.json").read_text())
    assert [(p["kind"], p["name"], p["distribution"], p["version"]) for p in record["plugins"]] == [
        ("method", "es", "harness-es", "0.3.1"),
        ("reward", "token-f1", "harness-es", "0.3.1"),
    ]
    text = (tables / "leaderboard.md").read_text()
    assert "Plugins of harness-es 0.3.1: dataset sums, method es, metric token-f1, reward token-f1 (es)." in text
    assert text.count("All other plugins: posttune-harness ") == 1
    assert {row["label"]: row["cells"].get("plugin", {}).get("value") for row in settings(tables)} == {
        "base": None,
        "sft": None,
        "es": "harness-es 0.3.1",
    }


def test_another_version_with_the_same_source_trains_nothing_again(
    harness: Harness,
    packages: Path,
    benchmark_file: Path,
    ran: tuple[subprocess.CompletedProcess[str], Path],
    tmp_path: Path,
) -> None:
    shutil.copytree(ran[1], tmp_path / "results")
    results = ("--results", str(tmp_path / "results"), "--jobs", "1")
    metadata = packages / "harness_es-0.3.1.dist-info" / "METADATA"
    known = metadata.read_text(encoding="utf-8")
    metadata.write_text(known.replace("Version: 0.3.1", "Version: 0.4.0"), encoding="utf-8")
    try:
        again = harness("run", str(benchmark_file), *results)
        assert "es, from harness-es 0.4.0" in harness("plugins", "show", "es").stdout
    finally:
        metadata.write_text(known, encoding="utf-8")
    assert again.returncode == 0, again.stderr
    assert "0 stages made" in again.stderr
    manifest = json.loads((tmp_path / "results" / "sums" / "tiny" / "manifest.json").read_text())
    assert {version for _, _, version, _ in made_by(manifest, "harness-es")} == {"0.3.1"}


def made_by(manifest: Any, distribution: str) -> set[tuple[str, str, str, tuple[str, ...]]]:
    found = (plugin for plugin in manifest["plugins"] if plugin["distribution"] == distribution)
    return {(plugin["kind"], plugin["name"], plugin["version"], tuple(plugin["rows"])) for plugin in found}


def settings(tables: Path) -> Any:
    return json.loads((tables / "leaderboard.json").read_text())["tables"]["settings"]["rows"]


def test_without_it_the_file_fails_before_any_work(harness: Harness, benchmark_file: Path, tmp_path: Path) -> None:
    result = harness("-p", "no:harness-es", "run", str(benchmark_file), "--results", str(tmp_path / "results"))
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert "'es'" in result.stderr
    assert "blocked by -p no:NAME" in result.stderr
    assert not (tmp_path / "results").exists()


def test_an_installed_plugin_changes_no_id(harness: Harness) -> None:
    file = str(HERE.parents[1] / "benchmarks" / "dolly.yaml")
    plans = [harness(*block, "plan", file, "--json").stdout for block in ((), ("-p", "no:harness-es"))]
    with_it, without_it = (
        [(stage["id"], stage["label"], stage["parents"]) for stage in json.loads(plan)["stages"]] for plan in plans
    )
    assert with_it == without_it
