"""The invented results that the pages about comparing and sharing show."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
from report.synthetic import METRICS, T1, Place
from report.whole import WholeRun

from harness.report.write import write_tables
from harness.store.files import dump

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

QUESTIONS = (
    ("brainstorming", "Name three uses of a brick"), ("closed_qa", "When was the bridge built?"),
    ("brainstorming", "Suggest a name for a bakery"), ("closed_qa", "Who wrote the letter?"),
    ("brainstorming", "List games for a rainy day"), ("closed_qa", "How long is the river?"),
    ("brainstorming", "Think of a title for a poem"), ("closed_qa", "Which team won the match?"),
)  # fmt: skip
LEVELS = {"base": 0.05, "sft": 0.300, "eso": 0.335, "drl": 0.302, "rrhf": 0.26}
#: What a row gains where a question is closed.
CLOSED = {"eso": 0.03}


def value(place: Place) -> float:
    """Return a score with noise of seeds, of prompts and of both."""
    closed = CLOSED.get(place.row, 0.0) * (place.example % 2)
    prompt = np.random.default_rng([7, place.example]).normal(0, 0.05)
    noise = np.random.default_rng([sum(map(ord, place.row)), place.seed, place.example]).normal(0, 0.015)
    return round(float(np.clip(LEVELS[place.row] + closed + prompt + noise, 0, 1)), 4)


def question(index: int) -> dict[str, Any]:
    kind, text = QUESTIONS[index]
    return {"fields": {"instruction": text}, "completion": f"Right {index}", "columns": {"category": kind}}


def write_example(root: Path, rows: Sequence[str], **changes: Any) -> Path:
    """Write ``dolly/quick`` with its tables below ``root``; return its folder."""
    run = WholeRun(
        root, rows=("base", "sft", *rows), models=("GPT-2",), seeds=(0, 1, 2), examples=len(QUESTIONS),
        datasets={"dolly": "in-data"}, decodings={"t1": {**T1, "draws": 2}}, metrics=METRICS, value=value,
        prompts=question, answer=lambda row, _seed, index: f"{row}'s answer to {QUESTIONS[index][1].lower()}",
        manifest={"benchmark": "dolly", "title": "Dolly"}, **changes,
    )  # fmt: skip
    written = run.write()
    folder = root / "dolly" / "quick"
    folder.parent.mkdir()
    written.rename(folder)
    written.parent.rmdir()
    write_tables(root, folder)
    return folder


def raise_a_value(folder: Path) -> None:
    """Raise one number of the table, as nobody should."""
    path = folder / "leaderboard.json"
    board = json.loads(path.read_text(encoding="utf-8"))
    for row in board["tables"]["scores"]["rows"]:
        if row["label"] == "drl":
            row["cells"]["dolly/rouge.rougeL"]["value"] = 41.5
    path.write_text(dump(board), encoding="utf-8")
