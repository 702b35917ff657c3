"""The benchmark file: reading, overriding, validating."""

from __future__ import annotations

from harness.benchmark.json_schema import json_schema
from harness.benchmark.resolve import load_benchmark, profiles

__all__ = ["json_schema", "load_benchmark", "profiles"]
