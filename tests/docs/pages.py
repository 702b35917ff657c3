"""Pages of the documentation as tests use them: files that they quote, and commands that they show."""

from __future__ import annotations

import doctest
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from click.testing import CliRunner

from harness.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.testing import Result

DOCS = Path(__file__).resolve().parents[2] / "docs"


def text_of(page: str) -> str:
    """Return what a page says."""
    return (DOCS / page).read_text(encoding="utf-8")


def quoted_files(page: str) -> dict[str, str]:
    """Return the fenced blocks that are introduced by a file's name."""
    return dict(re.findall(r"`([\w./-]+)`:\n\n```\w+\n(.*?)^```$", text_of(page), re.DOTALL | re.MULTILINE))


def marked_commands(page: str, mark: str) -> list[str]:
    """Return the commands of the shell block that stands under ``<!-- run: MARK -->``."""
    found: str
    (found,) = re.findall(rf"^<!-- run: {mark} -->\n```sh\n(.*?)^```$", text_of(page), re.DOTALL | re.MULTILINE)
    return found.replace("\\\n", "").splitlines()


def marked_output(page: str, mark: str) -> str:
    """Return the block that stands under ``<!-- said: MARK -->``."""
    found: str
    (found,) = re.findall(rf"^<!-- said: {mark} -->\n```text\n(.*?)^```$", text_of(page), re.DOTALL | re.MULTILINE)
    return found


def called(line: str) -> Result:
    """Run a command line of the harness in this process."""
    program, *arguments = shlex.split(line, comments=True)
    assert program == "harness"
    return CliRunner().invoke(main, arguments)


def compared(block: str, call: Callable[[str], Result] = called) -> list[str]:
    """Run each command of a console block and compare what it prints; return the names of the commands.

    ``...`` stands for anything. A command that shows an error must end with exit code 2, any other with 0.
    """
    checker, ran = doctest.OutputChecker(), []
    for command, expected in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE):
        said = call(command)
        wanted = re.sub(r"^$", "<BLANKLINE>", expected.rstrip("\n"), flags=re.MULTILINE) + "\n"
        assert checker.check_output(wanted, said.output, doctest.ELLIPSIS), f"{command}\n{said.output}"
        # below its tables a run may be said to be wrong
        assert said.exit_code == (2 if expected.startswith("error:") else 0), f"{command}\n{said.output}"
        ran.append(shlex.split(command)[1])
    return ran
