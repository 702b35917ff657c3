"""Training steps and scores for experiment trackers, by the classes that accelerate has for them.

What is logged is read from finished stages, by one thread of the run itself: so training waits for no tracker, a stage
that was killed and went on is logged once and whole, whatever its ranks, and a tracker is part of no stage's id. One
that fails is given up with a warning; the run goes on.
"""

from __future__ import annotations

import importlib.util
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from harness import disk
from harness.errors import InputError, StageError, first_line
from harness.spec.results.train import TrainStep
from harness.store.records import CONFIG

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from harness.plan import Stage
    from harness.spec.benchmark import Benchmark
    from harness.store.records import Record
    from harness.store.stages import Store

#: What each tracker is imported as, any of which does, and what installs it.
MODULES: Final[Mapping[str, tuple[str, ...]]] = {
    "tensorboard": ("tensorboard", "tensorboardX"),
    "wandb": ("wandb",),
    "trackio": ("trackio",),
    "mlflow": ("mlflow",),
}
#: What the name of a number may have in every tracker (MLflow's is the narrowest).
_OTHER: Final = re.compile(r"[^\w\-./ ]")


def check_trackers(names: Iterable[str]) -> None:
    """Refuse a tracker that is not installed.

    Raises:
        InputError: one is not.
    """
    for name in names:
        if not any(importlib.util.find_spec(module) for module in MODULES[name]):
            raise InputError(
                f"the tracker {name!r} is not installed", where="execution.trackers",
                hint=f"pip install {MODULES[name][0]}, or leave it out: all that it would show is in the results",
            )  # fmt: skip


@dataclass
class Trackers:
    """The trackers of one run; a context in the end of which all is written."""

    benchmark: Benchmark
    folder: Path
    """The run's, below which trackers that write files write them."""
    store: Store
    warn: Callable[[str], object]
    made: set[tuple[str, str]] = field(default_factory=set)
    """Kind and id of the stages that this run made."""
    _names: list[str] = field(default_factory=list)
    _thread: ThreadPoolExecutor | None = None

    def __enter__(self) -> Self:
        self._names = list(self.benchmark.execution.trackers)
        if self._names:
            self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="trackers")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._thread is not None:
            self._thread.shutdown(wait=True, cancel_futures=kind is not None)

    def stage(self, stage: Stage) -> None:
        """Log each step of a stage that was trained; of others note that they were made."""
        if self._thread is None or stage.id is None:
            return
        self.made.add((stage.kind, stage.id))
        if stage.kind == "train":
            self._thread.submit(self._steps, self.store.open(stage.kind, stage.id), stage.label)

    def scores(self, rows: Sequence[Scores]) -> None:
        """Log the scores of rows, each seed's in a run of its own."""
        if self._thread is not None:
            for row in rows:
                if self.made & row.stages:
                    self._thread.submit(self._log, row.name, row.settings, [(row.step, row.numbers)])

    def _steps(self, record: Record, label: str) -> None:
        try:
            steps = [(line.step, dict(numbers(line.to_json()))) for line in record.lines(TrainStep)]
            config = dict(settings(record.json(CONFIG)))
        except StageError as error:
            self.warn(f"the steps of {label} are not logged: {error}")
        else:
            self._log(label, config, steps)

    def _log(self, run: str, config: Mapping[str, Any], lines: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        """Give every tracker one run; one that fails is not asked again."""
        for name in list(self._names):
            try:
                with disk.by_library(self.folder):
                    tracker = make(name, self.benchmark, self.folder, run)
                    tracker.start()
                    try:
                        tracker.store_init_configuration(dict(config))
                        for step, values in lines:
                            if values:
                                tracker.log({_OTHER.sub("_", key): value for key, value in values.items()}, step=step)
                    finally:
                        tracker.finish()
            except Exception as error:  # noqa: BLE001  # whatever a tracker raises, results do not depend on it
                self._names.remove(name)
                self.warn(f"the tracker {name} is given up: {type(error).__name__}: {first_line(error)}")


@dataclass(frozen=True)
class Scores:
    """The scores of one row with one seed."""

    name: str
    """Of the tracker's run: MODEL/ROW/seed N."""
    settings: Mapping[str, Any]
    step: int
    """The last of its training."""
    numbers: Mapping[str, float]
    stages: frozenset[tuple[str, str]]
    """Kind and id of all that it was made from."""


def make(name: str, benchmark: Benchmark, folder: Path, run: str) -> Any:
    """Return accelerate's tracker of a name, for a run of its own; it is not started."""
    from accelerate.state import PartialState  # type: ignore[import-untyped]  # it has no types
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS  # type: ignore[import-untyped]  # likewise

    PartialState(cpu=True)  # a tracker asks it for the main process; this one computes nothing
    project, group = f"posttune-{benchmark.benchmark}", f"{benchmark.benchmark}/{benchmark.profile}"
    kind = LOGGER_TYPE_TO_CLASS[name]
    safe = _OTHER.sub("_", run)
    if name == "tensorboard":
        return kind(safe, logging_dir=folder / "tensorboard")
    if name == "wandb":
        return kind(project, name=safe, group=group, dir=folder)
    return kind(project, name=safe) if name == "trackio" else kind(experiment_name=project, run_name=safe)


def numbers(value: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, float]]:
    """Yield every number of nested JSON, ``loss/sft`` or ``reward/by_candidate/0``; texts are left out."""
    for name, part in value.items():
        if isinstance(part, dict):
            yield from numbers(part, f"{before}{name}/")
        elif isinstance(part, list):
            yield from numbers({str(place): one for place, one in enumerate(part)}, f"{before}{name}/")
        elif isinstance(part, (int, float)):
            yield f"{before}{name}", float(part)


def settings(value: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value of nested JSON as a tracker takes it: lists as text, and nothing that is null."""
    for name, part in value.items():
        if isinstance(part, dict):
            yield from settings(part, f"{before}{name}/")
        elif part is not None:
            yield f"{before}{name}", str(part) if isinstance(part, list) else part
