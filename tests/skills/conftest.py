"""A hub with all its skills and no server, its clock held by the test, and callers of its skills."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from hub.call import Hub
from hub.records import Caller, Connection
from hub.settings import Settings
from hub.skill import A2aAnswer, A2aAsk
from tests.fakes.clock import Still
from tests.fakes.database import furnish
from tests.fakes.upstream import FaultUpstream
from tests.hub.store.rows import usage_row

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

DAY_MS = 86_400_000


@dataclass
class Desk:
    """Asks skills as a caller would, and sets up what they look at."""

    hub: Hub
    clock: Still

    async def ask(self, skill: str, caller: Caller | None = None, **data: Any) -> Any:
        """Call a skill, as the owner when nobody is named; fields in the names of the wire."""
        return await self.hub.call(self.hub.find(skill), data, self.hub.context(caller or Caller.owner(), "test"))

    async def agent(
        self, skill: str, text: str = "", *, metadata: dict[str, Any] | None = None, data: dict[str, Any] | None = None
    ) -> A2aAnswer:
        """Ask an agent skill in words and give the answer as an agent client sees it."""
        address = self.hub.skills.by_a2a[skill].a2a
        assert address is not None
        asked = address.ask(A2aAsk(text, [{"role": "user", "content": text}], metadata or {}, data or {}))
        return address.view(await self.ask(self.hub.skills.by_a2a[skill].name, **asked))

    async def connect(self, name: str, provider: str = "openai", **fields: Any) -> Connection:
        """A connection; ``name`` names it and its secret."""
        return await self.hub.store.connections.create(provider=provider, name=name, secret=f"sk-{name}-secret", **fields)

    def used(self, connection: Connection, *, days_ago: float = 0.0, **fields: Any) -> None:
        """A usage row of a call through a connection."""
        at = self.clock.now_ms() - round(days_ago * DAY_MS)
        row = {"at": at, "provider": connection.provider, "model": "gpt-4o", "connection_id": connection.id, **fields}
        self.hub.store.usage.add(usage_row(**row))

    def cool(self, connection: Connection, *, soft: bool = True, seconds: float = 60.0) -> None:
        """Put a connection on cooldown."""
        self.hub.resilience.cooldowns.fail(connection.id, self.clock.monotonic(), reason="why", soft=soft, hint=seconds)

    def limit(self, connection: Connection, limit: int, remaining: int, *, name: bytes = b"requests", reset: bytes = b"60") -> None:
        """A limit as the provider stated it."""
        facts = ((b"limit", str(limit).encode()), (b"remaining", str(remaining).encode()), (b"reset", reset))
        headers = [(b"x-ratelimit-" + word + b"-" + name, value) for word, value in facts]
        self.hub.quotas.observe(connection.id, headers, self.clock.now_ms())


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    clock = Still()
    hub = Hub(furnish(Settings(data_dir=tmp_path)), clock=clock)
    await hub.open()
    yield Desk(hub, clock)
    await hub.close()


@pytest.fixture
async def upstream() -> AsyncIterator[FaultUpstream]:
    async with FaultUpstream() as server:
        yield server
