"""Runs tests with one fault in the code: ``PYTHONPATH=tests pytest -p seeded.plugin --seed-fault S13 tests/…``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from seeded.fault import SeedError, install
from seeded.registry import SEEDS

if TYPE_CHECKING:
    from seeded.fault import Seeder

_installed: list[Seeder] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.addoption("--seed-fault", metavar="NAME", help="put a fault of tests/seeded into the code that is tested")


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Seed the fault before any conftest can import the code."""
    name = early_config.known_args_namespace.seed_fault
    if name:
        try:
            _installed.append(install(name, SEEDS))
        except SeedError as error:
            raise pytest.UsageError(str(error)) from None


def pytest_report_header() -> list[str]:
    """Say that the code is not as it is."""
    return [f"seeded: {', '.join(sorted(each))}" for found in _installed if (each := found.modules)]
