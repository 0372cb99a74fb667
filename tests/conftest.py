"""Shared fixtures: one event loop backend for all tests."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

import pytest


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """asyncio only: the hub runs on uvloop."""
    return "asyncio"


def pytest_unconfigure() -> None:
    """Leave no database behind."""
    if (databases := sys.modules.get("tests.fakes.database")) is not None:
        databases.drop_databases()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say loudly what was left out: a missing database must not look like a pass."""
    reasons = Counter(str(report.longrepr[2]) for report in terminalreporter.stats.get("skipped", []) if isinstance(report.longrepr, tuple))
    for reason, count in reasons.most_common():
        terminalreporter.write_line(
            f"LEFT OUT: {count} tests: {' '.join(reason.removeprefix('Skipped: ').split())[:200]}", red=True, bold=True
        )
