"""Health: told from live state, little of it to strangers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from hub.access.scopes import expand
from hub.records import Caller, TestStatus
from hub.version import VERSION
from hub.wire import iso
from skills.health import _duration
from tests.hub.store.rows import usage_row

if TYPE_CHECKING:
    from tests.skills.conftest import Desk

pytestmark = pytest.mark.anyio

MONITOR = Caller(key_id="k", name="monitor", scopes=expand(["read:health"]))


async def test_a_hub_at_rest_is_healthy(desk: Desk) -> None:
    desk.clock.advance(93_784)
    report = await desk.ask("health")
    assert (report.status, report.version) == ("healthy", VERSION)
    assert (report.uptime, report.uptime_seconds) == ("1d 2h 3m 4s", 93_784)
    assert (report.store.ok, report.store.dialect, report.cryptography.status) == (True, "sqlite", "healthy")
    assert report.memory_usage.heap_total >= report.memory_usage.heap_used > 10_000_000
    assert (report.circuit_breakers, report.rate_limits, report.requests_24h, report.errors_24h) == ([], [], 0, 0)


@pytest.mark.parametrize(("seconds", "words"), [(0, "0s"), (59, "59s"), (60, "1m"), (3605, "1h 5s"), (172_800, "2d")])
def test_durations_in_words(seconds: int, words: str) -> None:
    assert _duration(seconds) == words


async def test_providers_in_trouble(desk: Desk) -> None:
    """OPEN when none of its connections can be used, HALF_OPEN when some can; switched-off ones do not count."""
    one, two, off = await desk.connect("a"), await desk.connect("b"), await desk.connect("off")
    await desk.hub.store.connections.update(off.id, active=False)
    await desk.connect("g", "groq")
    desk.hub.mark(one.id, test_status=TestStatus.EXPIRED, last_error_at=desk.clock.now_ms())
    report = await desk.ask("health")
    states = {row.provider: (row.state, row.failure_count, row.last_failure) for row in report.circuit_breakers}
    assert states == {"groq": ("CLOSED", 0, None), "openai": ("HALF_OPEN", 1, iso(desk.clock.now_ms()))}
    assert report.status == "degraded"
    desk.cool(two)
    states = {row.provider: row.state for row in (await desk.ask("health")).circuit_breakers}
    assert states == {"groq": "CLOSED", "openai": "OPEN"}


async def test_limits_that_providers_stated(desk: Desk) -> None:
    one, two = await desk.connect("a"), await desk.connect("b")
    desk.limit(one, 100, 30)
    desk.limit(two, 60, 0)
    limits = {row.connection: (row.rpm, row.current_usage, row.is_limited) for row in (await desk.ask("health")).rate_limits}
    assert limits == {"a": (100, 70, False), "b": (60, 60, True)}


async def test_the_last_day(desk: Desk) -> None:
    one = await desk.connect("a")
    for outcome in ("ok", "ok", "error"):
        desk.used(one, outcome=outcome, latency_ms=100)
        desk.hub.telemetry.note(usage_row(provider="openai", outcome=outcome, status=502, latency_ms=100))
    desk.used(one, days_ago=1.1)
    report = await desk.ask("health")
    assert (report.requests_24h, report.errors_24h, report.latency_ms["p50"], report.latency_ms["samples"]) == (3, 1, 100, 2)


async def test_what_an_agent_client_gets(desk: Desk) -> None:
    one = await desk.connect("a")
    desk.limit(one, 60, 0)
    assert (await desk.agent("health-report", "all well?")).text == "The hub is healthy: up 0s, 0 requests and 0 errors in 24 hours."
    desk.cool(one)
    answer = await desk.agent("health-report")
    assert answer.text.splitlines()[1] == "- openai: OPEN, last failure unknown"
    assert answer.metadata["providerSummary"] == {"total": 1, "healthy": 0, "degradedCount": 1}
    assert [row["provider"] for row in answer.metadata["degradedProviders"]] == ["openai"]
    assert [row["connection"] for row in answer.metadata["activeRateLimits"]] == ["a"]


async def test_strangers_learn_status_and_version_only(desk: Desk) -> None:
    await desk.connect("private-name")
    report = await desk.ask("monitoring-health", Caller.anonymous())
    (address,) = desk.hub.find("monitoring-health").rest
    assert address.view is not None
    assert address.view(report) == {"status": "healthy", "version": VERSION, "timestamp": iso(desk.clock.now_ms())}


async def test_monitors_get_the_seed_s_flat_shape(desk: Desk) -> None:
    one = await desk.connect("a")
    await desk.connect("g", "groq")
    desk.cool(one)
    desk.clock.advance(5)
    report = await desk.ask("monitoring-health", MONITOR)
    (address,) = desk.hub.find("monitoring-health").rest
    assert address.view is not None
    flat = address.view(report)
    assert (flat["status"], flat["uptime"]) == ("degraded", 5)
    assert flat["circuitBreakers"] == {"open": 1, "halfOpen": 0, "closed": 1, "total": 2}
    assert [row["provider"] for row in flat["providerBreakers"]] == ["groq", "openai"]
    assert (
        flat["providerSummary"]["configuredCount"]
        == flat["providerSummary"]["activeCount"]
        == flat["providerSummary"]["monitoredCount"]
        == 2
    )
    json.dumps(flat)


async def test_a_database_that_does_not_answer_shows(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    from hub.errors import Unavailable

    read = desk.hub.store._database.read

    async def broken(work: object) -> object:
        raise Unavailable("the disk is gone")

    monkeypatch.setattr(desk.hub.store._database, "read", broken)
    report = await desk.ask("monitoring-health", Caller.anonymous())
    assert report.status == "degraded"
    full = await desk.ask("monitoring-health", MONITOR)
    assert (full.detail.store.ok, full.detail.store.latency_ms, full.detail.requests_24h) == (False, 0.0, None)
    monkeypatch.setattr(desk.hub.store._database, "read", read)


async def test_monitors_see_accounts_conversations_and_limits(desk: Desk) -> None:
    """The seed's fields of GET /api/monitoring/health, on real data."""
    full, half = await desk.connect("full"), await desk.connect("half")
    desk.limit(full, 100, 2)
    desk.limit(half, 100, 50)
    desk.hub.sessions.begin("key_a\next:talk")
    desk.hub.sessions.answered("key_a\next:talk", half.id)
    found = await desk.ask("monitoring-health")
    watch = found.watch
    assert [(one.connection_id, one.status) for one in watch.quota_monitor.monitors] == [(full.id, "exhausted"), (half.id, "healthy")]
    assert (watch.quota_monitor.exhausted, watch.quota_monitor.status_counts.idle, watch.setup_complete) == (1, 0, True)
    assert [(one.session_id, one.connection_id) for one in watch.sessions.top] == [("ext:talk", half.id)]
    assert watch.learned_limits[full.id]["remaining"] == 2
    assert (await desk.ask("monitoring-health", Caller.anonymous(("chat",)))).watch is None
