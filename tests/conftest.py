"""Fixtures that all tests share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest_plugins = ["text.tokenisers"]

ROOT = Path(__file__).resolve().parent.parent


def _outside(variable: str, name: str) -> Path:
    folder = Path(os.environ.get(variable) or ROOT.parent / "shared" / name)
    if not folder.is_dir():
        pytest.skip(f"no real {name} here: set {variable} to a folder that holds them")
    return folder


@pytest.fixture
def torch_as_it_was() -> Iterator[None]:
    """Put torch's threads and its mode of determinism back, after what a stage sets for its whole process."""
    import torch

    threads, mode = torch.get_num_threads(), torch.get_deterministic_debug_mode()
    yield
    torch.set_num_threads(threads)
    torch.set_deterministic_debug_mode(mode)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Return the folder of real data sets, or skip."""
    return _outside("HARNESS_TEST_DATA", "data")


@pytest.fixture(scope="session")
def real_model() -> Path:
    """Return the folder of the small real GPT-2, or skip."""
    return _outside("HARNESS_TEST_MODELS", "models") / "gpt2-7m"
