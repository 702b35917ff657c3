"""A hub for the data sets' tests, in place of the real one and of GitHub."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import huggingface_hub.constants
import pytest
from hub.server import FakeHub

from harness_plugins.upstream import remote

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with FakeHub() as server:
        constants = huggingface_hub.constants
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(remote, "GITHUB", server.url)
        monkeypatch.setattr(time, "sleep", lambda _seconds: None)  # the hub's library waits between its attempts
        yield server
