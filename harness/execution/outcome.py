"""What came of a run, and the error that it is where nothing did."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from harness.errors import HarnessError, InputError, MachineError, StageError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from harness.plan import Plan, Stage


@dataclass
class Failure:
    """A stage that failed, or that cannot be done because another one failed."""

    stage: Stage
    message: str
    exit_code: int
    because_of: str | None = None
    """The label of the stage that failed first."""


@dataclass(frozen=True)
class Rebuilt:
    """A stage that was made again."""

    kind: str
    label: str
    reason: str


@dataclass
class Outcome:
    """What came of a run."""

    plan: Plan
    failures: dict[str, Failure] = field(default_factory=dict)
    """By the stage's key."""
    made: int = 0
    reused: int = 0
    rebuilt: dict[str, Rebuilt] = field(default_factory=dict)
    """What was made again that had been made before, by the stage's key."""
    deaths: dict[str, Failure] = field(default_factory=dict)
    """Stages that were tried once more because their process died, and how, by the stage's key."""
    warned: frozenset[str] = frozenset()
    """What stages warned of in this run, and the watcher has been told."""
    left_out: frozenset[str] = frozenset()
    """Keys of stages without a result that were not asked for."""

    def follow(self, earlier: Outcome) -> None:
        """Add what came of an earlier attempt of the same run."""
        self.made += earlier.made
        self.reused = max(0, self.reused - earlier.made)  # what the earlier one made is not taken from before the run
        self.rebuilt = {**earlier.rebuilt, **self.rebuilt}
        self.deaths = {**earlier.deaths, **self.deaths}
        self.warned |= earlier.warned

    def again(self) -> list[Failure]:
        """Return how the processes died of stages that were done at the second try."""
        return [death for key, death in self.deaths.items() if key not in self.failures]

    def done(self, stage: Stage) -> bool:
        """Return whether a stage has a result."""
        return stage.key not in self.failures and stage.key not in self.left_out


def error_of(exit_code: int, message: str) -> HarnessError:
    """Return the error behind a message that a worker sent."""
    kinds: dict[int, type[HarnessError]] = {2: InputError, 3: MachineError}
    return kinds.get(exit_code, StageError)(message)


def nothing_works(plan: Plan, failures: Mapping[str, Failure], left_out: Collection[str] = ()) -> bool:
    """Return whether no cell of any table can exist, of those that were asked for."""
    shown = "generate" if plan.evaluations else "train"
    stages = plan.stages.values()
    return all(stage.key in failures for stage in stages if stage.kind == shown and stage.key not in left_out)


def raise_if_nothing_worked(outcome: Outcome, *, said: int) -> None:
    """Raise the error itself where no cell of any table can exist; ``said`` failures have been told already."""
    if not nothing_works(outcome.plan, outcome.failures, outcome.left_out):
        return
    first = next((failure for failure in outcome.failures.values() if failure.because_of is None), None)
    if first is not None:
        raise error_of(first.exit_code, "no row has a result, for the reasons above" if said else first.message)
