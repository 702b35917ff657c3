"""The rows of a benchmark's table: trained by the harness, and each by itself from scratch by the official recipe."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perf.official import Official
from perf.workload import Task

from harness.benchmark import load_benchmark
from harness.plugins.loader import load_registry
from harness.stages.stored_rows import read
from harness.store.stages import Store
from harness.text.encode import EncodingParams, encode
from harness.text.tokenise import Tokeniser

if TYPE_CHECKING:
    from harness.spec.benchmark import Benchmark

FILE = Path(__file__).resolve().parents[2] / "benchmarks" / "dolly.yaml"
_METHODS = ("sft", "unlikelihood", "drl", "rrhf", "eso")


def train_with_harness(results: Path, threads: int) -> tuple[float, float]:
    """Run the quick profile's first seed, one stage at a time; return seconds of training steps and of the run."""
    test = "[{dataset: generated-instructions, label: generated, split: test, limit: 8}]"
    settings = ["seeds=[0]", f"execution.threads={threads}", f"evaluate={test}"]
    command = [sys.executable, "-m", "harness", "run", str(FILE), "--results", str(results), "--jobs", "1"]
    began = time.perf_counter()
    done = subprocess.run(
        [*command, *(word for setting in settings for word in ("-o", setting))],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    whole = time.perf_counter() - began
    seconds = [sum(record.json("summary.json")["seconds"].values()) for record in Store(results).records("train")]
    return sum(seconds), whole


def train_from_scratch(results: Path) -> dict[str, float]:
    """Train every row from the same random weights, on the same rows and steps; return the seconds of each."""
    benchmark = load_benchmark(FILE, registry=load_registry(), profile="quick")
    store = Store(results)
    prepared = {record.label: record for record in store.records("prepare")}
    model = next(record for label, record in prepared.items() if label.endswith("weights/seed 0"))
    folder = model.path("checkpoint/config.json").parent
    task = _task(benchmark, folder, prepared["generated-instructions/train"])
    steps = len(task.rows) // task.batch_size
    found = {}
    for method in _METHODS:
        new_tokens = benchmark.recipe.generate_length or benchmark.recipe.max_completion_length
        trainer = Official(folder, task, "sft", new_tokens=new_tokens)
        began = time.perf_counter()
        for epoch in range(benchmark.recipe.epochs):
            trainer.method = method if epoch == benchmark.recipe.epochs - 1 else "sft"
            for _ in range(steps):
                trainer.take()
        found[method] = time.perf_counter() - began
    return found


def _task(benchmark: Benchmark, folder: Path, record: Any) -> Task:
    recipe = benchmark.recipe
    params = EncodingParams(
        max_prompt=recipe.max_prompt_length, max_completion=recipe.max_completion_length, training=True
    )
    rows = encode(read(record), Tokeniser.load(folder), benchmark.template, params).rows
    return Task("generated instructions", rows, recipe.batch_size)
