"""Results in lm-evaluation-harness' envelope."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner
from report.synthetic import GREEDY, METRICS, ROUGE_L, T1, Place, Run, plain_value

from harness.cli import main

if TYPE_CHECKING:
    from pathlib import Path


def files(run: Run) -> dict[str, dict[str, Any]]:
    folder = run.write()
    result = CliRunner().invoke(main, ["report", str(folder), "--format", "lm-eval"])
    assert result.exit_code == 0, result.output
    assert f"3 files in {folder / 'lm-eval'}" in result.stderr
    return {path.name: json.loads(path.read_text(encoding="utf-8")) for path in (folder / "lm-eval").iterdir()}


def test_one_file_a_row_with_a_task_for_each_data_set_and_decoding(run: Run) -> None:
    run.decodings = {"t1": T1, "greedy": GREEDY}
    written = files(run)
    assert sorted(written) == ["tiny-base.json", "tiny-eso.json", "tiny-sft.json"]
    value = written["tiny-eso.json"]
    tasks = ["in-data@t1", "in-data@greedy"]
    for part in ("results", "configs", "versions", "n-shot", "higher_is_better", "n-samples", "group_subtasks"):
        assert list(value[part]) == tasks, part
    assert {"config", "git_hash", "date", "pretty_env_info", "transformers_version", "model_name"} <= set(value)
    told = value["results"]["in-data@t1"]
    assert (told["name"], told["alias"], told["sample_len"]) == ("in-data@t1", "in-data@t1", 12)
    assert value["n-shot"]["in-data@t1"] == 0
    assert value["n-samples"]["in-data@t1"] == {"original": 40, "effective": 12}
    assert value["higher_is_better"]["in-data@t1"] == {"rouge.rougeL": True}
    config = value["configs"]["in-data@t1"]
    assert (config["num_fewshot"], config["repeats"], config["dataset_path"]) == (0, 2, "tales")
    assert config["generation_kwargs"]["temperature"] == 1.0
    assert value["configs"]["in-data@greedy"]["generation_kwargs"]["do_sample"] is False
    assert value["harness"]["row"] == "eso"


def test_means_and_standard_errors_by_hand(run: Run) -> None:
    told = files(run)["tiny-eso.json"]["results"]["in-data@t1"]
    values = np.array([
        [plain_value(Place("eso", "tiny", seed, "in-data", "t1", "rougeL", example)) for example in range(12)]
        for seed in (0, 1, 2)
    ], dtype=float)  # fmt: skip
    assert told["rouge.rougeL,none"] == pytest.approx(values.mean())
    by_prompt = values.mean(0)
    assert told["rouge.rougeL_stderr,none"] == pytest.approx(by_prompt.std(ddof=1) / math.sqrt(12))
    beside = files(run)["tiny-eso.json"]["harness"]["tasks"]["in-data@t1"]["rouge.rougeL"]
    assert beside["by_seed"] == pytest.approx(values.mean(1))


def test_corpus_numbers_and_missing_values(run: Run) -> None:
    run.metrics = [{**METRICS[0], "corpus": [{**ROUGE_L, "name": "bleu"}]}]
    run.value = lambda place: None if place.example == 3 else 0.25
    told = files(run)["tiny-eso.json"]["results"]["in-data@t1"]
    assert (told["rouge.rougeL,none"], told["rouge.rougeL_stderr,none"]) == (0.25, 0.0)
    assert (told["rouge.corpus.bleu,none"], told["rouge.corpus.bleu_stderr,none"]) == (0.5, "N/A")


def test_names_that_are_no_file_names(run: Run, tmp_path: Path) -> None:
    run.rows = ("base", "sft", "eso[coef=0.5]")
    run.models = ("own/../model",)
    assert sorted(files(run)) == ["own_.._model-base.json", "own_.._model-eso_coef=0.5.json", "own_.._model-sft.json"]
    assert not list(tmp_path.iterdir())
