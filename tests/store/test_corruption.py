"""A file that is not what was written is never taken for what was."""

from __future__ import annotations

import json
import random
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from store.stage import FILES, ID, KIND, content, make

from harness.errors import StageError
from harness.store import stages
from harness.store.damage import CorruptError
from harness.store.files import dump, seal
from harness.store.manifest import read_manifest
from harness.store.stages import Store
from harness.store.verify import verify

if TYPE_CHECKING:
    from pathlib import Path

    from harness.store.records import Record

EVERY = (*FILES, "config.json", "environment.json", "manifest.json")
LINES = ("train.jsonl", "summary.json", "config.json", "manifest.json")


def _read(root: Path) -> dict[str, bytes] | None:
    """Read everything; None where the damage was noticed."""
    try:
        record = Store(root).find(KIND, ID)
        return None if record is None else content(record)
    except StageError:
        return None


def snapshot(root: Path) -> dict[str, bytes | None]:
    """Return everything below a folder: the content of files, None for folders."""
    return {str(path): path.read_bytes() if path.is_file() else None for path in root.rglob("*")}


class Damaged:
    """A stage that is damaged in one way after the other."""

    def __init__(self, root: Path) -> None:
        self.root = root
        make(root)
        self.folder = Store(root).folder(KIND, ID)
        self.whole = content(Store(root).open(KIND, ID))
        self.copy = root / "copy"
        shutil.copytree(self.folder, self.copy)

    def restore(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self.copy, self.folder)

    def noticed(self, name: str, damaged: bytes) -> bool:
        """Put ``damaged`` in the place of a file; say whether reading noticed, and never accept other numbers."""
        self.restore()
        assert (self.folder / name).read_bytes() != damaged
        (self.folder / name).write_bytes(damaged)
        found = _read(self.root)
        assert found is None, (name, damaged)
        return found is None


@pytest.fixture
def stage(quick_path: Path) -> Damaged:
    return Damaged(quick_path)


def test_a_file_that_changes_after_it_was_read(stage: Damaged) -> None:
    record = Store(stage.root).open(KIND, ID)
    record.json("summary.json")
    whole = (stage.folder / "summary.json").read_bytes()
    (stage.folder / "summary.json").write_bytes(b" " + whole[:-1])  # the same value, in as many bytes
    with pytest.raises(CorruptError, match=r"summary\.json is not what was written"):
        record.json("summary.json")


@pytest.mark.parametrize("name", EVERY)
def test_a_flipped_byte(stage: Damaged, name: str) -> None:
    whole = (stage.copy / name).read_bytes()
    chance = random.Random(name)
    places = [0, len(whole) - 1, *(chance.randrange(len(whole)) for _ in range(20))]
    noticed = 0
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << chance.randrange(8)
        noticed += stage.noticed(name, bytes(damaged))
    assert noticed == len(places)


@pytest.mark.parametrize("name", EVERY)
def test_a_file_that_is_cut_emptied_or_longer(stage: Damaged, name: str) -> None:
    whole = (stage.copy / name).read_bytes()
    cuts = {0, 1, len(whole) // 2, len(whole) - 2}
    if name in LINES:
        cuts |= {place + 1 for place, byte in enumerate(whole[:-1]) if byte == ord("\n")}
    for cut in cuts:
        assert stage.noticed(name, whole[:cut])
    assert stage.noticed(name, bytes(len(whole)))
    assert stage.noticed(name, whole + b"{}\n")


@pytest.mark.parametrize("name", EVERY)
def test_a_file_that_is_gone(stage: Damaged, name: str) -> None:
    (stage.folder / name).unlink()
    assert _read(stage.root) is None


def test_every_flip_in_the_manifest_is_noticed(stage: Damaged) -> None:
    whole = (stage.copy / "manifest.json").read_bytes()
    for place in range(0, len(whole), 3):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << (place % 7)
        assert stage.noticed("manifest.json", bytes(damaged))


@pytest.mark.parametrize("manifest", ["[]", "1", "{}", '{"format": 1}', "nonsense", '{"format": 1, "files": []}'])
def test_a_manifest_that_is_something_else(stage: Damaged, manifest: str) -> None:
    assert stage.noticed("manifest.json", manifest.encode())


def test_two_files_that_changed_places(stage: Damaged) -> None:
    log, other = stage.folder / "train.jsonl", stage.folder / "optimizer.safetensors"
    log.rename(stage.folder / "x")
    other.rename(log)
    (stage.folder / "x").rename(other)
    assert _read(stage.root) is None


def test_two_stages_that_changed_places(quick_path: Path) -> None:
    one = make(quick_path)
    store = Store(quick_path)
    with store.draft(KIND, "cd" * 32) as draft:
        other = store.commit(draft, config={"seed": 1}, environment={}, label="another")
    one.folder.rename(quick_path / "x")
    other.folder.rename(one.folder)
    (quick_path / "x").rename(other.folder)
    assert Store(quick_path).find(KIND, ID) is None
    assert Store(quick_path).find(KIND, "cd" * 32) is None


def test_the_damaged_stage_is_quarantined_and_rebuilt(quick_path: Path) -> None:
    record = make(quick_path)
    (record.folder / "train.jsonl").write_bytes(b"x" * len(FILES["train.jsonl"]))
    before = snapshot(quick_path)
    store = Store(quick_path)
    with pytest.raises(CorruptError, match=r"train\.jsonl is not what was written") as caught:
        store.open(KIND, ID).path("train.jsonl")
    assert snapshot(quick_path) == before  # who reads moves nothing
    aside = store.quarantine(caught.value.damage)
    assert aside is not None
    assert aside.parent == quick_path / "store" / ".corrupt"
    assert (aside / "train.jsonl").read_bytes().startswith(b"xxx")
    assert Store(quick_path).find(KIND, ID) is None
    assert content(make(quick_path))["train.jsonl"] == FILES["train.jsonl"]


def test_a_commit_over_a_damaged_stage_takes_its_place(quick_path: Path) -> None:
    record = make(quick_path)
    (record.folder / "manifest.json").write_text("nonsense", encoding="utf-8")
    assert content(make(quick_path))["train.jsonl"] == FILES["train.jsonl"]
    assert len(list((quick_path / "store" / ".corrupt").iterdir())) == 1


def test_a_commit_over_a_stage_without_a_readable_environment_takes_its_place(quick_path: Path) -> None:
    record = make(quick_path)
    size = (record.folder / "environment.json").stat().st_size
    (record.folder / "environment.json").write_bytes(b" " * size)
    again = make(quick_path, changes={"model": b"other weights"})
    assert content(again)["checkpoint/model.safetensors"] == b"other weights"


def test_a_stage_that_cannot_be_moved_stays(quick_path: Path) -> None:
    record = make(quick_path)
    (quick_path / "store" / ".corrupt").write_text("a file where the folder should be", encoding="utf-8")
    (record.folder / "train.jsonl").unlink()
    with pytest.raises(CorruptError, match=r"train\.jsonl is not there\n  harness run quarantines the stage") as caught:
        record.path("train.jsonl")
    assert Store(quick_path).quarantine(caught.value.damage) is None
    assert record.folder.is_dir()


def test_what_was_rebuilt_meanwhile_is_not_quarantined(quick_path: Path) -> None:
    record = make(quick_path)
    (record.folder / "train.jsonl").write_bytes(b"x" * len(FILES["train.jsonl"]))
    with pytest.raises(CorruptError) as caught:
        record.path("train.jsonl")
    assert content(make(quick_path))["train.jsonl"] == FILES["train.jsonl"]  # the commit set the damaged one aside
    assert Store(quick_path).quarantine(caught.value.damage) is None
    assert content(Store(quick_path).open(KIND, ID))["train.jsonl"] == FILES["train.jsonl"]


@pytest.mark.parametrize(
    ("name", "damage", "what"),
    [
        ("train.jsonl", None, "missing"),
        ("train.jsonl", b"", "size"),
        ("train.jsonl", b"x" * len(FILES["train.jsonl"]), "digest"),
        ("checkpoint/model.safetensors", b"", "size"),
        ("manifest.json", None, "manifest"),
        ("manifest.json", b"{", "manifest"),
        ("notes.txt", b"mine", "unexpected"),
    ],
)
def test_what_is_wrong_is_told_and_left(stage: Damaged, name: str, damage: bytes | None, what: str) -> None:
    if damage is None:
        (stage.folder / name).unlink()
    else:
        (stage.folder / name).write_bytes(damage)
    before = snapshot(stage.root)
    found = verify(Store(stage.root), {(KIND, ID): "a name from the plan"})
    assert [(damage.file, damage.what) for damage in found.damages] == [(name, what)]
    assert found.damages[0].label == ("a name from the plan" if name == "manifest.json" else "tiny/sft/seed 0")
    assert found.spoiled == (frozenset() if what == "unexpected" else {(KIND, ID)})
    assert snapshot(stage.root) == before


def test_what_a_kill_leaves_of_letting_go_is_no_damage(stage: Damaged) -> None:
    Store(stage.root).prune(KIND, ID, ["checkpoint"])
    left = stage.folder / "checkpoint" / "model.safetensors"
    left.parent.mkdir()
    left.write_bytes(FILES["checkpoint/model.safetensors"])
    (stage.folder / ".manifest.json.0123").write_bytes(b"{")
    assert verify(Store(stage.root), {}).damages == []


def test_a_stage_of_another_release_is_counted_and_no_damage(stage: Damaged) -> None:
    path = stage.folder / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(dump({name: part for name, part in {**manifest, "format": 1}.items() if name != "sha256"}))
    found = verify(Store(stage.root), {})
    assert (found.stages, found.other_format, found.damages) == (0, 1, [])


def test_another_format_is_refused_and_left_alone(quick_path: Path) -> None:
    record = make(quick_path)
    manifest = json.loads((record.folder / "manifest.json").read_text(encoding="utf-8"))
    (record.folder / "manifest.json").write_text(dump(seal({**manifest, "format": 9})), encoding="utf-8")
    with pytest.raises(StageError, match="another format, got 9; expected format 3"):
        Store(quick_path).find(KIND, ID)
    assert (record.folder / "train.jsonl").exists()


def test_files_that_are_pruned_while_they_are_read_are_no_damage(quick_path: Path) -> None:
    reader = Store(quick_path)
    make(quick_path)
    stale: Record = reader.open(KIND, ID)
    Store(quick_path).prune(KIND, ID, ["checkpoint"])
    with pytest.raises(StageError, match="was pruned") as caught:
        stale.path("checkpoint")
    assert not isinstance(caught.value, CorruptError)
    assert reader.open(KIND, ID).path("train.jsonl").read_bytes() == FILES["train.jsonl"]


def test_files_that_are_pruned_while_the_stage_is_looked_for_are_no_damage(
    quick_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(quick_path)

    def then_pruned(folder: Path, kind: str, stage_id: str) -> dict[str, Any]:
        found = read_manifest(folder, kind, stage_id)
        monkeypatch.undo()
        Store(quick_path).prune(KIND, ID, ["checkpoint"])
        return found

    monkeypatch.setattr(stages, "read_manifest", then_pruned)
    record = Store(quick_path).find(KIND, ID)
    assert record is not None
    assert not record.holds("checkpoint")
    assert not (quick_path / "store" / ".corrupt").exists()


def test_verify_checks_every_file(stage: Damaged) -> None:
    Store(stage.root).open(KIND, ID).verify()
    for name in FILES:
        stage.restore()
        path = stage.folder / name
        path.write_bytes(bytes(byte ^ 1 for byte in path.read_bytes()))
        with pytest.raises(CorruptError):
            Store(stage.root).open(KIND, ID).verify()
