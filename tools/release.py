"""Check that a tag, the versions and the changelog say the same.

python tools/release.py            # between releases: the versions agree, and changes are collected
python tools/release.py v0.1.0     # before this tag is pushed
"""

from __future__ import annotations

import argparse
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import Requirement

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]


def versions(root: Path = ROOT) -> dict[str, str]:
    """Return the version that each file gives, by the file."""
    package = (root / "harness" / "__init__.py").read_text(encoding="utf-8")
    citation = (root / "CITATION.cff").read_text(encoding="utf-8")
    methods = tomllib.loads((root / "plugins/harness-methods/pyproject.toml").read_text(encoding="utf-8"))["project"]
    return {
        "harness/__init__.py": re.findall(r'^__version__ = "(.*)"$', package, re.MULTILINE)[0],
        "CITATION.cff": re.findall(r"^version: (.*)$", citation, re.MULTILINE)[0],
        "plugins/harness-methods/pyproject.toml": methods["version"],
    }


def problems(tag: str | None, root: Path = ROOT) -> Iterator[str]:
    """Say what does not agree."""
    found = versions(root)
    version = found["harness/__init__.py"]
    for file, other in found.items():
        if other != version:
            yield f"{file} says {other}, harness/__init__.py {version}"
    methods = tomllib.loads((root / "plugins/harness-methods/pyproject.toml").read_text(encoding="utf-8"))["project"]
    host = next(r for r in map(Requirement, methods["dependencies"]) if r.name == "posttune-harness")
    if not host.specifier.contains(version, prereleases=True):
        yield f"the second distribution asks for posttune-harness{host.specifier}, which {version} is not"
    changes = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## \[(.*?)\](?: - (\S+))?$", changes, re.MULTILINE)
    if tag is None:
        if not headings or headings[0][0] != "Unreleased":
            yield "CHANGELOG.md does not begin with ## [Unreleased], under which changes are collected"
        return
    if tag != f"v{version}":
        yield f"the tag is {tag}, and harness/__init__.py says {version}"
    dates = dict(headings)
    if version not in dates:
        yield f"CHANGELOG.md has no heading ## [{version}] - YYYY-MM-DD"
    elif not re.fullmatch(r"\d{4}-\d\d-\d\d", dates[version]):
        yield f"CHANGELOG.md does not say of which day [{version}] is"
    elif next(name for name, _ in headings if name != "Unreleased") != version:
        yield f"CHANGELOG.md has other releases above [{version}]"


def main() -> None:
    """Say what does not agree; the exit code is 1 where anything does not."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("tag", nargs="?", help="such as v0.1.0")
    found = list(problems(parser.parse_args().tag))
    for line in found:
        print(line)
    raise SystemExit(bool(found))


if __name__ == "__main__":
    main()
