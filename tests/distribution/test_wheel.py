"""What is built: a wheel with the benchmarks in it, which run from there, without a clone and without a network."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from scaffold import environments

pytestmark = pytest.mark.timeout(900)

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = {path.name for path in (ROOT / "benchmarks").glob("*.yaml")}
#: As little of a benchmark as gives a row.
LITTLE = (
    "seeds=[0]", "train.limit=24", "evaluate=[{dataset: generated-instructions, split: test, limit: 4}]",
    "recipe.epochs=2", "recipe.warmup_steps=0", "validation=null", "metrics=[rouge]", "methods=[sft]",
    "models=[{name: t, vocab_size: 300, config: {model_type: gpt2, n_embd: 8, n_head: 2, n_layer: 1}}]",
)  # fmt: skip


def build(source: Path, target: Path, *kinds: str) -> None:
    targets = [part for kind in kinds for part in ("-t", kind)]
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(target), *targets]
    subprocess.run(command, cwd=source, check=True, capture_output=True, env=environments.CLEAN)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a wheel and an sdist."""
    folder = tmp_path_factory.mktemp("built")
    build(ROOT, folder, "wheel", "sdist")
    return folder


def wheel_in(folder: Path) -> Path:
    (path,) = folder.glob("*.whl")
    return path


def names_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def test_the_wheel_holds_the_benchmarks_and_what_tables_read(built: Path) -> None:
    names = names_in(wheel_in(built))
    assert {name.rpartition("/")[2] for name in names if name.startswith("harness/benchmarks/")} == BENCHMARKS
    assert {name.partition("/")[0] for name in names} == {"harness", "harness_plugins"}
    data = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "harness").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert data <= names  # published figures, claims, pages and templates among them
    assert {"harness/report/figures/eso-coling-2025.json", "harness/report/templates/page.html"} <= data


def test_a_wheel_of_the_sdist_is_the_same(built: Path, tmp_path: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    assert {path.name for path in (source / "benchmarks").iterdir()} == BENCHMARKS
    build(source, tmp_path / "again", "wheel")
    assert names_in(wheel_in(tmp_path / "again")) == names_in(wheel_in(built))


def test_an_editable_install_reads_them_where_they_lie(tmp_path: Path) -> None:
    code = f"from hatchling.build import build_editable; build_editable({str(tmp_path)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, env=environments.CLEAN)
    assert names_in(wheel_in(tmp_path)) == {"_posttune_harness.pth"}
    with zipfile.ZipFile(wheel_in(tmp_path)) as archive:
        assert archive.read("_posttune_harness.pth").decode().splitlines() == [str(ROOT), str(ROOT / "plugins")]


def offline() -> list[str]:
    """Return what starts a process without a network, where the system lets one do that."""
    alone = ["unshare", "--map-root-user", "--net"]
    try:
        works = subprocess.run([*alone, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        works = False
    return alone if works else []


def test_a_benchmark_runs_from_the_wheel_in_an_empty_folder(built: Path, tmp_path: Path) -> None:
    python = environments.make_environment(tmp_path / "venv", ours=False)
    environments.install(python, wheel_in(built))
    empty = tmp_path / "empty"
    empty.mkdir()
    clean = {**environments.CLEAN, "OMP_NUM_THREADS": "1", "HF_HOME": str(tmp_path / "hub")}

    def harness(*arguments: str) -> Any:
        command = [*offline(), str(python.parent / "harness"), *arguments, "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=empty, env=clean)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    paths = {Path(one["path"]) for one in harness("benchmarks")}
    assert {path.parent for path in paths} == {environments.packages(tmp_path / "venv") / "harness" / "benchmarks"}
    settings = [part for text in LITTLE for part in ("-o", text)]
    said = harness("run", "dolly", "--jobs", "1", *settings)
    assert said["failures"] == []
    assert {row["label"] for row in said["leaderboard"]["tables"]["scores"]["rows"]} == {"base", "sft"}
    assert {path.name for path in empty.iterdir()} == {"results"}
    assert Path(said["results"]).parts[:2] == ("results", "dolly")
