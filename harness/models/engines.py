"""Engines that draw answers instead of the harness, told without importing one."""

from __future__ import annotations

import importlib.util

from harness.errors import InputError


def check_vllm(where: str | None = None) -> None:
    """Raise InputError, with the command that installs it, where vLLM is missing."""
    if importlib.util.find_spec("vllm") is None:
        raise InputError(
            "sampling by vLLM needs the package vllm, which is not installed",
            where=where,
            expected="sampling: {engine: own} in the recipe, which needs nothing, or the package",
            hint="pip install 'posttune-harness[vllm]', on a machine with a GPU",
        )
