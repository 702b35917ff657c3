"""What a plugin's fingerprint depends on, and what it does not."""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.machinery
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.errors import PluginError
from harness.plugins import syntax
from harness.plugins.closure import Sources, closure_digest
from harness.plugins.syntax import SyntaxCache, tree_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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


def kept(path: Path, source: bytes) -> bytes:
    """Read a source with a cache in a file; return what the file holds then."""
    cache = SyntaxCache(path)
    cache.read(source)
    cache.save()
    return path.read_bytes()


@pytest.mark.parametrize("damage", ["empty", "cut short", "other digest", "bare", "list", "other entries"])
def test_a_damaged_or_edited_cache_is_left_out_of_account_and_replaced(tmp_path: Path, damage: str) -> None:
    source, path = b"x = 1\n", tmp_path / "cache.json"
    whole = kept(path, source)
    right = SyntaxCache(tmp_path / "none").read(source)
    seal, _, content = whole.partition(b"\n")
    other = hashlib.sha256(b"another tree").hexdigest().encode()
    spoilt = {
        "empty": b"",
        "cut short": whole[:-9],
        "other digest": whole.replace(right.digest.encode(), other),
        "bare": content,
        "list": b"[]",
        "other entries": seal + b"\n" + content.replace(hashlib.sha256(source).hexdigest().encode(), b"0" * 64),
    }[damage]
    assert spoilt != whole
    path.write_bytes(spoilt)
    assert SyntaxCache(path).read(source) == right
    assert kept(path, source) == whole


@pytest.mark.parametrize("other", ["source", "python"])
def test_what_another_reader_of_trees_wrote_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    """Nobody has to count up a version by hand: the reader's own source and the release of Python are the key."""
    source, path = b"x = 1\n", tmp_path / "cache.json"
    whole = kept(path, source)
    if other == "source":
        module = tmp_path / "syntax.py"
        module.write_text(Path(syntax.__file__).read_text(encoding="utf-8") + "\nmore = 1\n", encoding="utf-8")
        monkeypatch.setattr(syntax, "__file__", str(module))
    else:
        monkeypatch.setattr(sys, "version", "3.99")
    parsed: list[bytes] = []
    usual = ast.parse

    def noted(text: bytes) -> ast.AST:
        parsed.append(text)
        return usual(text)

    monkeypatch.setattr(ast, "parse", noted)
    assert kept(path, source) != whole
    assert parsed == [source]
    kept(path, source)
    assert parsed == [source]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (f"x = {' + '.join(['a'] * 2500)}\n", f"x = {' + '.join(['a'] * 2499)} - a\n"),
        (f"x = 0x{'f' * 9000}\n", f"x = 0x{'f' * 8999}e\n"),
        ("if a:\n    b()\n" + "elif a:\n    b()\n" * 800, "if a:\n    b()\n" + "elif a:\n    b()\n" * 801),
    ],
    ids=["sum", "number", "branches"],
)
def test_long_sources_have_a_digest_like_others(tmp_path: Path, one: str, other: str) -> None:
    cache = SyntaxCache(tmp_path / "cache.json")
    compile(one, "long", "exec")  # Python can import it
    assert cache.read(one.encode()).digest != cache.read(other.encode()).digest


def test_what_python_cannot_read_is_one_message(fingerprint: Callable[[], str], tmp_path: Path) -> None:
    (tmp_path / "closed" / "heavy" / "losses.py").write_text(f"x = {'-' * 200_000}1\n")
    with pytest.raises(PluginError, match=r"cannot read the source of module 'closed\.heavy\.losses'"):
        fingerprint()


def test_the_sources_of_a_process_share_one_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "shared_by_two"
    folder.mkdir()
    (folder / "__init__.py").write_text("x = 1\n", encoding="utf-8")
    first = Sources([str(tmp_path)]).digest(["shared_by_two"])
    monkeypatch.setattr(ast, "parse", lambda _: pytest.fail("another has read it"))
    monkeypatch.setattr(SyntaxCache, "_load", lambda _: pytest.fail("another has read the file"))
    assert Sources([str(tmp_path)]).digest(["shared_by_two"]) == first


def test_namespace_folders_in_one_another_are_looked_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for part, name in [("one", "a"), ("two", "b")]:
        folder = tmp_path / part / "spacious" / "deep" / "deeper"
        folder.mkdir(parents=True)
        (folder / f"{name}.py").write_text("from spacious.deep.deeper import b\nimport spacious.deep.deeper.b\n")
        monkeypatch.syspath_prepend(str(tmp_path / part))
    root = "spacious.deep.deeper.a"
    names = {"spacious", "spacious.deep", "spacious.deep.deeper", root, "spacious.deep.deeper.b"}
    for sources in (Sources(), Sources([str(tmp_path / "one"), str(tmp_path / "two")])):
        assert sources.closure([root]).keys() == names
    before = closure_digest([root])
    (tmp_path / "two" / "spacious" / "deep" / "deeper" / "b.py").write_text("x = 1\n")
    assert closure_digest([root]) != before
    assert "spacious" not in sys.modules


def test_where_nothing_can_be_remembered_it_is_found_out_again(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = SyntaxCache(tmp_path / "file" / "cache.json")
    cache.read(b"x = 1\n")
    cache.save()
    assert (tmp_path / "file").read_text() == ""
