"""The installed TRL's trainers, each as a side of a comparison: a callback waits for its turns.

What is counted of a trainer is the time between its own ``on_step_begin`` and ``on_step_end``: the forward, sampling,
scoring, backward, clipping and optimiser step of one batch, without fetching the batch, logging or saving.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from perf.workload import CANDIDATES, NEW_TOKENS
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

from harness.plugins.loader import load_registry

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from perf.pace import Turns
    from perf.workload import Task

THEIRS = "TRL"


@dataclass(frozen=True)
class Match:
    """What a trainer trains, and on what."""

    folder: Path
    """For what the trainer writes."""
    model: Path
    task: Task
    steps: int
    """That are timed or warm it up; it begins one more."""
    candidates: int = CANDIDATES
    """Answers that GRPO draws to a prompt, at least two."""
    same_length: bool = False
    """Whether an answer goes on to the limit, so that every step draws as many tokens."""
    device: str = "cpu"
    """On a GPU, trainers compute in bfloat16."""
    vllm: bool = False
    """Whether GRPO samples by vLLM, in its own process."""
    new_tokens: int = NEW_TOKENS


class _Steps(TrainerCallback):
    def __init__(self, turns: Turns) -> None:
        self.turns = turns

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self.turns.begin()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.turns.end()


def grpo(turns: Turns, match: Match) -> None:
    """Take GRPO's steps: Dr. GRPO's loss without KL, one step a rollout, k candidates of 64 tokens, our ROUGE-L."""
    from trl import GRPOConfig, GRPOTrainer

    registry = load_registry()
    reward: Any = registry.build("reward", "rouge", registry.options("reward", "rouge", {}).model_dump(mode="json"))
    rows = [{"prompt": row.text, "references": [*row.columns["references"]]} for row in match.task.rows]

    def rouge(*, prompts: list[str], completions: list[str], completion_ids: list[list[int]], **columns: Any) -> Any:
        return reward(prompts=prompts, completions=completions, completion_ids=completion_ids, **columns)

    config = GRPOConfig(
        **_arguments(match, match.task.batch_size * match.candidates),
        num_generations=match.candidates,
        max_completion_length=match.new_tokens,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        beta=0.0,
        loss_type="dr_grpo",
        scale_rewards="none",
        steps_per_generation=1,
        num_iterations=1,
        generation_kwargs=_full_length(match),
        use_vllm=match.vllm,
        **({"vllm_mode": "colocate"} if match.vllm else {}),
    )
    _train(turns, match, GRPOTrainer, config, rows, reward_funcs=[rouge])


def sft(turns: Turns, match: Match) -> None:
    """Take supervised steps on prompts and completions, the loss on completions alone."""
    from trl import SFTConfig, SFTTrainer

    said = _answers(match)
    rows = [{"prompt": row.text, "completion": said(row.completion)} for row in match.task.rows]
    arguments = _arguments(match, match.task.batch_size)
    config = SFTConfig(**arguments, max_length=1024, completion_only_loss=True, packing=False)
    _train(turns, match, SFTTrainer, config, rows)


def dpo(turns: Turns, match: Match) -> None:
    """Take DPO steps on preference pairs whose reference log-probs were computed beforehand."""
    from trl import DPOConfig, DPOTrainer

    said = _answers(match)
    rows = [{"prompt": row.text, "chosen": said(row.chosen), "rejected": said(row.rejected)} for row in match.task.rows]
    arguments = _arguments(match, match.task.batch_size)
    config = DPOConfig(**arguments, max_length=1024, beta=0.1, precompute_ref_log_probs=True)
    _train(turns, match, DPOTrainer, config, rows)


def _arguments(match: Match, batch: int) -> dict[str, Any]:
    return {
        "output_dir": str(match.folder / "trl"),
        "per_device_train_batch_size": batch,
        "gradient_accumulation_steps": 1,
        "max_steps": match.steps + 1,
        "learning_rate": 1e-4,
        "lr_scheduler_type": "constant",
        "gradient_checkpointing": False,
        "bf16": match.device != "cpu",
        "use_cpu": match.device == "cpu",
        "report_to": [],
        "save_strategy": "no",
        "logging_strategy": "no",
        "disable_tqdm": True,
        "dataloader_num_workers": 0,
        "seed": 0,
    }


def _full_length(match: Match) -> dict[str, int] | None:
    name = "min_tokens" if match.vllm else "min_new_tokens"
    return {name: match.new_tokens} if match.same_length else None


def _answers(match: Match) -> Callable[[Any], str]:
    """Return what gives the text of an answer's tokens."""
    tokenizer: Any = AutoTokenizer.from_pretrained(match.model)
    return lambda answer: str(tokenizer.decode(answer.ids[:-1] if answer.finished else answer.ids))


def _train(turns: Turns, match: Match, trainer: Any, config: Any, rows: list[dict[str, Any]], **more: Any) -> None:
    from datasets import Dataset

    trainer(
        model=AutoModelForCausalLM.from_pretrained(match.model, dtype=torch.float32),
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(match.model),
        callbacks=[_Steps(turns)],
        **more,
    ).train()
