"""Whether a gain at temperature 1 is there when greedy too: what is not may be had by sampling less at random."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from harness.report.claims.evidence import Finding, cell_of, conclude, more
from harness.report.claims.places import apart, of_model, spots, standing
from harness.report.claims.standing import about_tuned

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.report.claims.catalogue import Claim
    from harness.report.claims.evidence import ClaimCell, Measured
    from harness.report.claims.needs import Needs
    from harness.report.results import Results

#: What part of the gain must be missing when greedy: half of it is where neither word would be right.
_SHARE = 0.5


class Gains(NamedTuple):
    """One row above another under two decodings, with the same seeds on the same prompts."""

    sampled: Measured
    """At temperature 1."""
    greedy: Measured

    @property
    def missing(self) -> Measured:
        """Half of the gain at temperature 1 less that when greedy: above 0 where more than half is missing."""
        apart = _SHARE * self.sampled.difference - self.greedy.difference
        ends = self.sampled.bounds and ((1 + _SHARE) * self.sampled.bounds[0], (1 + _SHARE) * self.sampled.bounds[1])
        where = self.sampled.where.replace(_AT_ONE, "half of the gain at T = 1 less that when greedy")
        size = max(self.sampled.size or 0.0, self.greedy.size or 0.0)
        return replace(self.sampled, where=where, difference=apart, bounds=ends, size=size, binary=False)


_AT_ONE = "gain at T = 1"


def sharpening(claim: Claim, needs: Needs, results: Results, no_claim: str) -> Finding:
    """A row's gain on others at temperature 1 not there when greedy: see :func:`judge_sharpening`."""
    gains, tuned = [], about_tuned(claim, results.manifest)
    for model in needs.models:
        row = standing(claim.row, model, results, tuned=tuned)
        for spot in spots(claim, needs, results):
            for other in claim.others:
                rival = standing(other, model, results, tuned=tuned)
                if row is None or rival is None:
                    continue
                rest = f"{row.label} over {rival.label}, {spot.text}{of_model(model, needs)}"
                greedy = spot._replace(decoding=needs.greedy)
                sampled = apart(f"{_AT_ONE} of {rest}", spot, results, row, rival)
                settled = apart(f"gain when greedy of {rest}", greedy, results, row, rival)
                # prompts are told apart by their ids: both decodings answer the same ones, in one order
                same = [row.cells[spot.dataset, name].ids for name in (needs.decoding, needs.greedy) if sampled]
                if sampled and settled and same[0] == same[1]:
                    gains.append(Gains(sampled[0], settled[0]))
    return judge_sharpening(gains, no_claim=no_claim)


def judge_sharpening(gains: Sequence[Gains], *, no_claim: str = "") -> Finding:
    """Judge a claim that a gain at temperature 1 is mostly missing when greedy.

    With g(1) and g(0) the gains, of one seed on one prompt, the contrast is g(1) / 2 - g(0). Its interval is that of
    any difference, so that what both decodings share cancels. Supported, in every place: g(1) is claimed to be above 0,
    and so is the contrast, each at 5 % by itself (an intersection-union test). Contradicted, somewhere: g(0) is claimed
    to be above 0, and the contrast below; these hold for all places together. Without a gain there is nothing to
    explain, and nothing is decided.
    """
    cells: list[ClaimCell] = []
    told = []
    for part in gains:
        there = cell_of(part.sampled, len(gains), no_claim)
        settled = cell_of(part.greedy, len(gains), no_claim)
        contrast = cell_of(part.missing, len(gains), no_claim)
        if there.word == "contradicted":
            there = replace(there, word="undecided", needed="there is no gain at T = 1 to explain")
        together = part.greedy.found(len(gains))
        if contrast.word == "contradicted" and not (together.claimed and together.low > 0):
            needed = more(part.greedy.found(1), part.greedy, tests=len(gains)) if together.estimate > 0 else ""
            contrast = replace(contrast, word="undecided", needed=needed or "there is no gain when greedy either")
        cells += [there, contrast]
        told += [_said(there), _said(settled)]
    finding = conclude(cells, no_claim)
    return replace(finding, because="; ".join([finding.because, *told]))


def _said(cell: ClaimCell) -> str:
    if cell.difference is None:
        return f"{cell.where}: no value"
    ends = cell.difference
    numbers = f"{ends.mean * cell.scale:+.{cell.digits}f}"
    if ends.known:
        numbers += f" [{ends.low * cell.scale:+.{cell.digits}f}, {ends.high * cell.scale:+.{cell.digits}f}]"
    return f"{cell.where}: {numbers}"
