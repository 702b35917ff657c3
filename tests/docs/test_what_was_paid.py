"""The benchmark of docs/what-was-paid.md does what the page says."""

from __future__ import annotations

import json
import shlex
import sys
from typing import TYPE_CHECKING, Any

import pytest
from docs.pages import marked_commands, quoted_files
from execution.bench import Bench

if TYPE_CHECKING:
    from pathlib import Path

PAGE = "what-was-paid.md"
#: Laid over the page's benchmark, so that it takes seconds.
LITTLE = (
    "seeds=[0]", "train.limit=16", "recipe.epochs=1", "recipe.warmup_steps=0", "recipe.budget.amount=800",
    "models.small.config.n_layer=1", "models.small.config.n_embd=16", "models.small.vocab_size=400",
    "evaluate=[{dataset: generated-instructions, label: task, limit: 3}]", "decoding.t1.max_new_tokens=6",
    "recipe.generate_length=8", "recipe.budget.checkpoints=[0.3, 0.6]",
)  # fmt: skip


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """Return the folder in which the page's commands were run, and what each of them said."""
    folder = tmp_path_factory.mktemp("paid")
    (folder / "paid.yaml").write_text(quoted_files(PAGE)["paid.yaml"], encoding="utf-8")
    bench, printed = Bench(folder), []
    for line in marked_commands(PAGE, "paid"):
        words = shlex.split(line)
        assert words[:2] == ["harness", "run"]
        over = [part for setting in LITTLE for part in ("-o", setting)]
        command = [
            sys.executable,
            "-m",
            "harness",
            *words[1:],
            *over,
            "--results",
            str(folder / "results"),
            "--jobs",
            "1",
        ]
        done = bench.ended(command, bench.surroundings())
        assert done.returncode == 0, done.stderr
        printed.append(done.stderr + done.stdout)
    return folder, printed


def cells(folder: Path, table: str) -> dict[str, dict[str, Any]]:
    (first, *_) = sorted(folder.glob("results/paid/*/leaderboard.json"), key=lambda path: path.stat().st_mtime_ns)
    rows = json.loads(first.read_text(encoding="utf-8"))["tables"][table]["rows"]
    return {row["label"]: row["cells"] for row in rows}


def test_the_page_quotes_a_benchmark_that_runs(said: tuple[Path, list[str]]) -> None:
    found = cells(said[0], "paid")
    assert list(found) == ["base", "sft", "eso"]
    for column in ("forward_kl", "reverse_kl"):
        assert found["sft"][f"task/divergence.{column}"]["value"] == 0.0  # from itself
        assert found["eso"][f"task/divergence.{column}"]["value"] > 0.0
        assert found["base"][f"task/divergence.{column}"]["value"] > 0.0
    for column in ("divergence.entropy", "text-loss.text_loss", "minimal-pairs.grammatical", "t1/length.tokens"):
        assert f"task/{column} Δ" in found["eso"]


def test_points_of_the_budget_are_points_of_the_curve(said: tuple[Path, list[str]]) -> None:
    found = cells(said[0], "overoptimisation")
    assert found["sft"]["distance"]["value"] == 0.0
    assert {label for label in found if label.startswith("eso")} == {"eso", "eso at 30 %", "eso at 60 %"}
    assert all(cell["distance"]["value"] > 0 for label, cell in found.items() if label != "sft")
    assert cells(said[0], "overoptimisation-fit")["eso"]["points"]["value"] == 3


def test_another_text_scores_one_column_again(said: tuple[Path, list[str]]) -> None:
    assert "5 stages made" in said[1][1]  # for base, sft, eso and two points of its budget
