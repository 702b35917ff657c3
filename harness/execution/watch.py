"""Progress for people: a live display on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from harness.errors import reason
from harness.plan.estimate import Estimate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import OverflowMethod, RenderableType

    from harness.plan import Plan, Stage

#: Seconds between two plain lines about the same stage, and about many short ones.
_QUIET = 15.0

#: The kinds of stages that take a while, so that their begin and end are said.
_LONG = frozenset({"train", "precompute"})

#: Seconds of work after which what was seen counts as much for the pace as what was assumed.
_TRUST = 20.0


class TimeLeft:
    """Time left: the estimated work that is left, at the pace seen so far.

    The pace is estimated seconds done a second. It begins as the number of stages at a time, as if the estimates were
    right, and becomes what is seen.
    """

    def __init__(self, jobs: int = 1) -> None:
        """Start the clock."""
        self._began = time.monotonic()
        self._jobs = jobs
        self._work: dict[str, float | None] = {}
        self._done: dict[str, float] = {}

    def plan(self, plan: Plan, todo: list[Stage]) -> None:
        """Take in what there is to do, and how much that is, which is clearer once the data are prepared."""
        estimate = Estimate(plan)
        gone = self._work.keys() - plan.stages.keys()  # what stood for a choice that is made now
        self._work = {key: work for key, work in self._work.items() if key not in gone}
        self._done = {key: done for key, done in self._done.items() if key not in gone}
        for stage in todo:
            self._work[stage.key] = estimate.seconds(stage)
            self._done[stage.key] = 0.0

    def at(self, stage: Stage, fraction: float) -> None:
        """Note how far a stage is."""
        self._done[stage.key] = (self._work.get(stage.key) or 0.0) * fraction

    @property
    def fraction(self) -> float:
        """Share of the estimated work that is done."""
        return sum(self._done.values()) / max(sum(work or 0.0 for work in self._work.values()), 1e-9)

    @property
    def seconds(self) -> float | None:
        """The seconds left; None while the size of a stage is unknown."""
        if any(work is None for work in self._work.values()):
            return None
        done, elapsed = sum(self._done.values()), time.monotonic() - self._began
        pace = (done + self._jobs * _TRUST) / (elapsed + _TRUST)
        return (sum(work or 0.0 for work in self._work.values()) - done) / pace

    def __str__(self) -> str:
        seconds = self.seconds
        return "time left unknown" if seconds is None else f"about {clock(seconds)} left"


def clock(seconds: float) -> str:
    """Return ``h:mm:ss``, or ``m:ss`` below an hour."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@dataclass
class Pace:
    """How fast a stage goes: since its first report, because what came before is loading."""

    began: float
    first: tuple[float, int] | None = None
    done: int = 0
    total: int = 0

    def report(self, done: int, total: int) -> None:
        """Take in how far it is."""
        self.done, self.total = done, total
        if self.first is None:
            self.first = (time.monotonic(), done)

    @property
    def rate(self) -> float:
        """Units a second; 0 while that is unknown."""
        if self.first is None or self.done <= self.first[1]:
            return 0.0
        return (self.done - self.first[1]) / max(time.monotonic() - self.first[0], 1e-3)

    def describe(self, unit: str, note: str) -> str:
        """Return ``step 20/100, 3.1/s, 0:26 left, loss 2.1``, as far as it is known."""
        parts = [f"{unit} {self.done:,}/{self.total:,}"] if self.total else []
        if self.rate and self.total:
            parts += [f"{self.rate:.1f}/s", f"{clock((self.total - self.done) / self.rate)} left"]
        return ", ".join([*parts, *([note] if note else [])])


class Lines:
    """A line when training begins, now and then while stages run, and when something ends that took a while."""

    def __init__(self, console: Console, *, jobs: int = 1, quiet: bool = False) -> None:
        """Write to ``console``; ``quiet`` leaves failures and damage only."""
        self.console = console
        self.quiet = quiet
        self.left = TimeLeft(jobs)
        self.todo: set[str] = set()
        self.done: set[str] = set()
        self.paces: dict[int, Pace] = {}
        self._last: dict[int, float] = {}
        self._reasons: dict[str, str] = {}
        self._said = time.monotonic()

    def planned(self, plan: Plan, todo: list[Stage]) -> None:
        """Say once how much there is to do."""
        if not self.todo and todo:
            self.left.plan(plan, todo)
            keys = {stage.key for stage in todo}
            there = sum(stage.done and key not in keys for key, stage in plan.stages.items())
            self._say(f"{len(todo)} stages to do, {there} already in the store")
        self.left.plan(plan, todo)
        self.todo = (self.todo & plan.stages.keys()) | {stage.key for stage in todo}
        self.done -= {stage.key for stage in todo}

    def started(self, worker: int, stage: Stage) -> None:
        """Remember when; say so for the stages that take a while."""
        self.paces[worker] = Pace(time.monotonic())
        self._last[worker] = time.monotonic()
        if stage.kind in _LONG:
            self._say(f"[{worker}] {_name(stage)}")

    def placed(self, worker: int, stage: Stage, host: str) -> None:
        """Say where a stage is, of those that take a while."""
        if stage.kind in _LONG:
            self._say(f"[{worker}] {_name(stage)}: on {host}")

    def progress(self, worker: int, stage: Stage, done: int, total: int, unit: str, note: str) -> None:
        """Say how far a stage is, at intervals."""
        if not total and stage.kind == "train":
            self._say(f"[{worker}] {_name(stage)}: {note}")
            return
        self.left.at(stage, done / total if total else 0.0)
        pace = self.paces[worker]
        pace.report(done, total)
        now = time.monotonic()
        if now - self._last[worker] >= _QUIET:
            self._last[worker] = now
            self._say(f"[{worker}] {_name(stage)}: {pace.describe(unit, note)}  ({self._whole()})")

    def ended(self, worker: int, stage: Stage, seconds: float) -> None:
        """Say that it is done."""
        self._finished(stage)
        if stage.kind in _LONG or seconds >= _QUIET or time.monotonic() - self._said >= _QUIET:
            self._say(f"[{worker}] {_name(stage)}: done in {clock(seconds)}  ({self._whole()})")

    def failed(self, worker: int, stage: Stage, message: str, lost: str) -> None:  # noqa: ARG002  # for the bars
        """Say why it failed, each reason once, and what has no result because of it."""
        self._finished(stage)
        first = self._reasons.setdefault(reason(message), _name(stage))
        if first != _name(stage):
            message = f"as {first} did"
        self._insist(f"failed: {_name(stage)}: {message}" + (f"\n  {lost}" if lost else ""))

    def warned(self, stage: Stage, rows: Sequence[str], text: str) -> None:  # noqa: ARG002  # a stage is for others
        """Say what a stage warned of, and which rows it concerns."""
        self._say(f"warning: {', '.join(rows)}: {text}")

    def noted(self, text: str) -> None:
        """Say a warning that concerns the whole run."""
        self._insist(f"warning: {text}")

    def found(self, stage: Stage) -> None:
        """Count what another run has made."""
        self._finished(stage)

    def repairing(self, stage: Stage, message: str) -> None:
        """Say what was damaged."""
        self._insist(f"damaged, rebuilt for {_name(stage)}: {message}")

    def rebuilding(self, stage: Stage, reason: str, *, damaged: bool) -> None:  # as for lines
        """Say what is made again, and why."""
        say = self._insist if damaged else self._say
        say(f"rebuilt: {_name(stage)}: {reason}")

    def retrying(self, stage: Stage, message: str) -> None:
        """Say why a stage is tried once more."""
        self._insist(f"once more: {_name(stage)}: {message}")

    def _finished(self, stage: Stage) -> None:
        self.done.add(stage.key)
        self.left.at(stage, 1.0)

    def _whole(self) -> str:
        return f"{len(self.done)}/{len(self.todo)} stages, {self.left}"

    def _say(self, text: str) -> None:
        if not self.quiet:
            self._said = time.monotonic()
            self._insist(text)

    def _insist(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)


class Bars(Lines):
    """A line with a bar for each worker and one for the whole, never wider than the terminal."""

    def __init__(self, console: Console, *, jobs: int = 1) -> None:
        """Set up the display; use it as a context manager."""
        super().__init__(console, jobs=jobs, quiet=True)
        self._stages: dict[int, tuple[Stage, str]] = {}
        self._model = ""
        self._live = Live(console=console, transient=True, refresh_per_second=4, get_renderable=self._render)

    def planned(self, plan: Plan, todo: list[Stage]) -> None:
        """Take in what there is to do; where there is one model, lines have no room to name it each time."""
        super().planned(plan, todo)
        models = {row.model for row in plan.rows}
        self._model = f"{models.pop()}/" if len(models) == 1 else ""

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()

    def started(self, worker: int, stage: Stage) -> None:
        """Give the worker's line to the stage."""
        super().started(worker, stage)
        self._stages[worker] = (stage, "loading")

    def placed(self, worker: int, stage: Stage, host: str) -> None:
        """Say in the worker's line where the stage is."""
        self._stages[worker] = (stage, f"loading on {host}")

    def progress(self, worker: int, stage: Stage, done: int, total: int, unit: str, note: str) -> None:
        """Move the stage's bar and the whole one."""
        if not total and stage.kind == "train":
            self._insist(f"{_name(stage)}: {note}")
            return
        super().progress(worker, stage, done, total, unit, note)
        self._stages[worker] = (stage, self.paces[worker].describe(unit, note))

    def ended(self, worker: int, stage: Stage, seconds: float) -> None:
        """Take the stage off the worker's line."""
        super().ended(worker, stage, seconds)
        self._stages.pop(worker, None)

    def failed(self, worker: int, stage: Stage, message: str, lost: str) -> None:  # for the bars
        """Take the stage off the worker's line, and say why above the bars."""
        super().failed(worker, stage, message, lost)
        self._stages.pop(worker, None)

    def warned(self, stage: Stage, rows: Sequence[str], text: str) -> None:  # noqa: ARG002  # as for lines
        """Say it above the bars."""
        self._insist(f"warning: {', '.join(rows)}: {text}")

    def found(self, stage: Stage) -> None:
        """Count what another run has made, and take the stage off the line of a worker that tried to."""
        super().found(stage)
        self._take_off(stage)

    def repairing(self, stage: Stage, message: str) -> None:
        """Say what was damaged, and take the stage off its worker's line."""
        super().repairing(stage, message)
        self._take_off(stage)

    def rebuilding(self, stage: Stage, reason: str, *, damaged: bool) -> None:  # noqa: ARG002  # as for lines
        """Say it above the bars."""
        super().rebuilding(stage, reason, damaged=True)

    def retrying(self, stage: Stage, message: str) -> None:
        """Say why, and take the stage off its worker's line."""
        super().retrying(stage, message)
        self._take_off(stage)

    def _take_off(self, stage: Stage) -> None:
        self._stages = {worker: shown for worker, shown in self._stages.items() if shown[0].key != stage.key}

    def _render(self) -> RenderableType:
        # what stands for the one character of an ellipsis where that cannot be shown is three wide
        overflow: OverflowMethod = "ellipsis" if self.console.encoding.startswith("utf") else "crop"
        lines = Table.grid(padding=(0, 1), expand=True)
        lines.add_column(no_wrap=True, overflow=overflow, ratio=5)
        lines.add_column(width=10)
        lines.add_column(no_wrap=True, overflow=overflow, ratio=6)
        for worker, (stage, state) in sorted(self._stages.items()):
            pace = self.paces[worker]
            bar = ProgressBar(total=pace.total or None, completed=pace.done, pulse=not pace.total, width=10)
            lines.add_row(Text(f"{stage.kind} {stage.label.removeprefix(self._model)}"), bar, Text(state))
        whole = ProgressBar(total=1.0, completed=self.left.fraction, width=10)
        lines.add_row(Text("benchmark", style="bold"), whole, Text(self._whole(), style="bold"))
        return Group(lines)


def _name(stage: Stage) -> str:
    return f"{stage.kind} {stage.label}"
