"""Which stages must be made, and which checkpoints stay."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.benchmark.schema import Benchmark
    from harness.plan import Plan, Stage
    from harness.store import Store

CHECKPOINT = "checkpoint"
OPTIMIZER = ("optimizer.safetensors", "modules.safetensors")


def required(plan: Plan, store: Store) -> list[Stage]:
    """Return the stages to make, parents first.

    A finished training stage whose checkpoint was let go is made again only where an unfinished stage starts from it.
    """
    wanted: dict[str, Stage] = {}
    for stage in reversed(list(plan.stages.values())):
        missing = not stage.done
        if not missing and stage.kind == "train" and stage.key in wanted:
            record = store.find(stage.kind, stage.id or "")
            missing = record is None or not record.holds(CHECKPOINT)
        if missing:
            wanted[stage.key] = stage
            for parent in stage.parents.values():
                if parent.done and parent.kind == "train":
                    record = store.find(parent.kind, parent.id or "")
                    if record is None or not record.holds(CHECKPOINT):
                        wanted.setdefault(parent.key, parent)
    return [stage for stage in plan.stages.values() if stage.key in wanted]


def prune(plan: Plan, benchmark: Benchmark, store: Store) -> None:
    """Let go of what ``recipe.keep`` does not ask for, once every stage is done.

    ``all`` keeps everything. ``final`` keeps the checkpoints that rows end with, and those at which methods start (with
    their optimiser, so that another method can start there too). ``none`` keeps no weights.
    """
    policy = benchmark.recipe.keep
    if policy == "all":
        return
    ends = {row.checkpoint.key for row in plan.rows}
    starts = {row.chain[-1].parents["start"].key for row in plan.rows if row.chain}
    for stage in plan.stages.values():
        if stage.kind != "train" or stage.id is None:
            continue
        gone: tuple[str, ...] = ()
        if policy == "none" or stage.key not in ends | starts:
            gone = (CHECKPOINT, *OPTIMIZER)
        elif stage.key not in starts:
            gone = OPTIMIZER
        if gone:
            store.let_go(stage.kind, stage.id, gone)
