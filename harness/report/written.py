"""What a report says of a run, before any form is made of it, and the files that it comes to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from harness.store.files import machine_errors, replace_text

if TYPE_CHECKING:
    from pathlib import Path

    from harness.report.results import Results
    from harness.report.table import Table


class Leaderboard(NamedTuple):
    """What every form of a leaderboard says."""

    title: str
    notes: list[str]
    tables: list[Table]
    ending: list[str]
    head: dict[str, Any]
    verdict: list[str]
    """What the run says, in one or two sentences."""
    errors: list[str]
    """What makes numbers of some rows worthless, in sentences; see :mod:`harness.report.checks`."""
    findings: list[str]
    """What else the checks found."""


class Written(NamedTuple):
    """The tables of a run as files; nothing is written before all of them could be made."""

    files: dict[str, str]
    """Name to text, in the order in which they are written."""
    document: Leaderboard
    results: Results
    folder: Path
    """Where they belong."""

    @property
    def text(self) -> str:
        """The tables as Markdown."""
        return self.files["leaderboard.md"]

    def write(self) -> None:
        """Write every file; each is there as a whole, the old one or the new one.

        Pages of answers that the new ones have taken the place of are removed.
        """
        for name, text in self.files.items():
            replace_text(self.folder / name, text)
        below = {(self.folder / name).parent for name in self.files} - {self.folder}
        written = {self.folder / name for name in self.files}
        with machine_errors(self.folder):
            for path in (path for folder in below for path in folder.iterdir()):
                if path not in written and path.suffix in {".html", ".js"}:
                    path.unlink()
