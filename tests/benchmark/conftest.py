"""Loading files that use invented plugins."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from benchmark.invented import SMALL, invented_registry

from harness.benchmark import load_benchmark
from harness.errors import InputErrors

if TYPE_CHECKING:
    from pathlib import Path

    from benchmark.invented import Load, Mistakes

    from harness.plugins.registry import Registry
    from harness.spec.benchmark import Benchmark


@pytest.fixture(scope="session")
def registry() -> Registry:
    return invented_registry()


@pytest.fixture
def load(registry: Registry, tmp_path: Path) -> Load:
    def load(text: str = SMALL, *overrides: str, profile: str | None = None) -> Benchmark:
        path = tmp_path / "file.yaml"
        path.write_text(text, encoding="utf-8")
        return load_benchmark(path, registry=registry, profile=profile, overrides=overrides)

    return load


@pytest.fixture
def mistakes(load: Load, tmp_path: Path) -> Mistakes:
    """Return every message of a file, with the file called ``file.yaml`` whatever folder it lies in."""

    def mistakes(text: str, *overrides: str, profile: str | None = None) -> list[str]:
        with pytest.raises(InputErrors) as caught:
            load(text, *overrides, profile=profile)
        return [str(error).replace(f"{tmp_path}/", "") for error in caught.value.errors]

    return mistakes
