"""Stages as jobs of a SLURM queue, through submitit, each submitted when its parents are done.

What is heard of a stage comes through its folder, and whether its job lives from ``sacct`` and ``squeue``. A job that
its queue takes away is followed by another one, which goes on from what the first has kept; signals only make that
more. A run that was killed leaves its jobs at work, and the next run takes them over.
"""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import subprocess
import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.errors import InputError, MachineError, StageError
from harness.execution.executors.host import Order
from harness.execution.executors.interface import GOES_ON, Event, Needs
from harness.execution.executors.job import answer, run_job
from harness.execution.executors.mailbox import Mailbox
from harness.execution.executors.queue import ALIVE, ENDS, log_of, parameters, queued_jobs, runs
from harness.execution.executors.survey import JOBS, NodeReport, SurveyRequest, marked
from harness.store.files import machine_errors, replace_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from harness.execution.executors.interface import Opening
    from harness.plan import Stage
    from harness.spec.stages.kinds import AnyStageConfig
    from harness.stages.request import StageRequest

#: Seconds before a job's end at which it is warned.
_WARNING = 90
#: Seconds in which a shared folder shows what a job that is over has said.
_SHOWN = 10.0
#: Seconds for which the queue need not know a job that it took.
_UNKNOWN = 30.0
#: Most seconds between two questions to the queue.
_POLL = 30.0
#: Seconds that jobs which are done have to leave.
_LEAVE = 10.0


@dataclass(eq=False)
class _Job:
    """A stage that a job does, or is to do."""

    number: int
    stage: Stage | None
    folder: Path
    job: Any
    mailbox: Mailbox
    since: float = field(default_factory=time.monotonic)
    over: float | None = None
    """When its job was first seen to be over."""


class SlurmExecutor:
    """Stages as jobs."""

    def __init__(self, opening: Opening) -> None:
        """Look for SLURM; with ``local`` as its address, jobs are processes of this machine.

        Raises:
            MachineError: there is none, or submitit is not installed.
        """
        try:
            import submitit
            from submitit.slurm.slurm import SlurmInfoWatcher
        except ImportError:
            hint = "pip install 'posttune-harness[slurm]'"
            raise MachineError("submitit is not installed", where="--executor slurm", hint=hint) from None
        logging.getLogger("submitit").setLevel(logging.ERROR)
        self._local = opening.execution.address == "local"
        absent = [] if self._local else [name for name in ("sbatch", "srun", "sacct") if shutil.which(name) is None]
        if absent:
            what = f"there is no SLURM here: {' and '.join(absent)} cannot be found"
            raise MachineError(what, where="--executor slurm", hint="run it where you run sbatch")
        self._submitit = submitit
        self._watcher: Any = SlurmInfoWatcher
        self.jobs = opening.jobs
        self.grace = 15.0
        self._opening = opening
        self._folder = opening.results.resolve() / "store" / JOBS
        self._jobs: list[_Job] = []
        self._leaving: list[_Job] = []
        self._refused: list[tuple[_Job, MachineError]] = []
        self._heard = self._asked = time.monotonic()
        self._pause = 0.05 if self._local else 0.5

    def device(self, wanted: str) -> str:
        """Return ``cuda`` where it is asked for: of a queue one cannot know what it has."""
        if wanted.startswith("cuda:"):
            what = "a queue decides which GPU a stage gets"
            raise InputError(what, where="execution.device", got=wanted, expected="auto, cpu or cuda")
        return "cuda" if wanted == "cuda" else "cpu"

    def survey(self, request: SurveyRequest) -> list[NodeReport]:
        """Ask a job; other nodes are of the same kind, and each job looks for the folder itself.

        Raises:
            MachineError: the queue refuses it, or it leaves no word.
        """
        gpus = self._opening.ranks if self.device(self._opening.execution.device) == "cuda" else 0
        with marked(request) as wanted:
            folder = self._folder / f"survey-{uuid.uuid4().hex[:8]}"
            report = folder / "report.json"
            with machine_errors(folder):
                folder.mkdir(parents=True)
            job = None
            try:
                executor = self._executor(folder, "survey", Needs(gpus=gpus))
                job = self._submit(executor, answer, wanted.model_dump_json(), str(report))
                self._wait_for(report, job, folder)
                return [NodeReport.model_validate_json(report.read_bytes())]
            finally:
                if job is not None:
                    asked = _Job(0, None, folder, job, Mailbox(folder))
                    if not report.is_file():
                        self._cancel(job)
                    self._let_leave([asked])
                self._clear(folder)

    def begin(self, stage: Stage, request: StageRequest[AnyStageConfig], needs: Needs) -> _Job | None:
        """Submit a stage, or take over the job of an earlier run that is at it; None where there are enough."""
        if len(self._jobs) >= self.jobs:
            return None
        number = next(n for n in range(self.jobs) if n not in {job.number for job in self._jobs})
        folder = self._folder / f"{stage.kind}-{stage.id}"
        job = self._taken_over(folder)
        if job is not None and request.runtime.replace:  # it was asked for less than this
            self._cancel(job)
            job = None
        started = _Job(number, stage, folder, job, Mailbox(folder))
        self._jobs.append(started)
        if job is None:
            self._clear(folder)
            order = Order(
                request=request.to_json() | {"results": str(request.results.resolve())},
                stall_seconds=self._opening.stall_seconds,
                folder=str(self._folder.parent),
            )
            with machine_errors(folder):
                folder.mkdir(parents=True)
            attempts = self._opening.execution.attempts
            try:
                executor = self._executor(folder, stage.kind, needs)
                started.job = self._submit(executor, run_job, order.model_dump_json(), str(folder), attempts)
            except MachineError as error:
                self._refused.append((started, error))
                return started
            replace_text(folder / "job.json", json.dumps({"job": started.job.job_id, "local": self._local}))
        return started

    def busy(self) -> list[_Job]:
        """Return the stages that are not over."""
        return list(self._jobs)

    def wait(self, seconds: float) -> Iterator[Event]:
        """Return what jobs have said, and which are over without a word; at most so long."""
        found = [
            self._ended(job, "failed", {"message": str(error), "exit_code": error.exit_code})
            for job, error in self._refused
        ]
        self._refused.clear()
        found += self._said()
        now = time.monotonic()
        if found:
            self._heard = now
        elif now - self._asked >= min(_POLL, max(1.0, (now - self._heard) / 4)) or self._local:
            self._asked = now
            found = self._silent()
        if not found:
            time.sleep(min(seconds, self._pause))
        yield from found

    def keep(self) -> None:
        """Let every stage keep what it has."""
        for job in self._jobs:
            job.mailbox.wishes.ask("keep")

    def close(self) -> None:
        """End all jobs; those at work may first keep what they have."""
        try:
            for job in self._jobs:
                job.mailbox.wishes.ask("stop")
            waiting = [job for job in self._jobs if job.mailbox.begun() == 0]
            for job in waiting:
                self._cancel(job.job)
            deadline = time.monotonic() + self.grace
            while len(self._jobs) > len(waiting) and time.monotonic() < deadline:
                if not self._said():
                    time.sleep(self._pause)
                waiting = [job for job in waiting if job in self._jobs]
        finally:
            for job in self._jobs:
                self._cancel(job.job)
            self._let_leave([*self._leaving, *self._jobs] if self._local else self._leaving)
            for job in (*self._jobs, *self._leaving):
                self._clear(job.folder)

    def _said(self) -> list[Event]:
        return [
            self._ended(job, body.pop("event"), body)
            for job in list(self._jobs)
            if job.job is not None
            for body in job.mailbox.heard()
            if job.stage is not None
        ]

    def _silent(self) -> list[Event]:
        """Return the ends of stages whose jobs are over and have not said so."""
        found, now = [], time.monotonic()
        for job, state in self._states().items():
            if state in ALIVE or (state == "UNKNOWN" and now - job.since < _UNKNOWN):
                job.over = None
                continue
            job.over = job.over or now
            if now - job.over < (0.5 if self._local else _SHOWN):
                continue
            found += self._said()
            if job.stage is None:
                continue
            self._cancel(job.job)  # whatever the queue may still do with it
            kind, words = ENDS.get(state, ("lost", f"its job is over ({state}) and has left no word"))
            said = log_of(job.folder) if state == "FAILED" else ""
            body = {"message": f"job {job.job.job_id}: {words}{said}", "exit_code": StageError.exit_code}
            found.append(self._ended(job, kind, body))
        return found

    def _states(self) -> dict[_Job, str]:
        """Return what the queue says of each job."""
        jobs = [job for job in self._jobs if job.job is not None]
        if self._local:
            return {job: "RUNNING" if runs(job.job) else "ended" for job in jobs}
        watcher = self._watcher(delay_s=0)  # a new one: what it once took for an end, it asks for no more
        for job in jobs:
            watcher.register_job(job.job.job_id)
        if jobs:
            watcher.update()
        states = {}
        queued: set[str] | None = None
        for job in jobs:
            state = str(watcher.get_state(job.job.job_id, mode="cache")).split(" ")[0].rstrip("+").upper()
            if state not in ALIVE:  # a job that was put back may be shown as it was before
                queued = queued_jobs() if queued is None else queued
                state = "PENDING" if job.job.job_id in queued else state
            states[job] = state
        return states

    def _ended(self, job: _Job, kind: str, body: dict[str, Any]) -> Event:
        """Return an event; the job leaves where its stage is over."""
        stage = job.stage
        if kind not in GOES_ON:
            job.stage = None
            self._jobs.remove(job)
            if job.job is not None:
                self._leaving.append(job)
        return Event(job, stage, kind, body)

    def _executor(self, folder: Path, kind: str, needs: Needs) -> Any:
        wanted = self._opening.execution.slurm
        if self._local:
            executor = self._submitit.LocalExecutor(folder=folder)
            gpus = tuple(range(needs.gpus))
            executor.update_parameters(
                timeout_min=wanted.minutes, gpus_per_node=needs.gpus, visible_gpus=gpus, stderr_to_stdout=True
            )
            return executor
        executor = self._submitit.SlurmExecutor(folder=folder)
        executor.update_parameters(job_name=f"harness-{kind}", signal_delay_s=_WARNING, **parameters(wanted, needs))
        return executor

    def _submit(self, executor: Any, function: Any, *arguments: Any) -> Any:
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        try:
            return executor.submit(function, *arguments)
        except (FailedJobError, FailedSubmissionError, OSError) as error:
            said = [line.strip() for line in str(error).splitlines() if line.strip()]
            reason = next((line for line in reversed(said) if "error:" in line), said[-1] if said else "")
            hint = "see execution.slurm, execution.memory_gb and execution.device"
            raise MachineError(f"the queue refuses it: {reason}", where="sbatch", hint=hint) from None

    def _wait_for(self, report: Path, job: Any, folder: Path) -> None:
        """Wait until a job has left its report."""
        asked = _Job(0, None, folder, job, Mailbox(folder))
        self._jobs.append(asked)
        over = None
        try:
            while not report.is_file():
                time.sleep(1.0 if not self._local else self._pause)
                state = self._states()[asked]
                known = state != "UNKNOWN" or time.monotonic() - asked.since > _UNKNOWN
                over = (over or time.monotonic()) if state not in ALIVE and known else None
                if over is not None and time.monotonic() - over > (0.5 if self._local else _SHOWN):
                    what = f"a job that asked what nodes have left no word ({state}){log_of(folder)}"
                    hint = "every node needs the harness, and the folder of --results at the same path"
                    raise MachineError(what, where=str(self._opening.results), hint=hint)
        finally:
            self._jobs.remove(asked)

    def _taken_over(self, folder: Path) -> Any:
        """Return the job of an earlier run that is at a stage; None where there is none, and then none is any more."""
        try:
            known = json.loads((folder / "job.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        if known["local"] != self._local:
            return None
        of = self._submitit.LocalJob if self._local else self._submitit.SlurmJob
        job = of(folder=folder, job_id=known["job"])
        said = Mailbox(folder).heard()
        answered = bool(said) and said[-1]["event"] not in GOES_ON
        if not answered and (runs(job) if self._local else known["job"] in queued_jobs()):
            return job
        if self._local:
            self._let_leave([one for one in self._leaving if one.folder == folder])
        else:
            self._cancel(job)  # it has answered, and the queue may yet put it back
        return None

    def _let_leave(self, jobs: Sequence[_Job]) -> None:
        """Wait a moment for jobs to leave: their folders are about to go."""
        deadline = time.monotonic() + _LEAVE
        while any(not self._has_left(job) for job in jobs) and time.monotonic() < deadline:
            time.sleep(self._pause)

    def _has_left(self, job: _Job) -> bool:
        if self._local:
            return job.job is None or not runs(job.job)
        return bool(job.job.paths.result_pickle.exists())

    def _cancel(self, job: Any) -> None:
        if job is None:
            return
        if self._local:
            job.cancel()
        else:
            subprocess.run(["scancel", job.job_id], capture_output=True, check=False)

    def _clear(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            self._folder.rmdir()
