"""How a stage's work is done: nothing here changes a result beyond rounding, and none of it is part of an id."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from harness.spec.section import Frozen


class Runtime(Frozen):
    """How a stage's work is done. A plan fills in what it knows, a run the rest."""

    path: str | None = None
    """Where data or a model lie."""
    name: str | None = None
    """What a model is called on the hub, or in messages."""
    base: str | None = None
    """What a model that is an adapter goes on, where the file says it."""
    lines: tuple[int, ...] = ()
    """Which lines of a file of answers are meant, by their numbers."""
    options: dict[str, Any] = Field(default_factory=dict)
    """A metric's options that change no result."""
    tokens_per_micro_batch: int | None = None
    gradient_checkpointing: bool = False
    shard: bool = False
    """Whether the processes of a training stage divide the weights among themselves."""

    device: str = "cpu"
    """``cpu``, ``cuda`` or ``cuda:N`` where the stage is run; what the file says while it is planned."""
    threads: int = 1
    ranks: int = 1
    concurrent: bool = False
    """Whether other stages run beside it."""
    sources: dict[str, str] = Field(default_factory=dict)
    """Where models lie on disk, by the digest of their content."""
    retry_before: float = 0.0
    """When the user asked for another try of what a judge did not answer; 0 where nobody did."""
    replace: bool = False
    """Whether the result takes the place of an earlier one."""
    executor: str = "local"
    """Who runs it."""
    checkpoint_minutes: float = 10.0
    rank_timeout_minutes: float = 10.0
