"""What a plugin's fingerprint depends on, and what it does not."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from harness.errors import PluginError
from harness.plugins.closure import closure_digest, source_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from harness.plugins.registry import Registry

    Add = Callable[..., None]
    Load = Callable[..., Registry]

REGISTRATION = """
from harness.api import *
class Opts(Options):
    coef: float = 0.1
@hookimpl
def harness_register_methods():
    return [MethodRegistration(name="m", summary="s", options=Opts, build="closed.heavy.method:M", modules=(MODULES))]
"""

FILES = {
    "closed/__init__.py": "",
    "closed/heavy/__init__.py": "raise RuntimeError('heavy: never imported for a fingerprint')",
    "closed/heavy/method.py": (
        "import a_library_that_is_absent\nfrom . import losses\nfrom ..shared.maths import mean\n"
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from closed import types_only\n"
        "else:\n    import closed.at_run_time\n"
        "def f():\n    import closed.in_function\n    import importlib\n"
        "    importlib.import_module('closed.dynamic')\n    importlib.import_module('.relative', 'closed')\n"
    ),
    "closed/heavy/losses.py": "from closed.shared import *\n",
    "closed/shared/__init__.py": "from closed.shared.cycle import x\n",
    "closed/shared/cycle.py": "import closed.shared\nx = 1\n",
    "closed/shared/maths.py": "",
    "closed/types_only.py": "",
    "closed/at_run_time.py": "",
    "closed/in_function.py": "",
    "closed/dynamic.py": "",
    "closed/listed.py": "",
    "closed/other_plugin.py": "",
    "elsewhere.py": "",
}

INSIDE = {
    "closed/__init__.py",
    "closed/plugin.py",
    "closed/heavy/__init__.py",
    "closed/heavy/method.py",
    "closed/heavy/losses.py",
    "closed/shared/__init__.py",
    "closed/shared/cycle.py",
    "closed/shared/maths.py",
    "closed/at_run_time.py",
    "closed/in_function.py",
    "closed/dynamic.py",
}


@pytest.fixture
def fingerprint(add: Add, load: Load, tmp_path: Path) -> Iterator[Callable[[], str]]:
    source = REGISTRATION.replace("MODULES", "")
    add("closed", "", module="closed.plugin", more={**FILES, "closed/plugin.py": source})
    (tmp_path / "closed.plugin.py").unlink()
    yield lambda: load().fingerprint("method", "m")
    assert "closed.heavy" not in sys.modules


def test_a_fingerprint_is_64_hex_digits_and_stays(fingerprint: Callable[[], str]) -> None:
    first = fingerprint()
    assert len(first) == 64
    assert int(first, 16) >= 0
    assert fingerprint() == first


@pytest.mark.parametrize("file", sorted({*FILES, "closed/plugin.py"}))
def test_exactly_the_closure_counts(fingerprint: Callable[[], str], tmp_path: Path, file: str) -> None:
    before = fingerprint()
    with (tmp_path / file).open("a") as source:
        source.write("\n# changed\n")
    assert (fingerprint() != before) is (file in INSIDE)


def test_listed_modules_count(fingerprint: Callable[[], str], tmp_path: Path) -> None:
    listed = REGISTRATION.replace("MODULES", "'closed.listed', 'elsewhere'")
    (tmp_path / "closed" / "plugin.py").write_text(listed)
    before = fingerprint()
    (tmp_path / "elsewhere.py").write_text("x = 1\n")
    between = fingerprint()
    (tmp_path / "closed" / "listed.py").write_text("x = 1\n")
    assert len({before, between, fingerprint()}) == 3


def test_line_ends_do_not_count(fingerprint: Callable[[], str], tmp_path: Path) -> None:
    before = fingerprint()
    file = tmp_path / "closed" / "heavy" / "losses.py"
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    assert fingerprint() == before


def test_where_the_files_lie_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digests = set()
    for place in ("one", "two"):
        folder = tmp_path / place
        (folder / "placed").mkdir(parents=True)
        (folder / "placed" / "__init__.py").write_text("x = 1\n")
        with monkeypatch.context() as patch:
            patch.syspath_prepend(str(folder))
            digests.add(closure_digest(["placed"]) + source_digest(["placed"]))
    assert len(digests) == 1


def test_the_name_that_is_built_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "twofold.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert closure_digest(["twofold"], "twofold:a") != closure_digest(["twofold"], "twofold:b")


@pytest.mark.parametrize(
    ("definition", "build"),
    [
        ("def make(options): return print", "make"),
        ("class Make:\n    def __call__(self, options): return print", "Make()"),
        ("import functools\ndef make(extra, options): return print", "functools.partial(make, 1)"),
        ("", "lambda options: print"),
    ],
)
def test_a_callable_counts_with_its_module(add: Add, load: Load, tmp_path: Path, definition: str, build: str) -> None:
    source = (
        f"from harness.api import *\n{definition}\n@hookimpl\ndef harness_register_rewards():\n"
        f"    return [RewardRegistration(name='r', summary='s', build={build})]\n"
    )
    add("direct", source)
    before = load().fingerprint("reward", "r")
    (tmp_path / "direct.py").write_text(source + "# changed\n")
    assert load().fingerprint("reward", "r") != before


def test_a_module_without_source(add: Add, load: Load) -> None:
    source = (
        "from harness.api import *\n@hookimpl\ndef harness_register_rewards():\n"
        "    return [RewardRegistration(name='r', summary='s', build='nowhere.at_all:x')]\n"
    )
    add("lost", source)
    with pytest.raises(
        PluginError, match=r"reward 'r' of lost 1\.0: cannot find the source of module 'nowhere.at_all'"
    ):
        load().fingerprint("reward", "r")


def test_a_module_that_is_no_python(fingerprint: Callable[[], str], tmp_path: Path) -> None:
    (tmp_path / "closed" / "heavy" / "losses.py").write_text("def f(:\n")
    with pytest.raises(PluginError, match=r"cannot read the source of module 'closed\.heavy\.losses'"):
        fingerprint()


def test_the_source_of_a_package_holds_everything_below(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in ("core/__init__.py", "core/deep/module.py", "core/data.json", "single.py"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    seen = [source_digest(["core", "single"])]
    assert source_digest(["single", "core"]) == seen[0]
    for path in ("core/deep/module.py", "single.py", "core/__init__.py"):
        (tmp_path / path).write_text("1\n")
        seen.append(source_digest(["core", "single"]))
    (tmp_path / "core" / "new.py").write_text("")
    seen.append(source_digest(["core", "single"]))
    assert len(set(seen)) == 5
    (tmp_path / "core" / "data.json").write_text("1\n")
    assert source_digest(["core", "single"]) == seen[-1]


def test_the_source_of_what_is_not_there() -> None:
    with pytest.raises(PluginError, match=r"cannot find the source of module 'harness\.no_such_part'"):
        source_digest(["harness.no_such_part"])
