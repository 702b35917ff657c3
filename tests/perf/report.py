"""Time ``harness report`` on a finished store of many score stages.

``python tests/perf/report.py [--stages 1000] [--examples 1000] [--rounds 5]``: a benchmark of six rows, three data
sets, two decodings and seven metrics, with as many seeds as come nearest to the stages asked for, is planned as any
other; every stage that the plan names is written through the store with made-up numbers, and the command is run on it
as a process of its own. Nothing is trained. What is printed are the seconds from the process's start to its end: of the
first run, which calculates, and of later ones, which read what it left (``calculated.json``).
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":  # in the place of this file's own folder, in which ``report`` would be this file
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import tempfile
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from report.synthetic import ENVIRONMENT, step, summary

from harness.benchmark import load_benchmark
from harness.execution.manifest import make_manifest, results_folder
from harness.execution.outcome import Outcome
from harness.plan import build_plan
from harness.plugins.loader import load_registry
from harness.spec.results.generate import GenerateSummary
from harness.spec.results.provenance import DataProvenance
from harness.spec.results.score import AnswerValues, ColumnSummary, ScoreMeans, ScoreSummary
from harness.spec.results.train import TrainStep, TrainSummary
from harness.spec.stages.generate import GenerateConfig
from harness.spec.stages.rows import RowsConfig
from harness.spec.stages.score import Scoring
from harness.spec.stages.train import TrainConfig
from harness.store.files import dump, replace_text, seal
from harness.store.identity import digest
from harness.store.stages import Store

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from harness.plan import Plan, Stage
    from harness.plugins.registry import Registry
    from harness.spec.benchmark import Benchmark
    from harness.store.drafts import Draft

#: Steps in the log of a training stage.
_STEPS = 600
#: How often an answer has no value in a column, where the metric leaves some out.
_MISSING = 0.02


def content(seeds: int, examples: int) -> dict[str, Any]:
    """Return a benchmark file like ``benchmarks/dolly.yaml``, with more seeds and prompts."""
    evaluations = [
        {"dataset": "generated-instructions", "label": "generated", "split": "test", "limit": examples},
        *(
            {"dataset": "generated-instructions", "label": name, "variant": name, "split": "test", "limit": examples}
            for name in ("self-instruct", "vicuna")
        ),
    ]
    return {
        "benchmark": "many",
        "seeds": list(range(seeds)),
        "models": [
            {
                "name": "small",
                "config": {"model_type": "gpt2", "n_layer": 1, "n_embd": 32, "n_head": 2, "n_positions": 160},
                "vocab_size": 400,
            }
        ],
        "template": {"text": "{instruction}\n{context}\nAnswer:", "text_without_context": "{instruction}\nAnswer:"},
        "train": {"dataset": "generated-instructions", "label": "generated", "split": "train", "limit": 800},
        "evaluate": evaluations,
        "reward": {"use": "rouge"},
        "recipe": {"epochs": 6, "batch_size": 8, "max_prompt_length": 128, "max_completion_length": 32},
        "decoding": {
            "t1": {"temperature": 1.0, "max_new_tokens": 28, "draws": 4},
            "greedy": {"temperature": 0.0, "max_new_tokens": 28},
        },
        "methods": ["sft", "unlikelihood", "drl", "rrhf", "eso"],
        "metrics": ["rouge", "gleu", "bleu", "perplexity", "reference-loss", "diversity", "length"],
        "tables": ["scores", "cross-dataset", "fluency", "decoding", "seeds", "timing", "signal"],
    }


def plan_of(folder: Path, stages: int, examples: int, registry: Registry) -> tuple[Benchmark, Plan]:
    """Return the benchmark whose count of score stages comes nearest, with its plan."""

    def load(seeds: int) -> tuple[Benchmark, Plan]:
        path = folder / "bench.yaml"
        path.write_text(json.dumps(content(seeds, examples)), encoding="utf-8")  # YAML 1.2 holds JSON
        benchmark = load_benchmark(path, registry=registry)
        return benchmark, build_plan(benchmark, registry, Store(folder / "results"))

    of_one_seed = load(1)
    seeds = max(1, round(stages / scores(of_one_seed[1])))
    return load(seeds) if seeds > 1 else of_one_seed


def scores(plan: Plan) -> int:
    """Return how many score stages a plan has."""
    return sum(stage.kind == "score" for stage in plan.stages.values())


def finish(benchmark: Benchmark, plan: Plan, registry: Registry, store: Store) -> Plan:
    """Write every stage of the plan, and return the plan with all of them done."""
    numbers = Numbers(benchmark, registry, plan)
    while waiting := list(plan.todo()):
        for stage in waiting:
            if stage.id is not None:
                write(stage, numbers, store)
        plan = build_plan(benchmark, registry, store)  # ids that hang on the content of what was written are known now
    return plan


def write(stage: Stage, numbers: Numbers, store: Store) -> None:
    """Write one finished stage with the files that its kind leaves behind, apart from weights and answers."""
    assert stage.id is not None
    with store.draft(stage.kind, stage.id) as draft:
        if isinstance(stage.config, RowsConfig):
            rows, content = stage.config.limit or 0, digest(["rows", stage.id])
            draft.write(DataProvenance(content=content, rows=rows, origin="generated"))
        elif isinstance(stage.config, TrainConfig):
            row = stage.config.method.name
            steps = ({**step(row), "step": number} for number in range(_STEPS))
            draft.write_lines(TrainStep, map(TrainStep.model_validate, steps))
            draft.write(TrainSummary.model_validate(summary(row)))
        elif isinstance(stage.config, GenerateConfig):
            draft.write(numbers.answers(stage, stage.config.decoding.draws))
        elif isinstance(stage.config, Scoring):
            numbers.score(stage, stage.config.metric.name, draft)
        store.commit(draft, config=stage.config.to_json(), environment=ENVIRONMENT, label=stage.label)


class Numbers:
    """Made-up values that differ between rows, seeds and prompts about as much as real ones do."""

    def __init__(self, benchmark: Benchmark, registry: Registry, plan: Plan) -> None:
        """Look up the columns of every metric, and which row, seed and data set a stage belongs to."""
        self.columns: dict[str, Any] = {}
        for use in benchmark.metrics:
            registration: Any = registry.get("metric", use.use)
            self.columns[use.use] = registration.resolved(registry.options("metric", use.use, use.options))
        rows = list(dict.fromkeys(row.label for row in plan.rows))
        self.places: dict[str, tuple[int, int, str]] = {}
        for row in plan.rows:
            for cell in row.cells:
                for stage in cell.scores.values():
                    self.places[stage.key] = (rows.index(row.label), row.seed, cell.dataset)

    def answers(self, stage: Stage, draws: int) -> GenerateSummary:
        """Return what a ``generate`` stage counts."""
        examples = _examples(stage)
        return GenerateSummary(
            n=examples, draws=draws, prompts_cut=0, prompts_dropped=0, truncated=1, empty=0,
            tokens=9 * examples * draws, seconds=2.0, tokens_per_second=30.0, entropy=1.5,
            peak_memory_bytes=10**8, concurrent=False,
        )  # fmt: skip

    def score(self, stage: Stage, metric: str, draft: Draft) -> None:
        """Write what one metric says; the values of single answers, which no report reads, are left empty."""
        answered = stage.parents["samples"]
        assert isinstance(answered.config, GenerateConfig)
        examples, draws = _examples(answered), answered.config.decoding.draws
        columns: dict[str, list[float | None]] = {}
        counts: dict[str, ColumnSummary] = {}
        for column in self.columns[metric].columns:
            values = self._values(stage, f"{metric}.{column.name}", examples)
            columns[column.name] = values
            missing = draws * sum(value is None for value in values)
            counts[column.name] = ColumnSummary(present=draws * len(values) - missing, missing=missing)
        dataset = self.places[stage.key][2]
        draft.write_lines(AnswerValues, [])
        draft.write(ScoreMeans(ids=[f"{dataset}-{n}" for n in range(examples)], columns=columns))
        corpus = {column.name: 0.5 + 0.01 * self.places[stage.key][1] for column in self.columns[metric].corpus}
        draft.write(ScoreSummary(metric=metric, signature=f"{metric}|made-up", corpus=corpus, columns=counts))

    def _values(self, stage: Stage, column: str, examples: int) -> list[float | None]:
        row, seed, dataset = self.places[stage.key]
        effect_of_prompts = _generator(dataset, column).normal(0.3, 0.1, examples)
        effect_of_seed = _generator(row, seed, column).normal(0.0, 0.01)
        noise = _generator(stage.key, column)
        values = 0.01 * row + effect_of_prompts + effect_of_seed + noise.normal(0.0, 0.1, examples)
        absent = noise.random(examples) < (_MISSING if column.startswith("diversity") else 0.0)
        return [None if none else value for value, none in zip(values.tolist(), absent.tolist(), strict=True)]


def _examples(generate: Stage) -> int:
    rows = generate.parents["rows"].config
    assert isinstance(rows, RowsConfig)
    return rows.limit or 0


def _generator(*place: Any) -> np.random.Generator:
    return np.random.default_rng(int(digest(list(place))[:16], 16))


@contextlib.contextmanager
def finished(stages: int, examples: int, folder: Path | None = None) -> Iterator[tuple[Path, str, int]]:
    """Give the results of a finished run, its name below them, and how many score stages it has."""
    with contextlib.ExitStack() as stack:
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        registry, store = load_registry(), Store(folder / "results")
        benchmark, plan = plan_of(folder, stages, examples, registry)
        plan = finish(benchmark, plan, registry, store)
        tables = results_folder(store.root, benchmark)
        manifest = make_manifest(benchmark, registry, store, Outcome(plan))
        replace_text(tables / "manifest.json", dump(seal(manifest.to_json())))
        yield store.root, tables.relative_to(store.root).as_posix(), scores(plan)


def seconds(results: Path, run: str) -> float:
    """Run the command in a process of its own, and return how long it took."""
    command = [sys.executable, "-m", "harness", "report", run, "--results", str(results)]
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "COLUMNS": "100"})
    return time.perf_counter() - began


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the store, run the command and print its seconds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stages", type=int, default=1000, help="score stages, about (default 1000)")
    parser.add_argument("--examples", type=int, default=1000, help="prompts of each data set (default 1000)")
    parser.add_argument("--rounds", type=int, default=5, help="runs after the first (default 5)")
    parser.add_argument(
        "--folder", type=Path, help="where to make the store and leave it; a temporary one unless given"
    )
    asked = parser.parse_args(arguments)
    with finished(asked.stages, asked.examples, asked.folder) as (results, run, count):
        size = sum(path.stat().st_size for path in results.glob("store/score/*/means.json"))
        print(f"{count} score stages of {asked.examples} examples, {size / 1e6:.0f} MB of means", flush=True)
        print(f"first run: {seconds(results, run):.2f} s", flush=True)
        later = [seconds(results, run) for _ in range(asked.rounds)]
    shown = ", ".join(f"{each:.2f}" for each in later)
    print(f"later runs: median {statistics.median(later):.2f} s ({shown})")


if __name__ == "__main__":
    main()
