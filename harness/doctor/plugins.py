"""Plugins that load, and those that do not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.doctor.finding import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.plugins.registry import Registry


def check_plugins(registry: Registry) -> Iterator[Finding]:
    """Say which plugins failed, and why; one of the harness's own prevents what uses it."""
    good = [row for row in registry.plugins if row.status == "ok"]
    for row in registry.failures:
        yield Finding(
            "plugins", "warns", f"{row.entry_point} of {row.provider} failed: {row.reason}",
            "a benchmark that uses what it offers is refused",
            f"harness plugins show {row.entry_point} has the traceback; without it: harness -p no:{row.entry_point} …",
        )  # fmt: skip
    if not good:
        yield Finding(
            "plugins", "prevents", "none is installed", "methods, data and metrics are plugins",
            "install the harness again with pip: its entry points are missing",
        )  # fmt: skip
        return
    makers = {row.distribution for row in good}
    yield Finding("plugins", "fine", f"{len(good)} load, of {', '.join(sorted(makers))}")
