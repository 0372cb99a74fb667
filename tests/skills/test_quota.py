"""Quota of connections: what providers said, what this hub did, and which connections cannot be used at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hub.errors import NotFound
from hub.records import ConnectionRules, TestStatus
from hub.wire import iso

if TYPE_CHECKING:
    from hub.records import Connection
    from tests.skills.conftest import Desk

pytestmark = pytest.mark.anyio


async def quota_of(desk: Desk, connection: Connection):  # type: ignore[no-untyped-def]
    (row,) = (await desk.ask("quota-check", connectionId=connection.id)).providers
    return row


async def test_a_provider_that_said_nothing(desk: Desk) -> None:
    row = await quota_of(desk, await desk.connect("a"))
    assert (row.name, row.provider, row.percent_remaining, row.quota_total, row.quota_used) == ("a", "openai", 100.0, None, 0)
    assert (row.window, row.reset_at, row.token_status) == (None, None, "valid")
    assert (row.requests_today, row.tokens_today, row.cost_today) == (0, 0, 0.0)


async def test_the_tightest_stated_limit(desk: Desk) -> None:
    one = await desk.connect("a")
    desk.limit(one, 100, 90)
    desk.limit(one, 3000, 1000, name=b"tokens", reset=b"30s")
    row = await quota_of(desk, one)
    assert (row.window, row.quota_total, row.quota_used, row.percent_remaining) == ("tokens", 3000, 2000, 33.33)
    assert row.reset_at == iso(desk.clock.now_ms() + 30_000)
    desk.clock.advance(31)
    assert (await quota_of(desk, one)).window == "requests"


async def test_a_limit_that_was_hit_leaves_nothing_until_it_ends(desk: Desk) -> None:
    one = await desk.connect("a")
    desk.cool(one, soft=False, seconds=45)
    row = await quota_of(desk, one)
    assert (row.percent_remaining, row.window, row.reset_at) == (0.0, "cooldown", iso(desk.clock.now_ms() + 45_000))
    desk.clock.advance(45)
    assert (await quota_of(desk, one)).percent_remaining == 100.0


async def test_a_passing_fault_says_nothing_of_the_quota(desk: Desk) -> None:
    one = await desk.connect("a")
    desk.cool(one, soft=True)
    assert (await quota_of(desk, one)).percent_remaining == 100.0


@pytest.mark.parametrize(
    ("status", "percent", "window", "token"),
    [
        (TestStatus.CREDITS_EXHAUSTED, 0.0, "credits_exhausted", "valid"),
        (TestStatus.BANNED, 0.0, "banned", "expired"),
        (TestStatus.EXPIRED, 100.0, None, "expired"),
        (TestStatus.ACTIVE, 100.0, None, "valid"),
        (TestStatus.UNAVAILABLE, 100.0, None, "valid"),
    ],
)
async def test_states_of_an_account(desk: Desk, status: TestStatus, percent: float, window: str | None, token: str) -> None:
    one = await desk.connect("a")
    desk.hub.mark(one.id, test_status=status)
    row = await quota_of(desk, one)
    assert (row.percent_remaining, row.window, row.token_status) == (percent, window, token)


async def test_what_was_used_in_a_day(desk: Desk) -> None:
    one, two = await desk.connect("a"), await desk.connect("b")
    desk.used(one, days_ago=0.5, cost=0.25)
    desk.used(one, cost=0.5)
    desk.used(one, days_ago=1.1, cost=9.0)
    desk.used(two, cost=None)
    rows = {row.name: row for row in (await desk.ask("quota-check")).providers}
    assert (rows["a"].requests_today, rows["a"].tokens_today, rows["a"].cost_today) == (2, 36, 0.75)
    assert (rows["b"].requests_today, rows["b"].cost_today) == (1, None)


async def test_which_connections(desk: Desk) -> None:
    await desk.connect("late", priority=5)
    first = await desk.connect("first", priority=1)
    other = await desk.connect("other", "groq")
    report = await desk.ask("quota-check")
    assert [row.name for row in report.providers] == ["other", "first", "late"]
    assert (report.meta.total_providers, report.meta.generated_at) == (2, iso(desk.clock.now_ms()))
    alias = desk.hub.catalog.get("openai").alias
    filtered = await desk.ask("quota-check", provider=alias)
    assert [row.name for row in filtered.providers] == ["first", "late"]
    assert filtered.meta.filters == {"provider": alias, "connectionId": None}
    both = await desk.ask("quota-check", provider="groq", connectionId=first.id)
    assert [row.connection_id for row in both.providers] == [first.id]
    assert (await desk.ask("quota-check", provider="anthropic")).providers == []
    for wrong in ({"provider": "nobody"}, {"connectionId": f"{other.id}x"}):
        with pytest.raises(NotFound):
            await desk.ask("quota-check", **wrong)


async def test_what_an_agent_client_gets(desk: Desk) -> None:
    low, high = await desk.connect("low"), await desk.connect("high", "groq")
    desk.limit(low, 100, 10)
    desk.used(high)
    answer = await desk.agent("quota-management", "which account has the most left?")
    assert answer.text.splitlines() == [
        "2 connections, 1 low on quota.", "- high (groq): 100 % left, 1 requests today", "- low (openai): 10 % left, 0 requests today",
    ]  # fmt: skip
    assert (answer.metadata["queryType"], answer.metadata["providerCount"], answer.metadata["warnings"]) == ("summary", 2, 1)
    assert len(answer.metadata["providers"]) == 2
    named = await desk.agent("quota-management", metadata={"provider": "groq", "connectionId": None})
    assert [row["name"] for row in named.data["providers"]] == ["high"]
    chosen = await desk.agent("quota-management", metadata={"provider": "groq"}, data={"provider": "openai"})
    assert [row["name"] for row in chosen.data["providers"]] == ["low"]


async def test_every_window_and_why_a_connection_is_passed_over(desk: Desk) -> None:
    one = await desk.connect("a", rules=ConnectionRules(limit_percent=60))
    desk.limit(one, 100, 90)
    headers = [(b"x-v-primary-used-percent", b"62.5"), (b"x-v-primary-window-minutes", b"300"), (b"x-v-primary-reset-after-seconds", b"60")]
    desk.hub.quotas.observe(one.id, headers, desk.clock.now_ms(), "m")
    row = await quota_of(desk, one)
    assert [(window.window, window.quota_used, window.quota_total, window.unit) for window in row.windows] == [
        ("session", 62.5, 100, "percent"), ("requests", 10, 100, "count"),
    ]  # fmt: skip
    assert row.passed_over == "quota: session is used to 62 %, and the owner's limit is 60 %"
    assert row.windows[0].reset_at == iso(desk.clock.now_ms() + 60_000)
    desk.clock.advance(60)
    full = await quota_of(desk, one)
    assert (full.windows, full.passed_over, full.percent_remaining) == ([], None, 100.0)


async def test_a_connection_that_is_gone_is_forgotten(desk: Desk) -> None:
    one = await desk.connect("a")
    desk.limit(one, 100, 90)
    await desk.ask("connections-delete", id=one.id)
    assert desk.hub.quotas.left(one.id) is None
