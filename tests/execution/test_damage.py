"""Damage of every kind to every kind of file of a store: commands that read name it and leave it, a run mends it."""

from __future__ import annotations

import errno
import json
import os
import random
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from execution.bench import KINDS, Bench
from faults.spoil import WAYS

from harness.cli import main
from harness.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from click.testing import Result

    from harness.disk import Change

pytestmark = pytest.mark.timeout(1800)  # on a machine that does ten other things


def everything(folder: Path) -> dict[str, bytes | None]:
    """Return all that lies below a folder: the content of files, None for folders."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in sorted(folder.rglob("*"))}


def call(name: str, *arguments: str) -> Result:
    return CliRunner().invoke(main, [name, *arguments], catch_exceptions=False)


def about(bench: Bench, name: str, *arguments: str) -> Result:
    return call(name, str(bench.file), "--results", str(bench.results), *arguments)


def put(path: Path, content: bytes | None) -> None:
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)


@pytest.mark.parametrize("damages", [60, pytest.param(255, marks=pytest.mark.long)])
def test_damages_are_named_and_left_where_they_are(copied: Callable[..., Bench], damages: int) -> None:
    bench = copied()
    chance, store = random.Random(255), bench.store.base
    stages = [record.folder for kind in KINDS for record in bench.store.records(kind)]
    inside = {stage: sorted(path for path in stage.rglob("*") if path.is_file()) for stage in stages}
    whole = {path: path.read_bytes() for paths in inside.values() for path in paths}
    assert about(bench, "status", "--verify").exit_code == 0
    left, seen = damages, set()
    while left:
        wrong: dict[Path, bytes | None] = {}
        for paths in inside.values():
            manifest = next(path for path in paths if path.name == "manifest.json")
            others = [path for path in paths if path != manifest]
            alone = chance.random() < 0.25  # without its manifest nothing is known of a stage's other files
            hit = [manifest] if alone else chance.sample(others, chance.randint(1, len(others)))
            if len(hit) > 1 and chance.random() < 0.5:  # two files change places
                wrong |= {hit[0]: whole[hit[1]], hit[1]: whole[hit[0]]}
                hit = hit[2:]
            for path in hit:
                way = chance.choice(WAYS)
                wrong[path] = way(whole[path], chance)
                seen.add(way.__name__)
        changed = [(path, content) for path, content in wrong.items() if content != whole[path]]
        wrong = dict(changed[:left])
        for path, content in wrong.items():
            put(path, content)
        before = everything(bench.results)
        found = about(bench, "status", "--verify", "--json")
        assert found.exit_code == 1
        damaged = json.loads(found.stdout)["damaged"]
        assert {str(store / d["kind"] / d["id"] / d["file"]) for d in damaged} == {str(path) for path in wrong}
        assert len(damaged) == len(wrong)
        assert found.stderr.count("damaged: ") == len(wrong)
        for name in ("status", "plan"):
            assert about(bench, name).exit_code == 0
        assert call("validate", str(bench.file)).exit_code == 0
        assert call("report", "--results", str(bench.results)).exit_code in {0, 1}  # it does not read every file
        assert everything(bench.results) == before
        for path in wrong:
            path.write_bytes(whole[path])
        left -= len(wrong)
    assert about(bench, "status", "--verify").exit_code == 0
    assert seen == {way.__name__ for way in WAYS}


def test_a_run_says_what_it_rebuilds_and_why(copied: Callable[..., Bench], finished: Bench) -> None:
    bench = copied()
    generate = bench.stages("generate")["new/eso/seed 0/test/t1"]
    (generate.folder / "samples.jsonl").write_bytes(b"")
    prepared = bench.stages("prepare")["generated-instructions/train"].folder / "provenance.json"
    prepared.write_bytes(prepared.read_bytes().replace(b'"rows": 30', b'"rows": 31'))
    score = bench.stages("score")["new/sft/seed 0/test/t1/rouge"].folder / "means.json"
    score.write_bytes(bytes(score.stat().st_size))
    said = bench.run("--jobs", "1")
    assert "rebuilt: prepare generated-instructions/train: provenance.json is not what was written" in said
    assert "rebuilt: generate new/eso/seed 0/test/t1: samples.jsonl has 0 bytes; written were " in said
    end = said[said.index("3 stages that the store had were rebuilt:") :]
    assert "\n  prepare generated-instructions/train: provenance.json is not what was written" in end
    assert "\n  generate new/eso/seed 0/test/t1: samples.jsonl has 0 bytes" in end
    assert "\n  score new/sft/seed 0/test/t1/rouge: means.json is not what was written" in end
    assert len(list((bench.store.base / ".corrupt").iterdir())) == 3
    assert bench.digests() == finished.digests()
    assert bench.tables() == finished.tables()


def test_a_finished_run_prints_its_tables_where_nothing_may_be_written(
    copied: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = copied()
    table = bench.board("md").read_text(encoding="utf-8")
    before = everything(bench.results)

    command = bench.command("--full")[3:]

    def refuse(change: Change, act: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), change.path)

    # who runs the tests may be root, whom no permission stops
    monkeypatch.setattr("harness.disk._watcher", SimpleNamespace(change=refuse))
    found = call(*command, "--full")
    assert found.exit_code == 0, found.output
    assert table in found.stdout
    assert "warning: the tables are printed and not written: " in found.stderr
    assert "Read-only file system" in found.stderr
    quiet = call(*command, "--quiet")
    assert (quiet.exit_code, quiet.stdout) == (0, "")
    assert "warning: the tables are neither printed (--quiet) nor written: " in quiet.stderr
    assert everything(bench.results) == before


def test_damage_that_cannot_be_moved_aside_is_one_message(
    copied: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = copied()
    folder = bench.stages("generate")["new/eso/seed 0/test/t1"].folder
    (folder / "samples.jsonl").write_bytes(b"")
    before = everything(bench.results)

    def refuse(path: Path, *_: object) -> None:
        raise OSError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr("harness.disk.rename", refuse)
    found = call(*bench.command()[3:])
    assert found.exit_code == StorageError.exit_code, found.output
    moved = (
        f"{folder}: a damaged stage cannot be quarantined: generate new/eso/seed 0/test/t1: samples.jsonl has 0 bytes"
    )
    assert moved in found.stderr
    assert "or another --results DIR" in found.stderr
    assert {path: content for path, content in everything(bench.results).items() if path in before} == before


def test_weights_that_are_larger_than_a_file_may_be_are_one_message(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    done = bench.ended(bench.command("--quiet"), bench.surroundings(), largest=40_000)
    assert done.returncode == 3, done.stderr
    assert done.stderr.count("cannot write: File too large") == 1
    assert "ulimit -f" in done.stderr
    assert "Safetensor" not in done.stderr
    assert "Traceback" not in done.stderr
