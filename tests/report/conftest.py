"""Runs to report on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from report.synthetic import Run, in_memory

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def run() -> Iterator[Run]:
    """Return a run to change and write."""
    with in_memory() as folder:
        yield Run(folder / "results")
