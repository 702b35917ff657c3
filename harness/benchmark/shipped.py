"""The benchmark files that ship with the harness: found by name, whatever folder a command is called in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.benchmark.overlay import profile_names
from harness.benchmark.problems import Problems, printable
from harness.benchmark.source import read_file
from harness.errors import InputError, suggest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.benchmark.source import Node

SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True)
class Profile:
    """One profile of a benchmark file."""

    name: str
    title: str
    default: bool


@dataclass(frozen=True)
class Shipped:
    """A benchmark file that ships, and what it says of itself."""

    name: str
    title: str
    profiles: tuple[Profile, ...]
    path: Path


def shipped_files() -> dict[str, Path]:
    """Return the benchmark files that ship, by name.

    A wheel has them inside the package; a working copy, and an editable install of it, beside it.
    """
    package = Path(__file__).resolve().parents[1]
    inside = package / "benchmarks"
    folder = inside if inside.is_dir() else package.parent / "benchmarks"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"), key=lambda path: path.stem)}


def find_benchmark(asked: Path) -> Path:
    """Return the file that somebody means who writes a path or a bare name.

    A bare name is a file of that name in the current folder (with or without its ending), else a benchmark that ships.
    A path is taken as it is, unless nothing is there and it is called like a benchmark that ships.

    Raises:
        InputError: nothing of that name ships, and no file has it; or a file is missing whose name is a benchmark's.
    """
    if asked.is_file():
        return asked
    ships = shipped_files()
    bare = asked.name == str(asked) and asked.suffix not in SUFFIXES
    if bare:
        for suffix in SUFFIXES:
            if (beside := Path(f"{asked}{suffix}")).is_file():
                return beside
        if asked.name in ships:
            return ships[asked.name]
    name = asked.stem if asked.suffix in SUFFIXES else asked.name
    if not bare and (asked.exists() or name not in ships or _others(asked)):
        return asked  # whoever reads it says what is wrong
    if not bare:
        raise InputError(
            "no such file",
            where=printable(str(asked)),
            did_you_mean=name,
            hint=f"a bare name is a benchmark that ships; `harness init {name}` copies its file here for editing",
        )
    near = _near(asked, ships)
    raise InputError(
        "there is no such file, and no benchmark of this name ships",
        where=printable(str(asked)),
        expected=f"a file, or one of {', '.join(ships)}",
        did_you_mean=near,
    )


def _others(asked: Path) -> bool:
    """Return whether a file with a similar name lies where one is missing: the likelier one is meant."""
    return asked.parent.is_dir() and suggest(asked.name, _yaml_files(asked.parent)) is not None


def _near(asked: Path, ships: Mapping[str, Path]) -> str | None:
    return suggest(asked.name, [*ships, *_yaml_files(asked.parent)])


def _yaml_files(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.suffix in SUFFIXES]


def shipped_benchmark(name: str) -> Shipped:
    """Return a benchmark that ships, with its title and profiles.

    Raises:
        InputError: none of this name ships.
    """
    ships = shipped_files()
    if name not in ships:
        what = "no benchmark of this name ships"
        raise InputError(what, got=name, expected=f"one of {', '.join(ships)}", did_you_mean=suggest(name, ships))
    problems = Problems()
    root = read_file(ships[name], problems)
    problems.stop(root.place.source)
    title, default = _text(root, "title"), _text(root, "profile")
    layers = root.items["profiles"].items if "profiles" in root.items else {}
    listed = tuple(
        Profile(profile, _text(layers[profile], "title") or title, profile == default)
        for profile in profile_names(root)
    )
    return Shipped(name, title, listed, ships[name])


def _text(node: Node, key: str) -> str:
    child = node.items.get(key)
    return "" if child is None or child.value is None else str(child.value)
