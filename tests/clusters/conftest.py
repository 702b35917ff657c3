from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from clusters.nodes import CONTENT, pacing
from execution.bench import Bench
from execution.patient import install_patient

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def patient(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the environment in which the patient method is installed."""
    return install_patient(tmp_path_factory.mktemp("patient"))


@pytest.fixture(scope="session")
def local(tmp_path_factory: pytest.TempPathFactory, patient: dict[str, str]) -> Bench:
    """Return the benchmark after an undisturbed run by processes of this machine."""
    folder = tmp_path_factory.mktemp("local")
    bench = Bench(folder, CONTENT, {**patient, "PATIENT": pacing(folder / "word", 0.0)})
    bench.run("--jobs", "1")
    return bench


@pytest.fixture
def short(tmp_path: Path) -> Iterator[Path]:
    """Return a folder with a short name, as sockets need one."""
    folder = Path("/tmp") / f"r{os.getpid()}{tmp_path.name[-1]}"  # noqa: S108  # its name is its own
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
