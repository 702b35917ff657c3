"""The installed TRL's trainers, stepped in turn with ours: a callback takes our step after each of theirs.

What is counted of a trainer is the time between its own ``on_step_begin`` and ``on_step_end``: the forward, sampling,
scoring, backward, clipping and optimiser step of one batch, without fetching the batch, logging or saving.
"""

from __future__ import annotations

import time
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


class _Turns(TrainerCallback):
    def __init__(self, others: Mapping[str, Callable[[], object]], warm_up: int) -> None:
        self.others = others
        self.warm_up = warm_up
        self.seconds = Seconds()
        self.step = 0
        self.began = 0.0

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self.began = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        theirs = time.perf_counter() - self.began
        self.step += 1
        if self.step > self.warm_up:
            self.seconds.add(THEIRS, theirs)
        for name, take in self.others.items():
            began = time.perf_counter()
            take()
            if self.step > self.warm_up:
                self.seconds.add(name, time.perf_counter() - began)


def _arguments(folder: Path, task: Task, steps: int, batch: int) -> dict[str, Any]:
    return {
        "output_dir": str(folder / "trl"),
        "per_device_train_batch_size": batch,
        "gradient_accumulation_steps": 1,
        "max_steps": steps,
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


def _model(folder: Path) -> tuple[Any, Any]:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model, AutoTokenizer.from_pretrained(folder)


def grpo(
    folder: Path,
    model_folder: Path,
    task: Task,
    others: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    warm_up: int = 2,
) -> Seconds:
    """Time GRPO: Dr. GRPO's loss without KL, one step a rollout, k candidates of up to 64 tokens, our ROUGE-L."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    registry = load_registry()
    reward: Any = registry.build("reward", "rouge", registry.options("reward", "rouge", {}).model_dump(mode="json"))
    model, tokenizer = _model(model_folder)
    rows = [{"prompt": row.text, "references": [*row.columns["references"]]} for row in task.rows]

    def rouge(*, prompts: list[str], completions: list[str], completion_ids: list[list[int]], **columns: Any) -> Any:
        return reward(prompts=prompts, completions=completions, completion_ids=completion_ids, **columns)

    config = GRPOConfig(
        **_arguments(folder, task, warm_up + rounds, task.batch_size * CANDIDATES),
        num_generations=CANDIDATES,
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
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=[rouge],
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    )
    return _timed(trainer, others, warm_up)


def sft(
    folder: Path,
    model_folder: Path,
    task: Task,
    others: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    warm_up: int = 2,
) -> Seconds:
    """Time supervised steps on prompts and completions, the loss on completions alone."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    model, tokenizer = _model(model_folder)
    rows = [{"prompt": row.text, "completion": _answer(tokenizer, row.completion)} for row in task.rows]
    config = SFTConfig(
        **_arguments(folder, task, warm_up + rounds, task.batch_size),
        max_length=1024,
        completion_only_loss=True,
        packing=False,
    )
    trainer = SFTTrainer(model=model, args=config, train_dataset=Dataset.from_list(rows), processing_class=tokenizer)
    return _timed(trainer, others, warm_up)


def dpo(
    folder: Path,
    model_folder: Path,
    task: Task,
    others: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    warm_up: int = 2,
) -> Seconds:
    """Time DPO steps on preference pairs whose reference log-probs were computed beforehand."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    model, tokenizer = _model(model_folder)
    rows = [
        {"prompt": r.text, "chosen": _answer(tokenizer, r.chosen), "rejected": _answer(tokenizer, r.rejected)}
        for r in task.rows
    ]
    config = DPOConfig(
        **_arguments(folder, task, warm_up + rounds, task.batch_size),
        max_length=1024,
        beta=0.1,
        precompute_ref_log_probs=True,
    )
    trainer = DPOTrainer(model=model, args=config, train_dataset=Dataset.from_list(rows), processing_class=tokenizer)
    return _timed(trainer, others, warm_up)


def _answer(tokenizer: Any, answer: Any) -> str:
    ids = answer.ids.tolist()
    return str(tokenizer.decode(ids[:-1] if answer.finished else ids))


def _timed(trainer: Any, others: Mapping[str, Callable[[], object]], warm_up: int) -> Seconds:
    turns = _Turns(others, warm_up)
    trainer.add_callback(turns)
    trainer.train()
    return turns.seconds
