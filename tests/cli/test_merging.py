"""``harness report A.zip B/``: one leaderboard of several runs, or a refusal that names every field."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from report.synthetic import ENVIRONMENT, METRICS, T1
from report.whole import WholeRun, tale
from stages import configs

from harness.cli import main
from harness.report.write import write_tables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from click.testing import Result


@pytest.fixture
def place() -> Iterator[Path]:
    """Return a folder, in memory where there is one: a store syncs every file."""
    memory = Path("/dev/shm")  # noqa: S108  # a folder of one's own in it
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


def written(place: Path, name: str, **changes: Any) -> WholeRun:
    run = WholeRun(place / name, **{"examples": 6, "seeds": (0, 1), **changes})
    run.write()
    return run


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def bundled(run: WholeRun) -> Path:
    target = run.root.with_suffix(".zip")
    result = call("bundle", run.root, "-o", target)
    assert result.exit_code == 0, result.output
    return target


def board(*arguments: object) -> dict[str, Any]:
    result = call("report", *arguments, "--json")
    assert result.exit_code == 0, result.output
    value: dict[str, Any] = json.loads(result.output)
    return value


def rows(value: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["label"]: row["cells"] for row in value["tables"]["scores"]["rows"]}


def test_rows_of_two_machines_are_the_rows_of_one_run(place: Path) -> None:
    whole = written(place, "whole", rows=("base", "sft", "eso", "drl"))
    first = written(place, "first", rows=("base", "sft", "eso"))
    second = written(place, "second", rows=("base", "sft", "drl"))
    merged = rows(board(bundled(first), second.root))
    (alone,) = [rows(board(bundled(whole)))]
    assert merged == alone
    assert set(merged) == {"base", "sft", "eso", "drl"}


def test_seeds_of_two_machines_are_the_seeds_of_one_run(place: Path) -> None:
    whole = written(place, "whole", seeds=(0, 1, 2, 3))
    first, second = written(place, "first", seeds=(0, 1)), written(place, "second", seeds=(2, 3))
    merged = rows(board(first.root, second.root))
    assert merged == rows(board(bundled(whole)))
    assert merged["eso"]["in-data/rouge.rougeL Δ"]["seeds"] == 4


def test_another_row_of_the_same_name_stands_beside(place: Path) -> None:
    first = written(place, "first")
    second = written(place, "second", described=lambda row: {"options_set": {"coef": 0.5}} if row == "eso" else {})
    value = board(first.root, bundled(second))
    assert set(rows(value)) == {"base", "sft", "eso", "eso (second)"}
    third = written(place, "third", value=lambda _: 0.5, batch_size=8)  # trained otherwise: the start is another too
    labels = set(rows(board(bundled(first), bundled(third))))
    assert labels == {"base", "sft", "eso", "sft (third)", "eso (third)"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"prompts": lambda i: {**tale(i), "completion": "Never"}}, "data in-data: "),
        ({"trained_rows": "7" * 64}, "data trained on: "),
        ({"decodings": {"t1": {**T1, "top_k": 5}}}, "decoding t1 top_k: "),
        ({"metrics": [{**METRICS[0], "options": {"stemmer": True}}]}, "metric rouge stemmer: "),
        ({"signature": lambda _row, _seed: "rouge|v2"}, "metric rouge signature: "),
        ({"settings": lambda _row, _seed: {"asking": configs.asking(max_prompt_length=9)}}, "max_prompt_length: "),
        ({"settings": lambda _row, _seed: {"code": "2"}}, "code that answered: "),
        ({"weights": 2.0}, "model tiny, weights at the start of seed 0: "),
    ],
)  # fmt: skip
def test_what_is_not_alike_is_refused_and_named(place: Path, changes: dict[str, Any], said: str) -> None:
    first, second = written(place, "first"), written(place, "second", **changes)
    target = place / "merged"
    result = call("report", first.root, bundled(second), "--into", target)
    assert result.exit_code == 1
    assert "these runs cannot be in one leaderboard; they differ in:" in result.stderr
    (line,) = [line for line in result.stderr.splitlines() if said in line]
    assert "small/quick has " in line
    assert "second has " in line
    assert not target.exists()


def test_every_field_is_named_at_once(place: Path) -> None:
    first = written(place, "first")
    second = written(place, "second", weights=2.0, decodings={"t1": {**T1, "top_k": 5, "max_new_tokens": 7}})
    lines = call("report", first.root, second.root).stderr.splitlines()
    named = [line.strip().partition(":")[0] for line in lines[1:-1]]
    assert named == ["decoding t1 top_k", "decoding t1 max_new_tokens", "model tiny, weights at the start of seed 0"]


def test_a_machine_and_its_libraries_are_told_and_not_refused(place: Path) -> None:
    other = {**ENVIRONMENT, "libraries": {"torch": "2.12.0"}}
    first = written(place, "first", seeds=(0, 1))
    second = written(place, "second", seeds=(2,), environment=lambda _row, _seed: other)
    setup = board(first.root, second.root)["setup"]
    assert any("torch 2.13.0 and 2.12.0" in said for said in setup.values()), setup


def test_into_a_folder_and_nowhere_else(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "here").mkdir()
    monkeypatch.chdir(place / "here")
    first = written(place, "first", rows=("base", "sft", "eso"))
    second = written(place, "second", rows=("base", "sft", "drl"))
    write_tables(first.root, first.root / "small/quick")
    before = (first.root / "small/quick/leaderboard.json").read_bytes()
    printed = call("report", first.root, second.root)
    assert printed.exit_code == 0, printed.output
    assert printed.stderr == "printed and not written: --into FOLDER writes it\n"
    assert [line.split()[0] for line in printed.stdout.splitlines()[2:7]] == ["method", "eso", "sft", "drl", "base"]
    assert not list((place / "here").iterdir())
    result = call("report", first.root, second.root, "--into", place / "merged")
    assert result.exit_code == 0, result.output
    text = (place / "merged/leaderboard.md").read_text(encoding="utf-8")
    assert "Merged: small/quick (posttune-harness 0.1.0; base, sft, eso), small/quick 2 (" in text
    assert (first.root / "small/quick/leaderboard.json").read_bytes() == before
    refused = call("report", first.root, second.root, "--publish")
    assert refused.exit_code == 2
    assert "--publish: is of one run in its own folder" in refused.stderr


def test_a_folder_of_several_runs_is_asked_which(place: Path) -> None:
    first = written(place, "first", seeds=(0,), examples=2)
    (first.root / "small/laptop").mkdir()
    manifest = (first.root / "small/quick/manifest.json").read_bytes()
    (first.root / "small/laptop/manifest.json").write_bytes(manifest)
    second = written(place, "second", seeds=(0,), examples=2)
    result = call("report", second.root, first.root)
    assert result.exit_code == 2
    assert "there are several runs: say which; expected one of" in result.stderr
