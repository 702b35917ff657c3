"""Kinds of claims: what each measures in a run, as differences that are more than 0 where the claim is right."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from harness.report.claims.evidence import Cell, Finding, Measured, conclude, judge, judge_equal
from harness.report.statistics import LEVEL, Interval

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from harness.report.claims.catalogue import Claim
    from harness.report.results import ResultRow, Results
    from harness.report.statistics import Array

_REPLICATES = 2000


class Spot(NamedTuple):
    """One column on one data set."""

    metric: str
    column: str
    dataset: str
    described: Mapping[str, Any]
    sign: int

    @property
    def text(self) -> str:
        """What a sentence calls it."""
        return f"{self.dataset} {self.described['label']}"


def above(claim: Claim, results: Results, no_claim: str) -> Finding:
    """One row above every other, on every data set, column and model."""
    measured = []
    for model, row in _named(claim.row, results):
        for spot in _spots(claim, results):
            for other in claim.others:
                found = next((against for at, against in _named(other, results) if at == model), None)
                difference = _difference(results, spot, row, found) if found else None
                if found is not None and difference is not None:
                    where = f"{spot.text} against {found.label}{_of(model, results)}"
                    measured.append(_measured(where, difference, spot))
    absent = [other for other in claim.others if not list(_named(other, results))]
    if absent and measured:
        no_claim = no_claim or f"the run has no row of {', '.join(absent)}, which the claim is about too"
    return judge(measured, no_claim=no_claim)


def equal(claim: Claim, results: Results, no_claim: str) -> Finding:
    """Two rows the same, up to the claim's margin."""
    measured = []
    for model, row in _named(claim.row, results):
        for spot in _spots(claim, results):
            for other in claim.others:
                for at, found in _named(other, results):
                    difference = _difference(results, spot, row, found) if at == model else None
                    if difference is not None:
                        where = f"{spot.text} against {found.label}{_of(model, results)}"
                        measured.append(_measured(where, difference, spot))
    return judge_equal(measured, claim.margin, no_claim=no_claim)


def trend(claim: Claim, results: Results, no_claim: str) -> Finding:
    """More with more of an option: the slope of the scores over the option's values, seed by seed, prompt by prompt."""
    measured = []
    for where, family in _families(claim, results):
        for spot in _spots(claim, results):
            present = [(value, values) for value, row in family if (values := _values(results, spot, row)) is not None]
            if len(present) < 2:
                continue
            size = np.array([value for value, _ in present])
            weights = (size - size.mean()) / ((size - size.mean()) ** 2).sum()
            slope = sum(weight * values for weight, values in zip(weights, (v for _, v in present), strict=True))
            text = f"{spot.text} for each 1 more of {claim.option}{where}"
            measured.append(_measured(text, spot.sign * np.asarray(slope), spot))
    return judge(measured, no_claim=no_claim)


def peak(claim: Claim, results: Results, no_claim: str) -> Finding:
    """The row at one value of an option above the rows at all others."""
    measured, best = [], []
    for where, family in _families(claim, results):
        for spot in _spots(claim, results):
            present = {value: values for value, row in family if (values := _values(results, spot, row)) is not None}
            if claim.at not in present or len(present) < 2:
                continue
            means = {value: spot.sign * float(np.nanmean(values)) for value, values in present.items()}
            best.append(f"{max(means, key=lambda value: means[value]):g}")
            for value, values in present.items():
                if value != claim.at:
                    text = f"{spot.text} at {claim.at:g} against {value:g}{where}"
                    measured.append(_measured(text, spot.sign * (present[claim.at] - values), spot))
    found = judge(measured, no_claim=no_claim)
    said = f"; the highest mean is at {', '.join(best)}" if best else ""
    return Finding(found.word, found.because + said, found.cells)


def order(claim: Claim, results: Results, no_claim: str) -> Finding:
    """Seconds a step in an order: each method slower than the one before, by the median over steps.

    The interval is a bootstrap over steps, each method's by themselves: what another machine would show is not in it.
    """
    warm = int((results.manifest["config"].get("timing") or {}).get("warmup_steps", 0))
    cells, reasons = [], []
    for model in results.models:
        found = {method: row for method in claim.order for at, row in _named(method, results) if at == model}
        laps = {method: laps for method, row in found.items() if (laps := _laps(row, warm)).size}
        absent = [method for method in claim.order if method not in laps]
        if absent:
            continue
        beside = any(r.json("summary.json")["concurrent"] for row in found.values() for r in row.training.values())
        because = no_claim or ("timed while other stages ran on the same machine" if beside else "")
        reasons += [because] if because else []
        pairs = list(itertools.pairwise(claim.order))
        for fast, slow in pairs:
            difference, strict = _median_difference(laps[slow], laps[fast], len(pairs))
            word = "undecided"
            if not because:
                word = "supported" if difference.low > 0 else "contradicted" if strict < 0 else "undecided"
            where = f"{slow} − {fast}{_of(model, results)}"
            needed = "more timed steps would decide" if word == "undecided" and not because else ""
            cells.append(Cell(where, difference, 1.0, 3, "s", word, None, needed))  # type: ignore[arg-type]  # a word
    if not cells:
        return Finding("not run", "the run does not have all of these methods")
    return conclude(cells, "; ".join(dict.fromkeys(reasons)))


def held(claim: Claim, results: Results, no_claim: str) -> Finding:  # noqa: ARG001  # a count needs no seeds
    """How many models each method keeps in memory: a count, the same on any data."""
    cells = []
    for method, expected in claim.held.items():
        for model, row in _named(method, results):
            counts = {len(record.json("summary.json")["models_held"]) for record in row.training.values()}
            if counts:
                difference = float(max(counts) - expected)
                where = f"{row.label} holds {max(counts)}, {expected} claimed{_of(model, results)}"
                word = "supported" if counts == {expected} else "contradicted"
                at = Interval(difference, difference, difference)
                cells.append(Cell(where, at, 1.0, 0, "models", word))  # type: ignore[arg-type]  # a word
    if {method for method in claim.held if list(_named(method, results))} != set(claim.held):
        return Finding("not run", "the run does not have all of these methods")
    return conclude(cells)


KINDS = {"above": above, "equal": equal, "trend": trend, "peak": peak, "order": order, "held": held}


def _named(method: str, results: Results) -> Iterator[tuple[str, ResultRow]]:
    """Give the first row of each model that uses a method."""
    for model in results.models:
        row = next((row for row in results.rows if row.method == method and row.model == model), None)
        if row is not None:
            yield model, row


def _of(model: str, results: Results) -> str:
    return f" ({model})" if len(results.models) > 1 else ""


def _spots(claim: Claim, results: Results) -> list[Spot]:
    """Return the claim's columns that the run has, on every data set, under the first decoding."""
    found = []
    for name in claim.columns:
        use, _, column = name.partition(".")
        metric = next((metric for metric in results.manifest["metrics"] if metric["use"] == use), None)
        described = next((c for c in metric["columns"] if c["name"] == column), None) if metric else None
        if described is None:
            continue
        less = claim.better == "less" or (not claim.better and described["higher_is_better"] is False)
        datasets = [*results.datasets("in-data"), *results.datasets("cross")]
        found += [Spot(use, column, dataset, described, -1 if less else 1) for dataset in datasets]
    return found


def _values(results: Results, spot: Spot, row: ResultRow) -> Array | None:
    data = row.cells.get((spot.dataset, results.decodings[0]))
    return data.matrix(spot.metric, spot.column, results.seeds) if data else None


def _difference(results: Results, spot: Spot, row: ResultRow, other: ResultRow) -> Array | None:
    ours, theirs = _values(results, spot, row), _values(results, spot, other)
    return None if ours is None or theirs is None else spot.sign * (ours - theirs)


def _measured(where: str, difference: Array, spot: Spot) -> Measured:
    described = spot.described
    return Measured(where, difference, described["scale"], described["digits"], described["unit"])


def _families(claim: Claim, results: Results) -> Iterator[tuple[str, list[tuple[float, ResultRow]]]]:
    """Give the rows of a method that differ in one option alone, by its value; of a list its length counts."""
    for model in results.models:
        families: dict[str, list[tuple[float, ResultRow]]] = {}
        rows = [row for row in results.rows if row.method == claim.row and row.model == model]
        for row in rows:
            options = dict(row.described["options"])
            value = options.pop(claim.option, None)
            if value is None:
                continue
            size = float(len(value)) if isinstance(value, list) else float(value)
            families.setdefault(repr(sorted(options.items())), []).append((size, row))
        for listed in families.values():
            if len(listed) > 1:
                several = len(families) > 1
                yield (f" ({_shared(row.label for _, row in listed)})" if several else "") + _of(model, results), listed


def _shared(labels: Iterator[str]) -> str:
    first, *_, last = labels
    return f"{first} to {last}"


def _laps(row: ResultRow, warm: int) -> Array:
    """Return the seconds of every step of a row's own training, the first ones left out, all seeds together."""
    logs = [list(record.jsonl("train.jsonl"))[warm:] for _, record in sorted(row.training.items())]
    return np.array([sum(step["seconds"].values()) for log in logs for step in log if "seconds" in step])


def _median_difference(slow: Array, fast: Array, tests: int) -> tuple[Interval, float]:
    """Return the difference of medians with its 95 % interval, and the upper end at a level that counts all tests."""
    generator = np.random.default_rng([20250121, slow.size, fast.size])
    drawn = [np.median(generator.choice(values, (_REPLICATES, values.size)), axis=1) for values in (slow, fast)]
    differences = drawn[0] - drawn[1]
    low, high = np.quantile(differences, [LEVEL / 2, 1 - LEVEL / 2])
    strict = float(np.quantile(differences, 1 - LEVEL / 2 / tests))
    return Interval(float(np.median(slow) - np.median(fast)), float(low), float(high)), strict


def names_of(claim: Claim) -> Sequence[str]:
    """Return the methods that a claim is about."""
    return list(dict.fromkeys([*([claim.row] if claim.row else []), *claim.others, *claim.order, *claim.held]))
