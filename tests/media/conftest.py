"""A running hub, a client with every right, and providers that speak their vendor's format on loopback."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import httpx
import openai
import pytest

from tests.fakes.hub import Running, running_hub
from tests.fakes.media import KEY
from tests.fakes.upstream import FaultUpstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from tests.fakes.upstream import Behaviour, Received

    #: ``await joined("cohere", handler)`` connects a provider; ``path`` is that of its base URL.
    Join = Callable[..., Awaitable[FaultUpstream]]


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    async with running_hub(tmp_path) as hub:
        yield hub


@pytest.fixture
async def client(running: Running) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=running.url, headers=await running.headers(), timeout=30) as session:
        yield session


@pytest.fixture
async def sdk(running: Running) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{running.url}/v1", api_key=await running.key(), max_retries=0, timeout=30) as made:
        yield made


@pytest.fixture
async def joined(running: Running) -> AsyncIterator[Join]:
    async with AsyncExitStack() as stack:

        async def join(provider: str, handler: Callable[[Received], Behaviour], path: str = "/v1", **fields: Any) -> FaultUpstream:
            upstream = await stack.enter_async_context(FaultUpstream())
            upstream.script(handler)
            number = len(running.hub.store.connections.all()) + 1
            options = {"name": f"up{number}", "secret": KEY, "allow_private": True, "priority": number, **fields}
            await running.hub.store.connections.create(provider=provider, base_url=f"{upstream.url}{path}", **options)
            return upstream

        yield join
