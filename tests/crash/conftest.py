"""What the crash tests add to pytest's summary: how many points there were."""

from __future__ import annotations

from collections import Counter

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    figures: Counter[str] = Counter()
    scenarios = 0
    for report in [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]:
        properties = {name: value for name, value in report.user_properties if isinstance(value, int)}
        if report.when == "call" and "points" in properties:
            scenarios += 1
            figures.update(properties)
    if scenarios:
        terminalreporter.write_line(
            f"crash points: {scenarios} scenarios, {figures['points']} points, {figures['kills']} kills,"
            f" {figures['doubles']} double kills"
        )
