"""Limits of a key: budgets by the clock, windows that move, sessions, hours; kept over a restart and across processes (routing.md 6.6)."""

from __future__ import annotations

import asyncio
import timeit
from collections import deque
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.access.limits import Limits, Row
from hub.call import Hub
from hub.errors import Forbidden, HubError, RateLimited
from hub.records import Caller, KeyLimits, Schedule
from hub.settings import Settings
from tests.fakes.clock import Still
from tests.fakes.database import make_settings, postgres_database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.anyio

HOUR_MS, DAY_MS = 3_600_000, 86_400_000


class Drawer:
    """The store's state without a database: what was put, by id."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}

    def put(self, kind: str, identity: str, value: Row, *, until: int | None = None) -> None:
        self.rows[identity] = value

    def drop(self, kind: str, identity: str) -> None:
        self.rows.pop(identity, None)

    def take(self, kind: str, type_: Any) -> dict[str, tuple[Row, int | None]]:
        return {identity: (row, None) for identity, row in self.rows.items()}


class Bench:
    """Limits with a clock in the hand, and a caller."""

    def __init__(self, *, drawer: Drawer | None = None, clock: Still | None = None, **limits: Any) -> None:
        self.clock = clock or Still()
        self.drawer: Any = drawer or Drawer()
        self.caller = Caller(key_id="key_1", name="k", scopes=frozenset({"chat"}), limits=KeyLimits(**limits))
        self.limits = Limits(self.drawer, self.clock)
        self.limits.open()

    def passes(self, session: str = "") -> bool:
        try:
            self.limits.check(self.caller, session)
        except HubError:
            return False
        return True

    def refused(self, session: str = "") -> HubError:
        with pytest.raises(HubError) as caught:
            self.limits.check(self.caller, session)
        return caught.value


async def test_a_budget_ends_with_the_clock_and_says_when_it_begins_anew() -> None:
    bench = Bench(hourly=2, daily=3)
    assert [bench.passes() for _ in range(3)] == [True, True, False]
    error = bench.refused()
    assert isinstance(error, RateLimited)
    assert (error.status, error.code) == (429, "key_budget_exceeded")
    assert error.retry_after == (HOUR_MS - bench.clock.now_ms() % HOUR_MS) / 1000
    assert "2 requests an hour" in error.message
    bench.clock.advance(error.retry_after or 0)
    assert [bench.passes() for _ in range(2)] == [True, False]
    error = bench.refused()
    assert error.retry_after == (DAY_MS - bench.clock.now_ms() % DAY_MS) / 1000
    bench.clock.advance(error.retry_after or 0)
    assert bench.passes()


async def test_what_is_refused_is_not_counted() -> None:
    bench = Bench(per_minute=2, daily=10)
    for _ in range(5):
        bench.passes()
    assert bench.limits.used("key_1") == (2, 2)


@given(st.integers(1, 5), st.lists(st.floats(0, 40), max_size=60))
def test_a_moving_window_is_exact(most: int, waits: list[float]) -> None:
    """Against the plain definition: never more than so many within any 60 seconds, and never fewer than could be."""

    async def run() -> None:
        bench = Bench(per_minute=most)
        passed: deque[float] = deque()
        for wait in waits:
            bench.clock.advance(wait)
            now = bench.clock.monotonic()
            expected = sum(moment > now - 60 for moment in passed) < most
            assert bench.passes() is expected
            if expected:
                passed.append(now)

    asyncio.run(run())


async def test_a_window_says_when_the_next_request_is_free() -> None:
    bench = Bench(per_minute=2)
    bench.passes()
    bench.clock.advance(20)
    bench.passes()
    error = bench.refused()
    assert (error.code, error.retry_after) == ("key_rate_exceeded", 40)
    bench.clock.advance(40)
    assert bench.passes()
    day = Bench(per_day=1)
    assert day.passes()
    assert day.refused().retry_after == 86_400


async def test_sessions_at_a_time() -> None:
    bench = Bench(sessions=2)
    assert [bench.passes(name) for name in ("a", "b", "c", "a")] == [True, True, False, True]
    bench.clock.advance(1000)
    assert bench.passes("b")
    error = bench.refused("c")
    assert (error.status, error.code, error.retry_after) == (429, "session_limit_exceeded", 800)
    bench.clock.advance(800)  # a is idle for 30 minutes now
    assert bench.passes("c")
    assert not bench.passes("a")


async def test_requests_without_a_session_are_one_session() -> None:
    """Else leaving the header out would be the way around the limit."""
    bench = Bench(sessions=1)
    assert [bench.passes(name) for name in ("", "", "a")] == [True, True, False]


async def test_hours_refuse_with_403_and_the_next_opening() -> None:
    bench = Bench(schedule=Schedule(days=(5,), start="09:00", until="10:00"))  # the clock stands at a Friday, 08:00 UTC
    error = bench.refused()
    assert isinstance(error, Forbidden)
    assert (error.status, error.code, error.data) == (403, "key_schedule_closed", {"opensAt": "2027-01-15T09:00:00.000Z"})
    bench.clock.advance(error.retry_after or 0)
    assert bench.passes()
    off = Bench(schedule=Schedule(enabled=False, days=(5,), start="09:00", until="10:00"))
    assert off.passes()


async def test_locked_and_reset() -> None:
    bench = Bench(daily=1, sessions=1)
    assert bench.passes("a")
    assert not bench.passes("a")
    bench.limits.reset("key_1")
    assert bench.passes("b")
    assert bench.limits.used("key_1") == (1, 1)


async def test_a_restart_keeps_the_counters() -> None:
    first = Bench(hourly=5, daily=5, per_minute=3, sessions=1)
    assert [first.passes("a") for _ in range(3)] == [True, True, True]
    await first.limits.close()
    second = Bench(drawer=first.drawer, clock=first.clock, hourly=5, daily=5, per_minute=3, sessions=1)
    assert second.refused("a").code == "key_rate_exceeded"
    second.clock.advance(62)
    assert second.refused("b").code == "session_limit_exceeded"
    assert [second.passes("a") for _ in range(3)] == [True, True, False]
    assert second.limits.used("key_1") == (5, 5)


async def test_after_a_restart_a_window_never_lets_more_through() -> None:
    """What was counted before is known to the second, and counts until all of that second is out of the window."""
    first = Bench(per_minute=1)
    first.clock.advance(0.9)
    assert first.passes()
    await first.limits.close()
    second = Bench(drawer=first.drawer, clock=first.clock, per_minute=1)
    second.clock.advance(60)
    assert not second.passes()
    second.clock.advance(1.1)
    assert second.passes()


async def test_a_reset_reaches_a_process_that_still_counts() -> None:
    drawer, clock = Drawer(), Still()
    one, two = Bench(drawer=drawer, clock=clock, daily=2), Bench(drawer=drawer, clock=clock, daily=2)
    assert [two.passes(), two.passes(), two.passes()] == [True, True, False]
    await two.limits.close()
    clock.advance(1)
    one.limits.absorb(stored(drawer))
    assert not one.passes()
    one.limits.reset("key_1")
    two.limits.absorb(stored(drawer))
    clock.advance(1)
    assert one.passes()
    assert two.passes()
    await asyncio.gather(one.limits.close(), two.limits.close())
    one.limits.absorb(stored(drawer))
    assert one.limits.used("key_1") == (2, 2)
    assert not one.passes()


def stored(drawer: Drawer) -> dict[str, str]:
    return {identity: msgspec.json.encode(row).decode() for identity, row in drawer.rows.items()}


async def test_keys_that_are_gone_are_forgotten() -> None:
    bench = Bench(daily=1)
    assert bench.passes()
    bench.limits.refresh([])
    assert bench.passes()


async def test_a_key_without_limits_costs_less_than_a_microsecond() -> None:
    limits = Bench().limits
    caller = Caller(key_id="k", name="k", scopes=frozenset(), limits=KeyLimits())
    took = min(timeit.repeat(lambda: limits.check(caller, ""), number=5000, repeat=5)) / 5000
    assert took < 2e-6  # about 0.2 us; generous, for machines under load


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Settings]:
    if request.param == "sqlite":
        yield make_settings(tmp_path)
        return
    with postgres_database() as url:
        yield make_settings(tmp_path, url)


@pytest.fixture
def clock() -> Still:
    return Still()


async def spend(hub: Hub, token: str) -> None:
    hub.limits.check(hub.authenticate(token), "s")


async def test_a_restart_of_the_hub_resets_nothing(settings: Settings, clock: Still) -> None:
    hub = Hub(settings, clock=clock)
    await hub.open()
    _, token = await hub.store.keys.create("a", grants=["chat"], limits=KeyLimits(daily=2, per_day=5))
    await spend(hub, token)
    await spend(hub, token)
    await hub.close()
    hub = Hub(settings, clock=clock)
    await hub.open()
    with pytest.raises(RateLimited, match="2 requests a day"):
        await spend(hub, token)
    await hub.close()


async def test_two_processes_share_a_budget(tmp_path: Path) -> None:
    """The stated bound: what one admits, the others know within about a second."""
    clock = Still()
    with postgres_database() as url:
        one, two = (Hub(make_settings(tmp_path, url), clock=clock) for _ in range(2))
        await asyncio.gather(one.open(), two.open())
        key, token = await one.store.keys.create("a", grants=["chat"], limits=KeyLimits(hourly=3, sessions=1))
        async with asyncio.timeout(2):
            while two.store.keys.find(token) is None:
                await asyncio.sleep(0.01)
        await spend(one, token)
        await spend(one, token)
        async with asyncio.timeout(3):
            while two.limits.used(key.id)[0] < 2:
                await asyncio.sleep(0.01)
        with pytest.raises(RateLimited, match="sessions"):
            two.limits.check(two.authenticate(token), "another")
        await spend(two, token)
        async with asyncio.timeout(3):
            while one.limits.used(key.id)[0] < 3:
                await asyncio.sleep(0.01)
        with pytest.raises(RateLimited, match="3 requests an hour"):
            await spend(one, token)
        clock.advance(1)
        two.limits.reset(key.id)
        async with asyncio.timeout(3):
            while one.limits.used(key.id)[0]:
                await asyncio.sleep(0.01)
        await spend(one, token)
        await asyncio.gather(one.close(), two.close())
