"""The manifest of a run: its class says what is in the file, and reports read it by name."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from report.synthetic import Run

from harness.errors import InputError
from harness.report.results import read_manifest
from harness.spec.results.run import RunManifest
from harness.store.files import dump, is_whole, seal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Run(tmp_path / "results", seeds=(0, 1), examples=3).write()


def test_what_is_read_is_what_was_written(folder: Path) -> None:
    manifest = read_manifest(folder)
    text = dump(seal(manifest.to_json()))
    assert is_whole(json.loads(text))
    (folder / RunManifest.file).write_text(text, encoding="utf-8")
    assert read_manifest(folder) == manifest
    assert dump(seal(read_manifest(folder).to_json())) == text
    assert [row.label for row in manifest.rows] == ["base", "sft", "eso"]
    assert manifest.rows[1].seeds.keys() == {0, 1}
    assert manifest.metrics[0].columns[0].label == "ROUGE-L"
    assert manifest.config.seeds == (0, 1)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda manifest: manifest.pop("rows"), "rows"),
        (lambda manifest: manifest["rows"][0].update(seeds={"first": {}}), "rows.0.seeds.first"),
        (lambda manifest: manifest["config"].update(more=1), "config.more"),
    ],
)
def test_another_form_is_one_message(folder: Path, change: Callable[[dict[str, Any]], None], place: str) -> None:
    path = folder / RunManifest.file
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(dump(seal(content)), encoding="utf-8")
    with pytest.raises(InputError, match=rf"has another form than this release writes \({place}"):
        read_manifest(folder)
