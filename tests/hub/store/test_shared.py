"""Several processes on one PostgreSQL database (D24): changes are seen within a second, a lost server is survived."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from hub.records import TestStatus
from hub.store import Store, schema
from tests.fakes.database import SERVER, make_settings, postgres_database
from tests.hub.store.rows import audit_row, usage_row

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.hub.store.conftest import HeldClock

pytestmark = pytest.mark.anyio


async def within_a_second(condition: Any) -> None:
    async with asyncio.timeout(1.0):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.fixture
async def pair(tmp_path: Path, postgres_url: str, clock: HeldClock) -> AsyncIterator[tuple[Store, Store]]:
    """Two hubs that start at the same moment."""
    async with _both(tmp_path, postgres_url, clock) as both:
        yield both


@asynccontextmanager
async def _both(tmp_path: Path, url: str, clock: HeldClock) -> AsyncIterator[tuple[Store, Store]]:
    first, second = (Store(make_settings(tmp_path, url), clock) for _ in range(2))
    await asyncio.gather(first.open(), second.open())
    yield first, second
    await asyncio.gather(first.close(), second.close())


async def test_two_that_start_at_once_migrate_an_empty_database_once(tmp_path: Path, clock: HeldClock) -> None:
    with postgres_database(empty=True) as url:
        async with _both(tmp_path, url, clock) as (first, second):
            _, token = await first.keys.create("a", grants=["chat"])
            await within_a_second(lambda: second.keys.find(token) is not None)
            assert [(await one.health())["schema"] for one in (first, second)] == [schema.HEAD] * 2


async def test_changes_of_one_are_seen_by_the_other(pair: tuple[Store, Store]) -> None:
    first, second = pair
    heard: list[bool] = []
    second.on_change(lambda: heard.append(True))
    key, token = await first.keys.create("a", grants=["chat"])
    made = await first.connections.create(provider="north", name="a", secret="sealed")
    await first.values.set("x", [1])
    await within_a_second(lambda: second.values.get("x") == [1])
    assert heard
    assert second.keys.find(token) is not None
    assert second.connections.get(made.id).secret.reveal() == "sealed"
    await first.keys.revoke(key.id)
    await within_a_second(lambda: second.keys.find(token) is None)
    await second.connections.delete(made.id)
    await within_a_second(lambda: not first.connections.all())


async def test_cooldowns_are_shared_and_own_marks_are_kept(pair: tuple[Store, Store]) -> None:
    first, second = pair
    one = await first.connections.create(provider="north", name="one", secret="k")
    two = await first.connections.create(provider="north", name="two", secret="k")
    await within_a_second(lambda: len(second.connections.all()) == 2)
    second.connections.mark(two.id, backoff_level=3)
    first.connections.mark(one.id, test_status=TestStatus.UNAVAILABLE, cooldown_until=99)
    await within_a_second(lambda: second.connections.get(one.id).cooldown_until == 99)
    await within_a_second(lambda: first.connections.get(two.id).backoff_level == 3)
    assert second.connections.get(two.id).backoff_level == 3


async def test_changes_at_once_on_both_sides_all_arrive(pair: tuple[Store, Store]) -> None:
    first, second = pair
    await asyncio.gather(*(side.keys.create(f"k{number}", grants=["chat"]) for number in range(10) for side in pair))
    await within_a_second(lambda: len(first.keys.all()) == len(second.keys.all()) == 20)


async def test_one_audit_chain_from_two_writers(pair: tuple[Store, Store]) -> None:
    """SEC-81: processes take turns at the end of the chain."""
    for number in range(200):
        pair[number % 2].audit.add(audit_row(number))
        pair[number % 2].usage.add(usage_row(number))
        if number % 20 == 0:
            await asyncio.gather(*(side.flush() for side in pair))
    await asyncio.gather(*(side.flush() for side in pair))
    assert (await pair[0].audit.page())[1] == 200
    assert await pair[1].audit.verify() is None


async def test_a_stop_closes_the_connection_of_a_read_nobody_waits_for(tmp_path: Path, postgres_url: str, clock: HeldClock) -> None:
    """REL-17: a cancelled caller leaves a reader's thread at work, whose connection is closed, too."""
    store = Store(make_settings(tmp_path, postgres_url), clock)
    await store.open()
    read = asyncio.create_task(store._database.read(lambda link: link.run("SELECT pg_sleep(0.3)")))
    await asyncio.sleep(0.1)
    read.cancel()
    await store.close()
    name = postgres_url.rsplit("/", 1)[1]
    with psycopg.connect(f"{SERVER}/postgres", autocommit=True) as server:
        async with asyncio.timeout(1.0):
            while server.execute("SELECT 1 FROM pg_stat_activity WHERE datname = %s", (name,)).fetchone():
                await asyncio.sleep(0.01)


async def test_lost_connections_are_replaced(pair: tuple[Store, Store], postgres_url: str) -> None:
    """REL-17: the server drops every connection; the next work runs on new ones."""
    first, _ = pair
    _, token = await first.keys.create("a", grants=["chat"])
    await first.health()
    name = postgres_url.rsplit("/", 1)[1]
    with psycopg.connect(f"{SERVER}/postgres", autocommit=True) as server:
        server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()", (name,))
    first.usage.add(usage_row())
    await first.keys.create("b", grants=["chat"])
    assert (await first.health())["ok"] is True
    assert (await first.usage.totals(since=0))["requests"] == 1
    assert first.keys.find(token) is not None
    assert len(first.keys.all()) == 2
