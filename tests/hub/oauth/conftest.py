"""An authorization server on loopback and a hub that takes its tokens, both on one clock that stands still."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from hub.call import Hub
from hub.settings import Settings
from tests.fakes.clock import Still
from tests.fakes.issuer import Issuer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from hub.oauth.resource import ResourceServer
    from hub.records import Caller

HERE = "https://hub.example"


@dataclass
class Taker:
    """The hub's side: its resource server, whose clock a test moves."""

    oauth: ResourceServer
    clock: Still

    async def take(self, token: str) -> Caller:
        return await self.oauth.caller(token, frozenset({HERE}))

    async def settled(self) -> None:
        """Wait for what is fetched in the background."""
        for cache in self.oauth.caches.values():
            if cache._task is not None:
                await cache._task

    def later(self, seconds: float) -> None:
        self.clock.wall_ms += round(seconds * 1000)
        self.clock.seconds += seconds


@asynccontextmanager
async def taker(tmp_path: Path, *issuers: Issuer, **options: Any) -> AsyncIterator[Taker]:
    """A hub that takes tokens of these issuers; nothing of it runs but what is tested."""
    clock = Still()
    for one in issuers:
        one.now = lambda: clock.now_ms() / 1000
    entries: Any = [{"issuer": one.issuer, **options} for one in issuers]
    hub = Hub(Settings(data_dir=tmp_path, oauth_issuers=entries), clock=clock)
    try:
        yield Taker(hub.oauth, clock)
    finally:
        await hub.oauth.close()
        await hub.outbound.aclose()


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    async with Issuer() as made:
        yield made


@pytest.fixture
async def hub(tmp_path: Path, issuer: Issuer) -> AsyncIterator[Taker]:
    async with taker(tmp_path, issuer) as made:
        yield made
