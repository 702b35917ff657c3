"""What several files of tests of stages need."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import pytest
from stages.datasets import prepared

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness.store.records import Record


@pytest.fixture
def prepare(tmp_path: Path) -> Callable[..., Record]:
    """Return a function that prepares the examples it is given."""
    return functools.partial(prepared, tmp_path)
