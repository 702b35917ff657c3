"""Statistics, tables and their renderers; reads the store, never torch."""

from harness.report.brief import brief
from harness.report.publish import publish
from harness.report.verdicts import across, claims_json, claims_text
from harness.report.write import write_run, write_tables

__all__ = ["across", "brief", "claims_json", "claims_text", "publish", "write_run", "write_tables"]
