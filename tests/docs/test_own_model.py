"""The commands of docs/own-model.md do what it says, each on a model of the kind that it is about."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import peft
import pytest
from execution.bench import Bench
from models.test_gguf import write
from ruamel.yaml import YAML

from harness.models.gguf import dequantise
from harness.spec.recipe import AdapterSettings

if TYPE_CHECKING:
    import subprocess

#: PEFT calls transformers by old names.
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "own-model.md").read_text(encoding="utf-8")


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a model of each kind, under the names of the page."""
    from transformers import AutoModelForCausalLM

    here = tmp_path_factory.mktemp("own")
    file = write(here / "my-model.gguf", context=256)
    dequantise(file, here / "my-model", where="here")
    model: Any = AutoModelForCausalLM.from_pretrained(here / "my-model")
    adapted: Any = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
    adapted.save_pretrained(here / "my-adapter")
    (here / "own.yaml").write_text(blocks("yaml")[0], encoding="utf-8")
    return here


def ended(folder: Path, line: str) -> subprocess.CompletedProcess[str]:
    words = shlex.split(line)
    assert words[0] == "harness"
    where = [] if words[1] == "validate" else ["--results", str(folder / "results")]
    where += ["--jobs", "1"] if words[1] == "run" else []
    command = [sys.executable, "-m", "harness", *words[1:], *where]
    return Bench(folder).ended(command, Bench(folder).surroundings())


def test_every_command_ends_well_and_plans_tell_the_kinds_apart(folder: Path) -> None:
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    assert len(lines) > 6
    said = {line: ended(folder, line) for line in lines}
    for line, done in said.items():
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    plain = said["harness plan own.yaml"].stdout
    lora = said[next(line for line in lines if "checkpointing" in line)].stdout
    assert plain.count("memory of training mine/") == lora.count("memory of training mine/") == 2  # sft and eso
    told = json.loads(said["harness plan own.yaml --json"].stdout)
    training = [stage for stage in told["stages"] if stage["kind"] == "train"]
    assert all(stage["memory"]["total"] == sum(stage["memory"]["parts"].values()) for stage in training)
    (board,) = (folder / "results" / "own").glob("*/leaderboard.json")
    assert {row["label"] for row in json.loads(board.read_text())["tables"]["scores"]["rows"]} == {"base", "sft", "eso"}


def test_what_the_page_says_of_adapters_is_what_the_settings_are() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\S+) \|", PAGE, re.MULTILINE)
    shown = {name: value.strip("`") for name, value in rows}
    usual = AdapterSettings().model_dump()
    assert shown.keys() == usual.keys()
    assert {name: str(value).removesuffix(".0") for name, value in usual.items()} == shown


def test_every_block_of_the_file_is_one() -> None:
    for block in blocks("yaml"):
        assert "models" in YAML(typ="safe").load(block)
