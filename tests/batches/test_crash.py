"""REL-09: a batch over kill -9 at random moments, and one that two processes share: no request lost, none billed twice."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import httpx
import openai
import pytest

from hub.clock import Clock
from hub.settings import Settings
from hub.store import Store
from tests.batches.test_batches import begun, ended, line, lines_of
from tests.fakes.command import LIMIT, answer, serving
from tests.fakes.upstream import Behaviour, FaultUpstream, json_answer
from tests.fakes.vendor import completion

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fakes.command import Served
    from tests.fakes.upstream import Exchange

pytestmark = pytest.mark.anyio

REQUESTS = 300
NAMES = [f"r{at}" for at in range(REQUESTS)]


def slow() -> Behaviour:
    """A good answer after a moment, so that a kill finds calls under way."""
    whole = json_answer(completion())

    async def run(exchange: Exchange) -> None:
        await exchange.pause(0.02)
        await whole.run(exchange)

    return Behaviour(run)


def when_both(upstream: FaultUpstream) -> Behaviour:
    """The same, but nothing before a second process calls, too: with four calls at once each, the fifth connection is its."""
    whole = slow()

    async def run(exchange: Exchange) -> None:
        async with asyncio.timeout(LIMIT):
            while upstream.connections < 5:
                await exchange.pause(0.01)
        await whole.run(exchange)

    return Behaviour(run)


def client(served: Served, key: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key=key, max_retries=0, timeout=LIMIT)


async def connected(served: Served, key: str, upstream: FaultUpstream) -> None:
    """The hub has an account at the provider."""
    body = {"provider": "openai", "name": "up", "apiKey": "sk-upstream-1", "baseUrl": f"{upstream.url}/v1", "allowPrivate": True}
    async with httpx.AsyncClient(base_url=served.url, headers={"authorization": f"Bearer {key}"}, timeout=LIMIT) as http:
        made = await http.post("/api/providers", json=body)
        assert made.status_code in (200, 201), made.text


async def billed(store: Store, found: list[Any]) -> None:
    """A usage row for each line of the output, and no other."""
    await store.open()
    try:
        rows, total = await store.usage.page(limit=1000, door="batch", outcome="ok")
        assert total == len(rows)
        assert Counter(row.request_id for row in rows) == Counter(one["response"]["request_id"] for one in found)
        assert await store.batches.left() == []
    finally:
        await store.close()


async def test_kill_nine_during_a_batch(tmp_path: Path, database: str) -> None:
    """Killed again and again; after the last start the batch is complete. What ran at a kill may have run at the provider twice."""
    data, chance = tmp_path / "data", random.Random()
    env = {
        "HUBROUTE_DATABASE_URL": database,
        "HUBROUTE_DEMO": "off",
        "HUBROUTE_BATCH_CONCURRENCY": "8",
        "HUBROUTE_BATCH_LEASE_SECONDS": "4",
    }
    owner = (await asyncio.to_thread(answer, data, "keys", "create", "owner", "--scopes", "*", **env))["key"]
    kills, batch_id = 0, ""
    async with FaultUpstream() as upstream:
        upstream.answer(slow())
        while kills < 3:
            with serving(data, **env) as served:
                async with client(served, owner) as sdk:
                    if not batch_id:
                        await connected(served, owner, upstream)
                        batch_id = await begun(sdk, map(line, NAMES))
                    before = len(upstream.requests)
                    async with asyncio.timeout(LIMIT):
                        while len(upstream.requests) < before + 20:
                            await asyncio.sleep(0.01)
                    await asyncio.sleep(chance.uniform(0, 0.3))
                    served.process.kill()
                    kills += 1
        with serving(data, **env) as served:
            async with client(served, owner) as sdk:
                batch = await ended(sdk, batch_id, LIMIT)
                assert batch.status == "completed"
                assert batch.request_counts.to_dict() == {"total": REQUESTS, "completed": REQUESTS, "failed": 0}
                found = await lines_of(sdk, batch.output_file_id)
            assert await asyncio.to_thread(served.stop) == 0
        asked = Counter(request.json()["messages"][-1]["content"] for request in upstream.requests)
    assert [one["custom_id"] for one in found] == NAMES
    assert set(asked) == set(NAMES)
    # Only what was under way, or not yet stored, when a kill came has been asked for again.
    assert sum(asked.values()) <= REQUESTS + kills * 120
    await billed(Store(Settings(data_dir=data, database_url=database), Clock()), found)


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
async def test_two_processes_share_a_batch(tmp_path: Path, database: str) -> None:
    """Both work on it; one is killed in the middle and the other ends it alone."""
    data = tmp_path / "data"
    env = {
        "HUBROUTE_DATABASE_URL": database,
        "HUBROUTE_DEMO": "off",
        "HUBROUTE_BATCH_CONCURRENCY": "4",
        "HUBROUTE_BATCH_LEASE_SECONDS": "4",
    }
    owner = (await asyncio.to_thread(answer, data, "keys", "create", "owner", "--scopes", "*", **env))["key"]
    with serving(data, **env) as first, serving(data, **env) as second:
        async with AsyncExitStack() as stack:
            upstream = await stack.enter_async_context(FaultUpstream())
            upstream.answer(when_both(upstream))
            sdk = await stack.enter_async_context(client(first, owner))
            await connected(first, owner, upstream)
            batch_id = await begun(sdk, map(line, NAMES))
            async with asyncio.timeout(LIMIT):
                while len(upstream.requests) < REQUESTS // 2:
                    await asyncio.sleep(0.01)
            second.process.kill()
            batch = await ended(sdk, batch_id, LIMIT)
            found = await lines_of(sdk, batch.output_file_id)
            assert (batch.status, batch.request_counts.completed) == ("completed", REQUESTS)
            assert [one["custom_id"] for one in found] == NAMES
            assert await asyncio.to_thread(first.stop) == 0
    await billed(Store(Settings(data_dir=data, database_url=database), Clock()), found)
