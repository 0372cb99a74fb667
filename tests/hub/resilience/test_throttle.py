"""The request queue of a connection (routing.md 3.6): order, limits, bounded waits, and what it learns."""

from __future__ import annotations

import asyncio
import itertools
import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.clock import Clock
from hub.errors import RateLimited
from hub.preferences import RequestQueue
from hub.records import NO_RULES, ConnectionRules
from hub.resilience import throttle as module
from hub.resilience.throttle import Gate, Limits, LineStatus, Pace, Throttle, limits_for
from tests.fakes.clock import Still

if TYPE_CHECKING:
    from hub.resilience.throttle import Ticket

pytestmark = pytest.mark.anyio
ONE = Limits(concurrent=1, max_wait=5.0)


async def parked(throttle: Throttle, count: int, name: str = "c") -> None:
    """Until so many calls wait."""
    async with asyncio.timeout(2):
        while throttle.status()[name].queued != count:
            await asyncio.sleep(0)


@given(
    concurrent=st.integers(0, 3),
    per_minute=st.integers(0, 5),
    spacing=st.sampled_from([0.0, 0.5, 10.0]),
    steps=st.lists(st.tuples(st.sampled_from(["start", "finish", "wait"]), st.floats(0, 40)), max_size=60),
)
def test_no_limit_is_ever_passed(concurrent: int, per_minute: int, spacing: float, steps: list[tuple[str, float]]) -> None:
    pace, limits, now = Pace(), Limits(concurrent, per_minute, spacing), 1000.0
    starts: list[float] = []
    for what, seconds in steps:
        ready = pace.ready_at(limits, now)
        assert ready >= now
        if what == "wait":
            now += seconds
        elif what == "finish" and pace.running:
            pace.finish()
        elif what == "start" and ready < math.inf:
            now = ready
            pace.start(limits, now)
            starts.append(now)
        assert not concurrent or pace.running <= concurrent
    for earlier, later in itertools.pairwise(starts):
        assert later - earlier >= spacing - 1e-6
    if per_minute:
        assert all(later - earlier >= 60 - 1e-6 for earlier, later in zip(starts, starts[per_minute:], strict=False))


@given(limit=st.integers(-1, 200), remaining=st.integers(-5, 200), left=st.floats(-10, 300))
def test_what_is_learned_never_stops_a_line_for_longer_than_the_reset(limit: int, remaining: int, left: float) -> None:
    pace = Pace()
    pace.start(Limits(), 100.0)
    pace.learn(limit, remaining, left, 100.0)
    assert 100.0 <= pace.ready_at(Limits(), 100.0) <= 100.0 + max(0.0, left)


def test_little_left_is_spread_until_the_reset_and_much_left_lifts_the_pace() -> None:
    pace, limits = Pace(), Limits(per_minute=2, spacing=1.0)
    pace.start(limits, 0.0)
    pace.learn(100, 5, 50.0, 0.0)
    assert pace.ready_at(Limits(), 0.0) == 10.0
    pace.learn(100, 0, 50.0, 0.0)
    assert pace.ready_at(Limits(), 0.0) == 50.0
    pace.learn(100, 30, 50.0, 0.0)
    assert pace.ready_at(limits, 0.0) == 1.0, "between a tenth and a half the owner's pace counts"
    pace.start(limits, 1.0)
    assert pace.ready_at(limits, 2.0) == 60.0
    pace.learn(100, 80, 500.0, 2.0)
    assert pace.ready_at(limits, 2.0) == 2.0
    assert pace.ready_at(limits, 62.0) == 62.0
    assert pace.ready_at(Limits(concurrent=2), 2.0) == math.inf, "how many run at once is never learned away"


def test_a_very_high_rate_is_kept_by_spacing() -> None:
    pace, limits = Pace(), Limits(per_minute=60_000)
    pace.start(limits, 0.0)
    assert pace.ready_at(limits, 0.0) == 0.001


@pytest.mark.parametrize(
    ("rules", "auto", "profile", "limits"),
    [
        (NO_RULES, False, "apikey", None),
        (ConnectionRules(max_concurrent=4), False, "apikey", Limits(concurrent=4, max_wait=15.0)),
        (ConnectionRules(rate_limit=True), False, "oauth", Limits(10, 100, 0.2, 15.0)),
        (ConnectionRules(rate_limit=True, max_concurrent=4), False, "apikey", Limits(4, 100, 0.2, 15.0)),
        (NO_RULES, True, "apikey", Limits(10, 100, 0.2, 15.0)),
        (NO_RULES, True, "local", None),
    ],
)
def test_whose_calls_wait_in_line(rules: ConnectionRules, auto: bool, profile: str, limits: Limits | None) -> None:
    assert limits_for(rules, RequestQueue(auto_enable_api_key_providers=auto), profile) == limits  # type: ignore[arg-type]


async def test_who_comes_first_is_served_first_and_a_place_is_given_back_once() -> None:
    throttle, order = Throttle(Clock()), list[int]()
    first = await throttle.slot("c", ONE)

    async def call(number: int) -> None:
        with await throttle.slot("c", ONE):
            order.append(number)
            assert throttle.status()["c"].running == 1

    calls = [asyncio.create_task(call(number)) for number in range(5)]
    await parked(throttle, 5)
    assert throttle.status() == {"c": LineStatus(queued=5, running=1, done=0)}
    other = await throttle.slot("d", ONE)
    first.release()
    first.release()
    await asyncio.gather(*calls)
    assert order == [0, 1, 2, 3, 4]
    assert throttle.status() == {"c": LineStatus(0, 0, 6), "d": LineStatus(0, 1, 0)}
    other.release()


async def test_the_longest_wait_limits_the_waiting_and_not_the_call() -> None:
    """routing.md 3.6 'Better': a long generation is not cut, a long queue is."""
    throttle = Throttle(Clock())
    short = Limits(concurrent=1, max_wait=0.02)
    running = await throttle.slot("c", short)
    with pytest.raises(RateLimited) as refused:
        await throttle.slot("c", short)
    assert (refused.value.code, refused.value.retry_after) == ("queue_timeout", 1.0)
    assert throttle.status()["c"] == LineStatus(0, 1, 0)
    running.release()
    (await throttle.slot("c", short)).release()


async def test_a_wait_that_is_known_to_be_too_long_is_refused_at_once() -> None:
    throttle = Throttle(Still())
    limits = Limits(per_minute=1, max_wait=15.0)
    (await throttle.slot("c", limits)).release()
    with pytest.raises(RateLimited) as refused:
        await throttle.slot("c", limits)
    assert (refused.value.code, refused.value.retry_after) == ("queue_timeout", 60.0)


async def test_more_than_may_wait_are_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 1)
    throttle = Throttle(Clock())
    running = await throttle.slot("c", ONE)
    waiting = asyncio.create_task(throttle.slot("c", ONE))
    await parked(throttle, 1)
    with pytest.raises(RateLimited, match="wait for connection c") as refused:
        await throttle.slot("c", ONE)
    assert refused.value.code == "queue_full"
    running.release()
    (await waiting).release()


async def test_one_who_leaves_frees_the_place() -> None:
    """REL-06: whether the turn had come at that very moment or not."""
    throttle = Throttle(Clock())
    running = await throttle.slot("c", ONE)
    gone, stays = (asyncio.create_task(throttle.slot("c", ONE)) for _ in range(2))
    await parked(throttle, 2)
    gone.cancel()
    await asyncio.wait((gone,))
    assert throttle.status()["c"].queued == 1
    late = asyncio.create_task(throttle.slot("c", ONE))
    await parked(throttle, 2)
    running.release()  # lets `stays` in
    stays.cancel()  # before it can see that
    with pytest.raises(asyncio.CancelledError):
        await stays
    async with asyncio.timeout(2):
        (await late).release()
    assert throttle.status()["c"] == LineStatus(0, 0, 2)


async def test_a_line_opens_by_the_clock() -> None:
    throttle = Throttle(Clock())
    limits = Limits(spacing=0.02, max_wait=5.0)
    clock, starts = Clock(), list[float]()

    async def call() -> None:
        with await throttle.slot("c", limits):
            starts.append(clock.monotonic())

    await asyncio.gather(*(call() for _ in range(4)))
    assert all(later - earlier >= 0.019 for earlier, later in itertools.pairwise(starts))


async def test_a_refused_call_drops_nobody_who_waits() -> None:
    """routing.md 3.6 'Better': a 429 slows the line, the work in it stays."""
    clock = Clock()
    throttle = Throttle(clock)
    running = await throttle.slot("c", ONE)
    waiting = [asyncio.create_task(throttle.slot("c", ONE)) for _ in range(3)]
    await parked(throttle, 3)
    throttle.learn("c", 100, 0, clock.now_ms() + 60_000)
    running.release()
    await asyncio.sleep(0)
    assert throttle.status()["c"] == LineStatus(3, 0, 1)
    throttle.learn("c", 100, 100, clock.now_ms() + 60_000)
    for one in waiting:
        ticket: Ticket = await one
        ticket.release()
    assert throttle.status()["c"].done == 4


async def test_what_is_said_of_a_connection_without_a_line_is_not_kept() -> None:
    throttle = Throttle(Clock())
    throttle.learn("c", 100, 0, 0)
    assert throttle.status() == {}
    (await throttle.slot("c", ONE)).release()
    throttle.learn("c", 100, 0, None)
    (await throttle.slot("c", ONE)).release()


async def test_idle_lines_are_let_go_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_LINES", 10)
    throttle = Throttle(Clock())
    busy = await throttle.slot("busy", ONE)
    for number in range(30):
        (await throttle.slot(f"c{number}", ONE)).release()
    assert len(throttle.status()) <= 10
    assert "busy" in throttle.status()
    busy.release()


async def test_a_gate_lets_in_as_many_as_it_has_places() -> None:
    gate = Gate(Clock(), 2, name="north/m")
    one, _ = await gate.enter(1.0), await gate.enter(1.0)
    with pytest.raises(RateLimited, match="north/m"):
        await gate.enter(0.01)
    waiting = asyncio.create_task(gate.enter(5.0))
    await asyncio.sleep(0)
    one.release()
    await waiting
    assert gate.status == LineStatus(0, 2, 1)
