"""What a measured difference says of a claim, and how much more would decide where it says too little."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import numpy as np

from harness.report.power import needed_prompts, needed_seeds
from harness.report.statistics import LEVEL, SEEDS_FOR_CLAIMS, Interval, holm, interval, paired, per_seed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.report.statistics import Array

Word: TypeAlias = Literal["supported", "contradicted", "undecided", "not run"]

#: More than this is no plan for anybody.
_MANY: Final = 100_000


@dataclass(frozen=True)
class Cell:
    """One place where a claim can be tested."""

    where: str
    difference: Interval | None
    """Turned so that more than 0 is what the claim says, in the column's own unit."""
    scale: float = 1.0
    digits: int = 2
    unit: str = ""
    word: Word = "undecided"
    p: float | None = None
    needed: str = ""
    """What more would decide, where nothing is decided."""


@dataclass(frozen=True)
class Finding:
    """What one run says of one claim."""

    word: Word
    because: str
    cells: tuple[Cell, ...] = ()


@dataclass(frozen=True)
class Measured:
    """One difference before it is judged: (S, N), turned so that more than 0 is what the claim says."""

    where: str
    difference: Array
    scale: float = 1.0
    digits: int = 2
    unit: str = ""


def judge(measured: Sequence[Measured], *, no_claim: str = "") -> Finding:
    """Judge a claim that must hold in every place.

    Supported: each difference points the claimed way and both paired tests reject at 5 % (an intersection-union test
    needs no correction: it is wrong only if the claim is wrong somewhere). Contradicted: somewhere a difference points
    the other way and rejects after Holm's correction over all places, since any of them would have been taken.

    Args:
        measured: every place where the claim can be tested.
        no_claim: why this run may say nothing either way; the differences are shown all the same.
    """
    if not measured:
        return Finding("not run", "the run has no such rows or columns")
    p_values = {(str(index), ""): paired(part.difference) for index, part in enumerate(measured)}
    rejected = holm(p_values)
    cells = []
    for index, part in enumerate(measured):
        found, key = interval(part.difference), (str(index), "")
        centre = found.mean if found else 0.0
        word: Word = "undecided"
        if not no_claim and centre > 0 and p_values[key] <= LEVEL:
            word = "supported"
        elif not no_claim and centre < 0 and rejected[key]:
            word = "contradicted"
        needed = more(part.difference) if word == "undecided" and not no_claim else ""
        cells.append(Cell(part.where, found, part.scale, part.digits, part.unit, word, p_values[key], needed))
    return conclude(cells, no_claim)


def judge_equal(measured: Sequence[Measured], margin: float, *, no_claim: str = "") -> Finding:
    """Judge a claim that two rows are the same, up to a margin.

    Supported: every 95 % interval lies within the margin on both sides, which is stricter than two one-sided tests at
    5 % (Schuirmann 1987). Contradicted: one lies outside as a whole. That a difference is not significant supports
    nothing.
    """
    if not measured:
        return Finding("not run", "the run has no such rows or columns")
    cells = []
    for part in measured:
        found = interval(part.difference)
        word: Word = "undecided"
        seeds = per_seed(part.difference).size
        if found is not None and found.known and not no_claim and seeds >= SEEDS_FOR_CLAIMS:
            if -margin <= found.low and found.high <= margin:
                word = "supported"
            elif found.low > margin or found.high < -margin:
                word = "contradicted"
        needed = ""
        if word == "undecided" and not no_claim and found is not None and found.known:
            needed = _more_to_be_equal(found, margin, part.difference.shape[1])
        cells.append(Cell(part.where, found, part.scale, part.digits, part.unit, word, None, needed))
    return conclude(cells, no_claim)


def conclude(cells: Sequence[Cell], no_claim: str = "") -> Finding:
    """Return the word for the whole claim from those for its places."""
    count = len(cells)
    by_word = {word: [cell for cell in cells if cell.word == word] for word in ("supported", "contradicted")}
    if no_claim:
        return Finding("undecided", f"no claim: {no_claim}", tuple(cells))
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


def more(difference: Array) -> str:
    """Return how many seeds and prompts would decide, if the measured difference and its spread are the true ones."""
    seeds = per_seed(difference)
    if seeds.size < SEEDS_FOR_CLAIMS:
        return f"{SEEDS_FOR_CLAIMS - seeds.size} more seeds at least"
    prompts = np.array([np.nanmean(column) for column in difference.T if not np.isnan(column).all()])
    centre = float(seeds.mean())
    if centre == 0.0:
        return "no number of seeds or prompts: the measured difference is 0"
    wanted_seeds = needed_seeds(centre, float(seeds.std(ddof=1)))
    wanted_prompts = needed_prompts(float(prompts.mean()), float(prompts.std(ddof=1)) if prompts.size > 1 else math.inf)
    parts = []
    if wanted_seeds is None or wanted_seeds > seeds.size:
        parts.append(_count(wanted_seeds, seeds.size, "seeds"))
    if wanted_prompts > prompts.size:
        parts.append(_count(wanted_prompts, prompts.size, "prompts"))
    text = " and ".join(parts) or "a little more of both seeds and prompts"
    return f"{text} would decide" + (" it against the claim" if centre < 0 else "")


def _count(wanted: float | None, have: int, what: str) -> str:
    if wanted is None or wanted > _MANY:
        return f"no practical number of {what}"
    return f"{math.ceil(wanted) - have} more {what} ({math.ceil(wanted)} in all)"


def _more_to_be_equal(found: Interval, margin: float, prompts: int) -> str:
    room = margin - abs(found.mean)
    if room <= 0:
        return "the measured difference is larger than the margin: more data may contradict, and cannot support"
    factor = (found.reach / room) ** 2
    wanted = prompts * factor
    if wanted > _MANY:
        return "no practical number of prompts would decide"
    return f"about {factor:.1f} times as many prompts ({math.ceil(wanted)}) and seeds would decide"
