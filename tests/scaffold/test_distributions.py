"""What `harness new` writes: whole distributions that pass their own checks, install, and make rows."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import pytest
from click.testing import CliRunner
from execution import warm
from scaffold import environments

from harness.api.registration import Kind
from harness.cli import main
from harness.errors import InputError
from harness.scaffold.distributions import distribution_files, new_distribution

if TYPE_CHECKING:
    from collections.abc import Callable

KINDS = get_args(Kind)

BENCHMARK = """
benchmark: new
seeds: [0]
models:
  - {name: tiny, vocab_size: 280, config: {model_type: gpt2, n_embd: 8, n_head: 2, n_layer: 1, n_positions: 48}}
template: {text: "{instruction}"}
train: {dataset: my-dataset, split: train, largest: 9}
evaluate: [{dataset: my-dataset, split: test, largest: 9}]
reward: {use: my-reward}
recipe: {epochs: 2, batch_size: 16, learning_rate: 0.005, max_prompt_length: 24, max_completion_length: 20}
decoding: {greedy: {temperature: 0.0, max_new_tokens: 20}}
methods: [sft, {use: my-method, samples: 2}]
metrics: [my-metric]
tables: [scores]
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[Kind, Path]:
    """Return the folder of a new distribution of each kind."""
    folder = tmp_path_factory.mktemp("new")
    for kind in KINDS:
        result = CliRunner().invoke(main, ["new", kind, f"my-{kind}", str(folder / kind)])
        assert result.exit_code == 0, result.output
        assert f"next: pip install -e '{folder / kind}[test]' && pytest {folder / kind}\n" in result.stdout
    return {kind: folder / kind for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_whole(written: dict[Kind, Path], kind: Kind) -> None:
    files = {path.relative_to(written[kind]).as_posix() for path in written[kind].rglob("*") if path.is_file()}
    package = f"harness_my_{kind}"
    assert {"pyproject.toml", "README.md", f"{package}/__init__.py", f"tests/test_{kind}.py"} <= files
    for name in files:
        text = (written[kind] / name).read_text(encoding="utf-8")
        assert "{{" not in text
        assert "PACKAGE" not in text
        assert max(map(len, text.splitlines())) <= 120 or name == "README.md", name


def test_they_pass_their_own_tests(written: dict[Kind, Path]) -> None:
    """Those of a new method, which take longest, are run where its page is tested."""
    folders = [folder for kind, folder in written.items() if kind != "method"]
    roots = os.pathsep.join(map(str, folders))
    path = os.pathsep.join([roots, *(p for p in sys.path if p)])
    done = warm.ended(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, "--import-mode=importlib",
         *(str(folder / "tests") for folder in folders)],
        env={**os.environ, "PYTHONPATH": path}, cwd=written["reward"], timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


def test_all_are_installed_and_make_a_row(written: dict[Kind, Path], tmp_path: Path) -> None:
    python = environments.make_environment(tmp_path / "venv")
    environments.install(python, *written.values())
    (tmp_path / "new.yaml").write_text(BENCHMARK, encoding="utf-8")

    def harness(*arguments: str) -> str:
        command = [str(python), "-m", "harness", *arguments]
        clean = {**environments.CLEAN, "OMP_NUM_THREADS": "1", "HARNESS_STRICT_PLUGINS": "1"}
        done = warm.ended(command, cwd=tmp_path, env=clean, timeout=600)
        assert done.returncode == 0, done.stderr
        return done.stdout

    listed = [row for row in json.loads(harness("plugins", "--json")) if row["distribution"].startswith("harness-")]
    assert {(row["kind"], row["name"], row["distribution"], row["version"], row["status"]) for row in listed} == {
        (kind, f"my-{kind}", f"harness-my-{kind}", "0.1.0", "ok") for kind in KINDS
    }
    board: Any = json.loads(harness("run", "new.yaml", "--jobs", "1", "--json"))
    assert board["failures"] == []
    rows = board["leaderboard"]["tables"]["scores"]["rows"]
    (cell,) = [cells for row in rows if row["label"] == "my-method" for name, cells in row["cells"].items()
               if name.endswith("/my-metric.share")]  # fmt: skip
    assert "value" in cell or cell["status"] == "no value"


@pytest.fixture
def new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Return a function that fails to write a distribution, and returns what is said."""
    monkeypatch.chdir(tmp_path)

    def fail(*arguments: str) -> str:
        result = CliRunner().invoke(main, ["new", *arguments])
        assert result.exit_code == 2, result.output
        assert "Traceback" not in result.output
        return result.stderr

    return fail


@pytest.mark.parametrize(
    ("name", "near"),
    [("My_Method", "my-method"), ("my method", "my-method"), ("a--b", "a-b"), ("../x", "x"), ("2x", None), ("é", None)],
)
def test_a_name_that_no_plugin_can_have(new: Callable[..., str], name: str, near: str | None) -> None:
    said = new("method", name)
    assert said.startswith(f"error: NAME: a plugin cannot have this name, got {name!r}; expected lower-case letters")
    assert (f"did you mean {near!r}?" in said) == (near is not None)
    assert list(Path().iterdir()) == []


def test_a_name_that_is_taken(new: Callable[..., str]) -> None:
    said = new("method", "dpo")
    assert said.startswith("error: NAME: there is a method of this name, posttune-harness ")
    assert not Path("harness-dpo").exists()


def test_what_is_there_is_never_overwritten(new: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "harness-mine").mkdir()
    (tmp_path / "harness-mine" / "notes.txt").write_text("mine", encoding="utf-8")
    said = new("reward", "mine")
    assert said.startswith("error: harness-mine: there is something already, and nothing is overwritten")
    assert [path.name for path in (tmp_path / "harness-mine").iterdir()] == ["notes.txt"]
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match="there is something already"):
        new_distribution("reward", "mine", tmp_path / "file")


def test_the_default_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(main, ["new", "metric", "mine"]).exit_code == 0
    files = {path.relative_to(tmp_path / "harness-mine").as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert files == set(distribution_files("metric", "mine"))
