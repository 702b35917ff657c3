"""Rows of a task of reasoning-gym: no prompt in two splits, whatever the size of its space."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from harness.api import Example, InputError, Provenance
from harness_plugins.answers.options import TASK_COLUMN
from harness_plugins.datasets.reasoning_gym.package import APART, check_installed, create

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from harness_plugins.datasets.reasoning_gym import ReasoningGymOptions

_NAME: Final = "reasoning-gym"
SPLITS: Final = ("train", "validation", "test")
#: Changes whenever the same items come out as other rows.
VERSION: Final = 1
#: So many items in a row without a new prompt end the search for more.
_PATIENCE: Final = 1_000


class ReasoningGym:
    """Items of one task; a hash of its prompt says which split an item is in: of ten two test, one validates."""

    def __init__(self, options: ReasoningGymOptions) -> None:
        """Keep the options."""
        self.options = options

    def identity(self, source: Path | None) -> Mapping[str, Any]:
        """Return the package's version, the options and how rows are made of items."""
        _no_source(source)
        return {"package": f"{_NAME} {check_installed()}", "rows": VERSION, **self.options.model_dump(mode="json")}

    def prepare(self, source: Path | None, folder: Path) -> Provenance:
        """Make items until every split is full, no more come, or the seed's share of them is used up."""
        _no_source(source)
        version = check_installed()
        wanted = {split: getattr(self.options, split) for split in SPLITS}
        rows: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
        seed = self.options.seed * APART
        made = create(self.options.task, self.options.difficulty, seed)
        seen: set[str] = set()
        idle = number = 0
        while number < APART and idle < _PATIENCE and any(len(rows[split]) < wanted[split] for split in SPLITS):
            item = made[number]
            prompt, split = str(item["question"]), split_of(str(item["question"]))
            idle = idle + 1 if prompt in seen else 0
            if prompt not in seen and len(rows[split]) < wanted[split]:
                rows[split].append({"item": number, "question": prompt, "answer": str(item["answer"])})
            seen.add(prompt)
            number += 1
        self._check(rows, len(seen))
        majority = _most_frequent([row["answer"] for row in rows["train"]])
        for split in SPLITS:
            text = "".join(json.dumps({**row, "seed": seed, "majority": majority}) + "\n" for row in rows[split])
            (folder / f"{split}.jsonl").write_text(text, encoding="utf-8")
        counts = ", ".join(f"{len(rows[split])} {split}" for split in SPLITS)
        said = f"{self.options.task} of {_NAME} {version}, seed {seed}: {len(seen)} prompts in {number} items"
        return Provenance("generated", notes=(f"{said}, {counts}, none in two splits",))

    def load(self, folder: Path, split: str) -> Iterator[Example]:
        """Read one split back; the demonstration is the task's own answer."""
        if split not in SPLITS:
            raise InputError("no such split", where=_NAME, got=split, expected=", ".join(SPLITS))
        return self._read(folder / f"{split}.jsonl", check_installed())

    def _read(self, path: Path, version: str) -> Iterator[Example]:
        with path.open(encoding="utf-8") as file:
            for row in map(json.loads, file):
                task = {
                    "task": self.options.task, "difficulty": dict(self.options.difficulty), "seed": row["seed"],
                    "item": row["item"], "version": version,
                }  # fmt: skip
                answer = row["answer"]
                yield Example(
                    id=f"{self.options.task}-{row['seed'] + row['item']}",
                    fields={"instruction": row["question"]},
                    completion=answer,
                    references=(answer,) if answer.strip() else (),
                    columns={"answer": answer, TASK_COLUMN: task, "majority_answer": row["majority"]},
                )

    def _check(self, rows: Mapping[str, list[dict[str, Any]]], prompts: int) -> None:
        empty = [split for split in SPLITS if not rows[split]]
        if empty:
            raise InputError(
                f"the task {self.options.task} has too few prompts at this difficulty: none is left for {empty[0]}",
                where=_NAME, got=prompts, expected="some hundreds at least", hint="make it more difficult",
            )  # fmt: skip


def split_of(prompt: str) -> str:
    """Return the split of a prompt, which nothing but its text decides."""
    part = hashlib.sha256(prompt.encode()).digest()[0] % 10
    return "test" if part < 2 else "validation" if part < 3 else "train"


def _most_frequent(answers: list[str]) -> str:
    counts = Counter(answers)
    return min(counts, key=lambda answer: (-counts[answer], answer))


def _no_source(source: Path | None) -> None:
    if source is not None:
        raise InputError("reasoning-gym is generated and reads no file", where=_NAME, got=str(source))
