"""Kinds of claims: what each measures in a run, as differences that are more than 0 where the claim is right."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from harness.report.claims.evidence import (
    Along,
    ClaimCell,
    Finding,
    Measured,
    conclude,
    judge,
    judge_equal,
    judge_not_above,
    judge_trend,
)
from harness.report.claims.needs import families, find_row
from harness.report.claims.over_rows import rank, spread
from harness.report.claims.places import against, apart, of_model, spots, standing, values
from harness.report.claims.sharpening import sharpening
from harness.report.statistics import LEVEL, Interval
from harness.spec.results.train import TrainStep, TrainSummary

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.report.claims.catalogue import Claim
    from harness.report.claims.needs import Member, Needs
    from harness.report.claims.places import Spot
    from harness.report.results import ResultRow, Results
    from harness.report.statistics import Array
    from harness.store.records import Record

_REPLICATES = 2000


def above(claim: Claim, needs: Needs, results: Results, no_claim: str) -> Finding:
    """One row above every other, on every data set, column and model."""
    return judge(against(claim, needs, results), no_claim=no_claim)


def equal(claim: Claim, needs: Needs, results: Results, no_claim: str) -> Finding:
    """Two rows the same, up to the claim's margin."""
    return judge_equal(against(claim, needs, results), claim.margin, no_claim=no_claim)


def not_above(claim: Claim, needs: Needs, results: Results, no_claim: str) -> Finding:
    """None of the others above one row, up to the claim's margin."""
    return judge_not_above(against(claim, needs, results), claim.margin, no_claim=no_claim)


def trend(claim: Claim, needs: Needs, results: Results, no_claim: str) -> Finding:
    """More with more of an option, as far as the tests can tell: see :func:`judge_trend`."""
    parts = []
    for where, family in _families(claim, needs, results):
        groups = [list(group) for _, group in itertools.groupby(family, key=lambda member: member[0].value)]
        for spot in spots(claim, needs, results):
            steps = [_rise(claim, spot, results, where, low, high) for low, high in itertools.pairwise(groups)]
            ends = _rise(claim, spot, results, where, groups[0], groups[-1]) if len(groups) > 2 else []
            parts.append(Along(tuple(itertools.chain(*steps)), tuple(ends)))
    return judge_trend(parts, no_claim=no_claim)


def peak(claim: Claim, needs: Needs, results: Results, no_claim: str) -> Finding:
    """The row at one value of an option above the rows at all others that differ in that option alone."""
    measured, best = [], []
    for where, family in _families(claim, needs, results):
        there = [row for member, row in family if member.value == claim.at]
        for spot in spots(claim, needs, results):
            means = {}
            for member, row in family:
                scores = values(results, spot, row)
                if scores is not None and not np.isnan(scores).all():
                    means[member.value] = spot.sign * float(np.nanmean(scores))
                for top in there if member.value != claim.at else ():
                    text = f"{spot.text} at {claim.at:g} against {member.value:g}{where}"
                    measured += apart(text, spot, results, top, row)
            if means:
                best.append(f"{max(means, key=lambda value: means[value]):g}")
    finding = judge(measured, no_claim=no_claim)
    said = f"; the highest mean is at {', '.join(best)}" if best else ""
    return Finding(finding.word, finding.because + said, finding.cells)


def order(claim: Claim, needs: Needs, results: Results, no_claim: str) -> Finding:
    """Seconds a step in an order: each method slower than the one before, by the median over steps.

    The interval is a bootstrap over steps, each method's by themselves: what another machine would show is not in it.
    One that points the other way is corrected for all places, since any of them would contradict.
    """
    warm = results.manifest.config.timing.warmup_steps if results.manifest.config.timing else 0
    cells, reasons = [], []
    pairs = list(itertools.pairwise(claim.order))
    for model in needs.models:
        rows = {method: row for method in claim.order if (row := standing(method, model, results)) is not None}
        laps = {method: laps for method, row in rows.items() if (laps := _laps(row, warm)).size}
        short = [
            method for method, row in rows.items() if any(not _steps(record, warm) for record in row.training.values())
        ]
        reasons += [f"no timed steps of {', '.join(short)}{of_model(model, needs)}"] if short else []
        beside = any(r.read(TrainSummary).concurrent for row in rows.values() for r in row.training.values())
        reasons += ["timed while other stages ran on the same machine"] if beside else []
        for fast, slow in pairs:
            if fast in laps and slow in laps:
                difference = _median_difference(laps[slow], laps[fast], len(pairs) * len(needs.models))
                word = "supported" if difference.low > 0 else "contradicted" if difference.high < 0 else "undecided"
                where = f"{slow} − {fast}{of_model(model, needs)}"
                needed = "more timed steps would decide" if word == "undecided" else ""
                cells.append(ClaimCell(where, difference, 1.0, 3, "s", word, None, needed))  # type: ignore[arg-type]  # a word
    no_claim = "; ".join(dict.fromkeys([*([no_claim] if no_claim else []), *reasons]))
    return conclude(cells, no_claim)


def held(claim: Claim, needs: Needs, results: Results, no_claim: str) -> Finding:
    """How many models each method keeps in memory: a count, the same on any data."""
    cells = []
    for method, expected in claim.held.items():
        for model in needs.models:
            row = standing(method, model, results)
            training = row.training.values() if row is not None else ()
            counts = {len(record.read(TrainSummary).models_held) for record in training}
            if row is not None and counts:
                difference = float(max(counts, key=lambda count: abs(count - expected)) - expected)
                seen = " or ".join(str(count) for count in sorted(counts))
                where = f"{row.label} holds {seen}, {expected} claimed{of_model(model, needs)}"
                word = "supported" if counts == {expected} else "contradicted"
                at = Interval(difference, difference, difference)
                cells.append(ClaimCell(where, at, 1.0, 0, "models", word))  # type: ignore[arg-type]  # a word
    return conclude(cells, no_claim)


KINDS = {
    "above": above,
    "not-above": not_above,
    "equal": equal,
    "trend": trend,
    "peak": peak,
    "order": order,
    "held": held,
    "sharpening": sharpening,
    "rank": rank,
    "spread": spread,
}


def _families(claim: Claim, needs: Needs, results: Results) -> Iterator[tuple[str, list[tuple[Member, ResultRow]]]]:
    """Give the rows of a method that differ in one option alone, smallest value first, with what names them."""
    for model in needs.models:
        listed = families(claim, results.manifest, model)
        for family in listed:
            rows = [(member, find_row(results, model, member.label)) for member in family]
            named = f" ({family[0].label} to {family[-1].label})" if len(listed) > 1 else ""
            yield named + of_model(model, needs), [(member, row) for member, row in rows if row is not None]


def _rise(
    claim: Claim,
    spot: Spot,
    results: Results,
    where: str,
    low: list[tuple[Member, ResultRow]],
    high: list[tuple[Member, ResultRow]],
) -> list[Measured]:
    """Return how far the rows at one value of an option lie above those at another."""
    measured = []
    for (less, below), (more, above_) in itertools.product(low, high):
        text = f"{spot.text} at {claim.option} {more.value:g} against {less.value:g}{where}"
        measured += apart(text, spot, results, above_, below)
    return measured


def _steps(record: Record, warm: int) -> list[float]:
    """Return the seconds of every step that a training stage recorded, without the first ones."""
    return [step.total_seconds for step in list(record.lines(TrainStep))[warm:]]


def _laps(row: ResultRow, warm: int) -> Array:
    """Return the seconds of every step of a row's own training, all seeds together."""
    return np.array([lap for _, record in sorted(row.training.items()) for lap in _steps(record, warm)])


def _median_difference(slow: Array, fast: Array, tests: int) -> Interval:
    """Return the difference of medians with its 95 % confidence interval, at a level that counts all tests below 0."""
    generator = np.random.default_rng([20250121, slow.size, fast.size])
    drawn = [np.median(generator.choice(laps, (_REPLICATES, laps.size)), axis=1) for laps in (slow, fast)]
    differences = drawn[0] - drawn[1]
    centre = float(np.median(slow) - np.median(fast))
    level = LEVEL if centre > 0 else LEVEL / tests
    low, high = np.quantile(differences, [level / 2, 1 - level / 2])
    return Interval(centre, float(low), float(high))
