"""Stores on both databases; a test that takes ``store`` or ``settings`` runs once on each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hub.clock import Clock
from hub.store import Store
from tests.fakes.database import furnish, make_settings, postgres_database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from hub.settings import Settings


class HeldClock(Clock):
    """A clock that a test moves: ``now`` in epoch milliseconds."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_800_000_000_000

    def now_ms(self) -> int:
        return self.now


@pytest.fixture
def postgres_url() -> Iterator[str]:
    with postgres_database() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    url = request.getfixturevalue("postgres_url") if request.param == "postgresql" else ""
    return furnish(make_settings(tmp_path, url))


@pytest.fixture
def clock() -> HeldClock:
    return HeldClock()


@pytest.fixture
async def store(settings: Settings, clock: HeldClock) -> AsyncIterator[Store]:
    made = Store(settings, clock)
    await made.open()
    yield made
    await made.close()
