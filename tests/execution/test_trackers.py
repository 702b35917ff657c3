"""What a run logs through accelerate's trackers."""

from __future__ import annotations

import importlib.util
import inspect
import json
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from accelerate import tracking  # type: ignore[import-untyped]  # it has no types
from report.whole import WholeRun
from stages import configs

from harness.errors import InputError
from harness.execution import trackers
from harness.execution.trackers import MODULES, Trackers, check_trackers
from harness.plan.graph import Stage
from harness.report.results import load_results, read_manifest
from harness.spec.execution import Execution
from harness.spec.runtime import Runtime
from harness.store.stages import Store

if TYPE_CHECKING:
    from pathlib import Path

    from harness.spec.benchmark import Benchmark


@pytest.fixture
def run(tmp_path: Path) -> WholeRun:
    reward = {"mean": 0.25, "missing": 0, "by_candidate": [0.5, 0.0]}
    log = [{"step": number, "loss": {"sft": 2.0 - number, "eso": 0.5}, "reward": reward} for number in range(3)]
    return WholeRun(tmp_path / "results", seeds=(0, 1), examples=3, log=lambda _row, _seed: log)


def benchmark(folder: Path, *names: str) -> Benchmark:
    config = read_manifest(folder).config
    return config.model_copy(update={"execution": Execution(trackers=names)})


def made(run: WholeRun, row: str, seed: int = 0) -> Stage:
    """Return the last training stage of a row, as a plan has it."""
    described = next(r for r in read_manifest(run.root / "small/quick").rows if r.label == row)
    stage = described.seeds[seed].train[-1]
    label = Store(run.root).open("train", str(stage)).label
    return Stage(label, configs.train_config(row), {}, Runtime(), "", stage, stage, done=True)


class Kept(tracking.GeneralTracker):  # type: ignore[misc]  # it has no types
    """A tracker that keeps what it is told."""

    name, requires_logging_directory = "kept", False
    runs: ClassVar[list[Kept]] = []

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(_blank=True)
        self.args, self.options = args, options
        self.told: list[tuple[str, Any]] = []
        Kept.runs.append(self)

    @property
    def tracker(self) -> Any:
        return self

    def start(self) -> None:
        self.told.append(("start", None))

    def store_init_configuration(self, values: Any) -> None:
        self.told.append(("config", values))

    def log(self, values: Any, step: int | None = None, **_: Any) -> None:
        self.told.append(("log", (step, values)))

    def finish(self) -> None:
        self.told.append(("finish", None))


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> list[Kept]:
    Kept.runs = []
    for name in MODULES:
        monkeypatch.setitem(tracking.LOGGER_TYPE_TO_CLASS, name, Kept)
    return Kept.runs


def test_tensorboard_has_every_step_and_the_scores(run: WholeRun) -> None:
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    folder = run.write()
    told: list[str] = []
    from harness.cli.run import _scores
    from harness.report.write import make_tables

    with Trackers(benchmark(folder, "tensorboard"), folder, Store(run.root), told.append) as logged:
        logged.stage(made(run, "eso"))
        logged.scores(_scores(make_tables(run.root, folder)))
    assert told == []

    def read(name: str) -> dict[str, list[tuple[int, float]]]:
        events = event_accumulator.EventAccumulator(str(folder / "tensorboard" / name))
        events.Reload()
        return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}

    steps = read("tiny/eso/seed 0")
    assert steps["loss/sft"] == [(0, 2.0), (1, 1.0), (2, 0.0)]
    assert steps["loss/eso"] == [(0, 0.5), (1, 0.5), (2, 0.5)]
    assert steps["reward/by_candidate/0"] == [(0, 0.5), (1, 0.5), (2, 0.5)]
    assert {"learning_rate", "grad_norm", "kl", "tokens/generated", "reward/mean", "seconds/sampling"} <= set(steps)
    rouge = load_results(run.root, folder).rows[2].cells["in-data", "t1"].scores["rouge"][0].columns["rougeL"]
    ((step, value),) = steps["in-data/t1/rouge.rougeL"]
    assert step == 10
    assert value == pytest.approx(float(rouge.mean()))
    assert [path.name for path in (folder / "tensorboard/tiny").iterdir()] == ["eso"]  # nothing else was made


@pytest.mark.parametrize("name", ["wandb", "trackio", "mlflow"])
def test_other_trackers_are_called_as_accelerate_has_them(run: WholeRun, kept: list[Kept], name: str) -> None:
    classes = {
        "wandb": tracking.WandBTracker, "trackio": tracking.TrackioTracker, "mlflow": tracking.MLflowTracker,
    }  # fmt: skip
    folder = run.write()
    with Trackers(benchmark(folder, name), folder, Store(run.root), pytest.fail) as logged:
        logged.stage(made(run, "eso"))
    (one,) = kept
    inspect.signature(classes[name]).bind(*one.args, **one.options)
    assert "tiny/eso/seed 0" in one.options.values()
    assert "posttune-small" in (*one.args, *one.options.values())
    assert [what for what, _ in one.told] == ["start", "config", "log", "log", "log", "finish"]
    config = one.told[1][1]
    assert config["method/name"] == "eso"
    assert all(isinstance(value, (bool, str, int, float)) for value in config.values())
    assert [step for what, (step, _) in one.told[2:5]] == [0, 1, 2]  # pairs
    assert one.told[2][1][1]["loss/sft"] == 2.0
    assert all(isinstance(value, float) for _, (_, values) in one.told[2:5] for value in values.values())


def test_a_tracker_that_fails_is_given_up_and_nothing_else_is(
    run: WholeRun, kept: list[Kept], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(Kept):
        def log(self, values: Any, step: int | None = None, **_: Any) -> None:
            raise ConnectionError("no route to host")

    monkeypatch.setitem(tracking.LOGGER_TYPE_TO_CLASS, "wandb", Broken)
    folder, told = run.write(), list[str]()
    with Trackers(benchmark(folder, "wandb", "mlflow"), folder, Store(run.root), told.append) as logged:
        for row in ("sft", "eso"):
            logged.stage(made(run, row))
    assert told == ["the tracker wandb is given up: ConnectionError: no route to host"]
    assert [type(one).__name__ for one in kept] == ["Broken", "Kept", "Kept"]
    assert kept[0].told[-1] == ("finish", None)


def test_only_what_this_run_made_is_logged(run: WholeRun, kept: list[Kept]) -> None:
    from harness.cli.run import _scores
    from harness.report.write import make_tables

    folder = run.write()
    with Trackers(benchmark(folder, "trackio"), folder, Store(run.root), pytest.fail) as logged:
        logged.stage(made(run, "eso", 1))
        logged.scores(_scores(make_tables(run.root, folder)))
    assert [one.options["name"] for one in kept] == ["tiny/eso/seed 1", "tiny/eso/seed 1"]


def test_without_trackers_nothing_is_logged_and_no_thread_begun(run: WholeRun, kept: list[Kept]) -> None:
    folder = run.write()
    with Trackers(benchmark(folder), folder, Store(run.root), pytest.fail) as logged:
        logged.stage(made(run, "eso"))
        logged.scores([])
        assert logged._thread is None
    assert kept == []


def test_one_that_is_not_installed_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(InputError) as caught:
        check_trackers(["trackio"])
    message = str(caught.value)
    assert message.startswith(
        "execution.trackers: the tracker 'trackio' is not installed\n  pip install trackio, or leave"
    )
    check_trackers([])


def test_a_name_that_no_tracker_has_is_a_mistake_of_the_file(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from harness.cli import main

    result = CliRunner().invoke(main, ["validate", "dolly", "-o", "execution.trackers=[tensorbord]"])
    assert result.exit_code == 2
    assert "execution.trackers" in result.stderr
    assert "tensorboard" in result.stderr


def test_trackers_are_part_of_no_stage() -> None:
    assert (Execution.model_fields["trackers"].json_schema_extra or {}) == {"changes": "runtime"}


def test_names_of_numbers_are_those_that_every_tracker_takes() -> None:
    nested = {"a": {"b": [1, True]}, "text": "x", "none": None, "c": 2.5}
    assert dict(trackers.numbers(nested)) == {"a/b/0": 1.0, "a/b/1": 1.0, "c": 2.5}
    assert dict(trackers.settings(nested)) == {"a/b": "[1, True]", "text": "x", "c": 2.5}
    assert json.dumps(dict(trackers.settings(nested)))
