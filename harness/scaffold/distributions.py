"""New distributions for plugins: whole, and passing their own checks, so that there is something to change.

A template is a folder of texts with a few names to fill in; what all kinds share lies in ``common``. ``PACKAGE`` in a
path stands for the package's name.
"""

from __future__ import annotations

import re
from importlib import resources
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from harness.errors import InputError
from harness.scaffold.new_files import make_new_folder, write_new

if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.resources.abc import Traversable
    from pathlib import Path

    from harness.api.registration import Kind

_NAME: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_SUFFIX: Final = ".jinja"
#: What a kind of plugin is called in a sentence.
_NOUNS: Final[dict[Kind, str]] = {"method": "method", "reward": "reward", "dataset": "data set", "metric": "metric"}


def check_name(name: str) -> None:
    """Raise InputError unless a plugin and its distribution can have this name."""
    if _NAME.fullmatch(name):
        return
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    raise InputError(
        "a plugin cannot have this name",
        where="NAME",
        got=name,
        expected="lower-case letters, digits and single hyphens, and a letter first",
        did_you_mean=plain if _NAME.fullmatch(plain) else None,
    )


def distribution_name(name: str) -> str:
    """Return what the distribution of a new plugin is called."""
    return f"harness-{name}"


def new_distribution(kind: Kind, name: str, folder: Path) -> list[Path]:
    """Write a distribution that offers one plugin, and return its files.

    Args:
        kind: what it is.
        name: what benchmark files will call it.
        folder: an empty folder, or one that is not there yet.

    Raises:
        InputError: the name is none that a plugin can have, or the folder holds something.
        MachineError: the folder cannot be written to.
    """
    files = distribution_files(kind, name)
    make_new_folder(folder)
    written = []
    for place, text in files.items():
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        write_new(path, text)
        written.append(path)
    return written


def distribution_files(kind: Kind, name: str) -> dict[str, str]:
    """Return the texts of a new distribution by their place in its folder.

    Raises:
        InputError: the name is none that a plugin can have.
    """
    from jinja2 import Environment, StrictUndefined

    check_name(name)
    package = distribution_name(name).replace("-", "_")
    names = {
        "kind": kind,
        "noun": _NOUNS[kind],
        "name": name,
        "distribution": distribution_name(name),
        "package": package,
        "class_name": "".join(part.capitalize() for part in name.split("-")),
    }
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)  # noqa: S701  # no HTML
    folder = resources.files("harness.scaffold").joinpath("templates")
    return {
        place.replace("PACKAGE", package): environment.from_string(text).render(names)
        for part in ("common", kind)
        for place, text in _texts(folder.joinpath(part))
    }


def _texts(folder: Traversable, above: str = "") -> Iterator[tuple[str, str]]:
    """Yield place and text of every template in a folder, sorted."""
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        place = str(PurePosixPath(above) / entry.name)
        if entry.is_dir():
            yield from _texts(entry, place)
        elif entry.name.endswith(_SUFFIX):
            yield place.removesuffix(_SUFFIX), entry.read_text(encoding="utf-8")
