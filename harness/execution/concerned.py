"""Which rows of the tables a stage concerns, in few words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from harness.plan import Plan, Row, Stage


def rows_of(plan: Plan, stage: Stage) -> list[str]:
    """Return the labels of the rows that a stage is part of, or the stage's own where it is part of none.

    Training concerns the rows that are trained on from it; answers and scores concern their own row alone, though
    others may be compared with it.
    """
    touched = {stage.key}
    for other in plan.stages.values():  # parents stand before their children
        if any(parent.key in touched for parent in other.parents.values()):
            touched.add(other.key)
    own = [row for row in plan.rows if any(one.key == stage.key for one in _answers(row))]
    trained = [row for row in plan.rows if any(one.key in touched for one in row.chain)]
    others = [row for row in plan.rows if any(one.key in touched for one in _answers(row))]
    return _labels(plan, own or trained or others) or [stage.label]


def without_result(plan: Plan, failed: Collection[str]) -> str:
    """Say which rows have no result, or lack a part of it, because stages failed; empty where none does.

    Args:
        plan: the plan.
        failed: keys of stages that have no result.
    """
    whole = [row for row in plan.rows if any(stage.key in failed for stage in row.chain)]
    lacking = [row for row in plan.rows if row not in whole and any(stage.key in failed for stage in _answers(row))]
    said = []
    for rows, what in ((whole, "no result"), (lacking, "a part is missing")):
        if rows:
            said.append(f"{what}: {', '.join(_with_seeds(plan, rows))}")
    return "; ".join(said)


def _answers(row: Row) -> Iterator[Stage]:
    for cell in row.cells:
        yield cell.generate
        yield from cell.scores.values()


def _labels(plan: Plan, rows: Iterable[Row]) -> list[str]:
    return list(dict.fromkeys(_named(plan, row) for row in rows))


def _named(plan: Plan, row: Row) -> str:
    several = len({other.model for other in plan.rows}) > 1
    return f"{row.label} ({row.model})" if several else row.label


def _with_seeds(plan: Plan, rows: Iterable[Row]) -> list[str]:
    """Name each row, and its seeds where it has others."""
    seeds: dict[str, list[int]] = {}
    all_seeds: Mapping[str, set[int]] = {
        name: {row.seed for row in plan.rows if _named(plan, row) == name} for name in _labels(plan, plan.rows)
    }
    for row in rows:
        seeds.setdefault(_named(plan, row), []).append(row.seed)
    return [
        name
        if set(found) == all_seeds[name]
        else f"{name}, seed{'s' if len(found) > 1 else ''} {' and '.join(map(str, found))}"
        for name, found in seeds.items()
    ]
