"""What happens on a node: a worker process of its own does the stage, and what it says is passed on.

It is what a Ray task and a SLURM job call. An order is JSON text, so that it crosses any boundary.
"""

from __future__ import annotations

import os
import platform
import time
from typing import TYPE_CHECKING, Any, Literal, cast

from harness.errors import HarnessError, StageError
from harness.execution.executors.interface import GOES_ON
from harness.execution.interrupt import EARLY, Interrupted
from harness.execution.pool import Pool
from harness.spec.section import Frozen
from harness.stages.request import StageRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.plan import Stage

#: Seconds between two looks at whether somebody asks for something.
_LOOK = 0.5
#: Seconds between two reports of how far a stage is.
_QUIET = 0.5
#: Seconds that a worker has to keep what it has where a scheduler warns of an end to come.
_EARLY_GRACE = 60.0

Wish = Literal["keep", "stop"]


class Order(Frozen):
    """One stage for a node."""

    request: dict[str, Any]
    """A :class:`StageRequest` as JSON."""
    stall_seconds: float
    folder: str | None = None
    """What the node must see of the results, where they are shared."""


#: The workers that this process keeps between stages, by what they were started for.
_pools: dict[tuple[object, ...], Pool] = {}


def nothing() -> Wish | None:
    """Ask for nothing."""
    return None


def events(order: Order, wish: Callable[[], Wish | None] = nothing) -> Iterator[dict[str, Any]]:
    """Do a stage here; yield what is heard of it, with its end as the last.

    Args:
        order: what to do.
        wish: asked now and then for what the run wants of the stage meanwhile.
    """
    host = platform.node()
    yield {"event": "began", "host": host}
    if order.folder is not None and not os.path.isdir(order.folder):  # noqa: PTH112  # a string of another machine
        what = f"node {host}: does not see the folder of results, got {order.folder!r}"
        yield {"event": "failed", "message": what, "exit_code": 3, "fatal": True}
        return
    request: StageRequest[Any] = StageRequest.from_json(order.request)
    try:
        pool = _pool(request, order.stall_seconds)
        pool.begin(cast("Stage", request), request)  # a node knows no plan: the request stands for the stage
    except HarnessError as error:
        yield {"event": "failed", "message": f"node {host}: {error}", "exit_code": error.exit_code}
        return
    stopping, told = False, 0.0
    try:
        while pool.busy():
            for event in pool.wait(_LOOK):
                kind, now = event.kind, time.monotonic()
                if kind == "progress" and now - told < _QUIET:
                    continue
                told = now if kind == "progress" else told
                if event.stage is not None:
                    if kind == "stopped":  # asked for by the run, or by whoever owns the node
                        kind = "stopped" if stopping else "lost"
                    yield {"event": kind, **_named(event.body, host, final=kind not in GOES_ON)}
            wanted = wish()
            if wanted == "keep":
                pool.keep()
            elif wanted == "stop" and not stopping:
                stopping = True
                for worker in pool.busy():
                    worker.ask_to_stop()
    except BaseException as error:  # a worker in the middle of a stage may keep what it has
        early = isinstance(error, Interrupted) and error.number == EARLY
        end_all(_EARLY_GRACE if early else None)
        raise


def lost(reason: str) -> dict[str, Any]:
    """Return the end of a stage that was taken from its node."""
    return {"event": "lost", "message": f"{reason} on {platform.node()}", "exit_code": StageError.exit_code}


def end_all(grace: float | None = None) -> None:
    """End the workers that are kept here."""
    while _pools:
        _, pool = _pools.popitem()
        if grace is not None:
            pool.grace = grace
        pool.close()


def _pool(request: StageRequest[Any], stall_seconds: float) -> Pool:
    """Return a pool of one worker for a request, the one that is here already if it fits."""
    ranks, threads = request.runtime.ranks, request.runtime.threads
    devices = os.environ.get("CUDA_VISIBLE_DEVICES")  # read by a worker once, and given anew for each task
    wanted = (threads, ranks, devices, stall_seconds)
    if wanted not in _pools:
        end_all()
        _pools[wanted] = Pool(1, threads=threads, ranks=ranks, kinds=[request.config.kind], stall_seconds=stall_seconds)
    return _pools[wanted]


def _named(body: dict[str, Any], host: str, *, final: bool) -> dict[str, Any]:
    """Name the node in what is said at the end of a stage."""
    if not final or "message" not in body:
        return body
    return {**body, "message": f"{body['message']}\n  (on node {host})"}
