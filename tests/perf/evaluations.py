"""Answers to a test set's prompts, sorted by length: by the harness, and by ``generate`` in batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from perf.workload import NEW_TOKENS, load

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from perf.workload import Task

    from harness.text.encode import EncodedRow


def _sorted(task: Task) -> Sequence[EncodedRow]:
    return sorted(task.rows, key=lambda row: len(row.prompt), reverse=True)


def our_answers(folder: Path, task: Task, *, size: int = 128) -> Callable[[], None]:
    """Return what draws one answer to each prompt, ``size`` prompts at a time."""
    from harness.lm.decode.noise import Noise
    from harness.lm.decode.sampling import SamplingParams, sample
    from harness.text.encode import collate

    policy, rows = load(folder), _sorted(task)

    def answer() -> None:
        for start in range(0, len(rows), size):
            batch = collate(rows[start : start + size])
            sample(policy, batch.prompts, batch.ids, SamplingParams((1.0,), NEW_TOKENS), Noise(0, "evaluate"))

    return answer


def plain_answers(folder: Path, task: Task, size: int) -> Callable[[], None]:
    """Return what does the same with transformers alone."""
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model.eval()
    rows, eos = _sorted(task), load(folder).eos_id

    @torch.no_grad()
    def answer() -> None:
        for start in range(0, len(rows), size):
            part = rows[start : start + size]
            width = max(len(row.prompt) for row in part)
            ids = torch.zeros(len(part), width, dtype=torch.int64)
            mask = torch.zeros_like(ids)
            for place, row in enumerate(part):
                ids[place, width - len(row.prompt) :] = torch.from_numpy(row.prompt.astype("int64"))
                mask[place, width - len(row.prompt) :] = 1
            model.generate(
                input_ids=ids, attention_mask=mask, max_new_tokens=NEW_TOKENS, do_sample=True, temperature=1.0,
                top_k=0, top_p=1.0, pad_token_id=eos,
            )  # fmt: skip

    return answer
