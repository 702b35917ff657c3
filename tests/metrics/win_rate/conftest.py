from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from metrics.win_rate.cases import CANARY, VARIABLE, Services

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, CANARY)


@pytest.fixture
def services(tmp_path: Path) -> Services:
    return Services(tmp_path / "cache")
