"""The recipes that presets share. Imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

PAPER_URL = "https://aclanthology.org/2025.coling-main.357/"

#: "When Evolution Strategy Meets Language Models Tuning", sections 3.2, 5.3, 5.4 and 5.10, as far as it is stated: no
#: learning rate is. It says Adam with a weight decay of 0.05; a decay of that size inside Adam's normalised gradient
#: would swamp it, and the released code decouples it, so it is read as AdamW (``optimizer: adam`` is the literal word).
COLING_2025: Mapping[str, Any] = {
    "epochs": 5,
    "method_epochs": 1,
    "method_schedule": "continue",
    "batch_size": 16,
    "optimizer": "adamw",
    "weight_decay": 0.05,
    "schedule": "cosine",
    "max_prompt_length": 512,
    "max_completion_length": 128,
}

#: The released code's training script: two GPUs x 8 prompts, dropout as the checkpoints have it.
ESO_CODE: Mapping[str, Any] = {
    "epochs": 5,
    "method_schedule": "continue",
    "batch_size": 16,
    "learning_rate": 1e-4,
    "min_learning_rate": 1e-7,
    "optimizer": "adamw",
    "weight_decay": 0.01,
    "schedule": "cosine",
    "warmup_steps": 0,
    "max_grad_norm": 1.0,
    "dropout": 0.1,
    "max_prompt_length": 512,
    "max_completion_length": 64,
}
