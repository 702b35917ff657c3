"""Rows whose model was trained elsewhere: a checkpoint, or answers that somebody already has."""

from __future__ import annotations

from typing import Literal, TypeAlias

from harness.spec.section import DISPLAY, RESULT, RUNTIME, Section, mark

#: See :data:`harness.api.registration.ELSEWHERE`.
ElsewhereUse: TypeAlias = Literal["checkpoint", "answers"]


class ElsewhereEntry(Section):
    """One row of the tables that nothing here trains: shown with its scores, and part of no comparison."""

    use: ElsewhereUse = mark(RESULT)
    label: str = mark(DISPLAY)
    path: str | None = mark(RUNTIME, None)
    """A model folder in Hugging Face format, an adapter's in PEFT's, a GGUF file, or a file of answers (JSON Lines);
    its content is part of the id."""
    base: str | None = mark(RUNTIME, None)
    """What an adapter goes on: a folder, or a hub name; what its ``adapter_config.json`` names where None."""
    name: str | None = mark(RESULT, None)
    """A checkpoint's name on the hub, instead of a path."""
    revision: str | None = mark(RESULT, None)
    """Hub commit; the resolved one is recorded."""
    model: str | None = mark(RESULT, None)
    """Label of the entry of ``models`` whose tables it stands in; needed where there are several."""
