"""Kept answers and executions by key on both databases, seen from one process and from two."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from hub.caching.cache import ResponseStore
from hub.caching.fingerprint import Fingerprint
from hub.caching.idempotency import Execution, Idempotency, Outcome
from hub.chat import Usage
from hub.engine.answers import StoredAnswer
from hub.errors import Conflict, Unprocessable
from hub.preferences import ResponseCache
from hub.store import Store
from hub.store.replays import GONE_AFTER_MS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from hub.settings import Settings
    from tests.hub.store.conftest import HeldClock

    Caches = Callable[..., ResponseStore]

pytestmark = pytest.mark.anyio
HOUR = 3_600_000
ANSWER = StoredAnswer(provider="p", model="m", usage=Usage(input=3, output=4), created=1, dialect="openai", body=b'{"id":"\xc3\xa9"}')


def _key(name: str = "k", *, owner: str = "key:a", check: str = "c", model: str = "m") -> Fingerprint:
    return Fingerprint(name, check, "b", owner, model)


@pytest.fixture
async def caches(store: Store, clock: HeldClock) -> AsyncIterator[Callable[..., ResponseStore]]:
    """Makes caches over a store, with these limits."""
    made: list[ResponseStore] = []

    def make(over: Store, **limits: object) -> ResponseStore:
        settings = ResponseCache.model_validate(limits)
        made.append(ResponseStore(over.responses, over.state, clock, lambda: settings, over.replays.process))
        return made[-1]

    yield make
    for cache in made:
        await cache.close()


@pytest.fixture
async def other(settings: Settings, clock: HeldClock) -> AsyncIterator[Store]:
    """A second process on the same database."""
    if not settings.postgres:
        pytest.skip("SQLite has one process")
    made = Store(settings, clock)
    await made.open()
    yield made
    await made.close()


async def test_answers_come_back_from_disk_to_their_owner_only(store: Store, clock: HeldClock, caches: Caches) -> None:
    """REL-25: an equal first digest is not enough, on disk as in memory."""
    caches(store).put(_key(), ANSWER)
    await store.flush()
    later = caches(store)
    await later.open()
    assert await later.find(_key(owner="key:b")) is None
    assert await later.find(_key(check="d")) is None
    assert await later.find(_key()) == ANSWER
    assert await later.find(_key(owner="key:b")) is None
    assert await later.find(_key(check="d")) is None
    assert (await later.sizes())[0] == 1


async def test_a_miss_costs_no_database_trip(store: Store, clock: HeldClock, caches: Caches, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = caches(store)
    await cache.open()

    async def refuse(_: str) -> None:
        raise AssertionError("the database was asked")

    monkeypatch.setattr(store.responses, "find", refuse)
    assert await cache.find(_key()) is None
    await cache.close()


async def test_answers_expire_and_are_pruned_in_batches(store: Store, clock: HeldClock, caches: Caches) -> None:
    cache = caches(store, ttlMs=1000, memoryEntries=2)
    for number in range(7):
        cache.put(_key(f"k{number}"), ANSWER)
    assert (len(cache), cache.counters.evictions) == (2, 5)
    await store.flush()
    clock.now += 1001
    assert len(await store.responses.prune(batch=3)) == 7
    fresh = caches(store)
    await fresh.open()
    assert await fresh.find(_key("k0")) is None


async def test_the_oldest_make_room_on_disk(store: Store, clock: HeldClock, caches: Caches) -> None:
    cache = caches(store)
    for number in range(5):
        clock.now += 1
        cache.put(_key(f"k{number}"), ANSWER)
    await store.flush()
    assert sorted(await store.responses.prune(most=2)) == ["k0", "k1", "k2"]


async def test_memory_is_bounded_in_bytes(store: Store, clock: HeldClock, caches: Caches) -> None:
    cache = caches(store, memoryBytes=3 * ANSWER.size, disk=False)
    for number in range(10):
        cache.put(_key(f"k{number}"), ANSWER)
    assert (len(cache), cache.bytes) == (3, 3 * ANSWER.size)
    assert await cache.sizes() == (0, 0)


async def test_flushing_by_signature_model_age_and_all(store: Store, clock: HeldClock, caches: Caches) -> None:
    cache = caches(store)
    cache.put(_key("old"), ANSWER)
    clock.now += 10_000
    for name, model in (("a", "m"), ("b", "m"), ("c", "n"), ("d", "n")):
        cache.put(_key(name, model=model), ANSWER)
    assert await cache.flush(older_than_ms=5000) == 1
    assert await cache.flush(signature="a") == 1
    assert await cache.flush(model="m") == 1
    assert await cache.flush() == 2
    assert await cache.sizes() == (0, 0)
    assert await cache.find(_key("c", model="n")) is None


async def test_processes_share_answers_and_flushes(store: Store, other: Store, caches: Caches) -> None:
    one, two = caches(store), caches(other)
    for cache in (one, two):
        await cache.open()
    other.on_change(two.follow)
    one.put(_key(), ANSWER)
    await store.flush()
    async with asyncio.timeout(5):
        while await two.find(_key()) is None:
            await asyncio.sleep(0.01)
        await one.flush()
        await store.flush()
        while await two.find(_key()) is not None:
            await asyncio.sleep(0.02)
    one.miss()
    await store.flush()
    assert (await two.totals()).misses == 1


async def test_counters_go_on_after_a_restart(store: Store, clock: HeldClock, caches: Caches) -> None:
    cache = caches(store)
    cache.hit(ANSWER)
    cache.hit(ANSWER)
    await cache.close()
    await store.flush()
    rows = await store.responses.counters("cache")
    assert [(row["hits"], row["tokens_saved"]) for row in rows.values()] == [(2, 14)]


# -- executions


async def test_an_execution_is_one_s_until_it_is_done(store: Store, clock: HeldClock) -> None:
    keys = Idempotency(store.replays, clock, wait=0.05)
    begun = await keys.begin("n", "r", keep_ms=HOUR)
    assert isinstance(begun, Execution)
    with pytest.raises(Conflict):
        await keys.begin("n", "r", keep_ms=HOUR)
    with pytest.raises(Unprocessable):
        await keys.begin("n", "other", keep_ms=HOUR)
    await keys.done(begun, Outcome(answer=ANSWER), keep_ms=HOUR)
    assert await Idempotency(store.replays, clock).begin("n", "r", keep_ms=HOUR) == Outcome(answer=ANSWER)
    with pytest.raises(Unprocessable):
        await Idempotency(store.replays, clock).begin("n", "other", keep_ms=HOUR)


async def test_an_execution_that_failed_leaves_its_key_free_and_cannot_take_it_back(store: Store, clock: HeldClock) -> None:
    keys = Idempotency(store.replays, clock)
    first = await keys.begin("n", "r", keep_ms=HOUR)
    assert isinstance(first, Execution)
    keys.release(first)
    second = await keys.begin("n", "changed", keep_ms=HOUR)
    assert isinstance(second, Execution)
    await keys.close()
    await keys.done(first, Outcome(answer=ANSWER), keep_ms=HOUR)
    await keys.done(second, Outcome(why="second"), keep_ms=HOUR)
    assert await keys.begin("n", "changed", keep_ms=HOUR) == Outcome(why="second")


async def test_keys_are_forgotten_after_their_time(store: Store, clock: HeldClock) -> None:
    """REL-14: expired."""
    keys = Idempotency(store.replays, clock)
    for name in ("n", "o"):
        begun = await keys.begin(name, "r", keep_ms=HOUR)
        assert isinstance(begun, Execution)
        await keys.done(begun, Outcome(answer=ANSWER), keep_ms=HOUR)
    assert await store.replays.count() == 2
    clock.now += HOUR + 1
    assert isinstance(await keys.begin("n", "other", keep_ms=HOUR), Execution)
    assert await store.replays.prune(batch=1) == 1
    assert await store.replays.count() == 1


async def test_two_processes_run_a_key_once(store: Store, other: Store, clock: HeldClock) -> None:
    """REL-14 on a shared database: the insert decides; the other process waits for what comes of it."""
    await store.replays.beat()
    await other.replays.beat()
    one, two = Idempotency(store.replays, clock), Idempotency(other.replays, clock)
    begun = await one.begin("n", "r", keep_ms=HOUR)
    assert isinstance(begun, Execution)
    waiting = asyncio.create_task(two.begin("n", "r", keep_ms=HOUR))
    with pytest.raises(Unprocessable):
        await Idempotency(other.replays, clock).begin("n", "other", keep_ms=HOUR)
    await one.done(begun, Outcome(answer=ANSWER), keep_ms=HOUR)
    assert await waiting == Outcome(answer=ANSWER)


async def test_a_process_that_died_leaves_its_executions_to_others(store: Store, other: Store, clock: HeldClock) -> None:
    await store.replays.beat()
    await other.replays.beat()
    assert isinstance(await Idempotency(store.replays, clock).begin("n", "r", keep_ms=HOUR), Execution)
    two = Idempotency(other.replays, clock, wait=0.01)
    with pytest.raises(Conflict):
        await two.begin("n", "r", keep_ms=HOUR)
    clock.now += GONE_AFTER_MS + 1
    await other.replays.beat()
    assert isinstance(await two.begin("n", "r", keep_ms=HOUR), Execution)
