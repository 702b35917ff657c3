"""TRL's PPOTrainer, led through one batch of answers that are given instead of sampled."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from datasets import Dataset
from torch import nn
from trl.experimental.ppo import PPOConfig, PPOTrainer, ppo_trainer

from harness.testing.tiny import tiny_policy, tiny_tokeniser

if TYPE_CHECKING:
    from pathlib import Path

    import pytest
    from torch import Tensor

#: Added to the temperature by the trainer.
SLACK = 1e-7


@dataclass(frozen=True)
class Scripted:
    """One prompt with the answer it gets; EOS (256) last where it ended."""

    prompt: list[int]
    answer: list[int]
    score: float


class Value(nn.Module):
    """A backbone with a value head, in the form of a sequence classifier."""

    base_model_prefix = "transformer"

    def __init__(self, head: nn.Linear) -> None:
        super().__init__()
        model: Any = tiny_policy().model
        self.transformer = model.base_model
        self.score = copy.deepcopy(head)


class Trainer(PPOTrainer):  # type: ignore[misc]  # TRL is not there for the type checker
    """Keeps what it would have logged."""

    said: dict[str, float]

    def log(self, logs: dict[str, float], *_: Any, **__: Any) -> None:
        self.said = dict(logs)


def train(
    script: list[Scripted], head: nn.Linear, folder: Path, patch: pytest.MonkeyPatch, *, pad_id: int, width: int,
    optimiser: Any, **settings: Any,
) -> Trainer:  # fmt: skip
    """Take the steps of one batch; ``optimiser`` makes one of (name, parameter) pairs."""
    tokenizer: Any = tiny_tokeniser()._tokenizer
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(pad_id)
    tokenizer.padding_side = "left"
    policy, reference = tiny_policy().model, tiny_policy().model
    value, judge = Value(head), nn.Linear(1, 1)
    arguments = PPOConfig(
        output_dir=str(folder), report_to="none", use_cpu=True, bf16=False, gradient_checkpointing=False,
        per_device_train_batch_size=len(script), gradient_accumulation_steps=1, total_episodes=len(script),
        num_sample_generations=0, response_length=width, stop_token="eos", disable_tqdm=True, save_strategy="no",
        logging_strategy="no", **settings,
    )  # fmt: skip
    trained = [(f"policy.{n}", p) for n, p in policy.named_parameters()]
    trained += [(f"value.{n}", p) for n, p in value.named_parameters()]
    steps = optimiser(trained)
    trainer = Trainer(
        arguments, tokenizer, policy, reference, judge,
        Dataset.from_list([{"input_ids": row.prompt} for row in script]), value,
        optimizers=(steps, torch.optim.lr_scheduler.LambdaLR(steps, lambda _: 1.0)),
    )  # fmt: skip

    def found(query: Tensor) -> Scripted:
        real = [token for token in query.tolist() if token != pad_id]
        return next(row for row in script if row.prompt == real)

    def scripted(model: Any, queries: Tensor, _size: int, pad: int, _config: Any) -> tuple[Tensor, Tensor]:
        answers = [found(query).answer for query in queries]
        responses = torch.tensor([answer + [pad] * (width - len(answer)) for answer in answers])
        rows = torch.cat((queries, responses), 1)
        logits = ppo_trainer.forward(model, rows, pad).logits[:, queries.shape[1] - 1 : -1]
        return rows, logits / (arguments.temperature + SLACK)

    plain = ppo_trainer.get_reward

    def judged(model: Any, rows: Tensor, pad: int, start: int) -> Any:
        if model is judge:
            return None, torch.tensor([found(row[:start]).score for row in rows], dtype=torch.float64), None
        return plain(model, rows, pad, start)

    patch.setattr(ppo_trainer, "batch_generation", scripted)
    patch.setattr(ppo_trainer, "get_reward", judged)
    trainer.train()
    return trainer
