"""What a ``prepare`` stage says of a tokenizer or an untrained model."""

from __future__ import annotations

from typing import ClassVar

from harness.spec.results.base import ResultFile


class PreparedModel(ResultFile):
    """What is known of a tokenizer or an untrained model."""

    file: ClassVar[str] = "model.json"

    trained: str | None = None
    """How one that was made here was trained."""
    name: str | None = None
    path: str | None = None
    """Where one that exists lay; None for the hub."""
    revision: str | None = None
    """The resolved commit of the hub."""
    content: str | None = None
    """The digest of the files of one that exists."""
    positions: int | None = None
    """The context in tokens; None for no limit, or where there is no model."""
    way: str = ""
    """Which way the model takes through scoring and decoding, and why not the fast one; empty where there is none."""
