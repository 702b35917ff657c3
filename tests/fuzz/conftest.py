"""Progress and a summary of what was tried."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fuzz.campaign import LARGE, Campaign

if TYPE_CHECKING:
    import pytest


def pytest_sessionstart(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if not LARGE or reporter is None:
        return

    def tell(text: str) -> None:
        reporter.write_line(f"\n{text}")
        reporter.flush()

    Campaign.tell = staticmethod(tell)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if LARGE:
        terminalreporter.section("cases")
        for campaign in Campaign.every:
            terminalreporter.write_line(str(campaign))
