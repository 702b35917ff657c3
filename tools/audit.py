"""Hold the locked packages against known faults: our own list, and what the package index says of each release.

    python tools/audit.py             # of locks/tests.txt
    python tools/audit.py --offline   # our own list alone

Of the index its JSON interface is asked (``/pypi/NAME/VERSION/json``): whether a release was yanked, and which
advisories there are on it. ``HARNESS_AUDIT_INDEX`` names another index. What cannot be asked counts as a failure and
never as good.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tomllib
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).resolve().parents[1]
INDEX = "https://pypi.org"
SIMPLE = "application/vnd.pypi.simple.v1+json"
#: Seconds for one release.
TIMEOUT = 10.0
#: So many releases in a row that cannot be asked: the others cannot either.
GIVE_UP = 3


class Advisory(NamedTuple):
    """Releases that must not be used."""

    package: str
    affected: str
    id: str
    what: str


def advisories(path: Path = ROOT / "tools" / "advisories.toml") -> list[Advisory]:
    """Return our own list."""
    return [Advisory(**entry) for entry in tomllib.loads(path.read_text(encoding="utf-8"))["advisory"]]


def locked(path: Path = ROOT / "locks" / "tests.txt") -> dict[str, str]:
    """Return the locked version of each package."""
    found = re.findall(r"^([\w.-]+)==([^\s;\\]+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {canonicalize_name(name): version for name, version in found}


def known(versions: Mapping[str, str]) -> Iterator[str]:
    """Say which versions are on our own list."""
    for one in advisories():
        version = versions.get(one.package)
        if version is not None and SpecifierSet(one.affected).contains(version, prereleases=True):
            yield f"{one.package} {version}: {one.id}: {one.what}"


def asked(versions: Mapping[str, str], index: str) -> Iterator[str]:
    """Say what the index has against each version, and which it could not be asked about."""
    failed = 0
    for name, version in sorted(versions.items()):
        try:
            told = _release(index, name, version)
        except (OSError, ValueError) as error:
            failed += 1
            yield f"{name} {version}: advisories could not be asked for: {error}"
            yield from _yanked(index, name, version)
            if failed == GIVE_UP:
                yield f"{index} does not answer: nothing is known of the rest"
                return
            continue
        failed = 0
        if "vulnerabilities" not in told:
            yield f"{index} tells of no advisories: another index is needed (HARNESS_AUDIT_INDEX)"
            return
        if told.get("info", {}).get("yanked"):
            yield f"{name} {version}: yanked: {told['info'].get('yanked_reason') or 'no reason is given'}"
        for one in told["vulnerabilities"]:
            if not one.get("withdrawn"):
                names = ", ".join([one["id"], *one.get("aliases", [])])
                fixed = ", ".join(one.get("fixed_in") or []) or "no release yet"
                yield f"{name} {version}: {names}: mended in {fixed}"


def _release(index: str, name: str, version: str) -> dict:
    return _json(f"{index.rstrip('/')}/pypi/{name}/{version}/json")


def _yanked(index: str, name: str, version: str) -> Iterator[str]:
    """Say whether a release was yanked, as the interface tells that every index has (PEP 691, PEP 700)."""
    try:
        files = _json(f"{index.rstrip('/')}/simple/{name}/").get("files", [])
    except (OSError, ValueError):
        return
    part = re.compile(rf"^[\w.]+-{re.escape(version)}[-.](?!\d)", re.IGNORECASE)
    its = [file for file in files if part.match(str(file.get("filename")))]
    if its and all(file.get("yanked") for file in its):
        yield f"{name} {version}: yanked: {its[0]['yanked']}"


def _json(address: str) -> dict:
    if not address.startswith(("https://", "http://")):
        raise ValueError(f"not an address: {address}")
    request = urllib.request.Request(address, headers={"Accept": f"{SIMPLE}, application/json"})  # noqa: S310  # as above
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:  # noqa: S310  # as above
        value = json.load(answer)
    if not isinstance(value, dict):
        raise ValueError("no JSON object came back")  # noqa: TRY004  # of the index, not of a caller
    return value


def main() -> None:
    """Say what was found; the exit code is 1 where anything was, or where something could not be asked."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--offline", action="store_true", help="our own list alone")
    offline = parser.parse_args().offline
    versions = locked()
    found = list(known(versions))
    if not offline:
        found += asked(versions, os.environ.get("HARNESS_AUDIT_INDEX", INDEX))
    for line in found:
        print(line)
    where = "our own list" if offline else "our own list and the index"
    print(f"{len(versions)} locked packages held against {where}: {f'{len(found)} findings' if found else 'nothing'}")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
