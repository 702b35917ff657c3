"""What all commands share: help without imports, blocked plugins, one message an error, exit codes."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner

from harness import cli
from harness.errors import InputError, InputErrors, MachineError, StageError

if TYPE_CHECKING:
    from collections.abc import Callable

    Install = Callable[[Callable[..., None]], None]


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Return a function that makes a function the command ``probe``."""

    def install_command(function: Callable[..., None]) -> None:
        module = types.ModuleType("harness.cli.probe")
        module.__dict__["command"] = click.command("probe")(function)
        monkeypatch.setitem(sys.modules, "harness.cli.probe", module)
        monkeypatch.setattr(cli, "COMMANDS", {**cli.COMMANDS, "probe": ("harness.cli.probe", "A probe.")})

    return install_command


def test_help_lists_every_command_and_imports_none() -> None:
    result = run_python(
        "import sys\n"
        "from harness.cli import main\n"
        "main(['--help'], standalone_mode=False)\n"
        "print(sorted(m for m in sys.modules if m.startswith('harness.') or m in {'torch', 'pydantic', 'rich'}))\n"
    )
    assert result.returncode == 0, result.stderr
    for name, (_, text) in cli.COMMANDS.items():
        assert f"\n  {name} " in result.stdout
        assert text.split()[0] in result.stdout
    assert result.stdout.splitlines()[-1] == "['harness.cli', 'harness.cli.terminal', 'harness.errors']"


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_exists_and_has_help(name: str) -> None:
    result = CliRunner().invoke(cli.main, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert f"Usage: main {name}" in result.output


def test_the_version_tells_the_plugin_api() -> None:
    result = CliRunner().invoke(cli.main, ["--version"])
    assert result.output.startswith("posttune-harness 0.1.0 (plugin API 1, Python 3.")


def test_python_m_harness() -> None:
    result = subprocess.run([sys.executable, "-m", "harness", "--version"], capture_output=True, text=True, check=True)
    assert result.stdout.startswith("posttune-harness 0.1.0")


def test_an_unknown_command_suggests() -> None:
    result = CliRunner().invoke(cli.main, ["plugin"])
    assert result.exit_code == 2
    assert "No such command 'plugin'. Did you mean 'plugins'?" in result.output


@pytest.mark.parametrize("value", ["harness-es", "no:", "yes:x"])
def test_a_plugin_option_that_blocks_nothing(value: str) -> None:
    result = CliRunner().invoke(cli.main, ["-p", value, "plugins"])
    assert result.exit_code == 2
    assert f"expected no:NAME, got '{value}'" in result.output


def test_blocked_names_reach_the_command(install: Install) -> None:
    seen: list[tuple[str, ...]] = []

    @click.pass_obj
    def probe(application: cli.Application) -> None:
        seen.append(application.blocked)

    install(probe)
    assert CliRunner().invoke(cli.main, ["-p", "no:a", "--plugin", "no:b", "probe"]).exit_code == 0
    assert CliRunner().invoke(cli.main, ["probe"]).exit_code == 0
    assert seen == [("a", "b"), ()]


@pytest.mark.parametrize(("error", "code"), [(InputError, 2), (MachineError, 3), (StageError, 1)])
def test_an_error_is_one_message_and_its_code(install: Install, error: type[InputError], code: int) -> None:
    def probe() -> None:
        raise error("it is wrong", where="file:3", got=1, hint="do it so")

    install(probe)
    result = CliRunner().invoke(cli.main, ["probe"])
    assert (result.exit_code, result.stdout) == (code, "")
    assert result.stderr == "error: file:3: it is wrong, got 1\n  do it so\n"


def test_many_errors_are_one_line_each(install: Install) -> None:
    def probe() -> None:
        raise InputErrors([InputError("one"), InputError("two")])

    install(probe)
    result = CliRunner().invoke(cli.main, ["probe"])
    assert (result.exit_code, result.stderr) == (2, "error: one\nerror: two\n")


def test_the_traceback_is_shown_on_request(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    def probe() -> None:
        try:
            _ = 1 / 0
        except ZeroDivisionError as error:
            raise InputError("outer") from error

    install(probe)
    assert "Traceback" not in CliRunner().invoke(cli.main, ["probe"]).stderr
    monkeypatch.setenv("HARNESS_TRACEBACK", "1")
    text = CliRunner().invoke(cli.main, ["probe"]).stderr
    assert "ZeroDivisionError" in text
    assert text.endswith("error: outer\n")


def test_a_defect_keeps_its_traceback(install: Install) -> None:
    def probe() -> None:
        raise ZeroDivisionError

    install(probe)
    assert isinstance(CliRunner().invoke(cli.main, ["probe"]).exception, ZeroDivisionError)


def test_an_interrupt_exits_with_its_signal(install: Install) -> None:
    def probe() -> None:
        raise KeyboardInterrupt

    install(probe)
    result = CliRunner().invoke(cli.main, ["probe"])
    assert (result.exit_code, result.stderr) == (130, "interrupted\n")


def test_a_reader_that_is_gone_is_no_error() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "w") as closed:
        result = subprocess.run(
            [sys.executable, "-m", "harness", "plugins", "--json"],
            stdout=closed,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (result.returncode, result.stderr) == (141, "")
