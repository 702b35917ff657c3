"""The names that a reward is called with, which no column of the data may have."""

from __future__ import annotations

from typing import Final

#: What a reward is called with beside columns of the data; ``reward_model`` where its registration asks for it.
CALLED_WITH: Final = (
    "prompts", "completions", "completion_ids", "trainer_state", "log_extra", "log_metric", "reward_model",
)  # fmt: skip
