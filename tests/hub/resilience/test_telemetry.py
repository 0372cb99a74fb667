"""Telemetry: what is noted, what routing and reports read, what a restart keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hub.chat import Usage
from hub.engine.inflight import InFlight
from hub.records import Attempt
from hub.resilience.telemetry import MOST_CONNECTIONS, MOST_MODELS, Telemetry
from hub.store import Store
from tests.fakes.clock import Still
from tests.fakes.database import make_settings
from tests.hub.store.rows import usage_row

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from hub.records import UsageRow

pytestmark = pytest.mark.anyio


@pytest.fixture
def clock() -> Still:
    return Still(1_800_000_000_000 - 1_800_000_000_000 % 3_600_000)


@pytest.fixture
async def store(tmp_path: Path, clock: Still) -> AsyncIterator[Store]:
    made = Store(make_settings(tmp_path), clock)
    await made.open()
    yield made
    await made.close()


def made(store: Store, clock: Still) -> Telemetry:
    return Telemetry(clock, hours=store.latency, state=store.state)


def row(clock: Still, **changes: Any) -> UsageRow:
    return usage_row(at=clock.now_ms(), **{"latency_ms": 100, "ttft_ms": 20, "usage": Usage(output=8), **changes})


def attempt(connection: str = "con_1", kind: str = "ok", latency: int = 100, **changes: Any) -> Attempt:
    fields: dict[str, Any] = {"provider": "north", "model": "m1", "started_at": 1_800_000_000_000, **changes}
    return Attempt(connection_id=connection, kind=kind, latency_ms=latency, **fields)


async def test_figures_of_a_model_and_its_provider(store: Store, clock: Still) -> None:
    seen = made(store, clock)
    assert (seen.of("north").success, seen.of("north", "m1").p95, seen.success("con_1")) == (None, None, None)
    clock.advance(1)
    for latency in range(100, 200):
        seen.note(row(clock, latency_ms=latency))
    seen.note(row(clock, outcome="error", status=502))
    seen.note(row(clock, model="m2", latency_ms=1000))
    one = seen.of("north", "m1")
    assert (one.count, one.answered, one.success) == (101, 100, pytest.approx(100 / 101))
    assert one.p50 == pytest.approx(149, rel=0.011)
    assert one.p99 == pytest.approx(198, rel=0.011)
    assert one.deviation == pytest.approx(28.9, abs=0.1)
    assert (one.ttft_p50, one.speed) == (pytest.approx(20, rel=0.011), pytest.approx(8000 / 129.5, rel=0.01))
    assert seen.of("north").count == 102
    assert seen.success("con_1") == pytest.approx(101 / 102)


async def test_what_is_read_is_kept_for_a_second(store: Store, clock: Still) -> None:
    seen = made(store, clock)
    seen.note(row(clock))
    assert seen.of("north").count == 1
    seen.note(row(clock))
    assert seen.of("north").count == 1
    clock.advance(1)
    assert seen.of("north").count == 2


async def test_a_failure_counts_where_it_happened(store: Store, clock: Still) -> None:
    """The first connection failed, the second answered: neither takes the other's time or blame."""
    seen = made(store, clock)
    tries = [attempt("con_bad", "server", 700), attempt("con_1", latency=100, started_at=clock.now_ms() + 5)]
    tries[0].started_at = clock.now_ms() + 5
    seen.note(row(clock, latency_ms=805, ttft_ms=725), tries)
    assert (seen.success("con_bad"), seen.success("con_1")) == (0.0, 1.0)
    one = seen.of("north", "m1")
    assert (one.count, one.success, one.p50, one.ttft_p50) == (2, 0.5, 100, 20)
    assert seen.summary().resolve.resolve.quantile(0.5) == pytest.approx(5, rel=0.011)


@pytest.mark.parametrize("kind", ["caller", "context", "config"])
async def test_a_wrong_request_is_nobody_s_failure(store: Store, clock: Still, kind: str) -> None:
    seen = made(store, clock)
    seen.note(row(clock, outcome="error", status=400), [attempt(kind=kind)])
    seen.note(row(clock, outcome="error", status=400))
    seen.note(row(clock, outcome="error", status=404, provider="", model="", connection_id=""))
    assert (seen.of("north").success, seen.success("con_1"), seen.summary().overall.count) == (None, None, 0)


async def test_cancelled_and_replayed_requests_stand_aside(store: Store, clock: Still) -> None:
    seen = made(store, clock)
    seen.note(row(clock, outcome="cancelled", status=499), [attempt()])
    seen.note(row(clock, source="cache", latency_ms=0))
    seen.note(row(clock), [attempt(kind="ok", connection="con_2", latency=50), attempt()])
    found = seen.summary()
    assert (found.cancelled, found.replayed, found.overall.count, found.overall.success) == (1, 1, 2, 1.0)
    assert (seen.success("con_1"), seen.success("con_2")) == (1.0, 1.0)


async def test_a_window_holds_its_minutes(store: Store, clock: Still) -> None:
    seen = made(store, clock)
    for _ in range(90):
        seen.note(row(clock))
        clock.advance(60)
    clock.advance(-1)
    assert [seen.summary(minutes * 60_000).overall.count for minutes in (1, 5, 60, 600)] == [2, 6, 61, 61]
    assert set(seen.summary(60_000).providers) == {"north"}
    clock.advance(7200)
    assert seen.summary(3_600_000).overall.count == 0
    assert seen.of("north").count > 0


async def test_an_hour_gives_way_to_the_next(store: Store, clock: Still) -> None:
    """A busy hour replaces the one before; a quiet one only adds to it; a day of silence forgets."""
    seen = made(store, clock)
    for latency in (1000, 10):
        for _ in range(60):
            seen.note(row(clock, latency_ms=latency))
        clock.advance(3600)
    seen.note(row(clock, latency_ms=10))
    assert (seen.of("north", "m1").count, seen.of("north", "m1").p99) == (61, pytest.approx(10, rel=0.011))
    clock.advance(3600)
    seen.note(row(clock, latency_ms=10))
    clock.advance(1)
    assert seen.of("north", "m1").count == 62
    clock.advance(30 * 3600)
    seen.note(row(clock, provider="east"))
    assert seen.of("north", "m1").success is None


async def test_names_from_callers_have_a_limit(store: Store, clock: Still) -> None:
    seen = made(store, clock)
    for number in range(MOST_MODELS):
        seen.note(row(clock, model=f"made-up-{number}", connection_id=f"c{number}", outcome="error", status=502))
    assert len(seen._models) <= MOST_MODELS // 2 + 1
    for number in range(MOST_CONNECTIONS):
        seen.note(row(clock, model=f"real-{number}", connection_id=f"d{number}"))
    assert len(seen._models) <= MOST_MODELS + 1
    assert len(seen._connections) == MOST_CONNECTIONS
    assert seen.of("north").count == MOST_MODELS + MOST_CONNECTIONS


async def test_a_restart_keeps_what_routing_knew(tmp_path: Path, clock: Still) -> None:
    first = Store(make_settings(tmp_path), clock)
    await first.open()
    seen = made(first, clock)
    for _ in range(30):
        seen.note(row(clock, latency_ms=500))
    clock.advance(3600)
    for _ in range(30):
        seen.note(row(clock, latency_ms=300, outcome="ok"))
    seen.note(row(clock, outcome="error", status=503))
    seen.keep()
    await first.close()
    clock.advance(7200)
    second = Store(make_settings(tmp_path), clock)
    await second.open()
    again = made(second, clock)
    await again.open()
    one = again.of("north", "m1")
    assert (one.count, one.answered, one.p99) == (61, 60, pytest.approx(500, rel=0.011))
    assert again.success("con_1") == pytest.approx(1 - 1 / 61)
    await second._database.write(lambda link: link.run("UPDATE latency_hours SET latency = 'nonsense'"))
    unread = made(second, clock)
    await unread.open()
    assert unread.of("north", "m1").success is None
    await second.close()


def test_requests_under_way() -> None:
    live = InFlight()
    one, two = usage_row(1), usage_row(2, connection_id="con_2")
    live.begin(one)
    live.begin(two)
    assert (len(live), live.all(), live.running(["con_1", "con_3"])) == (2, [one, two], {"con_1": 1, "con_3": 0})
    one.connection_id = "con_3"
    assert live.running(["con_1", "con_3"]) == {"con_1": 0, "con_3": 1}
    live.end(one)
    live.end(one)
    assert live.all() == [two]
