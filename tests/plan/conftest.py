from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from plan.files import Planner, write_rows

from harness.plugins.loader import load_registry

if TYPE_CHECKING:
    from pathlib import Path

    from harness.plugins.registry import Registry


@pytest.fixture(scope="session")
def registry() -> Registry:
    return load_registry()


@pytest.fixture(scope="module")
def planner(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Planner:
    return Planner(tmp_path_factory.mktemp("plan"), registry)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("data"))
