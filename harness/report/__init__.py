"""Statistics, tables and their renderers; reads the store, never torch."""

from harness.report.publish import publish
from harness.report.write import write_tables

__all__ = ["publish", "write_tables"]
