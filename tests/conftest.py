"""Fixtures that all tests share."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest_plugins = ["text.tokenisers"]

ROOT = Path(__file__).resolve().parent.parent

#: The files and folders that take longest, which are begun first; processes that share the files then end together.
LONGEST = (
    "methods/test_ppo.py",
    "testing/test_builtins.py",
    "training/test_distributed.py",
    "execution",
    "methods/test_oracles.py",
    "methods/test_real_run.py",
    "testing/test_methods.py",
    "third_party",
    "report/test_claim_needs.py",
    "metrics/win_rate/test_exchanges.py",
    "plugins/test_third_party.py",
    "scaffold",
    "docs",
    "distribution",
    "stages/test_code.py",
    "stages/test_reward_statistics.py",
    "plugins/harness-methods",
    "training",
    "lm",
    "cli",
)


def pytest_configure(config: pytest.Config) -> None:
    """Keep pytest-xdist from beginning with the files of most tests: the longest have few, and would be left last.

    And wait for no disk: a store of a table asks for it hundreds of times, and no test cuts the power. That stages ask
    before they show is tested by what they call (``tests/store/test_crash.py``), and cold processes wait.
    """
    os.fsync = lambda fd: None
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first, and leave all others in their order."""

    def place(item: pytest.Item) -> int:
        path = item.nodeid.partition("::")[0].removeprefix("tests/")
        return next((n for n, name in enumerate(LONGEST) if path == name or path.startswith(f"{name}/")), len(LONGEST))

    items.sort(key=place)


def pytest_collection_finish() -> None:
    """Let the collector pass over what was imported: it is called where memory runs out, and looks at everything."""
    gc.collect()
    gc.freeze()


def _outside(variable: str, name: str) -> Path:
    folder = Path(os.environ.get(variable) or ROOT.parent / "shared" / name)
    if not folder.is_dir():
        pytest.skip(f"no real {name} here: set {variable} to a folder that holds them")
    return folder


@pytest.fixture(autouse=True)
def _imports_are_checked_elsewhere(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start no process for each check of a plugin that ships: what their modules import is seen of all in one.

    (``tests/cli/test_plugins.py``; that the check sees it is tested in ``tests/testing/test_registrations.py``.)
    """
    registrations = sys.modules.get("harness.testing.registrations")
    if registrations is not None and request.path.name != "test_registrations.py":
        monkeypatch.setattr(registrations, "_check_imports", lambda _registration: None)


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
