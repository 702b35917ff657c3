"""A checkpoint that is exported: others load it, and its card says what it scores and where it came from."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from execution.bench import tiny
from execution.test_adapters import WIDE
from execution.test_adapters import bench as adapters
from huggingface_hub import ModelCard
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from harness import load_results
from harness.cli import main
from harness.lm.model.initialise import initialise
from harness.models.folders import weights_digest
from harness.spec.model import Model
from harness.spec.results.files import CHECKPOINT
from harness.spec.results.models import PreparedModel
from harness.testing.tiny import tiny_tokeniser

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result
    from execution.bench import Bench

pytestmark = pytest.mark.timeout(1800)

IDS = torch.arange(3, 18).view(3, 5)


def export(bench: Bench, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["export", *arguments, "--results", str(bench.results)])


def last_stage(bench: Bench, row: str) -> Any:
    manifest = json.loads((bench.results / "tiny" / "default" / "manifest.json").read_text(encoding="utf-8"))
    (found,) = [one for one in manifest["rows"] if one["label"] == row]
    return bench.store.open("train", found["seeds"]["0"]["train"][-1])


def test_transformers_loads_what_was_trained(finished: Bench, tmp_path: Path) -> None:
    result = export(finished, "tiny/default", str(tmp_path / "out"), "--row", "eso")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"{tmp_path / 'out'}: eso (new), seed 0, ")
    stored = last_stage(finished, "eso").path(CHECKPOINT)
    assert weights_digest(tmp_path / "out") == weights_digest(stored)
    files = {path.name for path in stored.iterdir()}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {*files, "README.md"}
    assert {"config.json", "generation_config.json", "tokenizer.json", "model.safetensors"} <= files
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    ids = model.generate(**tokenizer("Answer:", return_tensors="pt"), max_new_tokens=3, do_sample=False)
    assert ids.shape[1] > 0


def test_the_card_carries_scores_recipe_data_and_versions(finished: Bench, tmp_path: Path) -> None:
    run = finished.results / "tiny" / "default"
    assert export(finished, str(run), str(tmp_path / "out"), "--row", "sft").exit_code == 0
    card = ModelCard.load(tmp_path / "out" / "README.md")
    assert card.data.library_name == "transformers"
    assert card.data.pipeline_tag == "text-generation"
    assert card.data.tags == ["posttune-harness", "sft"]
    scores = load_results(run).scores
    mean = float(np.mean(scores[scores.row == "sft"]["rouge.rougeL"]))
    numbers = {one.metric_name: one.metric_value for one in card.data.eval_results or []}
    assert numbers["ROUGE-L, t1"] == pytest.approx(100 * mean, abs=1e-5)
    text = card.text
    board = load_results(run).tables
    place = (board.table == "scores") & (board.row == "sft") & (board.column == "test/rouge.rougeL")
    cell = board[place].iloc[0]
    shown = f"{cell.value:.2f} [{cell.low:.2f}, {cell.high:.2f}]"
    assert f"| test | t1 | ROUGE-L | {100 * mean:.2f} | {shown} |" in text
    assert '"learning_rate": 0.01' in text
    assert "generated-instructions: licence " in text
    assert "posttune-harness 0.1.0" in text
    assert str(finished.folder) not in text  # nobody's folders


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--row: several rows were trained: say which; expected one of sft, eso"),
        (("--row", "base"), "--row: no row of this name was trained, got 'base'; expected one of sft, eso"),
        (("--row", "esso"), "did you mean 'eso'?"),
        (("--row", "eso", "--seed", "5"), "--seed: eso was not trained with this seed, got 5; expected one of 0"),
        (("--row", "eso", "--model", "nwe"), "there is no such model, got 'nwe'; expected one of new"),
    ],
)
def test_what_cannot_be_exported_is_told(
    finished: Bench, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    result = export(finished, "tiny/default", str(tmp_path / "out"), *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert not (tmp_path / "out").exists()


def test_nothing_is_overwritten(finished: Bench, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    result = export(finished, "tiny/default", str(tmp_path), "--row", "eso")
    assert result.exit_code == 2
    assert f"error: {tmp_path}: there is something already, and nothing is overwritten" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_weights_that_were_pruned(finished: Bench, tmp_path: Path) -> None:
    results = tmp_path / "results"
    shutil.copytree(finished.results, results)
    record = last_stage(finished, "eso")
    from harness.store.stages import Store

    Store(results).prune("train", record.id, (CHECKPOINT,))
    arguments = ["export", "tiny/default", str(tmp_path / "out"), "--row", "eso", "--results", str(results)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    assert "eso with seed 0 cannot be exported: the store does not hold its weights any more" in result.stderr
    assert "recipe.keep: final" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def adapted(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Return a benchmark whose rows are one adapter on a folder, and an adapter on another."""
    folder = tmp_path_factory.mktemp("adapted")
    initialise(Model(name="m", config=tiny()["models"][0]["config"]), tiny_tokeniser(), 0, folder / "base")
    models = [{"name": "org/small", "path": str(folder / "base"), "dtype": "float64", "stop": ["a"]}]
    bench = adapters(folder, WIDE, models=models)
    bench.run("--jobs", "1")
    return bench


def logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        said: torch.Tensor = model(input_ids=IDS, use_cache=False).logits
        return said


@pytest.mark.filterwarnings("ignore::FutureWarning")  # PEFT calls transformers by old names
def test_an_adapter_says_what_it_goes_on(adapted: Bench, tmp_path: Path) -> None:
    result = export(adapted, "tiny/default", str(tmp_path / "alone"), "--row", "sft")
    assert result.exit_code == 0, result.output
    assert "seed 0, an adapter on org/small, " in result.stdout
    told = json.loads((tmp_path / "alone" / "adapter_config.json").read_text(encoding="utf-8"))
    assert (told["base_model_name_or_path"], told["r"]) == ("org/small", 4)
    ends = json.loads((tmp_path / "alone" / "generation_config.json").read_text(encoding="utf-8"))
    card = ModelCard.load(tmp_path / "alone" / "README.md")
    assert (card.data.library_name, card.data.base_model) == ("peft", "org/small")
    snippet = card.text.split("```python\n")[1].split("```")[0]
    snippet = snippet.replace('folder = "."', f'folder = "{tmp_path / "alone"}"')
    base = f'"{adapted.folder / "base"}", dtype="float64"'
    known: dict[str, Any] = {}
    exec(compile(snippet.replace('"org/small"', base), "card", "exec"), known)  # noqa: S102  # as its readers would
    assert known["model"].generation_config.eos_token_id == ends["eos_token_id"]

    result = export(adapted, "tiny/default", str(tmp_path / "whole"), "--row", "sft", "--merged")
    assert "seed 0, the adapter merged into the whole model, " in result.stdout
    assert ModelCard.load(tmp_path / "whole" / "README.md").data.library_name == "transformers"
    whole: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "whole", dtype=torch.float64)
    assert whole.generation_config.eos_token_id == ends["eos_token_id"]
    assert len(AutoTokenizer.from_pretrained(tmp_path / "whole")) == len(known["tokenizer"])
    torch.testing.assert_close(logits(whole), logits(known["model"]), rtol=0, atol=1e-12)
    plain: Any = AutoModelForCausalLM.from_pretrained(adapted.folder / "base", dtype=torch.float64)
    assert float((logits(plain) - logits(whole)).abs().max()) > 1e-3


def test_a_base_that_is_gone_cannot_be_merged_into(adapted: Bench, tmp_path: Path) -> None:
    base = adapted.folder / "base"
    base.rename(tmp_path / "away")
    try:
        result = export(adapted, "tiny/default", str(tmp_path / "out"), "--row", "sft", "--merged")
    finally:
        (tmp_path / "away").rename(base)
    assert result.exit_code == 1
    assert f"{base}: the model that was prepared is not there any more, or has changed" in result.stderr
    assert "put it back: the adapter is merged into it" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.filterwarnings("ignore::FutureWarning")  # as above
def test_adapters_on_each_other_are_merged(adapted: Bench, tmp_path: Path) -> None:
    result = export(adapted, "tiny/default", str(tmp_path / "out"), "--row", "wide")
    assert result.exit_code == 0, result.output
    assert "the adapter merged into the whole model" in result.stdout
    whole: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float64)
    model: Any = AutoModelForCausalLM.from_pretrained(adapted.folder / "base", dtype=torch.float64)
    for row in ("sft", "wide"):
        model = PeftModel.from_pretrained(model, last_stage(adapted, row).path(CHECKPOINT)).merge_and_unload()
    torch.testing.assert_close(logits(whole), logits(model), rtol=0, atol=1e-12)


def test_the_card_of_an_adapter_on_a_folder_or_on_a_commit() -> None:
    from harness.report.model_card import _use_adapter

    said = _use_adapter(PreparedModel(name="mine", path="/home/me/mine"))
    assert 'from_pretrained("mine")  # its folder' in said
    assert "/home" not in said
    said = _use_adapter(PreparedModel(name="org/small", revision="abc"))
    assert 'from_pretrained("org/small", revision="abc")' in said
