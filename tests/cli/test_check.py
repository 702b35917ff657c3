"""``harness check`` and ``harness bundle``: what was changed after a run is named."""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from report.synthetic import T1
from report.whole import WholeRun

from harness.cli import main
from harness.report.write import write_tables
from harness.store.files import dump, seal
from harness.store.identity import file_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from click.testing import Result


@pytest.fixture(scope="module")
def written() -> Iterator[Path]:
    """Return results with one run and its tables, for copying; in memory where it can be, for a store syncs files."""
    memory = Path("/dev/shm")  # noqa: S108  # a folder of one's own in it
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as place:
        root = Path(place) / "results"
        folder = WholeRun(root, seeds=(0, 1, 2), examples=6).write()
        write_tables(root, folder)
        yield root


@pytest.fixture
def root(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "results"))


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def manifest_of(root: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((root / "small/quick/manifest.json").read_text(encoding="utf-8"))
    return value


def stage_of(root: Path, row: str, kind: str) -> Path:
    """Return the folder of a stage of the first seed of a row."""
    cell = next(r for r in manifest_of(root)["rows"] if r["label"] == row)["seeds"]["0"]
    at_t1 = cell["evaluations"]["in-data"]["t1"]
    ids = {"generate": at_t1["generate"], "score": at_t1["scores"]["rouge"], "train": cell["train"][-1]}
    return root / "store" / kind / str(ids[kind])


def rewrite(file: Path, change: Callable[[Any], object]) -> None:
    """Change a JSON file of a stage, and make its digest right again, as who wants to deceive would."""
    content = json.loads(file.read_text(encoding="utf-8"))
    change(content)
    file.write_text(dump(content), encoding="utf-8")
    path = file.parent / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["files"][file.name] = {"sha256": file_digest(file), "size": file.stat().st_size}
    path.write_text(dump(seal(manifest)), encoding="utf-8")


def test_nothing_differs(root: Path) -> None:
    result = call("check", "--results", root)
    assert result.exit_code == 0, result.output
    # 3 rows and 3 seeds: 9 answers, 9 scores, 6 trainings, and the rows
    assert result.output.startswith("checked: 25 records, 18 origins, 108 values of answers, ")
    assert result.output.endswith(": all as derived\n")


def test_a_changed_value_is_named_by_its_record(root: Path) -> None:
    file = stage_of(root, "eso", "score") / "means.json"
    file.write_text(file.read_text(encoding="utf-8").replace("0.3", "0.4", 1), encoding="utf-8")
    result = call("check", "--results", root)
    assert result.exit_code == 1
    assert "damaged: row eso (tiny), seed 0, in-data under t1, rouge: score/" in result.output
    assert "means.json is not what was written" in result.output


def test_a_value_that_was_changed_with_its_digest_is_derived_otherwise(root: Path) -> None:
    def raise_one(means: Any) -> None:
        means["columns"]["rougeL"][4] += 0.25

    rewrite(stage_of(root, "eso", "score") / "means.json", raise_one)
    result = call("check", "--results", root)
    assert result.exit_code == 1
    named = "differs: row eso (tiny), seed 0, in-data under t1, rouge.rougeL of prompt '4': mean over draws"
    assert named in result.output
    assert "differs: leaderboard.json, table summary, row eso (tiny), in-data/t1/rouge.rougeL, value: " in result.output


def test_a_number_of_a_table_is_named(root: Path) -> None:
    path = root / "small/quick/leaderboard.json"
    board = json.loads(path.read_text(encoding="utf-8"))
    (row,) = [row for row in board["tables"]["scores"]["rows"] if row["label"] == "eso"]
    told = row["cells"]["in-data/rouge.rougeL"]["value"]
    row["cells"]["in-data/rouge.rougeL"]["value"] = 99.0
    path.write_text(dump(board), encoding="utf-8")
    result = call("check", "--results", root, "--json")
    assert result.exit_code == 1
    (found,) = json.loads(result.output)["findings"]
    assert found["kind"] == "differs"
    assert found["where"] == "leaderboard.json, table scores, row eso (tiny), in-data/rouge.rougeL, value"
    assert found["what"] == f"99, derived {told:.10g}"


def test_a_score_of_a_prompt_is_named(root: Path) -> None:
    path = root / "small/quick/scores.csv"
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[1] = f"{lines[1].rpartition(',')[0]},0.5"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    result = call("check", "--results", root)
    assert result.exit_code == 1
    assert result.output.startswith(
        "differs: scores.csv, tiny, base, 0, in-data, t1, 0, rouge.rougeL: '0.5', derived '0.0"
    )


def test_a_missing_record_is_named(root: Path) -> None:
    shutil.rmtree(stage_of(root, "sft", "generate"))
    result = call("check", "--results", root)
    assert result.exit_code == 1
    assert "missing: row sft (tiny), seed 0, in-data under t1, answers: the record generate/" in result.output
    assert "not derived: no table was made again, since 1 of the records are missing or damaged" in result.output


def test_a_missing_file_of_a_record_is_named(root: Path) -> None:
    (stage_of(root, "sft", "train") / "train.jsonl").unlink()
    result = call("check", "--results", root)
    assert result.exit_code == 1
    assert "damaged: row sft (tiny), seed 0, training stage 1: train/" in result.output
    assert "train.jsonl is not there" in result.output


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"examples": 7}, "was not made from this run's checkpoint and rows"),
        ({"decodings": {"t1": {**T1, "top_k": 5}}}, "its decoding is "),
        ({"seeds": (0, 1, 2), "models": ("other",)}, "was not made from this run's checkpoint and rows"),
        ({"weights": 3.0, "batch_size": 8}, "it began from other weights than row sft (tiny)"),
        ({"trained_rows": "7" * 64}, "was not made from this run's rows and start"),
    ],
)
def test_a_foreign_row_is_named(root: Path, tmp_path: Path, other: dict[str, Any], named: str) -> None:
    alien = WholeRun(tmp_path / "other", rows=("base", "sft", "drl"), **{"seeds": (0, 1, 2), "examples": 6, **other})
    theirs = json.loads((alien.write() / "manifest.json").read_text(encoding="utf-8"))
    row = next(row for row in theirs["rows"] if row["label"] == "drl")
    if "models" in other:  # their answers under our training
        ours = next(r for r in manifest_of(root)["rows"] if r["label"] == "eso")
        for seed, part in row["seeds"].items():
            part["train"] = ours["seeds"][seed]["train"]
        row["method"] = "eso"
    shutil.copytree(tmp_path / "other/store", root / "store", dirs_exist_ok=True)
    manifest = manifest_of(root)
    manifest["rows"].append({**row, "model": "tiny"})
    (root / "small/quick/manifest.json").write_text(dump(seal(manifest)), encoding="utf-8")
    result = call("check", "--results", root)
    assert result.exit_code == 1
    foreign = [line for line in result.output.splitlines() if line.startswith("foreign: row drl (tiny), seed 0")]
    assert foreign
    assert named in foreign[0]
    assert not [line for line in result.output.splitlines() if line.startswith("foreign: row eso")]


def test_a_changed_manifest_is_named(root: Path) -> None:
    path = root / "small/quick/manifest.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"Small"', '"Large"'), encoding="utf-8")
    result = call("check", "--results", root)
    assert result.exit_code == 1
    assert result.output.startswith("damaged: manifest.json: is not what was written (its sha256 differs)")


def test_a_bundle_is_the_same_bytes_and_checks(root: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "a.zip", tmp_path / "b.zip"
    for target in (first, second):
        result = call("bundle", "small/quick", "--results", root, "-o", target)
        assert result.exit_code == 0, result.output
    assert first.read_bytes() == second.read_bytes()
    names = zipfile.ZipFile(first).namelist()
    assert {name.rpartition("/")[2] for name in names if name.startswith("store/train/")} == {
        "config.json", "environment.json", "manifest.json", "summary.json", "train.jsonl",
    }  # fmt: skip
    assert any(name.endswith("samples.jsonl") for name in names)
    checked = call("check", first)
    assert checked.exit_code == 0, checked.output
    assert "checked: 25 records, 18 origins, 108 values" in checked.output


def test_a_bundle_without_texts_has_none(root: Path, tmp_path: Path) -> None:
    target = tmp_path / "a.zip"
    assert call("bundle", "--results", root, "-o", target, "--no-texts").exit_code == 0
    archive = zipfile.ZipFile(target)
    everything = b"".join(archive.read(name) for name in archive.namelist())
    assert b"a sample text" not in everything
    assert b"Tell tale" not in everything
    assert b"Once" not in everything
    result = call("check", target)
    assert result.exit_code == 0, result.output
    assert "not derived: data in-data, in-data: the rows' digest, since texts were taken out" in result.output
    compared = call("compare", f"{target}:eso", "sft", "--json")
    assert [c["category"] for c in json.loads(compared.output)["contrasts"][0]["categories"]] == ["long", "short"]


def test_a_bundle_holds_no_path_and_no_message(tmp_path: Path) -> None:
    secret = "/home/somebody/private/tales"
    run = WholeRun(tmp_path / "results", seeds=(0,), examples=3)
    run.change = lambda manifest: manifest["config"]["sources"].update(tales=secret)
    folder = run.write()
    write_tables(run.root, folder)
    target = tmp_path / "a.zip"
    assert call("bundle", folder, "-o", target).exit_code == 0
    archive = zipfile.ZipFile(target)
    everything = b"".join(archive.read(name) for name in archive.namelist())
    assert b"somebody" not in everything
    assert str(tmp_path).encode() not in everything
    assert call("check", target).exit_code == 0


@pytest.mark.parametrize(
    ("kind", "lost", "named"), [("generate", "manifest.json", "damaged"), ("score", "", "missing")]
)
def test_a_bundle_that_lacks_something_is_named(root: Path, tmp_path: Path, kind: str, lost: str, named: str) -> None:
    whole, broken = tmp_path / "a.zip", tmp_path / "b.zip"
    assert call("bundle", "--results", root, "-o", whole).exit_code == 0
    archive = zipfile.ZipFile(whole)
    names = archive.namelist()
    first = next(name for name in names if name.startswith(f"store/{kind}/"))
    gone = f"{first.rpartition('/')[0]}/{lost}"
    with zipfile.ZipFile(broken, "w") as into:
        for name in names:
            if not name.startswith(gone):
                into.writestr(name, archive.read(name))
    result = call("check", broken)
    assert result.exit_code == 1
    assert result.output.startswith(f"{named}: row ")


def test_what_is_no_bundle_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"no zip file")
    result = call("check", tmp_path / "a.zip")
    assert result.exit_code == 2
    assert "a.zip: is not a whole zip file" in result.stderr
    assert call("bundle", "--results", tmp_path).exit_code == 2
    result = call("bundle", "--results", tmp_path, "-o", tmp_path / "a.tar")
    assert result.exit_code == 2
