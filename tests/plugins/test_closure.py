"""What a plugin's fingerprint depends on, and what it does not."""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.machinery
import sys
from typing import TYPE_CHECKING

import pytest

from harness.errors import PluginError
from harness.plugins.closure import closure_digest
from harness.plugins.syntax import SyntaxCache, tree_digest

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
        source.write("\nchanged = 1\n")
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
            digests.add(closure_digest(["placed"]))
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
    (tmp_path / "direct.py").write_text(source + "changed = 1\n")
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


SAID = [
    ("# a comment\n", ""),
    ("x = 1  # a comment\n", "x = 1\n"),
    ('"""A module."""\nx = 1\n', "x = 1\n"),
    ('def f(a):\n    """Say so."""\n    return a\n', "def f(a):\n\n    return (a)\n"),
    ('class A:\n    """One."""\n    x: int = 1\n    """Of it."""\n', "class A:\n    x: int = 1\n"),
    ('class A:\n    """One."""\n', "class A:\n    pass\n"),
    ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import a\n", "from typing import TYPE_CHECKING\n"),
    ('__version__ = "1"\n', '__version__ = "2"\n'),
    ("x = 'a'\r\n", 'x = u"a"\n'),
]


@pytest.mark.parametrize(("one", "other"), SAID)
def test_what_changes_nothing_does_not_count(one: str, other: str) -> None:
    assert tree_digest(ast.parse(one)) == tree_digest(ast.parse(other))


DONE = [
    ("x = 1\n", "x = 2\n"),
    ("x = 1\n", "x = True\n"),
    ("x = 1\n", "x = 1.0\n"),
    ("x = 'a'\n", "x = b'a'\n"),
    ("x = 'a'\n", "y = 'a'\n"),
    ("f(a, b)\n", "f(b, a)\n"),
    ("x = a - b\n", "x = a + b\n"),
    ("x = (a - b) - c\n", "x = a - (b - c)\n"),
    ("x = 'a'\nx\n", "x = 'a'\n"),
    ("if a:\n    b()\nc()\n", "if a:\n    b()\n    c()\n"),
    ("def f(a=1): return a\n", "def f(a=2): return a\n"),
    ("def f(*, a): return a\n", "def f(a): return a\n"),
    ("async def f(): return 1\n", "def f(): return 1\n"),
    ("for a in b:\n    pass\nelse:\n    c()\n", "for a in b:\n    c()\n"),
    ("x = f'{a!r}'\n", "x = f'{a!s}'\n"),
    ("x = f'{a:>3}'\n", "x = f'{a:>4}'\n"),
]


@pytest.mark.parametrize(("one", "other"), DONE)
def test_what_changes_something_counts(one: str, other: str) -> None:
    assert tree_digest(ast.parse(one)) != tree_digest(ast.parse(other))


def test_compiled_modules_and_others_without_source_count_with_their_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = tmp_path / f"fast{importlib.machinery.EXTENSION_SUFFIXES[0]}"
    monkeypatch.syspath_prepend(str(tmp_path))
    digests = []
    for content in (b"one", b"other"):
        compiled.write_bytes(content)
        importlib.invalidate_caches()
        digests.append(closure_digest(["fast"]))
    assert len(set(digests)) == 2


def test_what_was_read_before_is_remembered_by_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, source = tmp_path / "below" / "cache.json", b"from . import a\nimport b.c\nx = 1\n"
    first = SyntaxCache(cache)
    known = first.read(source)
    first.save()
    with monkeypatch.context() as patch:
        patch.setattr(ast, "parse", lambda _: pytest.fail("it was read before"))
        assert SyntaxCache(cache).read(source) == known
    assert known.imports == ((0, "b.c", ()), (1, "", ("a",)))
    assert SyntaxCache(cache).read(source + b"y = 2\n").digest != known.digest


@pytest.mark.parametrize("damage", [b"", b"[]", b"{", b'{"NAME": 1}', b'{"NAME": ["d", [[1]]]}'])
def test_a_damaged_memory_is_none(tmp_path: Path, damage: bytes) -> None:
    source = b"x = 1\n"
    cache = tmp_path / "cache.json"
    cache.write_bytes(damage.replace(b"NAME", hashlib.sha256(source).hexdigest().encode()))
    assert SyntaxCache(cache).read(source) == SyntaxCache(tmp_path / "none").read(source)


def test_where_nothing_can_be_remembered_it_is_found_out_again(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = SyntaxCache(tmp_path / "file" / "cache.json")
    cache.read(b"x = 1\n")
    cache.save()
    assert (tmp_path / "file").read_text() == ""
