"""Statistics, tables and their renderers; reads the store, never torch."""

from harness.report.write import publish, write_tables

__all__ = ["publish", "write_tables"]
