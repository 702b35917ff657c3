"""Which module runs the stages of a kind, and the digest of what it runs."""

from __future__ import annotations

import functools
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, get_args

from harness.plugins.closure import Sources
from harness.spec.stages.kinds import AnyStageConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

#: A stage's kind to the module whose ``run`` does it.
ENTRIES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "rows": "harness.stages.rows",
        "tokenizer": "harness.stages.tokenizer",
        "new-model": "harness.stages.new_model",
        "model": "harness.stages.existing_model",
        "classifier": "harness.stages.classifier",
        "reference-logprobs": "harness.stages.reference",
        "reward-statistics": "harness.stages.reward_statistics",
        "train": "harness.stages.train",
        "generate": "harness.stages.generate",
        "answers": "harness.stages.answers",
        "score": "harness.stages.score",
        "score-by-model": "harness.stages.model_score",
    }
)


def roots(kind: str) -> tuple[str, str]:
    """Return the modules that a stage of a kind begins in: the one that runs it, and the one of what it is asked."""
    return ENTRIES[kind], _asked()[kind]


@functools.cache
def _asked() -> dict[str, str]:
    union, *_ = get_args(AnyStageConfig)
    return {config.model_fields["kind"].default: config.__module__ for config in get_args(union)}


@functools.cache
def code_digest(kind: str) -> str:
    """Return the digest of the source that stages of a kind run, as it was when this process first asked."""
    return _sources().digest(roots(kind))


@functools.cache
def _sources() -> Sources:
    return Sources()
