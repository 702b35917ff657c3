"""Whether what is trained on and what is held out are apart, once all of it is prepared."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.execution.row_checks import check_groups, check_overlap, check_pairs, check_taught
from harness.stages.stored_rows import read

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from harness.plan import Plan
    from harness.spec.benchmark import Benchmark
    from harness.store.records import Record
    from harness.store.stages import Store


def check_prepared(plan: Plan, store: Store, benchmark: Benchmark, failed: Collection[str]) -> bool:
    """Refuse overlapping data; return whether all that can be prepared was there to be looked at.

    ``failed`` are keys of stages that will not be made.

    Raises:
        InputError: data that are held out are trained on, or chosen by, too; a preference lacks an answer; no row
            has anything to learn; or rows lack the column that groups them.
        CorruptError: rows that are damaged.
    """
    held_out = {"validation split": plan.validation} if plan.validation is not None else {}
    held_out |= plan.evaluations
    held_out = {label: stage for label, stage in held_out.items() if stage.key not in failed}
    preferences = [stage for stage in plan.preferences if stage.key not in failed]
    if not plan.train.done or not all(stage.done for stage in (*held_out.values(), *preferences)):
        return False
    records = {label: store.open("prepare", stage.id or "") for label, stage in held_out.items()}
    train = store.open("prepare", plan.train.id or "")
    check_taught(read(train), train.label)
    check_overlap(train, records)
    for use in benchmark.evaluate:
        if use.group is not None and str(use.label) in records:
            check_groups(records[str(use.label)], use.group)
    _check_preferences(plan, store, records, failed)
    if benchmark.tune is not None and "validation split" in records:
        reported = {label: records[label] for label in plan.evaluations if label in records}
        check_overlap(records["validation split"], reported, role="validation")
    return True


def _check_preferences(plan: Plan, store: Store, held_out: Mapping[str, Record], failed: Collection[str]) -> None:
    """Refuse preferences without a rejected answer, and reward models that learn from what others are judged by."""
    for stage in {stage.key: stage for stage in plan.preferences if stage.key not in failed}.values():
        check_pairs(store.open("prepare", stage.id or ""))
    for stages in plan.reward_models.values():
        if stages.rows is None or stages.rows.key in failed:
            continue
        others = dict(held_out)
        if stages.pairs is not None and stages.pairs.key not in failed:
            others["reward_model.test"] = store.open("prepare", stages.pairs.id or "")
        check_overlap(store.open("prepare", stages.rows.id or ""), others)
