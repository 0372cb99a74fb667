"""Telemetry as monitors and agents read it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hub.errors import InvalidInput, NotFound
from hub.records import Attempt
from tests.hub.store.rows import usage_row

if TYPE_CHECKING:
    from tests.skills.conftest import Desk

pytestmark = pytest.mark.anyio


async def test_a_summary_of_minutes(desk: Desk) -> None:
    empty = await desk.ask("telemetry-summary")
    assert (empty.count, empty.p99, empty.error_rate, empty.providers) == (0, 0.0, 0.0, {})
    at = desk.clock.now_ms()
    for latency in (100, 200, 300):
        row = usage_row(at=at, provider="openai", latency_ms=latency, ttft_ms=50, session="s")
        desk.hub.telemetry.note(row, [Attempt(provider="openai", model="m1", connection_id="c", started_at=at + 3, latency_ms=latency)])
    desk.hub.telemetry.note(usage_row(at=at, provider="groq", outcome="error", status=502))
    desk.hub.inflight.begin(row)
    desk.hub.sessions.begin("key_a\next:s")
    desk.clock.advance(30)
    found = await desk.ask("telemetry-summary", windowMs=60_000)
    assert (found.count, found.total_requests, found.error_rate, found.avg) == (3, 4, 0.25, 200.0)
    assert found.p50 == pytest.approx(200, rel=0.011)
    assert (found.providers["openai"].success_rate, found.providers["groq"].success_rate, found.providers["groq"].p50) == (1.0, 0.0, None)
    assert found.phase_breakdown["resolve"].p50 == pytest.approx(3, rel=0.011)
    assert (found.phase_breakdown["firstByte"].count, found.phase_breakdown["parse"].count) == (3, 0)
    assert (found.active_connections, found.sessions.active_count, found.sessions.sticky_bound_count, found.uptime) == (1, 1, 0, 30.0)
    desk.clock.advance(300)
    assert (await desk.ask("telemetry-summary", windowMs=60_000)).count == 0
    for wrong in (0, 3_600_001):
        with pytest.raises(InvalidInput, match="windowMs"):
            await desk.ask("telemetry-summary", windowMs=wrong)


async def test_metrics_of_a_provider(desk: Desk) -> None:
    unknown = await desk.ask("provider-metrics", provider="openai")
    assert (unknown.success_rate, unknown.p95_latency_ms, unknown.request_count, unknown.last_error) == (None, None, 0, None)
    one = await desk.connect("main")
    desk.limit(one, 60, 20)
    for outcome in ("ok", "ok", "ok", "error"):
        desk.hub.telemetry.note(usage_row(provider="openai", connection_id=one.id, outcome=outcome, status=502, latency_ms=80))
    desk.hub.mark(one.id, last_error="502: broken", last_error_at=desk.clock.now_ms())
    desk.cool(one)
    desk.clock.advance(1)
    found = await desk.ask("provider-metrics", provider="openai")
    assert (found.success_rate, found.error_rate, found.request_count, found.avg_latency_ms) == (0.75, 0.25, 4, 80.0)
    assert found.last_error is not None
    assert (found.last_error.message, found.circuit_breaker_state) == ("502: broken", "OPEN")
    assert (found.quota_info.used, found.quota_info.total) == (40, 60)
    with pytest.raises(NotFound):
        await desk.ask("provider-metrics", provider="no-such-provider")


async def test_a_session_in_brief(desk: Desk) -> None:
    one = await desk.connect("main")
    desk.used(one, days_ago=1)
    desk.clock.advance(3700)
    for number in range(7):
        for _ in range(number + 1):
            desk.used(one, model=f"m{number}", fallbacks=number == 6, cost=None if number == 0 else 0.5)
    desk.used(one, model="", provider="", outcome="error", cost=0.0)
    found = await desk.ask("session-snapshot")
    assert (found.duration, found.request_count, found.errors, found.fallbacks) == ("1h 1m 40s", 29, 1, 7)
    assert (found.cost_total, found.unpriced_requests, found.budget_guard) == (13.5, 1, None)
    assert [(row.model, row.count) for row in found.top_models] == [("m6", 7), ("m5", 6), ("m4", 5), ("m3", 4), ("m2", 3)]
    assert [(row.provider, row.count) for row in found.top_providers] == [("openai", 28)]
