"""Progress for people: a live display on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from harness.plan.estimate import Estimate

if TYPE_CHECKING:
    from harness.plan import Plan, Stage

#: Seconds between two plain lines about the same stage.
_QUIET = 15.0


class TimeLeft:
    """Time left, from the estimated work of what is done and what is not, at the pace seen so far."""

    def __init__(self) -> None:
        """Start the clock."""
        self._began = time.monotonic()
        self._work: dict[str, float] = {}
        self._done: dict[str, float] = {}

    def plan(self, plan: Plan, todo: list[Stage]) -> None:
        """Take in what there is to do."""
        estimate = Estimate(plan)
        for stage in todo:
            self._work[stage.key] = max(estimate.seconds(stage) or 0.0, 0.05)

    def at(self, stage: Stage, fraction: float) -> None:
        """Note how far a stage is."""
        self._done[stage.key] = self._work.get(stage.key, 0.0) * fraction

    @property
    def fraction(self) -> float:
        """Share of the estimated work that is done."""
        return sum(self._done.values()) / max(sum(self._work.values()), 1e-9)

    def __str__(self) -> str:
        elapsed = time.monotonic() - self._began
        if self.fraction < 0.01 or elapsed < 2:
            return "time left ?"
        return f"{clock(elapsed * (1 - self.fraction) / self.fraction)} left"


def clock(seconds: float) -> str:
    """Return ``h:mm:ss``, or ``m:ss`` below an hour."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Lines:
    """A line when a stage begins, now and then while it runs, and when it ends."""

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        """Write to ``console``; ``quiet`` leaves failures only."""
        self.console = console
        self.quiet = quiet
        self.left = TimeLeft()
        self.todo = 0
        self.done = 0
        self._last: dict[int, float] = {}
        self._began: dict[int, float] = {}

    def planned(self, plan: Plan, todo: list[Stage]) -> None:
        """Say once how much there is to do."""
        if self.todo == 0 and todo and not self.quiet:
            cached = len(plan.stages) - len(todo)
            self._say(f"{len(todo)} stages to do, {cached} already in the store")
        self.todo = max(self.todo, len(todo))
        self.left.plan(plan, todo)

    def started(self, worker: int, stage: Stage) -> None:
        """Remember when; say so for the stages that take a while."""
        self._began[worker] = self._last[worker] = time.monotonic()
        if stage.kind == "train":
            self._say(f"[{worker}] {stage.kind} {stage.label}")

    def progress(self, worker: int, stage: Stage, done: int, total: int, unit: str, note: str) -> None:
        """Say how far a stage is, at intervals."""
        self.left.at(stage, done / total if total else 0.0)
        now = time.monotonic()
        if now - self._last[worker] >= _QUIET:
            self._last[worker] = now
            rate = done / max(now - self._began[worker], 1e-9)
            pace = f"{unit} {done}/{total or '?'}, {rate:.1f}/s"
            self._say(f"[{worker}] {stage.kind} {stage.label}: {pace} {note}, {self.left}")

    def ended(self, worker: int, stage: Stage, seconds: float, failure: str | None) -> None:
        """Say how it ended."""
        self.done += 1
        self.left.at(stage, 1.0)
        if failure is not None:
            self.console.print(f"failed: {stage.kind} {stage.label}: {failure}", markup=False, highlight=False)
        elif stage.kind in {"train", "generate"}:
            state = f"done in {clock(seconds)}  ({self.done}/{self.todo}, {self.left})"
            self._say(f"[{worker}] {stage.kind} {stage.label}: {state}")

    def _say(self, text: str) -> None:
        if not self.quiet:
            self.console.print(text, markup=False, highlight=False, soft_wrap=True)


class Bars(Lines):
    """A bar for the whole and one for each worker."""

    def __init__(self, console: Console) -> None:
        """Set up the display; use it as a context manager."""
        super().__init__(console, quiet=True)
        columns = ("{task.description}", BarColumn(bar_width=24), "{task.fields[state]}")
        self._whole = Progress(*(TextColumn(c) if isinstance(c, str) else c for c in columns), console=console)
        self._single = Progress(*(TextColumn(c) if isinstance(c, str) else c for c in columns), console=console)
        self._all = self._whole.add_task("benchmark", total=1.0, state="")
        self._tasks: dict[int, TaskID] = {}
        self._live = Live(Group(self._single, self._whole), console=console, transient=True, refresh_per_second=5)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()

    def started(self, worker: int, stage: Stage) -> None:
        """Give the worker's bar to the stage."""
        self._began[worker] = self._last[worker] = time.monotonic()
        if worker not in self._tasks:
            self._tasks[worker] = self._single.add_task("", total=None, state="")
        name = f"{stage.kind} {stage.label}".replace("[", "\\[")
        self._single.update(self._tasks[worker], description=name, completed=0, total=None, state="")

    def progress(self, worker: int, stage: Stage, done: int, total: int, unit: str, note: str) -> None:
        """Move the stage's bar and the whole one."""
        self.left.at(stage, done / total if total else 0.0)
        seconds = max(time.monotonic() - self._began[worker], 1e-9)
        rate = done / seconds
        rest = f", {clock((total - done) / rate)} left" if rate and total else ""
        state = f"{unit} {done}/{total or '?'}  {rate:.1f}/s{rest}  {note}".replace("[", "\\[")
        self._single.update(self._tasks[worker], completed=done, total=total or None, state=state)
        self._show()

    def ended(self, worker: int, stage: Stage, seconds: float, failure: str | None) -> None:
        """Count it."""
        super().ended(worker, stage, seconds, failure)
        self._show()

    def _show(self) -> None:
        state = f"{self.done}/{self.todo} stages  {self.left}"
        self._whole.update(self._all, completed=self.left.fraction, state=state)
