"""A hub with a receiver on loopback, on either database, and a client of its management API."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from hub.webhooks import webhooks
from tests.fakes.database import postgres_database
from tests.fakes.hub import Running, running_hub
from tests.fakes.receiver import Receiver

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

ALLOWED = {"push_allowed_hosts": "127.0.0.1,localhost"}


@dataclass
class Desk:
    """Calls the management API as the owner."""

    running: Running
    http: httpx.AsyncClient
    receiver: Receiver

    async def ask(self, method: str, path: str, status: int = 200, **options: Any) -> Any:
        """The body of an answer, whose status must be this."""
        answer = await self.http.request(method, path, **options)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def hook(self, *events: str, **fields: Any) -> Any:
        """A new webhook at the receiver."""
        body = {"url": self.receiver.hook, "events": list(events) or ["*"], **fields}
        return (await self.ask("POST", "/api/webhooks", 201, json=body))["webhook"]

    async def log(self, hook: Any, state: str = "") -> list[Any]:
        """Its deliveries, newest first."""
        return (await self.ask("GET", f"/api/webhooks/{hook['id']}/deliveries", params={"state": state}))["deliveries"]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "WAITS", (0.01, 0.02, 0.03))


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as server:
        yield server


@pytest.fixture
async def desk(tmp_path: Path, receiver: Receiver, database_url: str) -> AsyncIterator[Desk]:
    async with (
        running_hub(tmp_path, database_url=database_url, **ALLOWED) as running,
        httpx.AsyncClient(base_url=running.url, headers=await running.headers("manage", "chat"), timeout=10) as http,
    ):
        yield Desk(running, http, receiver)


@pytest.fixture
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """SQLite unless a test asks for ``postgres`` by indirect parameters."""
    if getattr(request, "param", "sqlite") == "sqlite":
        yield ""
    else:
        with postgres_database() as url:
            yield url
