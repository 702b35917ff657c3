"""What a user, a file or a machine gets wrong: one clear message, the right exit code, no traceback, nothing lost."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from execution.bench import PATIENCE, Bench, tiny

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.timeout(1800)  # on a machine that does ten other things

RECIPE = tiny()["recipe"]
CLOSED = "http://127.0.0.1:9"


def errors(said: str) -> list[str]:
    """Return the error messages, each with its hint."""
    found: list[str] = []
    for line in said.splitlines():
        if line.startswith("error: "):
            found.append(line.removeprefix("error: "))
        elif line.startswith("  ") and found:
            found[-1] += "\n" + line
    return found


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"methods": ["sft", "esso"]}, "did you mean 'eso'"),
        ({"methods": [{"use": "eso", "coeff": 0.1}]}, "did you mean 'coef'"),
        ({"recipe": {**RECIPE, "epochs": "five"}}, "recipe.epochs"),
        ({"train": {"dataset": "files", "path": "nowhere.jsonl"}}, 'no such file or folder, got "nowhere.jsonl"'),
        ({"models": [{"name": "m", "path": "."}]}, "this model folder has no config.json"),
        ({"recipe": {**RECIPE, "max_prompt_length": 155}}, "has room for 160"),
        ({"methods": ["sft", {"use": "eso", "active": "all_but_last"}], "recipe": {**RECIPE, "epochs": 1}},
         "methods.eso.active: the method would never be active"),
    ],
)  # fmt: skip
def test_mistakes_in_the_file_are_said_before_anything_is_done(tmp_path: Path, change: Any, message: str) -> None:
    bench = Bench(tmp_path, tiny(**change))
    assert message in errors(bench.run(code=2))[0]
    assert not bench.results.exists()


@pytest.fixture(scope="module", autouse=True)
def unreachable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, subprocess.Popen[str]]]:
    """Start runs that ask a hub which is not there; the hub's library tries for half a minute."""
    changes: dict[str, Any] = {
        "nobody/nothing": {"models": ["nobody/nothing"]},
        "dolly": {"train": {"dataset": "dolly"}, "evaluate": [{"dataset": "dolly"}]},
    }
    with contextlib.ExitStack() as stack:
        started = {}
        for name, change in changes.items():
            folder = tmp_path_factory.mktemp("unreachable")
            environment = {"HF_ENDPOINT": CLOSED, "HF_HUB_OFFLINE": "0", "HF_HOME": str(folder / "cache")}
            bench = Bench(folder, tiny(**change), environment)
            started[name] = stack.enter_context(bench.running("--jobs", "1"))
        yield started


def rows(count: int, word: str) -> list[str]:
    return [json.dumps({"prompt": f"{word} {n}?", "completion": f"It is {n}."}) for n in range(count)]


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ([*rows(8, "What")[:4], "{broken", *rows(8, "What")[5:]], r"train.jsonl:5"),
        ([*rows(8, "What")[:2], '{"prompt": "What?"}', *rows(8, "What")[3:]], r"train.jsonl:3"),
        ([], "no rows"),
        (rows(8, "Test"), "are in the training rows too"),
    ],
    ids=["broken line", "missing field", "empty", "overlap"],
)
def test_data_that_cannot_be_used(tmp_path: Path, train: list[str], message: str) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "train.jsonl").write_text("".join(line + "\n" for line in train), encoding="utf-8")
    (data / "test.jsonl").write_text("".join(line + "\n" for line in rows(3, "Test")), encoding="utf-8")
    use = {"dataset": "files", "path": "data"}
    content = tiny(train=use, evaluate=[use], template={"text": "{instruction}\n"}, methods=["sft"])
    said = Bench(tmp_path, content).run("--jobs", "1", code=2)
    (error,) = errors(said)
    assert message in error
    assert "failed:" not in said


@pytest.fixture(scope="module")
def folder(finished: Bench, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model folder: a checkpoint that the finished run kept."""
    record = finished.stages("train")["new/sft/seed 0/epochs 1-2"]
    folder = tmp_path_factory.mktemp("folder") / "model"
    shutil.copytree(record.path("checkpoint"), folder)
    return folder


def test_a_tokenizer_without_an_end(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "model"
    shutil.copytree(folder, copy)
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        path = copy / name
        if path.is_file():
            settings = json.loads(path.read_text(encoding="utf-8"))
            settings.pop("eos_token", None)
            path.write_text(json.dumps(settings), encoding="utf-8")
    bench = Bench(tmp_path, tiny(models=[{"name": "m", "path": str(copy)}]))
    (said,) = errors(bench.run("--jobs", "1", code=2))
    assert "the tokenizer has no EOS token" in said


def test_a_prompt_longer_than_the_context_of_a_model_that_is_read(folder: Path, tmp_path: Path) -> None:
    models = [{"name": "m", "path": str(folder)}]
    content = tiny(models=models, recipe={**RECIPE, "max_prompt_length": 155}, methods=["sft"])
    said = Bench(tmp_path, content).run("--jobs", "1", code=2)
    trained, answered = errors(said)
    assert "a completion of 48 tokens make 203, more than the model's context of 160" in trained
    assert "a completion of 8 tokens make 163, more than the model's context of 160" in answered
    assert "lower max_prompt_length" in trained


def test_a_model_folder_without_weights(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "model"
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("*.safetensors"))
    bench = Bench(tmp_path, tiny(models=[{"name": "m", "path": str(copy)}]))
    (said,) = errors(bench.run(code=2))
    assert "has no weights in safetensors format" in said
    assert str(copy) in said


def test_results_that_cannot_be_written(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    (tmp_path / "file").write_text("here already", encoding="utf-8")
    below = bench.ended([*bench.command()[:-1], str(tmp_path / "file" / "results")], bench.surroundings())
    assert below.returncode == 3
    (said,) = errors(below.stderr)
    assert "cannot write" in said
    assert str(tmp_path / "file") in said
    assert "Traceback" not in below.stderr
    assert (tmp_path / "file").read_text(encoding="utf-8") == "here already"


def can_mount() -> bool:
    try:
        tried = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False)
    except FileNotFoundError:
        return False
    return os.geteuid() == 0 and tried.returncode == 0


def inside(process: int, *command: str | Path) -> None:
    """Run a command that sees the file systems of a process."""
    subprocess.run(["nsenter", f"--target={process}", "--mount", *command], check=True)


@contextlib.contextmanager
def small_disk(place: Path) -> Iterator[int]:
    """Mount a file system of 700 kB for a process and who sees what it sees; return its id."""
    script = 'mount -t tmpfs -o size=700k tmpfs "$1" && echo mounted && exec sleep infinity'
    command = ["unshare", "--mount", "sh", "-c", script, "sh", str(place)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "mounted\n"
            yield process.pid
        finally:
            process.kill()


@pytest.mark.skipif(not can_mount(), reason="mounting a small file system takes root and unshare")
def test_a_full_disk_ends_the_run_and_costs_nothing(tmp_path: Path, finished: Bench) -> None:
    bench = Bench(tmp_path)
    bench.results.mkdir()
    kept = tmp_path / "kept"
    done: dict[str, subprocess.CompletedProcess[str]] = {}

    def run(name: str) -> None:
        done[name] = bench.ended(bench.command("--jobs", "1"), bench.surroundings(), mounts=disk)

    with small_disk(bench.results) as disk:
        run("full")
        inside(disk, "mount", "-o", "remount,size=64m", bench.results)
        run("roomy")
        inside(disk, "cp", "-a", bench.results, kept)
        inside(disk, "mount", "-o", "remount,ro", bench.results)
        run("fixed")
    said = {name: one.stderr for name, one in done.items()}
    assert {name: one.returncode for name, one in done.items()} == {"full": 3, "roomy": 0, "fixed": 0}, said
    (full,) = errors(said["full"])
    assert "cannot write" in full
    assert "No space left on device" in full
    assert str(bench.results) in full
    assert "the tables are printed and not written" in said["fixed"]  # all is done: nothing has to be written
    assert "Read-only file system" in said["fixed"]
    assert "Traceback" not in "".join(said.values())
    resumed = Bench(tmp_path / "resumed")
    resumed.folder.mkdir()
    shutil.move(kept, resumed.results)
    assert resumed.digests() == finished.digests()
    assert resumed.tables() == finished.tables()


@pytest.mark.parametrize("name", ["nobody/nothing", "dolly"])
def test_a_hub_that_cannot_be_reached(name: str, unreachable: dict[str, subprocess.Popen[str]]) -> None:
    _, text = unreachable[name].communicate(timeout=PATIENCE)
    assert unreachable[name].returncode == 3
    (said,) = errors(text)
    assert name in said
    assert "refused" in said
    assert f"sources.{name}=" in said  # what to do without a connection
    assert "Traceback" not in text
