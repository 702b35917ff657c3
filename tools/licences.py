"""Write ``docs/licences.md``: the licence of every package that an installation brings, as its own metadata says it.

    python tools/licences.py

Counted are the dependencies, those of the extras (``dev`` aside), and what they bring in turn, as they are installed.
"""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "licences.md"
HOST = "posttune-harness"
EXTRAS = ("judge", "lora", "gguf", "reasoning", "plot", "ray", "slurm")
#: Not listed: they bring what only a machine with a GPU installs.
UNLISTED = ("vllm",)
HEAD = """\
# Licences

posttune-harness is under Apache-2.0. It brings no code of others: pip installs what it depends on, each under its own
licence, as the packages' metadata say. `python tools/licences.py` writes this page; the suite holds it against what is
installed. A build of torch for GPUs brings NVIDIA's libraries besides, under NVIDIA's own terms, and the
extra `vllm` brings that engine and what it needs, which are not listed here.

Models and data sets keep their licences too: those of data are in the notes of every table.

| package | licence | why it is here |
|---|---|---|
"""


def licence(name: str) -> str:
    """Return a package's licence: its expression, else its classifiers, else the first line of what it says."""
    about = metadata.metadata(name)
    if said := about.get("License-Expression"):
        return said
    classified = [line.split(" :: ")[-1] for line in about.get_all("Classifier") or () if line.startswith("License ::")]
    if classified := [each for each in classified if each != "OSI Approved"]:
        return ", ".join(sorted(set(classified)))
    first = (about.get("License") or "").strip().partition("\n")[0]
    said_in = about.get("License-File")
    return first[:60] or (f"as its file {said_in} says" if said_in else "not said")


def brought() -> dict[str, set[str]]:
    """Return every package that an installation brings, and what asks for it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    own = [*project["dependencies"], *(line for extra in EXTRAS for line in project["optional-dependencies"][extra])]
    found: dict[str, set[str]] = {}
    waiting = [(HOST, frozenset[str]())]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        name, extras = waiting.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        for line in own if name == HOST else metadata.requires(name) or ():
            requirement = Requirement(line)
            marker = requirement.marker
            wanted = marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras))
            child = canonicalize_name(requirement.name)
            if not wanted or child == HOST or not _installed(child):
                continue
            found.setdefault(child, set()).add(name)
            waiting.append((child, frozenset(requirement.extras)))
    return found


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def rows() -> dict[str, tuple[str, str]]:
    """Return licence and reason of every package."""
    return {
        name: (licence(name), "a dependency" if HOST in asking else f"of {', '.join(sorted(asking)[:3])}")
        for name, asking in sorted(brought().items())
    }


def page() -> str:
    """Return the page."""
    return HEAD + "".join(f"| {name} | {said.replace('|', '/')} | {why} |\n" for name, (said, why) in rows().items())


def listed(text: str) -> dict[str, str]:
    """Return the licence of each package on a page."""
    return dict(re.findall(r"^\| ([\w.-]+) \| (.*?) \| .*? \|$", text.partition("|---|")[2], re.MULTILINE))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)}: {len(rows())} packages")
