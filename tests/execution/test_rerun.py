"""Running again resumes: what is there is used, what is missing or damaged is made, and nothing else changes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from execution.bench import KINDS, Bench, tiny

from harness.store.damage import CorruptError
from harness.store.stages import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.store.records import Record

pytestmark = pytest.mark.timeout(1800)  # on a machine that does ten other things


def test_a_second_run_makes_nothing_and_writes_the_same_tables(copied: Callable[..., Bench], finished: Bench) -> None:
    bench = copied()
    before = {path: path.read_bytes() for path in bench.results.rglob("*") if path.is_file() and "store" in path.parts}
    assert before
    said = bench.run()
    assert "stages to do" not in said
    assert "0 stages made" in said
    assert {path: path.read_bytes() for path in before} == before
    for suffix in ("md", "csv", "json", "tex"):
        assert bench.board(suffix).read_bytes() == finished.board(suffix).read_bytes()


def test_files_of_a_run_are_found_through_its_manifest(finished: Bench) -> None:
    manifest = json.loads((finished.results / "tiny" / "default" / "manifest.json").read_text(encoding="utf-8"))
    rows = {row["label"]: row for row in manifest["rows"]}
    assert [(row["label"], row["kind"]) for row in manifest["rows"]] == [
        ("base", "base"),
        ("sft", "start"),
        ("eso", "method"),
    ]
    assert rows["eso"]["options_set"] == {"temperatures": [0.5, 1.5], "coef": 1.0}
    assert rows["eso"]["seeds"]["0"]["train"][0] == rows["sft"]["seeds"]["0"]["train"][0]
    named = {stage for row in rows.values() for stage in row["seeds"]["0"]["train"]}
    assert named == {stage for kind, stage in finished.digests() if kind == "train"}
    assert manifest["failures"] == []


def every_file(bench: Bench) -> Iterator[tuple[Record, str]]:
    for kind in KINDS:
        for record in bench.store.records(kind):
            for path in sorted(p for p in record.folder.rglob("*") if p.is_file()):
                yield record, str(path.relative_to(record.folder))


def test_one_wrong_byte_anywhere_is_found(copied: Callable[..., Bench]) -> None:
    bench = copied()
    checked = set()
    for record, name in every_file(bench):
        if name == "manifest.json":
            continue
        path = record.folder / name
        right = path.read_bytes()
        for place in {0, len(right) // 3, len(right) - 1}:
            wrong = bytearray(right)
            wrong[place] ^= 0x01
            path.write_bytes(wrong)
            found = Store(bench.results).find(record.kind, record.id)
            assert found is not None
            with pytest.raises(CorruptError, match="is not what was written"):
                found.path(name)
            assert path.read_bytes() == bytes(wrong)  # it is left as it is
            path.write_bytes(right)
        checked.add((record.kind, name))
    assert {kind for kind, _ in checked} == set(KINDS) - {"precompute"}  # nothing in this file is computed beforehand
    assert ("train", "checkpoint/model.safetensors") in checked


def damage(record: Record, name: str, place: float = 0.5) -> None:
    path = record.folder / name
    content = bytearray(path.read_bytes())
    content[int(place * (len(content) - 1))] ^= 0x10
    path.write_bytes(content)


def test_the_run_that_finds_damage_mends_it(copied: Callable[..., Bench], finished: Bench) -> None:
    bench = copied()
    train, generate, score = (bench.stages(kind) for kind in ("train", "generate", "score"))
    damage(train["new/sft/seed 0/epochs 0-1"], "checkpoint/model.safetensors")
    damage(train["new/eso/seed 0/epochs 1-2"], "train.jsonl")
    damage(generate["new/eso/seed 0/test/t1"], "samples.jsonl")
    damage(score["new/sft/seed 0/test/t1/rouge"], "means.json")
    damage(bench.stages("prepare")["generated-instructions/train"], "rows.jsonl")
    (train["new/sft/seed 0/epochs 1-2"].folder / "summary.json").unlink()
    path = score["new/base/seed 0/test/t1/rouge"].folder / "values.jsonl"
    path.write_bytes(path.read_bytes()[:-5])
    (score["new/eso/seed 0/test/t1/rouge"].folder / "manifest.json").write_text("{", encoding="utf-8")
    said = bench.run("--jobs", "1")
    assert " stages to do" in said, said  # what is missing or too short is seen at once
    end = said[said.index("8 stages that the store had were rebuilt:") :]
    assert end.count("is not what was written") == 5  # the rest when it is read
    assert said.count("is not what was written") == 10  # once when it was found
    assert bench.digests() == finished.digests()
    assert bench.tables() == finished.tables()


def test_damage_that_a_worker_meets_is_mended_in_the_same_run(copied: Callable[..., Bench], finished: Bench) -> None:
    bench = copied(metrics=["rouge", "length"])
    damage(bench.stages("generate")["new/base/seed 0/test/t1"], "samples.jsonl")
    said = bench.run("--jobs", "1")
    assert "damaged, rebuilt for score new/base/seed 0/test/t1/length" in said
    old, new = finished.digests(), bench.digests()
    assert {stage: new[stage] for stage in old} == old
    assert len(new) > len(old)


@pytest.mark.parametrize("keep", ["all", "final", "none"])
def test_checkpoints_that_stay(keep: str, copied: Callable[..., Bench], finished: Bench) -> None:
    bench = copied(recipe={**tiny()["recipe"], "keep": "all"}) if keep == "all" else copied()
    kept = {  # the finished run kept `final`: what rows end with and start from
        label: (record.holds("checkpoint"), record.holds("optimizer.safetensors"))
        for label, record in finished.stages("train").items()
    }
    assert kept == {
        "new/sft/seed 0/epochs 0-1": (True, True),
        "new/sft/seed 0/epochs 1-2": (True, False),
        "new/eso/seed 0/epochs 1-2": (True, False),
    }
    bench.run("-o", f"recipe.keep={keep}")
    held = {record.holds("checkpoint") for record in bench.stages("train").values()}
    assert held == {keep != "none"}
    assert [path for path in (bench.store.base / "train").rglob("*.safetensors") if keep == "none"] == []


def test_pruned_weights_are_trained_again_where_they_are_needed(copied: Callable[..., Bench], finished: Bench) -> None:
    bench = copied()
    bench.run("-o", "recipe.keep=none")
    methods = [*finished.content["methods"], {"use": "drl", "coef": 1.0}]
    more = Bench(bench.folder, {**bench.content, "methods": methods})
    said = more.run("--jobs", "1")
    assert "train new/sft/seed 0/epochs 0-1: done" in said  # the start again, and the new method on it
    assert "train new/drl/seed 0/epochs 1-2: done" in said
    assert "train new/sft/seed 0/epochs 1-2" not in said
    assert "train new/eso" not in said
    old, new = finished.digests(), more.digests()
    start = finished.stages("train")["new/sft/seed 0/epochs 0-1"].id
    assert new["train", start] == old["train", start]
    scores = {stage: files for stage, files in old.items() if stage[0] == "score"}
    assert {stage: new[stage] for stage in scores} == scores
