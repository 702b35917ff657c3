"""Python, and the releases of packages against the bounds of the harness's own metadata."""

from __future__ import annotations

import platform
import sys
from importlib import metadata
from typing import TYPE_CHECKING, Final

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from harness.doctor.finding import Finding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

HOST: Final = "posttune-harness"
#: Whose release can change a number; they are told also where all is fine.
_TOLD: Final = ("torch", "transformers", "tokenizers", "numpy")


def check_versions(
    requires: Iterable[str] | None = None,
    installed: Callable[[str], str] = metadata.version,
    python: str | None = None,
    asked: str | None = None,
) -> Iterator[Finding]:
    """Compare what is installed with what the harness asks for.

    Args:
        requires: requirements as metadata have them; those of the harness by default.
        installed: returns a distribution's version; raises PackageNotFoundError where it is absent.
        python: this interpreter's version.
        asked: which versions of Python will do.
    """
    if requires is None:
        about = metadata.metadata(HOST)
        requires = about.get_all("Requires-Dist") or ()
        asked = next(iter(about.get_all("Requires-Python") or ()), None)
    python = python or platform.python_version()
    fits = SpecifierSet(asked or "").contains(python, prereleases=True)
    yield Finding(
        "Python", "fine" if fits else "prevents", f"{python} at {sys.executable}",
        "" if fits else f"the harness asks for Python {asked}",
        "" if fits else "make an environment with a newer Python, and install there",
    )  # fmt: skip
    wrong = list(_wrong(requires, installed))
    yield from wrong
    if not wrong:
        told = ", ".join(f"{name} {version}" for name in _TOLD if (version := _version(name, installed)))
        yield Finding("packages", "fine", f"all within the bounds of {HOST} ({told})")


def _wrong(requires: Iterable[str], installed: Callable[[str], str]) -> Iterator[Finding]:
    for line in requires:
        requirement = Requirement(line)
        extra = requirement.marker is not None and not requirement.marker.evaluate({"extra": ""})
        version = _version(requirement.name, installed)
        do = f"pip install '{requirement.name}{requirement.specifier}'"
        if version is None and not extra:
            yield Finding("packages", "prevents", f"{requirement.name} is not installed", "the harness imports it", do)
        elif version is not None and not requirement.specifier.contains(version, prereleases=True):
            why = "this release was not tested with the harness: results may differ, or commands fail"
            what = f"{requirement.name} {version} is installed, and {HOST} asks for {requirement.specifier}"
            yield Finding("packages", "warns", what, why, do)


def _version(name: str, installed: Callable[[str], str]) -> str | None:
    try:
        return installed(name)
    except metadata.PackageNotFoundError:
        return None
