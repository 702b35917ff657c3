"""How much disk a run needs while it goes on and in the end, since weights go as soon as nothing will read them."""

from __future__ import annotations

import heapq
import shutil
from typing import TYPE_CHECKING, NamedTuple

from harness.execution.order import Order
from harness.execution.release import Releases
from harness.plan.estimate import Estimate
from harness.spec.results.files import CHECKPOINT

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from harness.plan import Plan, Stage
    from harness.spec.benchmark import Benchmark
    from harness.store.stages import Store

#: Share of what training leaves that goes with its optimiser's moments: two numbers a parameter of three.
_MOMENTS = 2 / 3


class Footprint(NamedTuple):
    """Bytes on disk that a run adds."""

    most: int
    """At the worst moment."""
    left: int
    """In the end."""


def footprint(
    plan: Plan,
    todo: Collection[str],
    benchmark: Benchmark,
    store: Store,
    *,
    size: Callable[[Stage], int],
    jobs: int,
) -> Footprint:
    """Go through a plan in the order in which a run does.

    Args:
        plan: of the run.
        todo: keys of the stages that it would make.
        benchmark: says what is kept.
        store: of the run.
        size: bytes that a stage leaves.
        jobs: stages made at a time, each of which may hold what it goes on from beside its result.
    """
    releases, order = Releases(benchmark, store), Order(plan)
    releases.planned(plan)
    wanted = {key: stage for key, stage in plan.stages.items() if key in todo or key in plan.waiting}
    children: dict[str, list[str]] = {key: [] for key in wanted}
    unmade = {key: {parent.key for parent in stage.parents.values()} & wanted.keys() for key, stage in wanted.items()}
    for key, parents in unmade.items():
        for parent in parents:
            children[parent].append(key)
    waits: dict[str, list[tuple[set[str], int]]] = {key: [] for key in wanted}
    for stage, readers, names in releases.ends():
        if stage.key in wanted and names:
            lost = int(size(stage) * (1 if CHECKPOINT in names or stage.kind != "train" else _MOMENTS))
            open_ = set(readers & wanted.keys()) | {stage.key}
            for key in open_:
                waits[key].append((open_, lost))
    places = {key: n for n, key in enumerate(wanted)}
    ready = [(order(wanted[key]), places[key], key) for key, parents in unmade.items() if not parents]
    heapq.heapify(ready)
    now = most = 0
    while ready:
        key = heapq.heappop(ready)[2]
        now += size(wanted[key])
        most = max(most, now)
        for open_, lost in waits[key]:
            open_.discard(key)
            now -= 0 if open_ else lost
        for child in children[key]:
            unmade[child].discard(key)
            if not unmade[child]:
                heapq.heappush(ready, (order(wanted[child]), places[child], child))
    beside = jobs * max((size(stage) for stage in wanted.values() if stage.kind == "train"), default=0)
    return Footprint(most + beside, now)


def lack_of_disk(plan: Plan, needed: Collection[Stage], benchmark: Benchmark, store: Store, jobs: int) -> str | None:
    """Return in words that a run would need more than there is, None where it would not."""
    todo = {stage.key for stage in needed}
    most = footprint(plan, todo, benchmark, store, size=Estimate(plan).disk, jobs=jobs).most
    free = free_bytes(store.root)
    if most <= free:
        return None
    keep = "" if benchmark.recipe.keep == "none" else "; recipe.keep: none would need less"
    return f"{store.root} has {gigabytes(free)} left, and the run may need about {gigabytes(most)} at a time{keep}"


def gigabytes(count: int) -> str:
    """Return a number of bytes for people."""
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.0f} MB"


def free_bytes(folder: Path) -> int:
    """Return how many bytes may still be written below a folder, which need not exist yet."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free
