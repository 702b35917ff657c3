"""Which module runs the stages of a kind, and the digest of what it runs."""

from __future__ import annotations

import functools
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from harness.plugins.closure import source_digest

if TYPE_CHECKING:
    from collections.abc import Mapping

#: A stage's kind to the module whose ``run`` does it.
ENTRIES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "rows": "harness.stages.rows",
        "tokenizer": "harness.stages.checkpoints",
        "new-model": "harness.stages.checkpoints",
        "model": "harness.stages.checkpoints",
        "classifier": "harness.stages.checkpoints",
        "reference-logprobs": "harness.stages.reference",
        "reward-statistics": "harness.stages.reward_statistics",
        "train": "harness.stages.train",
        "generate": "harness.stages.generate",
        "score": "harness.stages.score",
        "score-by-model": "harness.stages.model_score",
    }
)


@functools.cache
def code_digest(kind: str) -> str:
    """Return the digest of the source that stages of a kind run, as it was when this process first asked."""
    assert kind in ENTRIES
    return source_digest(("harness.api", "harness.lm", "harness.training", "harness.stages"))
