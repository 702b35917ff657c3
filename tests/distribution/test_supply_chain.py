"""What is shipped and what it stands on: reproducible, nothing unneeded, locked, licensed, audited, of one version."""

from __future__ import annotations

import http.server
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import tarfile
import threading
import time
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / "tools"
sys.path.insert(0, str(TOOLS))  # tools import each other
BUILD, AUDIT, LICENCES, RELEASE = (
    runpy.run_path(str(TOOLS / f"{name}.py")) for name in ("build", "audit", "licences", "release")
)
sys.path.remove(str(TOOLS))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LOCK = (ROOT / "locks" / "tests.txt").read_text(encoding="utf-8")
#: What each wheel may hold.
ALLOWED = {
    "posttune_harness": (
        r"harness/[\w/]+\.py", r"harness_plugins/[\w/]+\.py", r"harness(_plugins)?/py\.typed",
        r"harness/benchmarks/[\w-]+\.yaml", r"harness/report/(figures|claims|papers)/[\w-]+\.json",
        r"harness/report/templates/[\w-]+\.(html|css|js)", r"harness/scaffold/templates/[\w./-]+",
    ),
    "posttune_harness_methods": (r"harness_methods/\w+\.py", r"harness_methods/py\.typed"),
}  # fmt: skip
ABOUT = r"[\w.-]+\.dist-info/(METADATA|WHEEL|RECORD|entry_points\.txt|licenses/LICENSE)"


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], list[Path]]:
    """Build the same files in two folders, at other times, by another name and with other rights."""
    base = tmp_path_factory.mktemp("twice")
    builds = []
    for number, mask in enumerate((0o022, 0o077)):
        source = base / f"copy-{number}" / "src"
        kept = os.umask(mask)
        try:
            for name in (*PARTS, "pyproject.toml", "README.md", "LICENSE", "tox.ini"):
                path = ROOT / name
                (source / name).parent.mkdir(parents=True, exist_ok=True)
                if path.is_dir():
                    shutil.copytree(
                        path, source / name, ignore=shutil.ignore_patterns("__pycache__"), copy_function=copy
                    )
                else:
                    copy(path, source / name)
            if number:
                for path in source.rglob("*.py"):
                    os.utime(path, (time.time() - 10**7,) * 2)
            builds.append(BUILD["build"](source, base / f"dist-{number}", "1700000000"))
        finally:
            os.umask(kept)
    return builds[0], builds[1]


PARTS = ("harness", "plugins", "benchmarks", "docs/dependencies.md", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md")


def copy(source: str | Path, target: str | Path) -> str:
    """Copy the content alone, so that rights are those of the mask."""
    return str(shutil.copyfile(source, target))


def test_two_builds_are_the_same_bytes(twice: tuple[list[Path], list[Path]]) -> None:
    first, second = twice
    assert [path.name for path in first] == [path.name for path in second]
    assert sorted(path.name.rpartition("-")[0] for path in first if path.suffix == ".gz") == [
        "posttune_harness", "posttune_harness_methods",
    ]  # fmt: skip
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name


def test_times_in_the_files_are_the_commits(twice: tuple[list[Path], list[Path]]) -> None:
    for path in twice[0]:
        if path.suffix == ".whl":
            with zipfile.ZipFile(path) as wheel:
                assert {entry.date_time[:3] for entry in wheel.infolist()} == {(2023, 11, 14)}
        else:
            with tarfile.open(path) as sdist:
                assert {entry.mtime for entry in sdist} == {1700000000}
    if (ROOT / ".git").exists():
        assert abs(int(BUILD["commit_time"]()) - time.time()) < 10**9


def test_a_wheel_holds_nothing_that_is_not_needed(twice: tuple[list[Path], list[Path]]) -> None:
    wheels = [path for path in twice[0] if path.suffix == ".whl"]
    assert len(wheels) == 2
    for path in wheels:
        allowed = "|".join((*ALLOWED[path.name.partition("-")[0]], ABOUT))
        with zipfile.ZipFile(path) as wheel:
            assert [name for name in wheel.namelist() if not re.fullmatch(allowed, name)] == []
            assert not any("test" in name.split("/")[:-1] for name in wheel.namelist())


def test_the_lock_is_of_the_tests_environment() -> None:
    locked = AUDIT["locked"]()
    for line in (*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]):
        requirement = Requirement(line)
        version = locked[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), line
    entries = re.split(r"^(?=[\w.\[\]-]+==)", LOCK, flags=re.MULTILINE)[1:]  # behind what the file says of itself
    assert len(entries) >= 100
    for entry in entries:
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry[:60]


def test_the_lock_names_no_place() -> None:
    assert not re.search(r"https?:|file:|\bindex\b|(^|\s)/|@ ", LOCK.partition("\n")[2].partition("\n")[2])
    for line in LOCK.splitlines():
        assert re.fullmatch(r"#.*|[\w.\[\]-]+==[\w.+!]+( ; .+)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?", line), line


def test_no_bound_admits_a_release_with_a_known_fault() -> None:
    every = [*PROJECT["dependencies"], *(r for e in PROJECT["optional-dependencies"].values() for r in e)]
    bounds = {canonicalize_name(r.name): r.specifier for r in map(Requirement, every)}
    checked = 0
    for advisory in AUDIT["advisories"]():
        if (bound := bounds.get(advisory.package)) is None:
            continue
        checked += 1
        floor = next(part.version for part in bound if part.operator == ">=")
        assert not SpecifierSet(advisory.affected).contains(floor), advisory
    assert checked >= 4
    assert list(AUDIT["known"](AUDIT["locked"]())) == []
    assert next(AUDIT["known"]({"torch": "2.5.1"})).startswith("torch 2.5.1: CVE-2025-32434")


class _Index(http.server.BaseHTTPRequestHandler):
    """A package index with one release that is good, one with an advisory, and two that were yanked."""

    def do_GET(self) -> None:
        old = {"id": "PYSEC-1", "aliases": ["CVE-1"], "fixed_in": ["2.1"]}
        told: dict[str, Any] = {
            "/pypi/good/1.0/json": {"info": {}, "vulnerabilities": [{**old, "withdrawn": "2020-01-01"}]},
            "/pypi/bad/2.0/json": {"info": {"yanked": True, "yanked_reason": "wrong"}, "vulnerabilities": [old]},
            "/pypi/mirror/1.0/json": {"info": {}},
            "/simple/pulled/": {
                "files": [
                    {"filename": "pulled-1.0-py3-none-any.whl", "yanked": "broken"},
                    {"filename": "pulled-1.0.1-py3-none-any.whl", "yanked": False},
                ]
            },
        }
        value = told.get(self.path)
        self.send_response_only(404 if value is None else 200)
        self.end_headers()
        self.wfile.write(json.dumps(value).encode())

    def log_message(self, *_: object) -> None: ...


@pytest.fixture(scope="module")
def index() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Index) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_what_an_index_says_of_a_release(index: str) -> None:
    asked = AUDIT["asked"]
    assert list(asked({"good": "1.0"}, index)) == []
    assert list(asked({"bad": "2.0"}, index)) == ["bad 2.0: yanked: wrong", "bad 2.0: PYSEC-1, CVE-1: mended in 2.1"]


def test_an_index_that_does_not_say_is_no_good_news(index: str) -> None:
    asked = AUDIT["asked"]
    assert "tells of no advisories" in next(asked({"mirror": "1.0"}, index))
    first, second = asked({"pulled": "1.0"}, index)
    assert first.startswith("pulled 1.0: advisories could not be asked for: HTTP Error 404")
    assert second == "pulled 1.0: yanked: broken"
    silent = list(asked(dict.fromkeys("abcdef", "1"), "http://127.0.0.1:9"))
    assert len(silent) == 4
    assert silent[-1] == "http://127.0.0.1:9 does not answer: nothing is known of the rest"
    assert "not an address" in next(asked({"a": "1"}, "file:///etc"))
    command = [sys.executable, str(TOOLS / "audit.py")]
    done = subprocess.run(
        command, env={**os.environ, "HARNESS_AUDIT_INDEX": "http://127.0.0.1:9"}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "does not answer" in done.stdout


def test_every_package_that_an_installation_brings_has_a_licence() -> None:
    listed = LICENCES["listed"]((ROOT / "docs" / "licences.md").read_text(encoding="utf-8"))
    direct = {canonicalize_name(Requirement(line).name) for line in PROJECT["dependencies"]}
    extras = {e: r for e, r in PROJECT["optional-dependencies"].items() if e not in {"dev", *LICENCES["UNLISTED"]}}
    direct |= {canonicalize_name(Requirement(line).name) for lines in extras.values() for line in lines}
    assert set(extras) == set(LICENCES["EXTRAS"])
    assert direct <= set(listed)
    assert not [name for name, said in listed.items() if said == "not said" or "GPL" in said.replace("LGPL", "")]
    text = (ROOT / "locks" / "tests.txt").read_text(encoding="utf-8")
    locked = dict(re.findall(r"^([\w.-]+)==([^\s\\]+)", text, re.MULTILINE))
    compared = 0
    for name, said in listed.items():
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # of another system, or an extra that is not installed here
        if version != locked.get(name):
            continue  # other releases say the same licence in other words
        compared += 1
        assert LICENCES["licence"](name).replace("|", "/") == said, name
    assert compared


def release(folder: Path, **changes: tuple[str, str]) -> list[str]:
    """Return what the check of a release says of a copy with some texts changed."""
    files = ("harness/__init__.py", "CITATION.cff", "CHANGELOG.md", "plugins/harness-methods/pyproject.toml")
    shutil.rmtree(folder, ignore_errors=True)
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        text = (ROOT / name).read_text(encoding="utf-8")
        old, new = changes.get(Path(name).stem, ("", ""))
        (folder / name).write_text(text.replace(old, new, 1), encoding="utf-8")
    version = RELEASE["versions"](folder)["harness/__init__.py"]
    return list(RELEASE["problems"](f"v{version}" if "CHANGELOG" in changes else None, folder))


def test_versions_tags_and_the_changelog_agree(tmp_path: Path) -> None:
    version = RELEASE["versions"]()["harness/__init__.py"]
    assert list(RELEASE["problems"](None)) == []
    dated = ("## [Unreleased]", f"## [Unreleased]\n\n## [{version}] - 2026-12-01")
    assert release(tmp_path, CHANGELOG=dated) == []
    assert release(tmp_path, CHANGELOG=(dated[0], dated[1].partition(" - ")[0])) == [
        f"CHANGELOG.md does not say of which day [{version}] is"
    ]
    above = (dated[0], dated[1].replace("\n\n", "\n\n## [99.0.0] - 2026-12-02\n\n", 1))
    assert release(tmp_path, CHANGELOG=above) == [f"CHANGELOG.md has other releases above [{version}]"]
    assert f"CITATION.cff says 7.0, harness/__init__.py {version}" in release(
        tmp_path, CITATION=(f"version: {version}", "version: 7.0")
    )
    wrong = release(tmp_path, pyproject=("posttune-harness>=0.1,<1", "posttune-harness>=1,<2"))
    assert wrong == [f"the second distribution asks for posttune-harness<2,>=1, which {version} is not"]
    assert "the tag is v9.9.9" in next(RELEASE["problems"]("v9.9.9"))
