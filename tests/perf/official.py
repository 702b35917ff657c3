"""The released ESO recipe's schedule, written from its description and run with transformers alone.

Each step: a supervised forward over prompts and demonstrations padded to the right; four calls of ``generate``, one a
temperature, over left-padded prompts; the answers, padded to a fixed length behind their prompts (longest prompt plus
all new tokens), through one forward of B x K rows; ROUGE-L by rouge-score; one optimiser step over both terms. The
other methods follow the same schedule with their own candidates. No cache is shared, nothing is packed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from rouge_score.rouge_scorer import RougeScorer
from transformers import AutoModelForCausalLM, AutoTokenizer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from perf.workload import Task
    from torch import Tensor

    from harness.text.encode import EncodedRow

TEMPERATURES = (0.5, 1.0, 1.5, 2.0)
IGNORED = -100


class Official:
    """A trainer of one method: ``sft``, ``eso``, ``unlikelihood``, ``drl`` or ``rrhf``."""

    def __init__(self, folder: Path, task: Task, method: str = "eso", *, new_tokens: int, coef: float = 0.05) -> None:
        """Load the model and its tokenizer."""
        self.model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4, weight_decay=0.01)
        self.task = task
        self.method = method
        self.new_tokens = new_tokens
        self.coef = coef
        self.scorer = RougeScorer(["rougeL"], use_stemmer=True)
        self.longest = max(len(row.prompt) for row in task.rows)
        self.texts = {row.id: _text(self.tokenizer, row) for row in task.rows}
        self.place = 0

    def take(self) -> None:
        """Take one step on the next rows."""
        rows = [self.task.rows[(self.place + i) % len(self.task.rows)] for i in range(self.task.batch_size)]
        self.place += self.task.batch_size
        self.step(rows)

    def step(self, rows: Sequence[EncodedRow]) -> None:
        """Take one step."""
        self.model.train()
        loss = self._supervised(rows)
        if self.method != "sft":
            loss = loss + self.coef * self._term(rows)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def _supervised(self, rows: Sequence[EncodedRow]) -> Tensor:
        sequences = [[*row.prompt.tolist(), *(row.completion.ids.tolist() if row.completion else [])] for row in rows]
        ids, mask = _right(sequences, self.longest + self.new_tokens)
        labels = ids.masked_fill(mask == 0, IGNORED)
        for place, row in enumerate(rows):
            labels[place, : len(row.prompt)] = IGNORED
        logits = self.model(input_ids=ids, attention_mask=mask).logits.float()
        return torch.nn.functional.cross_entropy(
            logits[:, :-1].reshape(-1, logits.shape[-1]), labels[:, 1:].reshape(-1), ignore_index=IGNORED
        )

    def _term(self, rows: Sequence[EncodedRow]) -> Tensor:
        if self.method == "drl":
            drawn = [self._generate(rows, None), self._generate(rows, 1.0)]
        else:
            drawn = [self._generate(rows, temperature) for temperature in TEMPERATURES]
        answers = [[drawn[k][b] for k in range(len(drawn))] for b in range(len(rows))]
        rewards = torch.tensor(
            [[self._reward(row, ids) for ids in group] for row, group in zip(rows, answers, strict=True)]
        )
        if self.method == "eso":
            weights = rewards.mean(1, keepdim=True) - rewards
            return (weights * self._logps(rows, answers)).sum(1).mean()
        if self.method == "drl":
            logp = self._logps(rows, [[group[1]] for group in answers])
            return ((rewards[:, :1] - rewards[:, 1:]) * logp).mean()
        if self.method == "unlikelihood":
            worst = rewards.argmin(1).tolist()
            return self._logps(rows, [[group[w]] for group, w in zip(answers, worst, strict=True)]).mean()
        logp = self._logps(rows, answers) / torch.tensor([[max(1, len(ids)) for ids in group] for group in answers])
        worse = rewards[:, :, None] < rewards[:, None, :]
        return ((logp[:, :, None] - logp[:, None, :]).clamp(min=0) * worse).sum((1, 2)).mean()

    @torch.no_grad()
    def _generate(self, rows: Sequence[EncodedRow], temperature: float | None) -> list[list[int]]:
        self.model.eval()
        ids, mask = _left([row.prompt.tolist() for row in rows])
        sampling: dict[str, Any] = {"do_sample": False} if temperature is None else {
            "do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0
        }  # fmt: skip
        eos = self.tokenizer.eos_token_id
        out = self.model.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=self.new_tokens,
            pad_token_id=eos,
            use_cache=True,
            **sampling,
        )
        self.model.train()
        return [[token for token in row if token != eos] for row in out[:, ids.shape[1] :].tolist()]

    def _reward(self, row: EncodedRow, ids: list[int]) -> float:
        text = self.tokenizer.decode(ids, skip_special_tokens=True).strip()
        return float(self.scorer.score(self.texts[row.id], text)["rougeL"].fmeasure)

    def _logps(self, rows: Sequence[EncodedRow], answers: Sequence[Sequence[list[int]]]) -> Tensor:
        sequences = [[*row.prompt.tolist(), *ids] for row, group in zip(rows, answers, strict=True) for ids in group]
        ids, mask = _right(sequences, self.longest + self.new_tokens)
        targets = ids[:, 1:]
        logp = self.model(input_ids=ids, attention_mask=mask).logits[:, :-1].log_softmax(-1)
        counted = mask[:, 1:].float()
        place = 0
        for row, group in zip(rows, answers, strict=True):
            for _ in group:
                counted[place, : len(row.prompt) - 1] = 0
                place += 1
        values: Tensor = (logp.gather(2, targets[..., None])[..., 0] * counted).sum(1)
        return values.view(len(rows), -1)


def _text(tokenizer: Any, row: EncodedRow) -> str:
    return (
        str(tokenizer.decode(row.completion.ids.tolist(), skip_special_tokens=True).strip()) if row.completion else ""
    )


def _right(sequences: Sequence[Sequence[int]], width: int) -> tuple[Tensor, Tensor]:
    ids = torch.zeros(len(sequences), width, dtype=torch.int64)
    mask = torch.zeros(len(sequences), width, dtype=torch.int64)
    for place, sequence in enumerate(sequences):
        ids[place, : len(sequence)] = torch.tensor(sequence)
        mask[place, : len(sequence)] = 1
    return ids, mask


def _left(sequences: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    width = max(len(sequence) for sequence in sequences)
    ids = torch.zeros(len(sequences), width, dtype=torch.int64)
    mask = torch.zeros(len(sequences), width, dtype=torch.int64)
    for place, sequence in enumerate(sequences):
        ids[place, width - len(sequence) :] = torch.tensor(sequence)
        mask[place, width - len(sequence) :] = 1
    return ids, mask


def official_recipe(folder: Path, task: Task, method: str, *, new_tokens: int) -> Callable[[], None]:
    """Return what takes a step of the recipe."""
    return Official(folder, task, method, new_tokens=new_tokens).take
