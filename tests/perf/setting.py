"""What all comparisons share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from perf.pace import Side, in_turns
from perf.workload import CANDIDATES, NEW_TOKENS, Task, from_gguf, make_model, make_tokeniser, tasks

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from perf.pace import Seconds

#: Steps that are not counted where a trainer of TRL takes part: it sets up in more than its first.
TRL_WARM_UP = 2


@dataclass(frozen=True)
class Setting:
    """A model of random weights, and a real one where there is one; prompts; how long and by how many threads."""

    folder: Path
    model: Path
    """The folder of about five million random weights."""
    tasks: Mapping[str, Task]
    real: Path | None
    """The folder of a pretrained model."""
    rounds: int
    threads: int

    @classmethod
    def make(cls, folder: Path, *, real: Path | None, rounds: int, threads: int) -> Setting:
        """Make the model, and read the prompts.

        Args:
            folder: for what is made.
            real: a pretrained model, a folder of transformers or a GGUF file.
            rounds: timed steps of each side.
            threads: of each side.
        """
        model = make_model(folder / "model", make_tokeniser(folder / "tokenizer"))
        if real is not None and real.is_file():
            real = from_gguf(real, folder / "real")
        return cls(folder, model, tasks(model), real, rounds, threads)

    def in_turns(self, sides: Mapping[str, Side], *, rounds: int | None = None, warm_up: int = 1) -> Seconds:
        """Time sides, each in a process of its own."""
        return in_turns(sides, rounds=rounds or self.rounds, threads=self.threads, warm_up=warm_up)


def says(task: Task) -> str:
    """Return what an on-policy step is taken on."""
    prompts = f"{task.batch_size} prompts of {task.prompt_tokens:.0f} tokens"
    return f"{task.name}, {prompts}, k = {CANDIDATES}, {NEW_TOKENS} new tokens"
