"""Places of a run in which a claim can be tested, and the differences of rows there."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from harness.report.claims.evidence import Measured
from harness.report.claims.needs import described_column, find_row
from harness.report.claims.standing import about_tuned, label_of
from harness.report.columns import bounds
from harness.report.groups import groups_of, read_groups

if TYPE_CHECKING:
    from harness.api.registration import Column
    from harness.report.claims.catalogue import Claim
    from harness.report.claims.needs import Needs
    from harness.report.results import ResultRow, Results
    from harness.report.statistics import Array


class Spot(NamedTuple):
    """One column on one data set."""

    metric: str
    column: str
    dataset: str
    decoding: str
    described: Column
    sign: int

    @property
    def text(self) -> str:
        """What a sentence calls it."""
        return f"{self.dataset} {self.described.label}"


def standing(method: str, model: str, results: Results, *, tuned: bool = False) -> ResultRow | None:
    """Return the row of a model that represents a method; see :mod:`harness.report.claims.standing`."""
    label = label_of(method, results.manifest, tuned=tuned)
    return None if label is None else find_row(results, model, label)


def of_model(model: str, needs: Needs) -> str:
    """Return what names a model behind a place; nothing where there is one alone."""
    return f" ({model})" if len(needs.models) > 1 else ""


def spots(claim: Claim, needs: Needs, results: Results) -> list[Spot]:
    """Return the claim's columns that the run measures, on every data set, under the decoding that it is about."""
    found = []
    for name in needs.columns:
        described = described_column(name, results.manifest)
        if described is None:
            continue
        use, _, column = name.partition(".")
        less = claim.better == "less" or (not claim.better and described.higher_is_better is False)
        found += [
            Spot(use, column, dataset, needs.decoding, described, -1 if less else 1) for dataset in needs.datasets
        ]
    return found


def against(claim: Claim, needs: Needs, results: Results) -> list[Measured]:
    """Return the differences of a claim's row to each other one, in every place where both have values."""
    measured, tuned = [], about_tuned(claim, results.manifest)
    for model in needs.models:
        row = standing(claim.row, model, results, tuned=tuned)
        for spot in spots(claim, needs, results):
            for other in claim.others:
                rival = standing(other, model, results, tuned=tuned)
                if row is not None and rival is not None:
                    who = f" of {row.label}" if row.label != claim.row else ""
                    where = f"{spot.text}{who} against {rival.label}{of_model(model, needs)}"
                    measured += apart(where, spot, results, row, rival)
    return measured


def values(results: Results, spot: Spot, row: ResultRow) -> Array | None:
    """Return the values (S, N) of a row in a place; None where it has none, or its seeds are no repetitions."""
    data = row.cells.get((spot.dataset, spot.decoding))
    return data.matrix(spot.metric, spot.column, results.seeds) if data and not row.alike else None


def apart(where: str, spot: Spot, results: Results, row: ResultRow, other: ResultRow) -> list[Measured]:
    """Return how far one row lies above another; nothing where one of them has no values."""
    ours, theirs = values(results, spot, row), values(results, spot, other)
    if ours is None or theirs is None:
        return []
    difference, described = spot.sign * (ours - theirs), spot.described
    if np.isnan(difference).all():
        return []
    size = float(np.nanmax(np.abs([ours, theirs])))
    ids = row.cells[spot.dataset, spot.decoding].ids
    groups = groups_of(results, spot.dataset, ids, read_groups(results, spot.dataset))
    ends = bounds(described)
    reach = None if ends is None else (ends[0] - ends[1], ends[1] - ends[0])
    binary = bool(np.isin(np.stack([ours, theirs])[:, ~np.isnan(difference)], (0.0, 1.0)).all())
    unit = described.unit
    return [Measured(where, difference, described.scale, described.digits, unit, size, groups, reach, binary)]
