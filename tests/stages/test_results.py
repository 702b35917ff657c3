"""What each kind of stage leaves behind is known by its classes."""

from __future__ import annotations

import importlib
import pkgutil

import harness.spec.results
from harness.spec.results.base import ResultFile, ResultLine
from harness.spec.results.kinds import RESULTS
from harness.stages.entries import ENTRIES


def classes() -> set[type[ResultFile | ResultLine]]:
    """Return every class of a stage's file."""
    for module in pkgutil.iter_modules(harness.spec.results.__path__, "harness.spec.results."):
        importlib.import_module(module.name)
    found: set[type[ResultFile | ResultLine]] = {*ResultFile.__subclasses__(), *ResultLine.__subclasses__()}
    return found


def test_every_kind_and_every_class_is_listed() -> None:
    assert RESULTS.keys() == ENTRIES.keys()
    assert {kind for listed in RESULTS.values() for kind in listed} == classes()
    for listed in RESULTS.values():
        assert len({kind.file for kind in listed}) == len(listed)
