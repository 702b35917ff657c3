"""Which row of a run represents a method that a claim names.

A claim names ``METHOD``, or ``METHOD OPTION=VALUE`` where an option makes a method another one. A file may have
several rows of it. What a paper claims of its method is about the row *as published*: the first that was not tuned. A
claim about methods on equal terms (``equal_terms``) is about the first *tuned* row, and so is one of which a method has
tuned rows alone: a tuned row beats one as published by its tuning. Where a method has no row of the kind that is asked
for, its first row stands for it. The supervised start that all rows go on from (``start: after``)
was trained for less than they were: where a row of its method goes on too, that one stands for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.report.claims.catalogue import Claim
    from harness.spec.results.run import RunManifest


class Entry(NamedTuple):
    """A row of a run, whatever its model."""

    label: str
    method: str
    options: Mapping[str, Any]
    tuned: bool
    shared: bool
    """Whether it is the start of others."""
    goes_on: bool
    """Whether it was trained from the shared start on."""


def entries(manifest: RunManifest) -> list[Entry]:
    """Return every row with a method that the run's file names, in its order."""
    found = {
        entry.label: Entry(entry.label, entry.use, entry.options, bool(entry.trials), False, entry.start == "after")
        for entry in manifest.config.methods
    }
    for row in manifest.rows:
        if row.method and row.kind != "point":
            before = found.get(row.label)
            tuned = row.tuning is not None or (before is not None and before.tuned)
            options = {**(before.options if before else {}), **row.options}
            shared, goes_on = row.kind == "start", row.start == "after"
            found[row.label] = Entry(row.label, row.method, options, tuned, shared, goes_on)
    return list(found.values())


def label_of(named: str, manifest: RunManifest, *, tuned: bool = False) -> str | None:
    """Return the label of the row that represents a method; None where the file has no row of it.

    Args:
        named: ``METHOD`` or ``METHOD OPTION=VALUE``.
        manifest: of the run.
        tuned: whether a row that was tuned is wanted, rather than one as published.
    """
    fitting = _rows_of(named, manifest)
    asked = [entry for entry in fitting if entry.tuned == tuned]
    return next((entry.label for entry in asked or fitting), None)


def about_tuned(claim: Claim, manifest: RunManifest) -> bool:
    """Return whether a claim is about rows that were tuned, in this run."""
    rows = [_rows_of(name, manifest) for name in methods_of(claim, manifest)]
    return claim.equal_terms or any(found and all(entry.tuned for entry in found) for found in rows)


def _rows_of(named: str, manifest: RunManifest) -> list[Entry]:
    """Return the rows that may represent a method."""
    method, *settings = named.split()
    wanted = [setting.partition("=")[::2] for setting in settings]
    fitting = [
        entry
        for entry in entries(manifest)
        if entry.method == method and all(str(entry.options.get(name)) == value for name, value in wanted)
    ]
    if any(entry.shared for entry in fitting):
        return [entry for entry in fitting if entry.goes_on] or fitting
    return fitting


def methods_of(claim: Claim, manifest: RunManifest) -> list[str]:
    """Return the methods that a claim is about, as it names them; of ``some``, those that the file has rows of."""
    others = [name for name in claim.others if not claim.some or label_of(name, manifest)]
    return list(dict.fromkeys([*([claim.row] if claim.row else []), *others, *claim.order, *claim.held]))
