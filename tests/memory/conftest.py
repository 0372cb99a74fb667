"""Hubs with memory switched on, and a desk that speaks to one as several keys."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.fakes.database import postgres_database
from tests.fakes.hub import Running, running_hub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

ON = {"enabled": True}
SCOPES = ("read:memory", "write:memory", "chat", "mcp:connect")


@dataclass
class Desk:
    """Speaks to a hub as keys, each known by a word; ``boss`` manages."""

    running: Running
    http: httpx.AsyncClient
    ids: dict[str, str] = field(default_factory=dict[str, str])
    tokens: dict[str, str] = field(default_factory=dict[str, str])

    async def key(self, name: str, *scopes: str, **options: Any) -> str:
        """The id of a key of this name."""
        made, token = await self.running.hub.store.keys.create(name, grants=scopes or SCOPES, **options)
        self.ids[name], self.tokens[name] = made.id, token
        return made.id

    def headers(self, name: str, **more: str) -> dict[str, str]:
        return {"authorization": f"Bearer {self.tokens[name]}", **more}

    async def ask(self, name: str, method: str, path: str, status: int = 200, **options: Any) -> Any:
        """The body of an answer to this key, whose status must be this."""
        headers = {**self.headers(name), **options.pop("headers", {})}
        answer = await self.http.request(method, path, headers=headers, **options)
        assert answer.status_code == status, answer.text
        return (
            answer.json() if "json" in answer.headers.get("content-type", "") and "ndjson" not in answer.headers["content-type"] else answer
        )

    async def add(self, name: str, key: str, content: str, status: int = 201, **fields: Any) -> Any:
        return await self.ask(name, "POST", "/api/memory", status, json={"key": key, "content": content, **fields})

    async def contents(self, name: str, **params: Any) -> list[str]:
        """What is listed for a key."""
        return [one["content"] for one in (await self.ask(name, "GET", "/api/memory", params=params))["data"]]

    async def found(self, name: str, query: str, **fields: Any) -> list[str]:
        """What a question finds."""
        body = {"query": query, **fields}
        return [one["content"] for one in (await self.ask(name, "POST", "/api/memory/retrieve-preview", json=body))["memories"]]

    async def set(self, **settings: Any) -> Any:
        return await self.ask("boss", "PUT", "/api/settings/memory", json=settings)

    async def forget(self) -> None:
        """Begin anew: no memories, the first settings, no key but the first three."""
        hub = self.running.hub
        await hub.memory.behind.settled()
        for key_id in self.ids.values():
            await hub.memory.clear(key_id)
        await hub.preferences.change({"memory": None, "responseCache": None})
        await hub.sameness.cache.flush()
        await self.set(**ON)


@asynccontextmanager
async def open_desk(folder: Path, **settings: Any) -> AsyncIterator[Desk]:
    """A running hub with memory on, and the keys ada, bob and boss."""
    async with running_hub(folder, **settings) as running, httpx.AsyncClient(base_url=running.url, timeout=20) as http:
        desk = Desk(running, http)
        await desk.key("ada")
        await desk.key("bob")
        await desk.key("boss", "manage")
        await desk.set(**ON)
        yield desk


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each database by turns."""
    if request.param == "sqlite":
        yield ""
    else:
        with postgres_database() as url:
            yield url


@pytest.fixture
async def desk(tmp_path: Path, database_url: str) -> AsyncIterator[Desk]:
    async with open_desk(tmp_path, database_url=database_url) as made:
        yield made
