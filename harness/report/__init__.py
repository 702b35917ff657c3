"""Statistics, tables and their renderers; reads the store, never torch."""

from harness.report.brief import brief
from harness.report.publish import publish
from harness.report.verdicts import across, claims_json, claims_text
from harness.report.write import make_tables, write_if_allowed, write_tables
from harness.report.written import Written

__all__ = [
    "Written", "across", "brief", "claims_json", "claims_text", "make_tables", "publish", "write_if_allowed",
    "write_tables",
]  # fmt: skip
