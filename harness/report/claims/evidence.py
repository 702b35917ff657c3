"""What a measured difference says of a claim, and how much more would decide where it says too little."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from harness.report.components import estimated, spread
from harness.report.differences import difference
from harness.report.power import enough
from harness.report.statistics import SEEDS_FOR_CLAIMS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.report.differences import Difference
    from harness.report.statistics import Array, Interval

Word: TypeAlias = Literal["supported", "contradicted", "undecided", "not run"]


@dataclass(frozen=True)
class ClaimCell:
    """One place where a claim can be tested."""

    where: str
    difference: Interval | None
    """Turned so that more than 0 is what the claim says, in the column's own unit."""
    scale: float = 1.0
    digits: int = 2
    unit: str = ""
    word: Word = "undecided"
    p: float | None = None
    """Below 0.05 exactly where the interval excludes 0."""
    needed: str = ""
    """What more would decide, where nothing is decided."""


@dataclass(frozen=True)
class Finding:
    """What one run says of one claim."""

    word: Word
    because: str
    cells: tuple[ClaimCell, ...] = ()


@dataclass(frozen=True)
class Measured:
    """One difference before it is judged: (S, N), turned so that more than 0 is what the claim says."""

    where: str
    difference: Array
    scale: float = 1.0
    digits: int = 2
    unit: str = ""
    size: float | None = None
    """The largest value of either row, without its sign: what is smaller by twelve digits is rounding."""
    groups: Sequence[str] | None = None
    """A key for each of the N prompts; those with the same one belong together."""
    bounds: tuple[float, float] | None = None
    """The least and the largest value that the difference can have."""
    binary: bool = False
    """Whether both rows have nothing but 0 and 1."""

    def found(self, tests: int) -> Difference:
        """Return what it says, corrected for so many places together."""
        return difference(
            self.difference,
            tests=tests,
            groups=self.groups,
            scale=self.size,
            bounds=self.bounds,
            binary=self.binary,
        )

    def cell(self, measured: Difference, word: Word, needed: str) -> ClaimCell:
        """Return it judged."""
        p = None if math.isnan(measured.p) else measured.p
        at = None if math.isnan(measured.estimate) else measured.interval
        return ClaimCell(self.where, at, self.scale, self.digits, self.unit, word, p, needed)


@dataclass(frozen=True)
class Along:
    """The differences along one option, in one place, for one family of rows."""

    steps: tuple[Measured, ...]
    """Each value of the option against the next smaller one."""
    ends: tuple[Measured, ...] = ()
    """The largest value against the smallest; empty where that is the only step."""


def judge(measured: Sequence[Measured], *, no_claim: str = "") -> Finding:
    """Judge a claim that must hold in every place.

    Supported: every interval lies above 0. It is one of 95 % for each place by itself: an intersection-union test needs
    no correction (Berger 1982), for it is wrong only if the claim is wrong somewhere, and then at that place's own 5 %.
    Contradicted: somewhere it lies below 0. Any place could have contradicted, so the interval of a difference that
    points the other way holds for all places together (Šidák 1967).

    Args:
        measured: every place where the claim can be tested.
        no_claim: why this run may say nothing either way; the differences are shown all the same.
    """
    return conclude([cell_of(part, len(measured), no_claim) for part in measured], no_claim)


def cell_of(part: Measured, tests: int, no_claim: str) -> ClaimCell:
    """Return the word for one of so many places, with the interval that it follows from."""
    measured, counted = part.found(1), 1
    if measured.estimate < 0:
        measured, counted = part.found(tests), tests
    word: Word = "undecided"
    if measured.claimed and not no_claim:
        word = "supported" if measured.low > 0 else "contradicted"
    needed = more(measured, part, tests=counted) if word == "undecided" and not no_claim else ""
    return part.cell(measured, word, needed)


def judge_trend(parts: Sequence[Along], *, no_claim: str = "") -> Finding:
    """Judge a claim that more of an option gives more: a rise that is monotone within what the tests can tell.

    Contradicted: some step between neighbouring values, or the rise from the smallest value to the largest, is claimed
    to go the other way; their intervals hold for all steps and rises together (Šidák 1967), since any would have
    contradicted. Supported: otherwise, if in every place the rise from end to end is claimed, each at 5 % by itself (an
    intersection-union test), and no mean steps back by as much as the ends rise. Steps may thus point the claimed way,
    or not be told apart from 0. Undecided: neither.
    """
    tests = sum(len(part.steps) + len(part.ends) for part in parts)
    cells: list[ClaimCell] = []
    rises: list[ClaimCell] = []
    back = ""
    for part in parts:
        steps = [cell_of(step, tests, no_claim) for step in part.steps]
        ends = [cell_of(end, tests, no_claim) for end in part.ends] or steps
        cells += steps if ends is steps else [*steps, *ends]
        rises += ends
        rise = min((end.difference.mean for end in ends if end.difference), default=0.0)
        deep = [step for step in steps if step.difference and -step.difference.mean >= rise > 0]
        back = back or (f"{deep[0].where}: steps back by as much as the ends rise" if deep else "")
    if no_claim or not rises or any(cell.word == "contradicted" for cell in cells):
        return conclude(cells, no_claim)
    finding = conclude(rises, no_claim)
    if finding.word == "supported" and back:
        return Finding("undecided", back, tuple(cells))
    return Finding(finding.word, finding.because, tuple(cells))


def judge_equal(measured: Sequence[Measured], margin: float, *, no_claim: str = "") -> Finding:
    """Judge a claim that two rows are the same, up to a margin.

    Supported: every 95 % confidence interval lies within the margin on both sides, which is stricter than two one-sided
    tests at 5 % (Schuirmann 1987). Contradicted: one lies outside as a whole; that of a difference beyond the margin
    holds for all places together. That a difference is not significant supports nothing.
    """
    cells = []
    for part in measured:
        pair = part.found(1)
        if abs(pair.estimate) > margin:
            pair = part.found(len(measured))
        word: Word = "undecided"
        if pair.claims and not no_claim:
            if -margin <= pair.low and pair.high <= margin:
                word = "supported"
            elif pair.low > margin or pair.high < -margin:
                word = "contradicted"
        needed = more(pair, part, margin=margin) if word == "undecided" and not no_claim else ""
        cells.append(part.cell(pair, word, needed))
    return conclude(cells, no_claim)


def judge_not_above(measured: Sequence[Measured], margin: float, *, no_claim: str = "") -> Finding:
    """Judge a claim that nothing lies above a row, up to a margin.

    Supported: every 95 % confidence interval of the row's difference to another lies above -margin: none is better by
    as much as that (non-inferiority, an intersection-union test). Contradicted: one lies below 0 as a whole, corrected
    for all places; that another is better by less than the margin contradicts as well, for it is better.
    """
    cells = []
    for part in measured:
        alone, together = part.found(1), part.found(len(measured))
        word: Word = "undecided"
        if alone.claims and not no_claim:
            if together.high < 0:
                word = "contradicted"
            elif alone.low > -margin:
                word = "supported"
        room = alone.estimate + margin
        needed = more(alone, part, room=room if room > 0 else -alone.estimate) if word == "undecided" else ""
        cells.append(part.cell(together if word == "contradicted" else alone, word, "" if no_claim else needed))
    return conclude(cells, no_claim)


def conclude(cells: Sequence[ClaimCell], no_claim: str = "") -> Finding:
    """Return the word for the whole claim from those for its places, where there are any."""
    count = len(cells)
    by_word = {word: [cell for cell in cells if cell.word == word] for word in ("supported", "contradicted")}
    if no_claim:
        silent = tuple(replace(cell, word="undecided", needed="") for cell in cells)
        return Finding("undecided", f"no claim: {no_claim}", silent)
    if not cells:
        return Finding("undecided", "nothing of it was measured")
    if by_word["contradicted"]:
        where = ", ".join(cell.where for cell in by_word["contradicted"])
        return Finding(
            "contradicted", f"the opposite in {len(by_word['contradicted'])} of {count}: {where}", tuple(cells)
        )
    held = len(by_word["supported"])
    if held == count:
        return Finding("supported", f"in {'all ' if count > 1 else ''}{count} of {count}", tuple(cells))
    open_ = [cell for cell in cells if cell.word == "undecided"]
    needed = next((cell.needed for cell in open_ if cell.needed), "")
    what = f"{held} of {count} supported; {open_[0].where}: {needed}" if needed else f"{held} of {count} supported"
    return Finding("undecided", what, tuple(cells))


def more(
    pair: Difference, measured: Measured, *, tests: int = 1, margin: float = 0.0, room: float | None = None
) -> str:
    """Return how many seeds and prompts would decide, if the measured difference and its spread are the true ones.

    Args:
        pair: what was measured.
        measured: the same, seed by seed and prompt by prompt.
        tests: how many are corrected for together.
        margin: up to which difference two rows count as equal, where that is what is claimed.
        room: how far the measured difference is from what would decide, where that is neither 0 nor the margin.
    """
    if pair.seeds < SEEDS_FOR_CLAIMS:
        return f"{SEEDS_FOR_CLAIMS - pair.seeds} more seeds at least"
    if pair.estimate == 0.0 and not margin and room is None:
        return "no number of seeds or prompts: the measured difference is 0"
    if math.isnan(pair.detectable):
        return f"{pair.note}, and so no claim"
    against = pair.estimate < 0 and not margin and room is None
    if room is None:
        room = margin - abs(pair.estimate) if margin else abs(pair.estimate)
    if margin and room <= 0:
        return "the measured difference is larger than the margin: more data may contradict, and cannot support"
    if measured.groups is not None:  # how many prompts a new group would have is not known
        wanted = "more seeds, or more groups of prompts, would decide"
        return wanted + (" it against the claim" if against else "")
    present = measured.difference[~np.isnan(measured.difference).all(1)]
    variances = spread(present[:, ~np.isnan(present).any(0)])
    wanted = enough(estimated(variances, pair.seeds, pair.prompts), room, pair.seeds, pair.prompts, tests=tests)
    return wanted + (" it against the claim" if against else "")
