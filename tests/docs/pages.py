"""Pages of the documentation as tests use them: files that they quote, and commands that they show."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"


def quoted_files(page: str) -> dict[str, str]:
    """Return the fenced blocks that are introduced by a file's name, by that name."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return dict(re.findall(r"^`([\w./-]+)`:\n\n```\w+\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))


def marked_commands(page: str, mark: str) -> list[str]:
    """Return the lines of the shell block that stands under ``<!-- run: MARK -->``."""
    text = (DOCS / page).read_text(encoding="utf-8")
    found: str
    (found,) = re.findall(rf"^<!-- run: {mark} -->\n```sh\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return found.splitlines()
