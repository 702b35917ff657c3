"""Tables are written again from the store, without any model's library."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, get_args

import pytest

from harness.errors import InputError, MachineError, StageError
from harness.report.kinds import KINDS
from harness.report.write import write_tables
from harness.spec.benchmark import TableName

if TYPE_CHECKING:
    from pathlib import Path

    from report.synthetic import Run

SCRIPT = """
import sys, json
from pathlib import Path
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "transformers", "datasets", "tokenizers", "accelerate", "pandas"}:
            raise ImportError(f"{name} is imported by a report")
sys.meta_path.insert(0, Refuse())
from harness.report.publish import publish
from harness.report.write import write_tables
root, folder = Path(sys.argv[1]), Path(sys.argv[2])
write_tables(root, folder)
publish(root, folder)
print(json.dumps([name for name in ("torch", "harness.stages", "harness.plugins") if name in sys.modules]))
"""


def test_a_report_imports_neither_torch_nor_stages(run: Run) -> None:
    run.tables = ("scores", "cross-dataset", "fluency", "decoding", "timing", "signal")
    folder = run.write()
    found = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(run.root), str(folder)], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout) == []


def test_every_table_that_a_file_may_ask_for_can_be_made() -> None:
    # every run has the first, and the second where it names figures; the third is a file of its own
    named = set(get_args(TableName)) - {"signal", "published", "cases"}
    assert {kind.asked_as for kind in KINDS} - {None} == named


def test_every_form_is_written_and_the_markdown_returned(run: Run) -> None:
    folder = run.write()
    text = write_tables(run.root, folder)
    assert (folder / "leaderboard.md").read_text(encoding="utf-8") == text
    assert sorted(path.name for path in folder.iterdir()) == [
        "calculated.json", "leaderboard.csv", "leaderboard.html", "leaderboard.json", "leaderboard.md",
        "leaderboard.tex", "manifest.json", "pictures", "scores.csv",
    ]  # fmt: skip


def test_writing_again_gives_the_same_bytes(run: Run) -> None:
    folder = run.write()
    write_tables(run.root, folder)
    before = contents(folder)
    write_tables(run.root, folder)
    assert contents(folder) == before


def test_names_of_any_text_are_written(run: Run) -> None:
    run.manifest = {"title": "\ud800 =x | **y** \\input{z}"}
    folder = run.write()
    text = write_tables(run.root, folder)
    assert text.startswith("# \\\\ud800 =x | \\*\\*y\\*\\* \\\\input{z} (quick)")
    found = json.loads((folder / "leaderboard.json").read_text(encoding="utf-8"))
    assert found["title"] == "\ud800 =x | **y** \\input{z}"


def test_a_folder_that_cannot_be_written_is_one_message(run: Run) -> None:
    folder = run.write()
    (folder / "leaderboard.tex").mkdir()
    with pytest.raises(MachineError, match=r"leaderboard\.tex.*: cannot write"):
        write_tables(run.root, folder)


def test_a_stage_that_is_gone_is_said_in_the_cell_where_that_is_wanted(run: Run) -> None:
    folder = run.write()
    write_tables(run.root, folder)
    before = contents(folder)
    (run.root / "store" / "score").rename(run.root / "score")
    with pytest.raises(InputError, match="9 of the 24 stages behind these numbers are not in the store"):
        write_tables(run.root, folder)
    assert contents(folder) == before
    assert "not stored" in write_tables(run.root, folder, partial=True)


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_what_failed_in_the_run_is_not_missed(run: Run) -> None:
    run.unfinished = {("eso", "train", "0"), ("sft", "rouge", "1")}
    assert "failed" in write_tables(run.root, run.write())


def test_a_table_that_cannot_be_made_leaves_the_others_as_they_are(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run.prompts = lambda index: {"fields": {"instruction": str(index)}, "completion": "gold", "references": []}
    run.change = lambda manifest: manifest["config"].update(
        cases={"dataset": "in-data", "decoding": "t1", "ids": [], "count": 2}
    )
    run.tables = ("scores", "cases")
    folder = run.write()
    write_tables(run.root, folder)
    before = contents(folder)
    assert "cases.md" in before

    def fail(*_: object, **__: object) -> str:
        raise StageError("no page")

    monkeypatch.setattr("harness.report.write.page", fail)
    run.answer = lambda _row, _seed, _index: "another answer"
    shutil.rmtree(run.root / "store")
    run.write()
    manifest = (folder / "manifest.json").read_bytes()
    with pytest.raises(StageError, match="no page"):
        write_tables(run.root, folder)
    assert contents(folder) == {**before, "manifest.json": manifest}
