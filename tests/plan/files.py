"""Benchmark files of a few rows, and plans whose rows are prepared, so that every id is known."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.benchmark import load_benchmark
from harness.execution.release import Releases
from harness.plan import build_plan
from harness.spec.stages.rows import RowsConfig
from harness.stages.request import StageRequest
from harness.stages.run import run_stage
from harness.store.stages import Store

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from harness.plan import Plan, Stage
    from harness.plugins.registry import Registry
    from harness.spec.benchmark import Benchmark

TINY_MODEL = {"model_type": "gpt2", "n_layer": 1, "n_embd": 32, "n_head": 2, "n_positions": 96}


def small(data: Path, **changes: Any) -> dict[str, Any]:
    """Return a small benchmark on the files below ``data`` (see :func:`write_rows`); None takes a key away."""
    content = {
        "benchmark": "small",
        "seeds": [0, 1],
        "models": [{"name": "new", "config": TINY_MODEL, "vocab_size": 300}],
        "template": {"text": "Q: {instruction}\nA: "},
        "train": {"dataset": "files", "path": str(data)},
        "evaluate": [{"dataset": "files", "path": str(data), "label": "test"}],
        "reward": {"use": "rouge"},
        "recipe": {"epochs": 3, "batch_size": 2, "max_prompt_length": 48, "max_completion_length": 24},
        "decoding": {"t1": {"max_new_tokens": 24, "draws": 2}},
        "methods": ["sft", "eso"],
        "metrics": ["rouge"],
        **changes,
    }
    return {name: value for name, value in content.items() if value is not None}


def write_rows(folder: Path, *, train: int = 4, test: int = 3) -> Path:
    """Write ``train``, ``validation`` and ``test.jsonl`` into a folder; no prompt stands in two of them."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in {"train": train, "validation": test, "test": test}.items():
        rows = [{"prompt": f"What is {split} {n}?", "completion": f"It is {n} of {split}."} for n in range(count)]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def release(plan: Plan, benchmark: Benchmark, store: Store) -> None:
    """Let everything go that a finished benchmark does not keep."""
    releases = Releases(benchmark, store)
    releases.planned(plan)
    releases.release(plan.stages.keys())


def asked(stage: Stage) -> Any:
    """Return what a stage is asked, for a test that knows of which kind it is."""
    return stage.config


@dataclass
class Planner:
    """Plans benchmarks on one store."""

    folder: Path
    registry: Registry

    @property
    def store(self) -> Store:
        return Store(self.folder / "results")

    def load(self, content: Mapping[str, Any], *overrides: str) -> Benchmark:
        path = self.folder / "bench.yaml"
        path.write_text(json.dumps(content), encoding="utf-8")  # YAML 1.2 holds JSON
        return load_benchmark(path, registry=self.registry, overrides=overrides)

    def plan(self, benchmark: Benchmark) -> Plan:
        """Return a plan whose data is prepared, so that every id is known."""
        plan = build_plan(benchmark, self.registry, self.store)
        rows = [s for s in plan.stages.values() if isinstance(s.config, RowsConfig) and not s.done]
        if rows:
            for stage in rows:
                runtime = stage.runtime.model_copy(update={"threads": 1})
                request = StageRequest(stage.id or "", stage.label, stage.config, {}, runtime, self.store.root)
                run_stage(request, lambda _done, _total, _unit, _note: None)
            plan = build_plan(benchmark, self.registry, self.store)
        return plan

    def ids(self, benchmark: Benchmark) -> dict[str, str]:
        """Return every stage's id by kind and label; ``?`` and the key where it is unknown."""
        return {f"{s.kind} {s.label}": s.id or f"? {s.key}" for s in self.plan(benchmark).stages.values()}
