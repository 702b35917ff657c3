"""Stages as tasks of a Ray cluster.

Ray decides where and when, by the CPUs, GPUs and memory that a stage needs. How often a stage is begun is decided by
the run: tasks have no retries of their own. Events come as a stream, so that nothing but the results needs a folder;
where nothing is shared, stages go to nodes and come back through Ray's object store.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError, InputError, MachineError, StageError, first_line
from harness.execution.executors.host import Order, events, nothing
from harness.execution.executors.interface import GOES_ON, Event
from harness.execution.executors.mailbox import Wishes
from harness.execution.executors.parcel import packed, read_by, receive, unpack
from harness.execution.executors.ray_cluster import connected
from harness.execution.executors.survey import JOBS, NodeReport, SurveyRequest, marked, surveyed
from harness.execution.interrupt import Interrupted
from harness.execution.pool import Pool
from harness.plan.memory import megabytes
from harness.store.files import machine_errors
from harness.store.stages import Store

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from harness.execution.executors.interface import Needs, Opening
    from harness.plan import Stage
    from harness.spec.stages.kinds import AnyStageConfig
    from harness.stages.request import StageRequest

#: Seconds that nodes have to say what they have.
_SURVEY = 300.0
#: Seconds that stages have, once they are cancelled, beyond what their workers have.
_MORE = 10.0


def make(order: str, wishes: str | None, parcels: Mapping[str, Any] | None) -> Iterator[str | bytes]:
    """Do a stage on a node; yield events as JSON and, where nothing is shared, the stage as bytes before its end."""
    task = Order.model_validate_json(order)
    own = None
    if parcels is not None:
        import ray

        own = Path(tempfile.gettempdir()) / f"harness-{ray.get_runtime_context().get_job_id()}"
        task = _unpacked(task, parcels, own)
    for event in events(task, Wishes(Path(wishes)) if wishes else nothing):
        if own is not None and event["event"] == "done":
            yield packed(own / "store" / task.request["kind"] / task.request["id"])
        yield json.dumps(event)


def _unpacked(task: Order, parcels: Mapping[str, Any], own: Path) -> Order:
    """Put what a stage reads into a folder of this node, unless it is there."""
    import ray

    sources = dict(task.request["runtime"]["sources"])
    for place, reference in parcels.items():
        folder = own / place
        if not folder.is_dir():
            unpack(ray.get(reference), folder)
        if place.startswith("sources/"):
            sources[folder.name] = str(folder)
    runtime = {**task.request["runtime"], "sources": sources}
    return task.model_copy(update={"request": {**task.request, "results": str(own), "runtime": runtime}})


def ask(request: str) -> str:
    """Say what a node has."""
    return surveyed(SurveyRequest.model_validate_json(request)).model_dump_json()


@dataclass(eq=False)
class _Task:
    """A stage that a node has, or that waits for one."""

    number: int
    stage: Stage | None
    stream: Any
    wishes: Wishes | None
    replace: bool
    begun: bool = False


class RayExecutor:
    """Stages as tasks of one cluster."""

    def __init__(self, opening: Opening) -> None:
        """Connect.

        Raises:
            MachineError: Ray is not installed, or there is no such cluster.
            InputError: an address of another kind.
        """
        self._ray = connected(opening.execution.address)
        self.jobs = opening.jobs
        self.grace = 15.0
        self._opening = opening
        self._shared = opening.execution.shared
        self._store = Store(opening.results)
        self._folder = opening.results.resolve() / "store" / JOBS
        self._tasks: list[_Task] = []
        self._refused: list[tuple[_Task, str]] = []
        self._parcels: dict[str, Any] = {}
        self._make = self._ray.remote(make)
        self._here: Pool | None = None
        if not self._shared:  # what lies in files of this machine is read here
            self._here = Pool(1, threads=opening.threads, ranks=1, stall_seconds=opening.stall_seconds)

    def device(self, wanted: str) -> str:
        """Return ``cuda`` where it is asked for, or where there is a GPU and nothing is asked for."""
        if wanted.startswith("cuda:"):
            what = "a cluster decides which GPU a stage gets"
            raise InputError(what, where="execution.device", got=wanted, expected="auto, cpu or cuda")
        there = any(node["Resources"].get("GPU") for node in self._nodes())
        if wanted == "cuda" and not there:
            raise MachineError("no node of the Ray cluster has a GPU", where="execution.device", got=wanted)
        return "cuda" if there and wanted != "cpu" else "cpu"

    def survey(self, request: SurveyRequest) -> list[NodeReport]:
        """Ask every node."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        ray = self._ray
        with marked(request) if self._shared else contextlib.nullcontext(request) as wanted:
            text = wanted.model_dump_json()
            asked = {}
            for node in self._nodes():
                there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
                options = {"num_cpus": 0, "max_retries": 2, "scheduling_strategy": there}
                asked[ray.remote(ask).options(**options).remote(text)] = node["NodeManagerHostname"]
            reports = []
            for reference, host in asked.items():
                try:
                    reports.append(NodeReport.model_validate_json(ray.get(reference, timeout=_SURVEY)))
                except ray.exceptions.RayError as error:
                    raise _cannot_answer(host, error) from None
        return reports

    def begin(self, stage: Stage, request: StageRequest[AnyStageConfig], needs: Needs) -> _Task | None:
        """Hand a stage to Ray; None where there are as many as asked for."""
        if len(self._tasks) >= self.jobs:
            return None
        number = next(n for n in range(self.jobs) if n not in {task.number for task in self._tasks})
        replace = request.runtime.replace
        if self._here is not None and (stage.kind == "prepare" or stage.runtime.path or stage.runtime.lines):
            worker = self._here.begin(stage, request)
            if worker is None:
                return None
            task = _Task(number, stage, worker, None, replace)
            self._tasks.append(task)
            return task
        problem = self._misfit(stage, needs)
        if problem is not None:
            task = _Task(number, stage, None, None, replace)
            self._tasks.append(task)
            self._refused.append((task, problem))
            return task
        with machine_errors(self._folder):
            self._folder.parent.mkdir(parents=True, exist_ok=True)  # by it, a node sees that it sees the results
        order = Order(
            request=request.to_json() | {"results": str(request.results.resolve())},
            stall_seconds=self._opening.stall_seconds,
            folder=str(self._folder.parent) if self._shared else None,
        )
        wishes = self._folder / f"{uuid.uuid4().hex}.wishes" if self._shared else None
        options: dict[str, Any] = {
            "num_cpus": needs.cpus,
            "num_gpus": needs.gpus,
            "max_retries": 0,
            "name": stage.label,
        }
        if needs.memory is not None:
            options["memory"] = needs.memory
        parcels = None if self._shared else self._packed(stage, request)
        stream = self._make.options(num_returns="streaming", **options).remote(
            order.model_dump_json(), str(wishes) if wishes else None, parcels
        )
        task = _Task(number, stage, stream, Wishes(wishes) if wishes else None, replace)
        self._tasks.append(task)
        return task

    def busy(self) -> list[_Task]:
        """Return the stages that are not over."""
        return [task for task in self._tasks if task.stage is not None]

    def wait(self, seconds: float) -> Iterator[Event]:
        """Return what nodes say within a time."""
        while self._refused:
            task, problem = self._refused.pop(0)
            yield self._ended(task, "failed", {"message": problem, "exit_code": MachineError.exit_code})
        if self._here is not None and self._here.busy():
            seconds = min(seconds, 0.1)
            yield from self._heard_here(seconds)
        streams = {task.stream: task for task in self._tasks if self._is_remote(task)}
        if not streams:
            return
        try:
            ready, rest = self._ray.wait(list(streams), num_returns=1, timeout=seconds)
            if rest:
                ready += self._ray.wait(rest, num_returns=len(rest), timeout=0)[0]
        except SystemError as error:  # what Ray makes of a signal that arrives while it waits
            if isinstance(error.__cause__, Interrupted):
                raise error.__cause__ from None
            raise
        for stream in ready:
            event = self._next(streams[stream])
            if event is not None:
                yield event

    def keep(self) -> None:
        """Let every stage keep what it has; where nothing is shared, nodes cannot be asked."""
        if self._here is not None:
            self._here.keep()
        for task in self._tasks:
            if task.wishes is not None:
                self._folder.mkdir(parents=True, exist_ok=True)
                task.wishes.ask("keep")

    def close(self) -> None:
        """Cancel what is not over, and leave the cluster."""
        ray = self._ray
        try:
            if self._here is not None:
                self._here.grace = self.grace
                self._here.close()
            left = [task.stream for task in self._tasks if self._is_remote(task)]
            for stream in left:
                ray.cancel(stream)
            deadline = time.monotonic() + self.grace + _MORE
            while left and time.monotonic() < deadline:
                ready, left = ray.wait(left, num_returns=1, timeout=0.5)
                left += [stream for stream in ready if not _is_over(stream, ray)]
            for stream in left:
                ray.cancel(stream, force=True)
        finally:
            for task in self._tasks:
                if task.wishes is not None:
                    task.wishes.forget()
            with contextlib.suppress(OSError):
                self._folder.rmdir()
            ray.shutdown()

    def _is_remote(self, task: _Task) -> bool:
        return (
            task.stream is not None
            and task.stage is not None
            and not (self._here is not None and task.stream in self._here.workers)
        )

    def _nodes(self) -> list[dict[str, Any]]:
        return [node for node in self._ray.nodes() if node["Alive"]]

    def _misfit(self, stage: Stage, needs: Needs) -> str | None:
        """Say what no node has, as Ray would wait for one for ever."""
        wanted = {"CPU": needs.cpus, "GPU": needs.gpus, "memory": needs.memory or 0}
        nodes = [node["Resources"] for node in self._nodes()]
        if any(all(node.get(name, 0) >= amount for name, amount in wanted.items()) for node in nodes):
            return None
        most = {name: max((node.get(name, 0) for node in nodes), default=0) for name in wanted}
        lacking = next((name for name in wanted if most[name] < wanted[name]), "CPU")
        words = {"CPU": "CPUs", "GPU": "GPUs", "memory": "memory"}[lacking]
        asked, there = wanted[lacking], most[lacking]
        amounts = (megabytes(asked), megabytes(there)) if lacking == "memory" else (f"{asked:g}", f"{there:g}")
        hint = {
            "CPU": "fewer execution.threads or --processes",
            "GPU": "execution.device=cpu, or fewer --processes",
            "memory": "see harness plan for what would make it less, or set execution.memory_gb",
        }[lacking]
        what = f"no node of the Ray cluster has the {words} for this stage"
        expected = f"at most {amounts[1]}, which the largest node has"
        return str(MachineError(what, where=stage.label, got=amounts[0], expected=expected, hint=hint))

    def _packed(self, stage: Stage, request: StageRequest[AnyStageConfig]) -> dict[str, Any]:
        """Return what a stage reads as objects of Ray, each put there once."""
        wanted = {f"store/{kind}/{id_}": self._store.folder(kind, id_) for kind, id_ in read_by(stage)}
        contents = {parent.content for parent in read_by(stage).values()}
        sources = request.runtime.sources.items()
        wanted |= {f"sources/{content}": Path(path).expanduser() for content, path in sources if content in contents}
        for place, folder in wanted.items():
            if place not in self._parcels:
                self._parcels[place] = self._ray.put(packed(folder))
        return {place: self._parcels[place] for place in wanted}

    def _heard_here(self, seconds: float) -> Iterator[Event]:
        assert self._here is not None
        for event in self._here.wait(seconds):
            task = next((task for task in self._tasks if task.stream is event.place), None)
            if task is not None and task.stage is not None:
                yield self._ended(task, event.kind, event.body)

    def _next(self, task: _Task) -> Event | None:
        """Return the next thing that is heard of a stage; None where that is the stage itself."""
        exceptions = self._ray.exceptions
        try:
            said = self._ray.get(next(task.stream))
        except StopIteration:
            return self._lost(task, "its task ended without an answer")
        except exceptions.OutOfMemoryError:
            body = {"message": "Ray ended it: its node had no memory left", "exit_code": StageError.exit_code}
            return self._ended(task, "died", body)
        except exceptions.RayTaskError as error:
            body = {"message": f"the task failed on its node: {first_line(error.cause or error)}", "exit_code": 1}
            return self._ended(task, "failed", body)
        except exceptions.RayError as error:
            return self._lost(task, first_line(error))
        if isinstance(said, bytes):
            return self._take_in(task, said)
        body = json.loads(said)
        return self._ended(task, body.pop("event"), body)

    def _take_in(self, task: _Task, parcel: bytes) -> Event | None:
        assert task.stage is not None
        assert task.stage.id is not None
        try:
            receive(parcel, task.stage.kind, task.stage.id, self._store, replace=task.replace)
        except HarnessError as error:
            return self._ended(task, "failed", {"message": str(error), "exit_code": error.exit_code})
        return None

    def _lost(self, task: _Task, reason: str) -> Event:
        return self._ended(task, "lost", {"message": f"Ray lost it: {reason}", "exit_code": StageError.exit_code})

    def _ended(self, task: _Task, kind: str, body: dict[str, Any]) -> Event:
        """Return an event; the task is over where its stage is."""
        stage = task.stage
        if kind not in GOES_ON:
            self._tasks.remove(task)
            task.stage = None
            if task.wishes is not None:
                task.wishes.forget()
        return Event(task, stage, kind, body)


def _is_over(stream: Any, ray: Any) -> bool:
    """Take the next thing of a stream; return whether it was the last."""
    try:
        ray.get(next(stream))
    except (StopIteration, ray.exceptions.RayError):
        return True
    return False


def _cannot_answer(host: str, error: Exception) -> MachineError:
    cause = first_line(getattr(error, "cause", None) or error)
    absent = "No module named" in str(error)
    hint = "install the harness there, as it is installed here" if absent else None
    what = "does not have the harness" if absent else f"does not say what it has: {cause}"
    return MachineError(what, where=f"node {host}", hint=hint)
