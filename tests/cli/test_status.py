"""``harness status``, on stages that are put into the store one by one."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from harness.benchmark import load_benchmark
from harness.cli import main
from harness.plan import build_plan
from harness.plugins.loader import load_registry
from harness.spec.results.models import PreparedModel
from harness.spec.results.provenance import DataProvenance
from harness.store.stages import Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from click.testing import Result

    from harness.plan import Plan, Stage
    from harness.plugins.registry import Registry

FILE = """\
benchmark: small
seeds: [0, 1]
models:
  - {name: scratch, config: {model_type: gpt2, n_layer: 1, n_embd: 8, n_head: 1, n_positions: 64}, vocab_size: 300}
template: {text: "{instruction} {context}:"}
train: {dataset: generated-instructions, split: train, limit: 8}
evaluate: [{dataset: generated-instructions, split: test, limit: 4}]
reward: {use: rouge, variant: rougeL}
recipe: {epochs: 2, learning_rate: 1.0e-3, max_prompt_length: 48, max_completion_length: 16}
decoding:
  t1: {temperature: 1.0, draws: 2, max_new_tokens: 8}
  greedy: {temperature: 0.0, max_new_tokens: 8}
methods: [sft, eso]
metrics: [rouge, length]
"""


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load_registry()


class Project:
    """A benchmark file and its store."""

    def __init__(self, root: Path, registry: Registry) -> None:
        self.file = root / "small.yaml"
        self.file.write_text(FILE, encoding="utf-8")
        self.store = Store(root / "results")
        self.registry = registry

    def plan(self) -> Plan:
        return build_plan(load_benchmark(self.file, registry=self.registry), self.registry, self.store)

    def finish(self, wanted: Callable[[Stage], bool]) -> None:
        """Put stages into the store whose ids are known, again and again as others become known."""
        todo = True
        while todo:
            stages = self.plan().stages.values()
            todo = False
            for stage in stages:
                if stage.id and not stage.done and wanted(stage):
                    todo = True
                    with self.store.draft(stage.kind, stage.id) as draft:
                        draft.write(DataProvenance(content=stage.id, rows=8, origin="file"))
                        draft.write(PreparedModel(content=stage.id))
                        self.store.commit(draft, config=stage.config.to_json(), environment={}, label=stage.label)

    def status(self, *arguments: str) -> Result:
        return CliRunner().invoke(main, ["status", str(self.file), "--results", str(self.store.root), *arguments])


@pytest.fixture
def project(tmp_path: Path, registry: Registry) -> Project:
    return Project(tmp_path, registry)


def counts(result: Result) -> dict[tuple[str, int], tuple[Any, ...]]:
    found = json.loads(result.stdout)
    return {
        (row["row"], row["seed"]): tuple(
            (row[kind]["done"], row[kind]["of"]) for kind in ("train", "generate", "score")
        )
        for row in found["rows"]
    }


def test_before_a_run_nothing_is_done(project: Project) -> None:
    result = project.status("--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["stages"] == {"done": 0, "of": len(project.plan().stages)}
    assert (found["damaged"], found["verified"]) == ([], None)
    assert counts(result) == {
        (row, seed): ((0, length), (0, 2), (0, 4))
        for seed in (0, 1)
        for row, length in (("base", 0), ("sft", 2), ("eso", 2))
    }
    assert not project.store.base.exists()


def test_each_row_and_seed_is_counted_by_itself(project: Project) -> None:
    project.finish(lambda stage: stage.kind == "prepare" or "/seed 0" in stage.label)
    project.finish(lambda stage: stage.kind == "train" and "eso" in stage.label)
    found = counts(project.status("--json"))
    assert found["sft", 0] == ((2, 2), (2, 2), (4, 4))
    assert found["eso", 0] == ((2, 2), (2, 2), (4, 4))
    assert found["base", 0] == ((0, 0), (2, 2), (4, 4))
    assert found["sft", 1] == ((0, 2), (0, 2), (0, 4))
    assert found["eso", 1] == ((1, 2), (0, 2), (0, 4))


def test_the_shared_start_counts_for_every_row(project: Project) -> None:
    first = next(row for row in project.plan().rows if row.label == "eso").chain[0].key
    project.finish(lambda stage: stage.kind == "prepare" or stage.key == first)
    found = counts(project.status("--json"))
    assert found["sft", 0][0] == found["eso", 0][0] == (1, 2)
    assert found["sft", 1][0] == (0, 2)


def test_people_read_a_table(project: Project) -> None:
    project.finish(lambda _: True)
    whole = len(project.plan().stages)
    result = project.status()
    lines = [line.split() for line in result.stdout.splitlines()]
    assert result.stdout.startswith(f"small (default): {whole} of {whole} stages in {project.store.base}\n")
    assert lines[1] == ["model", "row", "seed", "train", "generate", "score"]
    assert lines[3:] == [
        ["scratch", row, seed, done, "2/2", "4/4"]
        for seed in "01"
        for row, done in (("base", "0/0"), ("sft", "2/2"), ("eso", "2/2"))
    ]


def test_verifying_names_what_is_damaged_and_counts_it_as_undone(project: Project) -> None:
    project.finish(lambda _: True)
    whole = project.status("--verify")
    assert whole.exit_code == 0
    stages = len(project.plan().stages)
    assert whole.stdout.splitlines()[-1].endswith(f"files of {stages} stages: all is well")
    stage = next(row for row in project.plan().rows if row.label == "eso").cells[0].generate
    path = project.store.folder("generate", str(stage.id)) / "config.json"
    path.write_bytes(path.read_bytes().replace(b"0", b"1"))
    assert counts(project.status("--json"))["eso", 0][1] == (2, 2)  # without reading it, nothing shows
    for _ in range(2):  # it stays, and is named again
        result = project.status("--verify", "--json")
        assert result.exit_code == 1
        assert f"damaged: generate {stage.label}: config.json is not what was written" in result.stderr
        (damage,) = json.loads(result.stdout)["damaged"]
        assert (damage["kind"], damage["id"], damage["label"]) == ("generate", stage.id, stage.label)
        assert (damage["file"], damage["what"]) == ("config.json", "digest")
        assert counts(result)["eso", 0][1] == (1, 2)
    assert project.status("--verify").stdout.splitlines()[-1].endswith(": 1 damaged")


def test_what_a_glance_shows_is_said_without_verifying(project: Project) -> None:
    project.finish(lambda _: True)
    stage = next(row for row in project.plan().rows if row.label == "eso").cells[0].generate
    (project.store.folder("generate", str(stage.id)) / "manifest.json").write_bytes(b"")
    result = project.status("--json")
    assert result.exit_code == 0
    assert f"damaged: generate {stage.label}: manifest.json is not JSON; harness run rebuilds it" in result.stderr
    assert counts(result)["eso", 0][1] == (1, 2)
    planned = CliRunner().invoke(main, ["plan", str(project.file), "--results", str(project.store.root), "--json"])
    statuses = {found["label"]: found["status"] for found in json.loads(planned.stdout)["stages"]}
    assert [label for label, status in statuses.items() if status == "damaged"] == [stage.label]


def test_it_imports_no_torch(project: Project) -> None:
    script = (
        "import sys\nfrom harness.cli import main\n"
        "try:\n main(sys.argv[1:])\nexcept SystemExit:\n pass\n"
        "print([name for name in ('torch', 'transformers') if name in sys.modules])"
    )
    arguments = ["status", str(project.file), "--results", str(project.store.root)]
    found = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "[]"
