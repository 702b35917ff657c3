"""What a user sees of a run: lines where output is piped, bars on a terminal, and a time left that makes sense."""

from __future__ import annotations

import io
import time
from typing import TYPE_CHECKING

import pytest
from rich.console import Console
from stages import configs

from harness.execution.watch import Bars, Lines, Pace, TimeLeft, clock
from harness.plan import Plan, Stage
from harness.plan.estimate import Estimate
from harness.spec.runtime import Runtime

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.spec.stages.kinds import AnyStageConfig


def stage(config: AnyStageConfig, label: str) -> Stage:
    return Stage(label, config, {}, Runtime(), key=label, id=label, content=label, done=False)


TRAIN = stage(configs.train_config(), "m/eso/seed 0/epochs 4-5")
GENERATE, SCORE = stage(configs.generate_config(), "g"), stage(configs.score_config(), "s")
SECONDS = {TRAIN.key: 100.0, GENERATE.key: 20.0, SCORE.key: 1.0}


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Return a function that sets the clock; stages are estimated as in ``SECONDS``."""
    current = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: current[0])
    monkeypatch.setattr(Estimate, "seconds", lambda _, stage: SECONDS.get(stage.key))

    def set_to(seconds: float) -> None:
        current[0] = 1000.0 + seconds

    return set_to


def plan() -> Plan:
    stages = {each.key: each for each in (TRAIN, GENERATE, SCORE)}
    return Plan(stages, (), train=GENERATE, validation=None, evaluations={})


def lines(*, quiet: bool = False, width: int = 80) -> tuple[Lines, io.StringIO]:
    out = io.StringIO()
    return Lines(Console(file=out, width=width), jobs=1, quiet=quiet), out


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (61, "1:01"), (3661, "1:01:01"), (-5, "0:00")]
)
def test_the_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_the_time_left_begins_as_estimated_and_follows_the_pace(now: Callable[[float], None]) -> None:
    left = TimeLeft(jobs=1)
    left.plan(plan(), [TRAIN, GENERATE, SCORE])
    assert left.seconds == pytest.approx(121)
    now(400)  # four times as slow as estimated
    left.at(TRAIN, 1.0)
    assert left.seconds == pytest.approx(21 * 420 / 120)
    left.at(GENERATE, 1.0)
    left.at(SCORE, 1.0)
    assert left.seconds == 0
    assert left.fraction == 1


def test_two_workers_are_expected_to_take_half_the_time() -> None:
    assert TimeLeft(jobs=2).seconds == TimeLeft(jobs=1).seconds == 0


def test_the_time_left_is_unknown_while_sizes_are(now: Callable[[float], None]) -> None:
    left = TimeLeft()
    other = stage(configs.train_config(), "unknown")
    left.plan(plan(), [TRAIN, other])
    assert str(left) == "time left unknown"
    SECONDS[other.key] = 5.0
    left.plan(plan(), [TRAIN, other])
    del SECONDS[other.key]
    assert str(left) == "about 1:45 left"


def test_the_rate_is_that_since_the_first_report(now: Callable[[float], None]) -> None:
    pace = Pace(time.monotonic())
    now(30)  # loading, and going on at step 500
    pace.report(501, 1000)
    assert pace.rate == 0
    assert pace.describe("step", "loss 2.1") == "step 501/1,000, loss 2.1"
    now(35)
    pace.report(511, 1000)
    assert pace.describe("step", "loss 2.0") == "step 511/1,000, 2.0/s, 4:04 left, loss 2.0"


def test_training_is_told_at_its_begin_at_intervals_and_at_its_end(now: Callable[[float], None]) -> None:
    watcher, out = lines()
    watcher.planned(plan(), [TRAIN, GENERATE, SCORE])
    watcher.started(0, TRAIN)
    for step in range(1, 61):
        now(step)
        watcher.progress(0, TRAIN, step, 60, "step", "loss 1.0")
    watcher.ended(0, TRAIN, 60.0)
    told = out.getvalue().splitlines()
    assert told[0] == "3 stages to do, 0 already in the store"
    assert told[1] == "[0] train m/eso/seed 0/epochs 4-5"
    assert told[2].startswith(
        "[0] train m/eso/seed 0/epochs 4-5: step 15/60, 1.0/s, 0:45 left, loss 1.0  (0/3 stages, "
    )
    assert len(told) == 7
    assert told[-1] == "[0] train m/eso/seed 0/epochs 4-5: done in 1:00  (1/3 stages, about 0:14 left)"


def test_many_short_stages_are_told_now_and_then(now: Callable[[float], None]) -> None:
    watcher, out = lines()
    watcher.planned(plan(), [TRAIN, GENERATE, SCORE])
    for second in range(60):
        now(second)
        watcher.started(0, SCORE)
        watcher.ended(0, SCORE, 1.0)
    assert len(out.getvalue().splitlines()) == 4


def test_what_happens_on_resuming_is_told(now: Callable[[float], None]) -> None:
    watcher, out = lines()
    watcher.planned(plan(), [TRAIN])
    watcher.started(1, TRAIN)
    watcher.progress(1, TRAIN, 0, 0, "step", "going on at step 500")
    assert out.getvalue().splitlines()[-1] == "[1] train m/eso/seed 0/epochs 4-5: going on at step 500"


def test_failures_are_told_whole_also_quietly(now: Callable[[float], None]) -> None:
    watcher, out = lines(quiet=True, width=40)
    watcher.planned(plan(), [TRAIN, SCORE])
    watcher.started(0, TRAIN)
    message = "/a/very/long/path/that/must/not/be/broken/in/the/middle: [bold]wrong[/bold]\n  a hint"
    watcher.failed(0, TRAIN, message, "no result: eso")
    watcher.repairing(SCORE, "a file")
    watcher.warned(SCORE, ["eso"], "not now")
    assert out.getvalue() == (
        "failed: train m/eso/seed 0/epochs 4-5: /a/very/long/path/that/must/not/be/broken/in/the/middle: "
        "[bold]wrong[/bold]\n  a hint\n  no result: eso\ndamaged, rebuilt for score s: a file\n"
    )


def test_what_was_pruned_is_no_error_to_be_told_quietly(now: Callable[[float], None]) -> None:
    for quiet, told in ((True, ["a file"]), (False, ["a file", "pruned"])):
        watcher, out = lines(quiet=quiet)
        watcher.rebuilding(TRAIN, "a file", damaged=True)
        watcher.rebuilding(SCORE, "pruned", damaged=False)
        assert [line.rpartition(": ")[2] for line in out.getvalue().splitlines()] == told


def test_bars_tell_what_was_pruned_and_forget_what_another_run_has_made(now: Callable[[float], None]) -> None:
    out = io.StringIO()
    bars = Bars(Console(file=out, width=80), jobs=1)
    bars.planned(plan(), [TRAIN, SCORE])
    bars.rebuilding(SCORE, "pruned", damaged=False)
    assert out.getvalue() == "rebuilt: score s: pruned\n"
    bars.started(0, TRAIN)
    bars.found(TRAIN)
    out.truncate(0)
    bars.console.print(bars._render())
    assert "train" not in out.getvalue()
    assert "1/2 stages" in out.getvalue()


def test_one_reason_is_told_once(now: Callable[[float], None]) -> None:
    watcher, out = lines()
    for worker, one in enumerate((TRAIN, GENERATE)):
        watcher.started(worker, one)
        watcher.failed(worker, one, "the disk of the judge is full", "")
    told = out.getvalue().splitlines()
    assert told[-2:] == [
        "failed: train m/eso/seed 0/epochs 4-5: the disk of the judge is full",
        "failed: generate g: as train m/eso/seed 0/epochs 4-5 did",
    ]


def test_warnings_name_their_rows(now: Callable[[float], None]) -> None:
    watcher, out = lines()
    watcher.warned(TRAIN, ["sft", "eso"], "2 weights are [not] used")
    assert out.getvalue() == "warning: sft, eso: 2 weights are [not] used\n"


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_live_display_is_never_wider_than_the_terminal(now: Callable[[float], None], width: int) -> None:
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=True, color_system=None, legacy_windows=False)
    bars = Bars(console, jobs=2)
    bars.planned(plan(), [TRAIN, GENERATE, SCORE])
    bars.started(0, TRAIN)
    bars.started(1, GENERATE)
    now(10)
    bars.progress(0, TRAIN, 20, 100, "step", "sft 3.021, eso -0.132, reward 0.231 [not markup]")
    now(20)
    bars.progress(0, TRAIN, 40, 100, "step", "sft 3.021, eso -0.132, reward 0.231 [not markup]")
    console.print(bars._render())
    shown = out.getvalue().splitlines()
    assert len(shown) == 3  # a line a worker and one for the whole
    assert max(map(len, shown)) <= width
    assert "train m/eso" in shown[0]
    assert "generate g" in shown[1]
    assert "loading" in shown[1]
    assert "benchmark" in shown[2]
    assert "0/3 stages" in shown[2]
    if width == 200:
        assert "step 40/100, 2.0/s, 0:30 left, sft 3.021, eso -0.132, reward 0.231 [not markup]" in shown[0]
    bars.ended(0, TRAIN, 20.0)
    bars.repairing(GENERATE, "a file")
    out.truncate(0)
    console.print(bars._render())
    assert "train" not in out.getvalue()


def test_a_display_without_an_ellipsis_is_not_wider_either(now: Callable[[float], None]) -> None:
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="latin-1", errors="strict", write_through=True)
    bars = Bars(Console(file=out, width=40, force_terminal=True, color_system=None, legacy_windows=False), jobs=1)
    bars.planned(plan(), [TRAIN])
    bars.started(0, TRAIN)
    bars.progress(0, TRAIN, 20, 100, "step", "sft 3.021, eso -0.132, reward 0.231, and more than there is room for")
    bars.console.print(bars._render())
    assert max(map(len, raw.getvalue().decode("latin-1").splitlines())) <= 40


def test_messages_stand_above_the_live_display(now: Callable[[float], None]) -> None:
    out = io.StringIO()
    console = Console(file=out, width=80, force_terminal=True, color_system=None)
    with Bars(console) as bars:
        bars.planned(plan(), [TRAIN, SCORE])
        bars.started(0, TRAIN)
        bars.progress(0, TRAIN, 0, 0, "step", "going on at step 500")
        bars.warned(TRAIN, ["eso"], "beware")
        bars.failed(0, TRAIN, "it broke", "")
    assert "going on at step 500\n" in out.getvalue()
    assert "warning: eso: beware\n" in out.getvalue()
    assert "failed: train m/eso/seed 0/epochs 4-5: it broke\n" in out.getvalue()
