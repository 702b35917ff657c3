"""Progress and a summary of what was tried."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fuzz.campaign import LARGE, Campaign

if TYPE_CHECKING:
    import pytest


def pytest_configure(config: pytest.Config) -> None:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if LARGE and reporter is not None:
        Campaign.tell = staticmethod(lambda text: reporter.write_line(f"\n{text}"))  # type: ignore[method-assign]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if LARGE:
        terminalreporter.section("cases")
        for campaign in Campaign.every:
            terminalreporter.write_line(str(campaign))
