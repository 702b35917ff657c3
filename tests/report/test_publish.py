"""What is published names no machine, no folder and no row of the data."""

from __future__ import annotations

import json
import re
import socket
from typing import TYPE_CHECKING, Any

import pytest

from harness.report.publish import _clean, publish
from harness.report.results import read_manifest
from harness.report.write import write_tables
from harness.store.files import dump, is_whole, seal

if TYPE_CHECKING:
    from pathlib import Path

    from report.synthetic import Run

ROW = "the canary row of a data set"
HOST = "canary-host-17"
MODEL = "/home/canary/models/gpt2-7m"
FILES = {f"leaderboard.{form}" for form in ("md", "html", "csv", "json", "tex")} | {"manifest.json"}
FILES |= {
    f"{name}.{form}" for name in ("differences", "cost", "training", "divergence", "phases") for form in ("svg", "csv")
}


@pytest.fixture
def private(run: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a run whose manifest and messages hold what must not get out."""
    monkeypatch.setattr(socket, "gethostname", lambda: HOST)
    message = f"/mnt/canary disk/dolly.jsonl:12: no field, got {ROW!r}\n  (traceback in {run.root}/store/.failed/x)"

    def change(manifest: dict[str, Any]) -> None:
        manifest["rows"][2]["seeds"]["1"]["failed"] = message
        manifest["rows"][2]["options_set"] = {
            "module": "file:///home/canary/metric.py",
            "rate": "1/2",
            "place": "C:\\Users\\canary\\judge",
        }
        manifest["failures"] = [{"stage": f"{MODEL}/eso/seed 1", "message": message, "because_of": None}]
        data = manifest["datasets"][0]
        data["provenance"] = {"origin": "/mnt/canary disk/dolly.jsonl", "notes": ["read at /home/canary/in.json"]}
        config = manifest["config"]
        config["sources"] = {"dolly": "/mnt/canary disk/dolly.jsonl", "other": "relative/name"}
        config["overrides"] = ["evaluate.0.path=/home/canary/rows.jsonl", "x=~canary/rows"]
        config["train"]["path"] = "/mnt/canary disk/dolly.jsonl"

    run.models = (MODEL,)
    run.tables = ("scores", "timing", "decoding")
    run.unfinished = {("eso", "train", "1")}
    run.change = change
    run.signature = lambda _row, _seed: "adapter|module:/home/canary/metric.py"
    return run


def everything(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in folder.rglob("*") if path.is_file()}


def test_nothing_private_gets_out(private: Run) -> None:
    folder = private.write()
    write_tables(private.root, folder)
    assert ROW in (folder / "leaderboard.md").read_text(encoding="utf-8")  # whoever runs it is told
    texts = everything(publish(private.root, folder))
    assert set(texts) == FILES
    for name, text in texts.items():
        for secret in (ROW, HOST, "/home", "/mnt", "canary disk", "C:", "file:/", str(private.root), "~canary"):
            assert secret not in text, (name, secret)


def test_what_was_really_used_is_still_named(private: Run) -> None:
    folder = publish(private.root, private.write())
    text = (folder / "leaderboard.md").read_text(encoding="utf-8")
    assert "gpt2-7m; trained on tales/train" in text
    assert "training rows: dolly.jsonl, rows with sha256 2222222222222222; read at in.json." in text
    assert "module metric.py, rate 1/2, place judge |" in text
    assert "Failed: gpt2-7m/eso/seed 1\n" in text
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["config"]["sources"] == {"dolly": "dolly.jsonl", "other": "name"}
    assert manifest["rows"][2]["seeds"]["1"]["failed"] == "failed"
    assert manifest["failures"] == [{"stage": "gpt2-7m/eso/seed 1", "message": None, "because_of": None}]


def test_the_published_manifest_is_whole(private: Run) -> None:
    folder = publish(private.root, private.write())
    assert is_whole(json.loads((folder / "manifest.json").read_text(encoding="utf-8")))
    assert read_manifest(folder).benchmark == "small"


def test_numbers_are_those_of_the_run(run: Run) -> None:
    folder = run.write()
    write_tables(run.root, folder)
    published = publish(run.root, folder)
    assert published == run.root / "published" / "small" / "quick"
    own = everything(folder)
    own["manifest.json"] = dump(seal(read_manifest(folder).to_json()))  # with what the made-up one left out
    # whose ids may be the prompts themselves
    own["leaderboard.html"] = re.sub(r'<li><a href="scores\.csv".*\n', "", own["leaderboard.html"])
    assert everything(published) == {name: own[name] for name in FILES}


def test_publishing_leaves_the_run_as_it_was(private: Run) -> None:
    folder = private.write()
    write_tables(private.root, folder)
    before = everything(folder)
    publish(private.root, folder)
    assert everything(folder) == before


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("trained on dolly/train", "trained on dolly/train"),
        ("Times 100: a/b, 1/2 and either/or", "Times 100: a/b, 1/2 and either/or"),
        ("https://example.org/a/b", "https://example.org/a/b"),
        ("forward/backward / other", "forward/backward / other"),
        ("got '/a/b/c.txt'", "got 'c.txt'"),
        ("(/a/b)", "(b)"),
        ("x=/a/b/", "x=b"),
        ("~/data/x and ~me/y", "x and y"),
        ("file:///a/b.py", "b.py"),
        ("module:/a/b.py", "module:b.py"),
        ("//server/share/x", "x"),
        ("D:\\a\\b", "b"),
        ("/a/b:12: broken", "b:12: broken"),
        ("{instruction}\n### Response:", "{instruction}\n### Response:"),
    ],
)
def test_only_absolute_paths_are_shortened(text: str, clean: str) -> None:
    assert _clean(text, []) == clean
