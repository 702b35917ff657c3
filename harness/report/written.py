"""What a report says of a run, before any form is made of it, and the files that it comes to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from harness import disk
from harness.report.page.browser import FOLDER
from harness.report.pictures.every import file_names
from harness.store.files import machine_errors, replace_text

if TYPE_CHECKING:
    from pathlib import Path

    from harness.report.pictures.every import Picture
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
    setup: dict[str, str]
    """What the run was, by the name of each part: see :func:`harness.report.run_setup.setup_block`."""
    pictures: tuple[Picture, ...] = ()
    """What there is to be seen; a page shows them, and each is a file with its numbers beside it."""


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

        A picture that the run has nothing for any more is removed, since it would show other numbers than the tables;
        and so are pages of answers that the new ones have taken the place of.
        """
        for name, text in self.files.items():
            replace_text(self.folder / name, text)
        for name in file_names() - set(self.files):
            with machine_errors(self.folder / name):
                disk.remove_file(self.folder / name, missing_ok=True)
        written = {self.folder / name for name in self.files}
        with machine_errors(self.folder):
            for path in (self.folder / FOLDER).glob("*"):
                if path not in written and path.suffix in {".html", ".js"}:
                    disk.remove_file(path)
