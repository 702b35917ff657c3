"""A plugin that is one Python file: what it offers, how it is told apart, and what its mistakes say."""

from __future__ import annotations

import hashlib
import sys
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from docs.pages import quoted_files

from harness.cli import main
from harness.errors import PluginError
from harness.plugins.loader import load_registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from harness.plugins.registry import Registry

    Load = Callable[..., Registry]

#: The method of the page for users.
LOO = quoted_files("own-method.md")["my_method.py"]

HOOKS = """
from harness.api import MethodRegistration, Options, RewardRegistration, hookimpl

def even(completions, **_):
    return [float(len(text) % 2 == 0) for text in completions]

spare = RewardRegistration(name="spare", summary="Not offered: there are hooks", build=even, function=True)

@hookimpl
def harness_register_rewards():
    return [RewardRegistration(name="even", summary="Even lengths", build="my_hooks:even", function=True)]
"""


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Load]:
    """Return a function that writes files and loads the plugins in them, and nothing else of the user's."""
    before = set(sys.modules)

    def load_files(**sources: str) -> Registry:
        paths = []
        for name, source in sources.items():
            path = tmp_path / f"{name}.py"
            path.write_text(source, encoding="utf-8")
            paths.append(path)
        return load_registry(files=paths)

    yield load_files
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def test_a_registration_at_the_top_is_enough(load: Load) -> None:
    registry = load(my_method=LOO)
    row = registry.find("method", "loo")
    assert (row.distribution, row.version, row.status) == ("my_method.py", "", "ok")
    assert row.sha256 == hashlib.sha256(LOO.encode()).hexdigest()
    assert row.maker == {
        "kind": "method", "name": "loo", "distribution": "my_method.py", "version": "", "editable": False,
        "sha256": row.sha256,
    }  # fmt: skip
    built = registry.build("method", "loo", {"samples": 3})
    assert built.options.samples == 3
    assert registry.find("method", "sft").sha256 == ""
    assert "sha256" not in registry.find("method", "sft").maker


def test_hooks_say_all_that_a_file_offers(load: Load) -> None:
    registry = load(my_hooks=HOOKS)
    assert registry.find("reward", "even").distribution == "my_hooks.py"
    assert "spare" not in registry.names("reward")
    assert registry.build("reward", "even", {})(completions=["ab", "a"]) == [1.0, 0.0]


def test_two_files(load: Load) -> None:
    registry = load(my_method=LOO, my_hooks=HOOKS)
    assert {"loo", "even"} <= {*registry.names("method"), *registry.names("reward")}


def test_the_digest_is_of_what_the_file_computes_with(load: Load) -> None:
    first = load(my_method=LOO).fingerprint("method", "loo")
    assert load(my_method=f"# a remark\n{LOO}").fingerprint("method", "loo") == first
    changed = LOO.replace("clamp(min=1)", "clamp(min=2)")
    assert changed != LOO
    assert load(my_method=changed).fingerprint("method", "loo") != first


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import json\nx = (1,\n", "my_method.py:2: SyntaxError: '(' was never closed"),
        ("x = 1\n\ny = Field()\n", "my_method.py:3: NameError: name 'Field' is not defined"),
        ("import no_such_module\n", "my_method.py:1: ModuleNotFoundError: No module named 'no_such_module'"),
        ("def f():\n    raise SystemExit(3)\n\nf()\n", "my_method.py:2: SystemExit: 3"),
        (
            "from harness.api import hookimpl\n\n@hookimpl\ndef harness_register_methods():\n    return [1 / 0]\n",
            "my_method.py:5: ZeroDivisionError: division by zero",
        ),
        (
            "x = 1\n",
            "my_method.py: it offers no plugin; expected a registration, or a function marked with @hookimpl: ",
        ),
        (
            "def harness_register_methods():\n    return []\n",
            "my_method.py: harness_register_methods is not marked with @hookimpl",
        ),
        (
            LOO.replace('name="loo"', 'name="Loo!"'),
            "my_method.py:40: method 'Loo!': a name is lower-case letters, digits and single hyphens",
        ),
        (
            "from harness.api import hookimpl\n\n\n@hookimpl\ndef harness_register_methods():\n    pass\n",
            "my_method.py:4: harness_register_methods returned None; expected a list of MethodRegistration",
        ),
        (
            LOO.replace('name="loo"', 'name="dpo"'),
            "my_method.py: method 'dpo' of my_method.py",
        ),
    ],
)
def test_a_mistake_is_one_message_with_its_line(load: Load, source: str, message: str) -> None:
    with pytest.raises(PluginError) as caught:
        load(my_method=source)
    assert str(caught.value).startswith(message)


def test_a_file_imports_no_neighbour(load: Load, tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("", encoding="utf-8")
    with pytest.raises(PluginError, match="a plugin's file stands alone; what has several files is a distribution"):
        load(my_method="import helper\n")


def test_what_cannot_be_built_names_the_line(load: Load) -> None:
    line = LOO.splitlines().index("        self.options = options") + 1
    registry = load(my_method=LOO.replace("        self.options = options", "        self.options = option"))
    with pytest.raises(PluginError, match=rf"method 'loo' of my_method\.py, line {line}: cannot be built .*NameError"):
        registry.build("method", "loo", {})


def test_a_file_called_like_a_module_is_refused(load: Load) -> None:
    with pytest.raises(PluginError, match=r"random\.py: the Python module 'random' is installed.*\n.*my_random\.py"):
        load(random=LOO)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "my_method.py").write_text(LOO, encoding="utf-8")
    with pytest.raises(
        PluginError, match=r"--plugin: no such file, got '.*my_metod\.py'; did you mean 'my_method\.py'"
    ):
        load_registry(files=[tmp_path / "my_metod.py"])
    with pytest.raises(PluginError, match=r"a plugin's file ends with \.py, got 'my_method\.txt'"):
        load_registry(files=[tmp_path / "my_method.txt"])


def test_commands_know_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_method.py").write_text(LOO, encoding="utf-8")
    (tmp_path / "broken.py").write_text("x =\n", encoding="utf-8")
    run = CliRunner().invoke
    shown = run(main, ["plugins", "show", "loo", "--plugin", "my_method.py"])
    assert shown.exit_code == 0, shown.output
    assert shown.stdout.startswith("method loo, from my_method.py (")
    assert "samples  integer >= 2  4        Answers drawn for each prompt." in shown.stdout
    listed = run(main, ["plugins", "--plugin", "my_method.py", "--kind", "method"])
    assert "Leave-one-out REINFORCE" in listed.stdout
    methods = "methods=[sft, {use: loo, samples: 1}]"
    wrong = run(main, ["validate", "dolly", "--plugin", "my_method.py", "-o", methods])
    assert wrong.exit_code == 2
    assert "samples" in wrong.stderr
    assert "greater than or equal to 2" in wrong.stderr
    unknown = run(main, ["validate", "dolly", "-o", "methods=[sft, loo]"])
    assert unknown.exit_code == 2
    assert "there is no method of this name" in unknown.stderr
    broken = run(main, ["plan", "dolly", "--plugin", "broken.py"])
    assert (broken.exit_code, broken.stderr) == (2, "error: broken.py:1: SyntaxError: invalid syntax\n")
    before = run(main, ["--plugin", "my_method.py", "plan", "dolly"])
    assert "is given behind the command: harness run FILE --plugin my_method.py" in before.stderr
