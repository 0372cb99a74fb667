"""A hub with three providers behind upstreams of their own, for tests of combos."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx

from tests.fakes import upstream as faults
from tests.fakes.hub import Running, running_hub
from tests.fakes.upstream import FaultUpstream
from tests.fakes.vendor import connect, good

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

HI = [{"role": "user", "content": "Hi"}]
#: Providers of the catalogue that take any model, each behind an upstream of its own.
PLACES = ("openrouter", "together", "fireworks")


def error(status: int, message: str, **fields: Any) -> faults.Behaviour:
    return faults.json_answer({"error": {"message": message, **fields}}, status=status)


@dataclass
class Desk:
    """A hub with three providers behind upstreams of their own, and a client with every right."""

    running: Running
    client: httpx.AsyncClient
    upstreams: dict[str, FaultUpstream] = field(default_factory=dict[str, FaultUpstream])

    async def combo(self, name: str, *models: Any, **fields: Any) -> dict[str, Any]:
        answer = await self.client.post("/api/combos", json={"name": name, "models": list(models), **fields})
        assert answer.status_code == 201, answer.text
        return answer.json()

    async def ask(self, model: str, *, headers: dict[str, str] | None = None, **fields: Any) -> httpx.Response:
        body = {"model": model, "messages": HI, **fields}
        return await self.client.post("/v1/chat/completions", json=body, headers=headers)

    def counts(self) -> dict[str, int]:
        return {name: len(upstream.requests) for name, upstream in self.upstreams.items()}

    async def explained(self, answer: httpx.Response) -> dict[str, Any]:
        found = await self.client.get(f"/api/routing/decisions/{answer.headers['x-request-id']}")
        assert found.status_code == 200, found.text
        return found.json()["decision"]


@asynccontextmanager
async def open_desk(folder: Path) -> AsyncIterator[Desk]:
    """The hub in a folder, with everybody connected and a client with every right."""
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(running_hub(folder))
        client = httpx.AsyncClient(base_url=running.url, headers=await running.headers(), timeout=20)
        made = Desk(running, await stack.enter_async_context(client))
        for place in PLACES:
            upstream = await stack.enter_async_context(FaultUpstream())
            upstream.answer(good())
            await connect(running, upstream, place)
            made.upstreams[place] = upstream
        yield made
