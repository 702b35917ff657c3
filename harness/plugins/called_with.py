"""The names that a reward is called with, which no column of the data may have."""

from __future__ import annotations

from typing import Final, get_args

from harness.api.registration import RewardNeed

#: What a reward is called with beside columns of the data; ``reward_model`` and ``tokenizer`` where its
#: registration asks for them.
CALLED_WITH: Final = (
    "prompts", "completions", "completion_ids", "trainer_state", "log_extra", "log_metric", "reward_model",
    "tokenizer",
)  # fmt: skip

#: Those of them that a reward is given only where its registration needs them.
ON_REQUEST: Final = frozenset(get_args(RewardNeed))
