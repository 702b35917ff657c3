"""Runs to report on."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from report.synthetic import Run

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def run() -> Iterator[Run]:
    """Return a run to change and write, in memory where there is a folder for it: a store syncs every file."""
    memory = Path("/dev/shm")  # noqa: S108  # a folder of one's own in it
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Run(Path(folder) / "results")
