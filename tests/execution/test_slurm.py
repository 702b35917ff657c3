"""Jobs of a queue that a test scripts: what ``sacct`` says of one, and what its folder says, are all that is known."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from execution import fake_slurm
from stages import configs

from harness.errors import MachineError
from harness.execution.executors import slurm
from harness.execution.executors.interface import GOES_ON, Needs, Opening
from harness.execution.executors.job import run_job
from harness.execution.executors.mailbox import Mailbox, Wishes
from harness.execution.executors.queue import parameters
from harness.execution.executors.slurm import SlurmExecutor
from harness.execution.executors.survey import asked
from harness.plan import Stage
from harness.spec.execution import Execution, Slurm
from harness.spec.plugins import INSTALLED
from harness.spec.runtime import Runtime
from harness.stages.request import StageRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from harness.execution.executors.interface import Event

pytest.importorskip("submitit")

STAGE = Stage("t", configs.train_config(), {}, Runtime(), key="k", id="i" * 64, content="i", done=False)
ANSWERED = {"event": "done"}


class Queue:
    """The queue of a test, with the executor that uses it."""

    def __init__(self, folder: Path, executor: SlurmExecutor) -> None:
        self.folder = folder
        self.results = folder.parent / "results"
        self.executor = executor

    def begin(self) -> Any:
        request = StageRequest(STAGE.id or "", "t", configs.train_config(), {}, Runtime(), self.results)
        return self.executor.begin(STAGE, request, Needs(2, 1, 3_000_000_000))

    def says(self, state: str, job: int = 1) -> None:
        (self.folder / f"{job}.state").write_text(state, encoding="utf-8")

    def hear(self, *, most: float = 5.0) -> list[Event]:
        """Return what is heard until a stage is over, or for a time."""
        heard: list[Event] = []
        deadline = time.monotonic() + most
        while time.monotonic() < deadline and not any(event.kind not in GOES_ON for event in heard):
            self.executor._asked = 0.0  # it asks the queue less and less often
            heard += self.executor.wait(0.01)
        return heard

    @property
    def cancelled(self) -> list[str]:
        path = self.folder / "cancelled"
        return path.read_text(encoding="utf-8").split() if path.exists() else []


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Queue]:
    """Return an empty queue, and an executor of one stage at a time."""
    for name, value in fake_slurm.install(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(slurm, "_SHOWN", 0.05)
    monkeypatch.setattr(slurm, "_UNKNOWN", 0.05)
    monkeypatch.setattr(slurm, "_LEAVE", 0.0)
    how = Execution(executor="slurm", attempts=3, slurm=Slurm(partition="long", minutes=7, setup=("module load x",)))
    executor = SlurmExecutor(Opening(how, 1, 1, 1, ("train",), 600.0, tmp_path / "results"))
    executor._pause = 0.01
    executor.grace = 0.0
    yield Queue(tmp_path / "queue", executor)
    executor.close()


def test_a_job_asks_for_what_its_stage_needs(queue: Queue) -> None:
    place = queue.begin()
    script = (queue.folder / "1.sh").read_text(encoding="utf-8")
    wanted = (
        "job-name=harness-train", "partition=long", "time=7", "cpus-per-task=2", "mem=3000M", "gpus-per-node=1",
        "signal=USR2@90", "requeue",
    )  # fmt: skip
    for option in wanted:
        assert f"\n#SBATCH --{option}\n" in script, option
    assert "\nmodule load x\n" in script
    assert place.job.job_id == "1"
    more = parameters(Slurm(options={"exclusive": "true", "reservation": "r"}), Needs())
    assert more["additional_parameters"] == {"requeue": True, "exclusive": True, "reservation": "r"}
    assert "mem" not in more


def test_what_a_job_says_is_heard_and_its_folder_goes(queue: Queue) -> None:
    place = queue.begin()
    mailbox = Mailbox(place.folder)
    mailbox.say({"event": "began", "host": "node-1"})
    mailbox.say({"event": "progress", "done": 1, "total": 2, "unit": "step", "note": ""})
    assert [event.kind for event in queue.hear(most=0.2)] == ["began", "progress"]
    with (place.folder / "said.jsonl").open("a", encoding="utf-8") as stream:
        stream.write('{"event": "do')  # a line that is not whole yet
        stream.flush()
        assert queue.hear(most=0.1) == []
        stream.write('ne"}\n')
    (end,) = queue.hear()
    assert (end.kind, end.stage, place.stage) == ("done", STAGE, None)
    queue.executor.close()
    assert not place.folder.exists()
    assert queue.cancelled == []


@pytest.mark.parametrize(
    ("state", "kind", "words"),
    [
        ("TIMEOUT", "lost", "its job ran out of time (execution.slurm.minutes)"),
        ("PREEMPTED", "lost", "its job was preempted"),
        ("NODE_FAIL", "lost", "the node of its job is gone"),
        ("COMPLETED", "lost", "its job is over (COMPLETED) and has left no word"),
        ("OUT_OF_MEMORY", "died", "its job used more memory than it had asked for (execution.memory_gb)"),
        ("CANCELLED by 0", "failed", "somebody cancelled its job"),
        ("FAILED", "died", "its job failed before it could say why\n  ImportError: no harness here"),
    ],
)
def test_a_job_that_ends_without_a_word(queue: Queue, state: str, kind: str, words: str) -> None:
    place = queue.begin()
    (place.folder / "1_0_log.out").write_text("submitit INFO\nImportError: no harness here\n", encoding="utf-8")
    queue.says("RUNNING")
    assert queue.hear(most=0.2) == []
    queue.says(state)
    (end,) = queue.hear()
    assert (end.kind, end.body["message"]) == (kind, f"job 1: {words}")
    assert queue.cancelled == ["1"], "whatever the queue may still do with it"
    queue.begin()
    assert (queue.folder / "2.state").exists(), "another job is submitted, and there is one at a time"


def test_a_job_that_the_queue_puts_back_is_not_followed_by_another(queue: Queue) -> None:
    place = queue.begin()
    queue.says("PREEMPTED")
    queue.executor._heard = 0.0
    (queue.folder / "9.state").touch()
    (queue.folder / "1.state").write_text("PENDING", encoding="utf-8")  # what squeue sees, while sacct lags behind
    (queue.folder / "no-sacct").touch()
    assert queue.hear(most=0.3) == []
    assert queue.cancelled == []
    Mailbox(place.folder).say(ANSWERED)
    assert [event.kind for event in queue.hear()] == ["done"]


def test_a_job_that_nobody_knows_any_more_is_lost(queue: Queue) -> None:
    queue.begin()
    (queue.folder / "1.state").unlink()
    (end,) = queue.hear()
    assert (end.kind, end.body["message"]) == ("lost", "job 1: its job is over (UNKNOWN) and has left no word")


def test_a_stage_that_the_queue_refuses(queue: Queue) -> None:
    refusal = (
        "sbatch: error: Memory specification can not be satisfied\nsbatch: error: Batch job submission failed: no\n"
    )
    (queue.folder / "refuse").write_text(refusal, encoding="utf-8")
    place = queue.begin()
    assert queue.executor.busy() == [place], "there is something to hear of it"
    (end,) = queue.hear()
    assert (end.kind, end.body["exit_code"]) == ("failed", 3)
    assert end.body["message"] == (
        "sbatch: the queue refuses it: sbatch: error: Batch job submission failed: no\n"
        "  see execution.slurm, execution.memory_gb and execution.device"
    )


def test_nodes_that_do_not_share_the_folder_are_named_before_anything_is_made(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit = queue.executor._submit

    def lost(*arguments: Any) -> Any:
        job = submit(*arguments)
        queue.says("FAILED")
        return job

    monkeypatch.setattr(queue.executor, "_submit", lost)
    with pytest.raises(MachineError, match=r"left no word \(FAILED\)") as caught:
        queue.executor.survey(asked(("train",), [], INSTALLED, queue.results))
    assert caught.value.hint is not None
    assert "the folder of --results at the same path" in caught.value.hint
    assert not (queue.results / "store" / ".jobs").exists()


def test_a_run_that_was_killed_leaves_its_job_to_the_next_one(queue: Queue) -> None:
    queue.begin()
    again = SlurmExecutor(queue.executor._opening)
    request = StageRequest(STAGE.id or "", "t", configs.train_config(), {}, Runtime(), queue.results)
    taken = again.begin(STAGE, request, Needs())
    assert taken is not None
    assert taken.job.job_id == "1"
    assert not (queue.folder / "2.sh").exists()


def test_a_job_that_has_answered_is_not_taken_over_and_cannot_come_back(queue: Queue) -> None:
    place = queue.begin()
    queue.says("RUNNING")
    mailbox = Mailbox(place.folder)
    mailbox.say({"event": "began", "host": "node-1"})
    mailbox.say({"event": "lost", "message": "its job was ended by SIGTERM on node-1", "exit_code": 1})
    assert [event.kind for event in queue.hear()] == ["began", "lost"]
    queue.says("PENDING")  # preempted, and put back by the queue
    assert queue.begin().job.job_id == "2"
    assert queue.cancelled == ["1"]
    assert queue.hear(most=0.1) == []


def test_the_end_asks_those_at_work_to_stop_and_cancels_the_others(queue: Queue) -> None:
    place = queue.begin()
    wishes = Wishes(place.folder / "wishes")
    queue.executor.keep()
    assert [wishes(), wishes()] == ["keep", None]
    Mailbox(place.folder).say({"event": "began", "host": "node-1"})
    queue.executor.grace = 0.3
    asked_of: list[Any] = []
    said = queue.executor._said

    def listening() -> list[Event]:
        asked_of.append(wishes())
        return said()

    queue.executor._said = listening  # type: ignore[method-assign]
    queue.executor.close()
    assert "stop" in asked_of
    assert queue.cancelled == ["1"]


def test_a_queue_may_call_a_job_again_but_not_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[Any] = []

    def events(order: Any, wish: Callable[[], Any]) -> Iterator[dict[str, Any]]:
        begun.append(order)
        yield {"event": "began", "host": "node-1"}
        raise_the_end()

    def raise_the_end() -> None:
        from harness.execution.interrupt import Interrupted

        raise Interrupted(12)

    monkeypatch.setattr("harness.execution.executors.job.events", events)
    order = '{"request": {}, "stall_seconds": 1.0}'
    for _ in range(4):
        run_job(order, str(tmp_path), 3)
    said = Mailbox(tmp_path).heard()
    assert len(begun) == 3
    assert [event["event"] for event in said] == ["began", "lost"] * 3 + ["failed"]
    assert said[1]["message"].startswith("its job was ended by SIGUSR2 on ")
    assert said[-1]["message"] == "begun 3 times (execution.attempts) and never finished"
