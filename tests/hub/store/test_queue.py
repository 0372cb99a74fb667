"""The write-behind queue: windows, limits, failing databases, bad rows."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from hub.errors import Unavailable
from hub.store import Store
from hub.store.database import Link
from tests.fakes.database import make_settings
from tests.hub.store.rows import audit_row, decision, usage_row

if TYPE_CHECKING:
    from pathlib import Path

    from tests.hub.store.conftest import HeldClock

pytestmark = pytest.mark.anyio


async def until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.002)


class Failing:
    """Makes the writer's transactions fail until it is mended; with ``late`` they fail after their commit."""

    def __init__(self, store: Store, monkeypatch: pytest.MonkeyPatch, *, late: bool = False) -> None:
        self.broken = True
        self.calls = 0
        original = store._database.write

        async def write(work: Any, *, durable: bool = False) -> Any:
            self.calls += self.broken
            if not self.broken:
                return await original(work, durable=durable)
            if late:
                await original(work, durable=durable)
            raise Unavailable("the disk is full")

        monkeypatch.setattr(store._database, "write", write)


async def test_rows_are_stored_within_the_window_without_a_flush(store: Store) -> None:
    store.usage.add(usage_row())
    store.audit.add(audit_row())
    assert store.queue.depth == 2
    await until(lambda: store.queue.depth == 0)
    assert len(await store._database.read(lambda link: link.run("SELECT id FROM usage"))) == 1


async def test_many_rows_are_all_stored_in_order(store: Store) -> None:
    for number in range(4_321):
        store.usage.add(usage_row(number))
        store.audit.add(audit_row(number))
    await store.flush()
    assert (await store.usage.totals(since=0))["requests"] == 4_321
    rows = await store._database.read(lambda link: link.run("SELECT request_id FROM audit_log ORDER BY seq"))
    assert [row["request_id"] for row in rows] == [f"req_{number}" for number in range(4_321)]
    assert await store.audit.verify() is None


async def test_a_full_queue_makes_admission_wait(tmp_path: Path, clock: HeldClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """SEC B8: the queue is bounded; nothing is dropped."""
    store = Store(make_settings(tmp_path, queue_rows=100, flush_ms=5000), clock)
    await store.open()
    await asyncio.wait_for(store.queue.room(), 1)
    failing = Failing(store, monkeypatch)
    for number in range(100):
        store.usage.add(usage_row(number))
    waiting = asyncio.create_task(store.queue.room())
    with pytest.raises(Unavailable):
        await store.flush()
    assert not waiting.done()
    failing.broken = False
    await store.flush()
    await asyncio.wait_for(waiting, 1)
    await store.close()


@pytest.mark.parametrize("late", [False, True])
async def test_a_failing_database_keeps_the_rows_and_stores_each_once(store: Store, monkeypatch: pytest.MonkeyPatch, late: bool) -> None:
    """SEC-82, and a commit that only looked lost: nothing is lost, nothing is doubled, the chain holds."""
    failing = Failing(store, monkeypatch, late=late)
    for number in range(3):
        store.usage.add(usage_row(number))
        store.audit.add(audit_row(number))
        store.decisions.add(decision(number))
    with pytest.raises(Unavailable):
        await store.flush()
    assert (store.queue.depth, store.queue.failures) == (9, 1)
    assert (await store.health())["failures"] == 1
    assert (await store.decisions.get("req_1")) == decision(1)
    store.usage.add(usage_row(3))
    failing.broken = False
    await until(lambda: store.queue.depth == 0)
    assert (store.queue.dropped, store.queue.failures) == (0, 0)
    rows, total = await store.usage.page()
    assert total == 4
    assert [row.request_id for row in rows] == ["req_3", "req_2", "req_1", "req_0"]
    assert (await store.audit.page())[1] == 3
    assert await store.audit.verify() is None


async def test_a_row_that_cannot_be_stored_is_counted_and_spares_the_others(store: Store) -> None:
    store.usage.add(usage_row(1))
    store.usage.add(usage_row(2, model=None))
    store.audit.add(audit_row(1))
    await store.flush()
    assert (store.queue.depth, store.queue.dropped) == (0, 1)
    assert (await store.usage.page())[1] == 1
    assert (await store.audit.page())[1] == 1


async def test_hostile_values_are_stored_mended(store: Store) -> None:
    store.usage.add(usage_row(1, model="a\x00b\ud800", latency_ms=10**30, cost=float("nan")))
    store.decisions.add(decision(1, requested_model="x\ud800", resolution="\x00"))
    store.audit.add(audit_row(1, detail="line\nline\x00"))
    await store.flush()
    assert store.queue.dropped == 0
    row = (await store.usage.page())[0][0]
    assert (row.model, row.latency_ms, row.cost) == ("a\ufffdb?", 2**40, None)
    found = await store.decisions.get("req_1")
    assert found is not None
    assert found.requested_model == "x?"
    assert (await store.audit.page())[0][0].detail == "line\nline\ufffd"


async def test_a_stop_while_the_database_is_away_counts_what_is_lost(
    tmp_path: Path, clock: HeldClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(make_settings(tmp_path), clock)
    await store.open()
    failing = Failing(store, monkeypatch)
    store.usage.add(usage_row())
    await store.close()
    assert (failing.calls, store.queue.dropped) == (3, 1)


async def test_a_closed_store_has_stored_everything(tmp_path: Path, clock: HeldClock) -> None:
    settings = make_settings(tmp_path, flush_ms=5000)
    store = Store(settings, clock)
    await store.open()
    store.usage.add(usage_row())
    await store.close()
    await store.close()
    again = Store(settings, clock)
    await again.open()
    assert await again._database.read(count) == 1
    await again.close()


def count(link: Link) -> int:
    return len(link.run("SELECT id FROM usage"))
