"""Breakers and locks between processes on one PostgreSQL database: what one opens or closes, the others hear of within a second."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from hub.call import Hub
from hub.providers.base import Failure, FailureKind
from hub.registry import Skills
from hub.routing.breaker import BreakerState
from tests.fakes.database import make_settings

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio
DOWN = Failure(FailureKind.SERVER, 503, "down")
SLOW = Failure(FailureKind.RATE, 429, "slow", retry_after=600.0, source="header")


async def soon(condition: Any) -> None:
    async with asyncio.timeout(5.0):
        while not condition():
            await asyncio.sleep(0.01)


async def test_outages_are_shared_and_so_is_their_end(tmp_path: Path, postgres_url: str) -> None:
    first, second = (Hub(make_settings(tmp_path, postgres_url), skills=Skills({})) for _ in range(2))
    await first.open()
    await second.open()
    one = await first.store.connections.create(provider="openrouter", name="a", secret="k")
    for _ in range(12):
        first.resilience.failed(one, "openrouter", "m", DOWN)
    first.resilience.failed(one, "openrouter", "x", SLOW)
    await soon(lambda: second.resilience.lockouts() and second.resilience.breaker("openrouter") is BreakerState.OPEN)
    (here,), (there,) = first.resilience.lockouts(), second.resilience.lockouts()
    assert (there.model, there.source, abs(there.until - here.until) < 50) == ("x", "header", True)
    assert not second.resilience.admit(one, "openrouter", "m", last_resort=True)
    assert second.resilience.clear_breakers() == 1
    assert second.resilience.clear_lockouts() == 1
    await soon(lambda: first.resilience.breaker("openrouter") is BreakerState.CLOSED and not first.resilience.lockouts())
    await first.close()
    await second.close()
