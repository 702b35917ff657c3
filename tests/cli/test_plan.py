"""`harness plan`: what a run would do, without doing it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from plan.files import Planner, small, write_rows

from harness.cli import main
from harness.plugins.loader import load_registry

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def planner(tmp_path_factory: pytest.TempPathFactory) -> Planner:
    return Planner(tmp_path_factory.mktemp("plan"), load_registry())


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("data"))


def plan(planner: Planner, content: dict[str, Any], *arguments: str) -> str:
    path = planner.folder / "bench.yaml"
    path.write_text(json.dumps(content), encoding="utf-8")
    done = CliRunner().invoke(main, ["plan", str(path), "--results", str(planner.store.root), *arguments])
    assert done.exit_code == 0, done.output
    return done.output


def test_the_whole_plan_as_json(planner: Planner, data: Path) -> None:
    content = small(data, seeds=[0], methods=["sft", {"use": "drl", "preset": "paulus"}])
    planner.plan(planner.load(content))  # prepares the rows
    found = json.loads(plan(planner, content, "--json"))
    assert (found["benchmark"], found["profile"]) == ("small", "default")
    stages = {stage["label"]: stage for stage in found["stages"]}
    assert stages["files/train"]["status"] == "cached"
    drl = stages["new/drl/seed 0/epochs 2-3"]
    assert drl["status"] == "to do"
    assert drl["parents"] == {
        "rows": stages["files/train"]["id"],
        "start": stages["new/sft/seed 0/epochs 0-2"]["id"],
    }
    assert {"id", "kind", "tokens", "seconds", "bytes"} <= drl.keys()
    assert all(len(stage["id"]) == 64 for stage in stages.values())
    entry = next(entry for entry in found["methods"] if entry["label"] == "drl")
    assert entry["preset"] == "paulus"
    assert entry["recipe"]["method_learning_rate"] == 1e-4


def test_the_plan_for_people(planner: Planner, data: Path) -> None:
    content = small(data, seeds=[0], methods=["sft", {"use": "eso", "coef": 0.5, "recipe": {"weight_decay": 0.0}}])
    planner.plan(planner.load(content))
    text = plan(planner, content)
    assert text.startswith("small (default): ")
    assert "coef=0.5" in text
    assert "recipe: weight_decay=0.0" in text
    assert "cached" in text
    assert "to do" in text
    assert "(3 stages)" in text  # answers and scores are folded into one line each
    assert "new/eso/seed 0/test/t1" not in text
    assert "new/eso/seed 0/test/t1" in plan(planner, content, "--all")
    took = r"(less than a minute|\d+ min)"
    left = rf"^estimated work left on one worker of 1 thread: {took}(; about {took} on \d+)?$"
    assert re.search(left, text, re.MULTILINE)
    assert re.search(r"^times: reckoned with \d+ GFLOP/s and \d+ GB/s of a thread, measured$", text, re.MULTILINE)


def test_which_difference_the_run_could_find(planner: Planner, data: Path) -> None:
    content = small(data, seeds=[0, 1, 2], methods=["sft", "eso", "drl"])
    planner.plan(planner.load(content))
    text = plan(planner, content)
    effect = "minimum detectable effect (a difference from sft, adjusted for 2 comparisons, found four times in five)"
    assert f"test ROUGE-L: {effect} with 3 se" in text
    assert "by stated variances, since no results of this kind are stored" in text
    assert re.search(r"with 3 seeds × 3 prompts: \d+, in less than a minute; 5 seeds", text)
    everything = json.loads(plan(planner, content, "--json"))
    time = everything["time"]
    assert time["work_seconds"] >= time["seconds"] > 0
    assert (time["threads"], time["stages_of_earlier_runs"]) == (1, {})
    (told,) = everything["detectable"]
    took = [size["work_seconds"] for size in told["sizes"]]
    assert took[0] == pytest.approx(time["work_seconds"])
    assert took[0] < took[1] < took[2]  # 3, 5 and 10 seeds
    assert took[0] < took[3] < took[4]  # twice the prompts, with 3 seeds and with 5
    assert (told["dataset"], told["metric"], told["baseline"], told["comparisons"]) == (
        "test",
        "rouge.rougeL",
        "sft",
        2,
    )
    assert [(size["seeds"], size["prompts"]) for size in told["sizes"]] == [(3, 3), (5, 3), (10, 3), (3, 6), (5, 6)]
    found = [size["difference"] for size in told["sizes"][:3]]
    assert found == sorted(found, reverse=True)


def test_unknown_ids_are_question_marks_and_nothing_is_written(data: Path, tmp_path: Path) -> None:
    fresh = Planner(tmp_path, load_registry())
    text = plan(fresh, small(data))
    assert " ?  " in text or "\n? " in text
    assert "estimated work left on one worker of 1 thread: unknown; ids and sizes shown as ? are known once" in text
    assert not fresh.store.root.exists()
    stages = json.loads(plan(fresh, small(data), "--json"))["stages"]
    assert {stage["id"] is None for stage in stages if stage["kind"] == "train"} == {True}
    assert {stage["seconds"] for stage in stages if stage["kind"] == "train"} == {None}


def test_damaged_data_are_said_and_no_end_of_planning(data: Path, tmp_path: Path) -> None:
    other = Planner(tmp_path, load_registry())
    content = small(data, seeds=[0, 1, 2])
    other.plan(other.load(content))
    told = json.loads(plan(other, content, "--json"))["detectable"]
    assert told
    for path in other.store.base.glob("prepare/*/provenance.json"):
        path.write_bytes(path.read_bytes().replace(b'"rows": ', b'"rows":\t'))
    again = CliRunner().invoke(main, ["plan", str(tmp_path / "bench.yaml"), "--results", str(other.store.root)])
    assert again.exit_code == 0, again.output
    assert "provenance.json is not what was written" in again.stderr


def test_planning_imports_no_torch(planner: Planner, data: Path) -> None:
    path = planner.folder / "bench.yaml"
    path.write_text(json.dumps(small(data)), encoding="utf-8")
    code = (
        "import sys\n"
        "from harness.cli import main\n"
        f"main(['plan', {str(path)!r}, '--results', {str(planner.store.root)!r}], standalone_mode=False)\n"
        "assert not {'torch', 'transformers', 'datasets', 'pandas'} & set(sys.modules), sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_work_of_planning_grows_as_the_number_of_stages_does(planner: Planner, data: Path) -> None:
    def calls(seeds: int) -> int:
        content = small(data, seeds=list(range(seeds)))
        plan(planner, content, "--json")  # what is done once a process is done
        count = 0

        def note(_frame: Any, event: str, _argument: Any) -> None:
            nonlocal count
            count += event == "call"

        sys.setprofile(note)
        try:
            plan(planner, content, "--json")
        finally:
            sys.setprofile(None)
        return count

    one, two, four = calls(4), calls(8), calls(16)
    assert (four - two) / (two - one) == pytest.approx(2, rel=0.05)


def test_rates_are_of_float32(planner: Planner, data: Path) -> None:
    content = small(data, seeds=[0], methods=["sft"])
    (model,) = content["models"]
    text = plan(planner, {**content, "models": [{**model, "dtype": "bfloat16"}]})
    assert re.search(
        r"^times: reckoned with .*, measured in float32, which says little of bfloat16$", text, re.MULTILINE
    )
