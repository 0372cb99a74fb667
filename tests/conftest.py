"""Shared fixtures: one event loop backend for all tests. And what a run costs: garbage is looked for less often."""

from __future__ import annotations

import gc
import os
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import httpx
import httpx2
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """asyncio only: the hub runs on uvloop."""
    return "asyncio"


# What thousands of tests import stays; looking for garbage in it took a sixth of a run's CPU (and a fifth of its collection's).
gc.disable()


def pytest_collection_finish() -> None:
    """From here on look for garbage in what tests make, every so many objects: about once for each hub that is opened."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    gc.enable()


def pytest_unconfigure() -> None:
    """Leave no database behind."""
    if (databases := sys.modules.get("tests.fakes.database")) is not None:
        databases.drop_databases()


@pytest.fixture(scope="session", autouse=True)
def _certificates_read_once() -> Iterator[None]:
    """HTTP clients that verify against the same certificates share a TLS context: to read them took each client 24 ms."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (httpx._transports.default, httpx2._transports.default):
            patch.setattr(module, "create_ssl_context", _shared(module.create_ssl_context))
        yield


def _shared(make: Any) -> Any:
    kept: dict[tuple[Any, ...], Any] = {}

    def create(verify: Any = True, cert: Any = None, trust_env: bool = True) -> Any:
        if verify is not True or cert is not None:
            return make(verify=verify, cert=cert, trust_env=trust_env)
        key = (trust_env, os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))
        if key not in kept:
            kept[key] = make(verify=True, trust_env=trust_env)
        return kept[key]

    return create


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say loudly what was left out: a missing database must not look like a pass."""
    reasons = Counter(str(report.longrepr[2]) for report in terminalreporter.stats.get("skipped", []) if isinstance(report.longrepr, tuple))
    for reason, count in reasons.most_common():
        terminalreporter.write_line(
            f"LEFT OUT: {count} tests: {' '.join(reason.removeprefix('Skipped: ').split())[:200]}", red=True, bold=True
        )
