"""The table of claims: what a paper says, what was measured, and one word."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from harness.report.claims import Claim, ClaimCell, Finding, claims_for, read_claims, verdicts
from harness.report.export import json_text
from harness.report.markdown import markdown
from harness.report.results import load_results
from harness.report.table import Heading, Table, TableCell, TableRow

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from harness.report.results import Results

CAPTION = (
    (
        "Supported: in every place the difference points the claimed way, and its 95 % confidence interval, for new "
        "seeds and new prompts, excludes 0. Contradicted: somewhere it lies on the other side of 0 as a whole, which "
        "holds for all places together. A trend: the ends differ as claimed, and no step between neighbours is claimed "
        "to go back. Sharpening: the gain at T = 1 is there, and more than half of it is missing when greedy. "
        "Undecided: neither, with how many more would decide four times in five if the measured difference and spread "
        "are the true ones; or something that the claim is about has no value, and the reason names it. A verdict is "
        "about the models and data of its run."
    ),
    (
        "Measured: the place that says least for the claim, turned so that more than 0 is what is claimed, with the "
        "interval that its word follows from; harness report --claims --json has every place."
    ),
)


class Verdict(NamedTuple):
    """One claim in one run."""

    claim: Claim
    finding: Finding
    run: str
    """BENCHMARK/PROFILE; empty where no run was there."""


def claimed(results: Results) -> bool:
    """Return whether any claim is about a benchmark of this name."""
    return bool(claims_for(results.manifest.benchmark))


def claims_table(results: Results) -> Table:
    """Return what one run says of the claims that it is for."""
    of_run = [Verdict(claim, finding, "") for claim, finding in verdicts(results)]
    return table(of_run, "Claims")


def table(listed: Sequence[Verdict], title: str) -> Table:
    """Return verdicts as a table."""
    headings = (
        Heading("claim", "claim"),
        Heading("place", "in the paper"),
        Heading("verdict", "verdict"),
        Heading("because", "because"),
        Heading("measured", "measured"),
        Heading("difference", "difference", shown=False),
    )
    rows = [TableRow(one.claim.name, one.run, _cells(one)) for one in listed]
    margins = [f"{one.claim.text}: {_within(one.claim)} ({one.claim.why})." for one in listed if one.claim.margin]
    papers = [f"Claims of: {title}." for title in dict.fromkeys(one.claim.title for one in listed)]
    return Table(
        "claims", title, headings, tuple(rows), (*papers, *CAPTION, *dict.fromkeys(margins)), names=("name", "run")
    )


def _within(claim: Claim) -> str:
    return f"none better by {claim.margin:g}" if claim.kind == "not-above" else f"equal within ±{claim.margin:g}"


def _cells(one: Verdict) -> dict[str, TableCell]:
    finding = one.finding
    cells = {
        "claim": TableCell(one.claim.text),
        "place": TableCell(one.claim.place),
        "verdict": TableCell(finding.word),
        "because": TableCell(finding.because),
    }
    weakest = least(finding.cells)
    if weakest is not None and weakest.difference is not None:
        cells["measured"] = TableCell(measured(weakest))
        difference = weakest.difference
        scaled = type(difference)(
            *(weakest.scale * number for number in (difference.mean, difference.low, difference.high))
        )
        cells["difference"] = TableCell(scaled.mean, scaled)
    return cells


def least(cells: Sequence[ClaimCell]) -> ClaimCell | None:
    """Return the place that says least for the claim."""
    rank = {"contradicted": 0, "undecided": 1, "supported": 2, "not run": 3}
    there = [cell for cell in cells if cell.difference is not None]
    return min(
        there, key=lambda cell: (rank[cell.word], cell.difference.mean if cell.difference else 0.0), default=None
    )


def measured(cell: ClaimCell) -> str:
    """Return a difference as text."""
    difference = cell.difference
    if difference is None:
        return cell.where
    unit = f" {cell.unit}" if cell.unit else ""
    ends = (
        f" [{difference.low * cell.scale:+.{cell.digits}f}, {difference.high * cell.scale:+.{cell.digits}f}]"
        if difference.known
        else ""
    )
    return f"{cell.where}: {difference.mean * cell.scale:+.{cell.digits}f}{ends}{unit}"


def across(root: Path, folders: Sequence[Path]) -> list[Verdict]:
    """Return every claim of every paper, once for each run that can say something of it, else as not run."""
    by_benchmark: dict[str, list[tuple[str, Results]]] = {}
    for folder in folders:
        results = load_results(root if folder.is_relative_to(root) else folder.parent.parent, folder)
        manifest = results.manifest
        by_benchmark.setdefault(manifest.benchmark, []).append((f"{manifest.benchmark}/{folder.name}", results))
    listed = []
    for claim in read_claims():
        runs = [run for name in claim.benchmarks for run in by_benchmark.get(name, ())]
        listed += [Verdict(claim, finding, name) for name, run in runs for _, finding in verdicts(run, [claim])]
        if not runs:
            wanted = " or ".join(f"{name}" for name in claim.benchmarks)
            listed.append(Verdict(claim, Finding("not run", f"no run of {wanted} was given"), ""))
    return listed


def claims_text(listed: Sequence[Verdict]) -> str:
    """Return verdicts as Markdown."""
    return markdown("What is claimed, and what was measured", [], [table(listed, "Claims")])


def claims_json(verdict_list: Sequence[Verdict]) -> str:
    """Return verdicts with every place, as JSON."""
    listed = [
        {
            "claim": one.claim.name,
            "text": one.claim.text,
            "paper": one.claim.title,
            "place": one.claim.place,
            "run": one.run or None,
            "verdict": one.finding.word,
            "because": one.finding.because,
            "margin": one.claim.margin or None,
            "places": [_place(cell) for cell in one.finding.cells],
        }
        for one in verdict_list
    ]
    return json_text({"claims": listed}, [])


def _place(cell: ClaimCell) -> dict[str, Any]:
    difference = cell.difference
    numbers: dict[str, Any] = {}
    if difference is not None:
        numbers = {"difference": difference.mean * cell.scale}
        if difference.known:
            numbers |= {"low": difference.low * cell.scale, "high": difference.high * cell.scale}
    return {
        "where": cell.where,
        **numbers,
        "unit": cell.unit or None,
        "p": cell.p,
        "verdict": cell.word,
        "needed": cell.needed or None,
    }
