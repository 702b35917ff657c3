"""A folder of distributions that exist for one test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from harness.plugins.loader import load_registry
from harness.testing.distributions import installed, write_distribution

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from harness.plugins.registry import Registry

METHOD = """
from harness.api import MethodRegistration, Options, hookimpl


class Opts(Options):
    coef: float = 0.5
    '''Weight of the term.'''


@hookimpl
def harness_register_methods():
    return [MethodRegistration(name="NAME", summary="A method", options=Opts, build="NAME_method:Method")]
"""

METHOD_BODY = """
class Method:
    def __init__(self, options):
        self.options = options
    def setup(self, run): ...
    def step(self, run, batch): ...
    def state_dict(self): ...
    def load_state_dict(self, state): ...
"""


@pytest.fixture
def _on_path(tmp_path: Path) -> Iterator[None]:
    with installed(tmp_path):
        yield


@pytest.fixture
def add(tmp_path: Path, _on_path: None) -> Callable[..., None]:
    """Return a function that installs one distribution with one entry point, called like it unless said otherwise."""

    def add_distribution(
        distribution: str,
        source: str,
        *,
        entry_point: str | None = None,
        module: str | None = None,
        version: str = "1.0",
        requires: tuple[str, ...] = (),
        more: dict[str, str] | None = None,
    ) -> None:
        module = module or distribution.replace("-", "_")
        write_distribution(
            tmp_path,
            distribution,
            version,
            entry_points={entry_point or distribution: module},
            modules={f"{module}.py": source, **(more or {})},
            requires=requires,
        )

    return add_distribution


@pytest.fixture
def add_method(add: Callable[..., None]) -> Callable[..., None]:
    """Return a function that installs a distribution which offers a method."""

    def add_distribution(distribution: str, name: str, **settings: Any) -> None:
        add(distribution, METHOD.replace("NAME", name), more={f"{name}_method.py": METHOD_BODY}, **settings)

    return add_distribution


@pytest.fixture
def load(tmp_path: Path, _on_path: None) -> Callable[..., Registry]:
    """Return a function that loads what the test installed and nothing else, under the environment it gives."""

    def load_all(*, blocked: tuple[str, ...] = (), strict: bool | None = None, **environment: str) -> Registry:
        with installed(tmp_path) as entry_points:
            return load_registry(entry_points=entry_points, blocked=blocked, environment=environment, strict=strict)

    return load_all
