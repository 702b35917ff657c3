"""What is gathered for tables, and what is refused."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from report.synthetic import METRICS, Run
from stages.configs import asking, plugin

from harness.errors import InputError, StageError
from harness.report.results import load_results
from harness.spec.decoding import Decoding
from harness.spec.model import Template
from harness.store.damage import CorruptError
from harness.store.files import dump, seal
from harness.store.stages import Store

if TYPE_CHECKING:
    from pathlib import Path


def test_numbers_stand_by_seed_and_example(run: Run) -> None:
    run.value = lambda place: None if place.example == 2 else 100 * place.seed + place.example
    results = load_results(run.root, run.write())
    cell = next(row for row in results.rows if row.label == "eso").cells["in-data", "t1"]
    values = cell.matrix("rouge", "rougeL", [0, 1, 2])
    assert values is not None
    assert values.shape == (3, 12)
    assert values[2, 5] == 205
    assert np.isnan(values[:, 2]).all()
    assert cell.missing("rouge", "rougeL") == 6
    assert cell.answers == 72
    assert results.signatures == {"tiny": {"rouge": "rouge|v1"}}


def test_a_failed_score_takes_no_other_score_with_it(run: Run) -> None:
    run.metrics = [*METRICS, {**METRICS[0], "use": "other"}]
    run.unfinished = {("eso", "other", "1")}
    cell = load_results(run.root, run.write()).rows[2].cells["in-data", "t1"]
    assert sorted(cell.scores["rouge"]) == [0, 1, 2]
    assert sorted(cell.scores["other"]) == [0, 2]
    assert cell.lacking == {"other": "failed"}
    values = cell.matrix("other", "rougeL", [0, 1, 2])
    assert values is not None
    assert np.isnan(values[1]).all()
    assert not np.isnan(values[[0, 2]]).any()


class TestMixtures:
    def test_other_prompts(self, run: Run) -> None:
        run.ids = lambda row, _seed: [f"{row == 'eso'}{index}" for index in range(12)]
        with pytest.raises(StageError, match=r"eso on in-data under t1: rows with different prompts"):
            load_results(run.root, run.write())

    def test_other_prompts_of_one_seed(self, run: Run) -> None:
        run.ids = lambda _row, seed: [f"{seed}-{index}" for index in range(12)]
        with pytest.raises(StageError, match="two scores of a row are of different prompts"):
            load_results(run.root, run.write())

    @pytest.mark.parametrize(
        "other",
        [
            {"asking": asking(template=Template(text="{context}"))}, {"decoding": Decoding(temperature=0.9)},
            {"asking": asking(max_prompt_length=65)}, {"asking": asking(overlong="drop")}, {"code": "2"},
        ],
    )  # fmt: skip
    def test_other_settings(self, run: Run, other: dict[str, Any]) -> None:
        run.settings = lambda row, seed: other if (row, seed) == ("eso", 1) else {}
        with pytest.raises(StageError, match="different prompts, templates or decoding cannot be in one table"):
            load_results(run.root, run.write())

    def test_another_version_of_a_metric(self, run: Run) -> None:
        run.signature = lambda row, _seed: "rouge|v2" if row == "eso" else "rouge|v1"
        with pytest.raises(StageError, match=r"different versions of a metric.*got 'rouge\|v2'; expected rouge\|v1"):
            load_results(run.root, run.write())

    @pytest.mark.parametrize(
        "other",
        [
            {"metric": plugin("rouge", use_stemmer=False)},
            {"metric": plugin("rouge").model_copy(update={"fingerprint": "2"})},
            {"code": "2"},
        ],
    )
    def test_other_settings_of_a_metric(self, run: Run, other: dict[str, Any]) -> None:
        run.scored = lambda row, seed: other if (row, seed) == ("eso", 2) else {}
        with pytest.raises(StageError, match="scored under different settings"):
            load_results(run.root, run.write())

    def test_models_may_differ_from_each_other(self, run: Run) -> None:
        run.models = ("tiny", "small")
        assert load_results(run.root, run.write()).models == ["tiny", "small"]


class TestTheManifest:
    def test_is_missed_where_it_is_not(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"manifest\.json: no run has left its results here"):
            load_results(tmp_path, tmp_path)

    @pytest.mark.parametrize("text", ["", "nonsense", "\ud800".encode("utf-8", "surrogatepass").decode("latin-1")])
    def test_that_cannot_be_read(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "manifest.json").write_bytes(text.encode("latin-1"))
        with pytest.raises(InputError, match="cannot be read"):
            load_results(tmp_path, tmp_path)

    @pytest.mark.parametrize(("value", "got"), [([], "expected format 1"), ({"format": 2}, "got 2; expected format 1")])
    def test_of_another_format(self, tmp_path: Path, value: Any, got: str) -> None:
        (tmp_path / "manifest.json").write_text(dump(value), encoding="utf-8")
        with pytest.raises(InputError, match=f"written in another format.*{got}"):
            load_results(tmp_path, tmp_path)

    def test_that_somebody_changed(self, run: Run) -> None:
        path = run.write() / "manifest.json"
        text = path.read_text(encoding="utf-8")
        assert '"scale": 100.0' in text
        path.write_text(text.replace('"scale": 100.0', '"scale": 900.0'), encoding="utf-8")
        with pytest.raises(InputError, match="is not what was written") as caught:
            load_results(run.root, path.parent)
        assert "harness run writes it again" in str(caught.value)

    def test_no_flipped_byte_is_taken_for_what_was_written(self, run: Run) -> None:
        folder = run.write()
        path, chance = folder / "manifest.json", random.Random(5)
        whole = path.read_bytes()
        for _ in range(200):
            damaged = bytearray(whole)
            damaged[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
            path.write_bytes(damaged)
            with pytest.raises(InputError):
                load_results(run.root, folder)


def test_a_damaged_stage_is_named_and_not_read(run: Run) -> None:
    folder = run.write()
    record = next(Store(run.root).records("score"))
    path = record.folder / "means.json"
    path.write_bytes(path.read_bytes().replace(b"0.0", b"9.0", 1))
    with pytest.raises(CorruptError, match=r"means\.json is not what was written"):
        load_results(run.root, folder)


def test_a_stage_that_is_gone_from_the_store_is_no_failure(run: Run) -> None:
    folder = run.write()
    for record in list(Store(run.root).records("score")):
        if record.label == "tiny/eso/in-data/rouge":
            record.folder.rename(run.root / record.id)
    results = load_results(run.root, folder)
    assert results.rows[2].cells["in-data", "t1"].lacking == {"rouge": "not stored"}


def test_the_stage_in_which_the_method_trained_is_the_one_that_counts(run: Run) -> None:
    folder = run.write()
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    own = manifest["rows"][2]["seeds"]["0"]["train"]
    shared = manifest["rows"][1]["seeds"]["0"]["train"]
    manifest["rows"][2]["seeds"]["0"]["train"] = [*shared, *own, *shared]
    manifest["rows"][2]["seeds"]["1"]["train"] = [*shared, None]
    (folder / "manifest.json").write_text(dump(seal(manifest)), encoding="utf-8")
    training = load_results(run.root, folder).rows[2].training
    assert training[0].id == own[0]
    assert sorted(training) == [0, 2]


def test_every_environment_is_told_once(run: Run) -> None:
    run.environment = lambda row, _seed: {"threads": 2 if row == "eso" else 1}
    results = load_results(run.root, run.write())
    assert results.environments == {
        kind: [{"libraries": {}, "threads": 1}, {"libraries": {}, "threads": 2}] for kind in ("train", "generate")
    }
