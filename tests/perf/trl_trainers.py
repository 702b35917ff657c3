"""The installed TRL's trainers, stepped in turn with ours: a callback takes our step after each of theirs.

What is counted of a trainer is the time between its own ``on_step_begin`` and ``on_step_end``: the forward, sampling,
scoring, backward, clipping and optimiser step of one batch, without fetching the batch, logging or saving.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from perf.pace import Seconds
from perf.workload import CANDIDATES, NEW_TOKENS
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

from harness.plugins import load_registry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from perf.workload import Task

THEIRS = "TRL"


@dataclass(frozen=True)
class Match:
    """One trainer against steps of others, on one task."""

    folder: Path
    """For what the trainer writes."""
    model: Path
    task: Task
    others: Mapping[str, Callable[[], object]]
    rounds: int
    warm_up: int = 2
    """Steps of the trainer, and of the others, that are not counted."""
    candidates: int = CANDIDATES
    """Answers that GRPO draws to a prompt, at least two."""
    before: Callable[[], object] = lambda: None
    """Called before each step of the trainer."""


class _Turns(TrainerCallback):
    def __init__(self, match: Match) -> None:
        self.match = match
        self.seconds = Seconds()
        self.step = 0
        self.began = 0.0

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self.match.before()
        self.began = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self._add(THEIRS, time.perf_counter() - self.began)
        for name, take in self.match.others.items():
            began = time.perf_counter()
            take()
            self._add(name, time.perf_counter() - began)
        self.step += 1

    def _add(self, name: str, seconds: float) -> None:
        if self.step >= self.match.warm_up:
            self.seconds.add(name, seconds)


def grpo(match: Match) -> Seconds:
    """Time GRPO: Dr. GRPO's loss without KL, one step a rollout, k candidates of up to 64 tokens, our ROUGE-L."""
    from trl import GRPOConfig, GRPOTrainer

    registry = load_registry()
    reward: Any = registry.build("reward", "rouge", registry.options("reward", "rouge", {}).model_dump(mode="json"))
    rows = [{"prompt": row.text, "references": [*row.columns["references"]]} for row in match.task.rows]

    def rouge(*, prompts: list[str], completions: list[str], completion_ids: list[list[int]], **columns: Any) -> Any:
        return reward(prompts=prompts, completions=completions, completion_ids=completion_ids, **columns)

    config = GRPOConfig(
        **_arguments(match, match.task.batch_size * match.candidates),
        num_generations=match.candidates,
        max_completion_length=NEW_TOKENS,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        beta=0.0,
        loss_type="dr_grpo",
        scale_rewards="none",
        steps_per_generation=1,
        num_iterations=1,
    )
    return _timed(match, GRPOTrainer, config, rows, reward_funcs=[rouge])


def sft(match: Match) -> Seconds:
    """Time supervised steps on prompts and completions, the loss on completions alone."""
    from trl import SFTConfig, SFTTrainer

    said = _answers(match)
    rows = [{"prompt": row.text, "completion": said(row.completion)} for row in match.task.rows]
    arguments = _arguments(match, match.task.batch_size)
    config = SFTConfig(**arguments, max_length=1024, completion_only_loss=True, packing=False)
    return _timed(match, SFTTrainer, config, rows)


def dpo(match: Match) -> Seconds:
    """Time DPO steps on preference pairs whose reference log-probs were computed beforehand."""
    from trl import DPOConfig, DPOTrainer

    said = _answers(match)
    rows = [{"prompt": row.text, "chosen": said(row.chosen), "rejected": said(row.rejected)} for row in match.task.rows]
    arguments = _arguments(match, match.task.batch_size)
    config = DPOConfig(**arguments, max_length=1024, beta=0.1, precompute_ref_log_probs=True)
    return _timed(match, DPOTrainer, config, rows)


def _arguments(match: Match, batch: int) -> dict[str, Any]:
    return {
        "output_dir": str(match.folder / "trl"),
        "per_device_train_batch_size": batch,
        "gradient_accumulation_steps": 1,
        "max_steps": match.warm_up + match.rounds,
        "learning_rate": 1e-4,
        "lr_scheduler_type": "constant",
        "gradient_checkpointing": False,
        "bf16": False,
        "use_cpu": True,
        "report_to": [],
        "save_strategy": "no",
        "logging_strategy": "no",
        "disable_tqdm": True,
        "dataloader_num_workers": 0,
        "seed": 0,
    }


def _answers(match: Match) -> Callable[[Any], str]:
    """Return what gives the text of an answer's tokens."""
    tokenizer: Any = AutoTokenizer.from_pretrained(match.model)
    return lambda answer: str(tokenizer.decode(answer.ids[:-1] if answer.finished else answer.ids))


def _timed(match: Match, trainer: Any, config: Any, rows: list[dict[str, Any]], **more: Any) -> Seconds:
    from datasets import Dataset

    turns = _Turns(match)
    trainer(
        model=AutoModelForCausalLM.from_pretrained(match.model, dtype=torch.float32),
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(match.model),
        callbacks=[turns],
        **more,
    ).train()
    return turns.seconds
