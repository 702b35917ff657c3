"""Which plugins a run uses: those that are installed, without some, and with files beside them."""

from __future__ import annotations

from pathlib import Path

from harness.spec.section import Frozen


class PluginSelection(Frozen):
    """What every process of a run loads."""

    blocked: tuple[str, ...] = ()
    """Entry points or distributions that are not loaded, by name."""
    files: tuple[Path, ...] = ()
    """Python files that are loaded, by absolute paths."""


#: Everything that is installed, and nothing else.
INSTALLED = PluginSelection()
