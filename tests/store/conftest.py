"""A folder for many small writes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def quick_path() -> Iterator[Path]:
    """Return a folder in memory where there is one: syncing thousands of files takes a disk minutes."""
    memory = Path("/dev/shm")  # noqa: S108  # a folder of one's own in it
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


@pytest.fixture
def open_path() -> Iterator[Path]:
    """Return a folder that another user can come to, which pytest's own are not for."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        inner = Path(folder) / "results"
        inner.mkdir()
        yield inner
        inner.chmod(0o755)
