"""Small files in the upstreams' own formats, made up for the tests."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path


def write(path: Path, rows: Iterable[Mapping[str, Any] | str]) -> Path:
    """Write rows as JSON Lines (a text stands as it is); gzip where the name says so."""
    content = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def dolly_row(number: int, **changes: Any) -> dict[str, Any]:
    row = {
        "instruction": f"What is {number} and one?",
        "context": f"Material {number}." if number % 3 == 0 else "",
        "response": f"It is {number + 1}.",
        "category": "open_qa" if number % 2 else "closed_qa",
    }
    return {**row, **changes}


def self_instruct_row(number: int, **changes: Any) -> dict[str, Any]:
    row = {
        "id": f"user_oriented_task_{number}",
        "motivation_app": "A calculator",
        "instruction": f"Add one to {number}.",
        "instances": [{"input": "in words" if number % 2 else "", "output": f"{number + 1}"}],
    }
    return {**row, **changes}


def vicuna_folder(folder: Path, numbers: Iterable[int] = range(1, 6)) -> Path:
    """Write questions and the answers of gpt35 as FastChat first had them."""
    numbers = list(numbers)
    write(
        folder / "question.jsonl",
        [{"question_id": n, "text": f"What is {n} and one?", "category": "math"} for n in numbers],
    )
    answers = [{"question_id": n, "text": f"It is {n + 1}.", "answer_id": "x", "model_id": "m"} for n in numbers]
    write(folder / "answer_gpt35.jsonl", answers)
    return folder


def dialogue(number: int, reply: str, turns: int = 1) -> str:
    """Write a dialogue as HH has it, up to and with its last reply."""
    before = "".join(
        f"\n\nHuman: What is {n} and {number}?\n\nAssistant: It is {n + number}." for n in range(turns - 1)
    )
    return f"{before}\n\nHuman: And what is {number} and one?\n\nAssistant: {reply}"


def hh_row(number: int, turns: int = 1, **changes: str) -> dict[str, str]:
    row = {
        "chosen": dialogue(number, f"It is {number + 1}.", turns),
        "rejected": dialogue(number, f"It is {number + 2}, I think.", turns),
    }
    return {**row, **changes}


def hh_folder(folder: Path, files: Mapping[str, Iterable[Mapping[str, Any] | str]]) -> Path:
    """Write files by name (``helpful-base/test``), gzip as upstream."""
    for name, rows in files.items():
        write(folder / f"{name}.jsonl.gz", rows)
    return folder


def xsum_row(number: int, **changes: Any) -> dict[str, Any]:
    row = {
        "id": str(30_000_000 + number),
        "document": f"The town of number {number} has a new bridge.\nIt was built in {number + 1} days.\nPeople came.",
        "summary": f"Town {number} opens its bridge.",
    }
    return {**row, **changes}
