"""The whole check of a run or a bundle."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.errors import InputError
from harness.report.audit.findings import Audit
from harness.report.audit.records import check_origins, check_records, check_values
from harness.report.audit.tables import check_tables
from harness.report.results import read_manifest
from harness.store.stages import Store

if TYPE_CHECKING:
    from pathlib import Path


def audit(root: Path, folder: Path) -> Audit:
    """Derive every figure of a run again, and return what differs.

    Records are compared with their digests, a row's records with what the run asked and with the records that they were
    made from, means with the values of single answers, and tables with what is calculated from the means. Where a
    record is missing or damaged no table is made: each of its numbers would differ.

    Raises:
        InputError: there is no manifest, or it is of another release.
    """
    found = Audit()
    try:
        manifest = read_manifest(folder)
    except InputError as error:
        if "sha256" not in error.what:
            raise
        found.add("damaged", "manifest.json", error.what)
        return found
    records = check_records(Store(root), manifest, found)
    check_origins(manifest, records, found)
    check_values(manifest, records, found)
    broken = sum(one.kind in {"missing", "damaged", "unread"} for one in found.findings)
    if broken:
        found.skipped.append(f"no table was made again, since {broken} of the records are missing or damaged")
    else:
        check_tables(root, folder, found)
    return found
