"""What fixes a model before it is loaded, and where its weights are found."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from stages import configs
from stages.requests import request

from harness.errors import InputError, StageError
from harness.spec.model import Model
from harness.spec.runtime import Runtime
from harness.spec.stages.existing_model import HubSource
from harness.stages.locate import locate
from harness.stages.model_files import content_digest
from harness.stages.models import model_source
from harness.store.stages import Store

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}", encoding="utf-8")
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "tokenizer.json").write_text("{}", encoding="utf-8")
    return folder


def model(folder: Path) -> Model:
    return Model(name="m", path=str(folder))


def test_a_folder_is_its_content_wherever_it_lies(folder: Path, tmp_path: Path) -> None:
    before = model_source(model(folder), str(folder))
    moved = folder.rename(tmp_path / "moved")
    assert model_source(model(moved), str(moved)) == before
    (moved / "README.md").write_text("Notes", encoding="utf-8")
    (moved / "pytorch_model.bin").write_bytes(b"never loaded")
    content_digest.cache_clear()
    assert model_source(model(moved), str(moved)) == before
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        right = (moved / name).read_bytes()
        (moved / name).write_bytes(right + b" ")
        content_digest.cache_clear()
        assert model_source(model(moved), str(moved)) != before
        (moved / name).write_bytes(right)


def test_a_hub_model_is_its_name_and_revision() -> None:
    spec = Model(name="org/m", revision="0" * 40)
    assert model_source(spec, None) == HubSource(name="org/m", revision="0" * 40)


@pytest.mark.parametrize(
    ("left", "message"),
    [
        ((), "no such model folder"),
        (("other.txt",), "has no config.json"),
        (("adapter_config.json", "adapter_model.safetensors"), "does not say which model the adapter goes on"),
        (("config.json",), "has no weights in safetensors format"),
        (("config.json", "pytorch_model.bin"), r"got 'pytorch_model\.bin'.*\n.*convert other formats first"),
    ],
)
def test_folders_that_are_no_models(tmp_path: Path, left: tuple[str, ...], message: str) -> None:
    place = tmp_path / "wrong"
    if left:
        place.mkdir()
    for name in left:
        (place / name).write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match=message):
        model_source(model(place), str(place))


def test_a_model_that_moved_is_found_by_its_content(folder: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    content = content_digest(folder)
    with store.draft("prepare", "m") as draft:
        draft.write_json("model.json", {"name": "m", "path": str(folder), "revision": None, "content": content})
        record = store.commit(draft, config={}, environment={}, label="m")
    stage = request(tmp_path / "results", configs.train_config(), start=record)
    assert locate(stage, store, "start").folder == folder
    moved = folder.rename(tmp_path / "elsewhere")
    with pytest.raises(StageError, match="not there any more, or has changed"):
        locate(stage, store, "start")
    stage = replace(stage, runtime=Runtime(sources={content: str(moved)}))
    assert locate(stage, store, "start").folder == moved
    (moved / "model.safetensors").write_bytes(b"others")
    content_digest.cache_clear()
    with pytest.raises(StageError, match=r"-o sources\.m=PATH"):
        locate(stage, store, "start")
