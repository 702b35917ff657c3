"""What the runner needs of whoever runs stages: room for one, its request taken, and what is heard of it.

An executor takes a stage's request; the record comes into the store, from wherever the stage ran. It promises little: a
stage may be begun twice, delivered twice, or lost without a word, because the store takes a stage as a whole and once.
No lock and no clock of another machine is trusted.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from harness.execution.executors.survey import NodeReport, SurveyRequest
    from harness.plan import Stage
    from harness.spec.execution import Execution
    from harness.spec.stages.kinds import AnyStageConfig
    from harness.stages.request import StageRequest

#: Events after which a stage goes on; every other ends it.
GOES_ON = frozenset({"began", "progress", "warned"})

#: Ends of a stage that its process did not live to tell.
GONE = frozenset({"died", "stalled", "lost"})


class Place(Protocol):
    """Where a stage is at work, or waits for its turn."""

    @property
    def number(self) -> int:
        """What people know it by while it lasts."""

    @property
    def stage(self) -> Stage | None:
        """What is made there; None once that has ended."""


@dataclass
class Event:
    """What was heard of a stage."""

    place: Place
    stage: Stage | None
    kind: str
    """``began`` (on a node, with ``host``), ``progress`` and ``warned``; or how it ended: ``done``, ``failed``,
    ``damaged`` (a file of a parent), ``stopped``, ``died`` (its process), ``stalled``, or ``lost``: it was taken from
    its node, or the node is gone, and that says nothing about the stage."""
    body: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Needs:
    """What a stage takes of one machine."""

    cpus: int = 1
    gpus: int = 0
    memory: int | None = None
    """Bytes of main memory; None where they are not known."""


@dataclass(frozen=True)
class Opening:
    """What an executor is opened for."""

    execution: Execution
    jobs: int
    """Most stages at a time."""
    threads: int
    """Of each process."""
    ranks: int
    """Processes of each training stage."""
    kinds: tuple[str, ...]
    """Of the stages that are to come."""
    stall_seconds: float
    """How long a process may send no heartbeat."""
    results: Path


class Executor(Protocol):
    """Who runs stages."""

    jobs: int
    """Most stages at a time."""
    grace: float
    """Seconds that stages have at the end to keep what they have."""

    def device(self, wanted: str) -> str:
        """Return ``cpu``, ``cuda`` or ``cuda:N`` for what the file says.

        Raises:
            HarnessError: there is no such device.
        """

    def survey(self, request: SurveyRequest) -> list[NodeReport]:
        """Return what the machines say that stages will run on; none where that is this one."""

    def begin(self, stage: Stage, request: StageRequest[AnyStageConfig], needs: Needs) -> Place | None:
        """Take a stage, and say where; None where there is no room."""

    def busy(self) -> Sequence[Place]:
        """Return where stages are at work."""

    def wait(self, seconds: float) -> Iterator[Event]:
        """Return what is heard within a time."""

    def keep(self) -> None:
        """Let every stage keep what it has, and go on."""

    def close(self) -> None:
        """End everything; what is in the middle of a stage may first keep what it has."""
