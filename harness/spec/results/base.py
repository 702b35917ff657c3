"""What the files of stages have in common. A value that does not exist is left out, and is None once it is read."""

from __future__ import annotations

from harness.spec.section import Document, Frozen


class ResultPart(Frozen):
    """A part of a file."""


class ResultFile(Document):
    """A file with one JSON object."""


class ResultLine(Document):
    """A line of a file with one JSON object a line."""
