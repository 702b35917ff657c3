"""The benchmark file: reading, overriding, validating."""

from __future__ import annotations

from harness.benchmark.resolve import load_benchmark, profiles

__all__ = ["load_benchmark", "profiles"]
