"""The cost report: which calls a period holds, what they cost, and what is not known (D17)."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest

from hub.chat import Usage
from hub.errors import InvalidInput

if TYPE_CHECKING:
    from tests.skills.conftest import Desk

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(("period", "requests"), [("session", 1), ("day", 2), ("week", 3), ("month", 4), ("quarter", 5), ("year", 6)])
async def test_a_period_holds_its_calls(desk: Desk, period: str, requests: int) -> None:
    one = await desk.connect("a")
    for days in (0.9, 6.9, 29.9, 89.9, 364.9, 366):
        desk.used(one, days_ago=days)
    desk.clock.advance(1)
    desk.used(one)
    report = await desk.ask("cost-report", period=period)
    assert report.period == period
    assert report.request_count == requests
    assert report.total_cost == pytest.approx(0.25 * requests)


async def test_today_begins_at_midnight_where_budgets_count(desk: Desk) -> None:
    zone = "Pacific/Auckland"
    await desk.hub.preferences.change({"budgetZone": zone})
    report = await desk.ask("cost-report", period="today")
    began = datetime.fromtimestamp(report.since / 1000, ZoneInfo(zone))
    assert (began.hour, began.minute, began.second) == (0, 0, 0)
    now = datetime.fromtimestamp(desk.clock.now_ms() / 1000, ZoneInfo(zone))
    assert began.date() == now.date()
    one = await desk.connect("a")
    desk.used(one)
    desk.used(one, at=report.since - 1)
    assert (await desk.ask("cost-report", period="today")).request_count == 1


async def test_the_session_began_with_the_hub(desk: Desk) -> None:
    began = desk.clock.now_ms()
    desk.clock.advance(3600)
    report = await desk.ask("cost-report")
    assert (report.period, report.since) == ("session", began)
    assert (report.total_cost, report.request_count, report.by_provider, report.by_model) == (0.0, 0, [], [])
    assert (report.budget.limit, report.budget.remaining) == (None, None)


async def test_a_price_that_nobody_knows_is_counted_apart(desk: Desk) -> None:
    """D17: unknown is never free."""
    one, two = await desk.connect("a"), await desk.connect("b", "groq")
    desk.used(one, cost=0.5)
    desk.used(one, cost=None, price_source="unknown")
    desk.used(two, cost=None, price_source="unknown", model="new-model")
    report = await desk.ask("cost-report", period="day")
    assert (report.total_cost, report.request_count, report.unpriced_requests) == (0.5, 3, 2)
    assert {(row.name, row.cost, row.requests) for row in report.by_provider} == {("openai", 0.5, 2), ("groq", 0.0, 1)}
    assert {(row.model, row.cost) for row in report.by_model} == {("gpt-4o", 0.5), ("new-model", 0.0)}
    answer = await desk.agent("cost-analysis", "today")
    assert "2 requests have no known price." in answer.text


async def test_tokens_are_counted_once(desk: Desk) -> None:
    """routing.md 6: prompt with cached tokens, completion with reasoning."""
    one = await desk.connect("a")
    usage = Usage(input=100, cache_read=30, cache_write=7, cache_write_1h=2, output=50, reasoning=20)
    desk.used(one, usage=usage)
    desk.used(one, usage=usage)
    report = await desk.ask("cost-report", period="day")
    assert (report.token_count.prompt, report.token_count.completion, report.cached_tokens) == (274, 100, 60)
    assert report.by_provider[0].tokens == report.by_model[0].tokens == 374


async def test_calls_that_reached_nobody_are_in_the_totals_only(desk: Desk) -> None:
    one = await desk.connect("a")
    desk.used(one, outcome="error", provider="", model="", cost=0.0)
    report = await desk.ask("cost-report", period="day")
    assert (report.request_count, report.error_count, report.by_provider, report.by_model) == (1, 1, [], [])


@pytest.mark.parametrize(
    ("text", "options", "want"),
    [
        ("What did I spend today?", {}, "day"),
        ("this WEEK please", {}, "week"),
        ("what does it cost", {}, "month"),
        ("since the session began", {}, "session"),
        ("today", {"metadata": {"range": "90d"}}, "quarter"),
        ("today", {"metadata": {"range": "ytd"}}, "year"),
        ("today", {"metadata": {"range": "7d"}, "data": {"period": "30d"}}, "month"),
        ("", {"data": {"period": "session"}}, "session"),
    ],
)
async def test_an_agent_s_words_name_the_period(desk: Desk, text: str, options: dict[str, Any], want: str) -> None:
    """agents.md 2."""
    assert (await desk.agent("cost-analysis", text, **options)).metadata["range"] == want


async def test_an_unknown_range_is_refused(desk: Desk) -> None:
    with pytest.raises(InvalidInput) as caught:
        await desk.agent("cost-analysis", metadata={"range": "fortnight"})
    assert caught.value.field == "period"


@pytest.mark.parametrize(
    ("query", "want"),
    [
        ({"range": "30d"}, {"range": "30d", "period": "month"}),
        ({"range": "1d", "period": "year"}, {"range": "1d", "period": "year"}),
        ({}, {}),
        ({"range": "x"}, {"range": "x", "period": "x"}),
    ],
)
async def test_the_seed_s_query(desk: Desk, query: dict[str, str], want: dict[str, str]) -> None:
    (address,) = desk.hub.find("cost-report").rest
    assert address.ask is not None
    assert address.ask(query) == want


async def test_what_an_agent_client_gets(desk: Desk) -> None:
    one = await desk.connect("a")
    desk.used(one, cost=0.5)
    answer = await desk.agent("cost-analysis", "today")
    assert answer.text == "$0.5000 for 1 requests (day).\n- openai: $0.5000 in 1 requests"
    assert answer.metadata["totalCost"] == 0.5
    assert answer.metadata["providerCosts"] == [{"id": "openai", "requests": 1, "cost": 0.5, "tokens": 18}]
    assert answer.metadata["modelCosts"] == [{"id": "gpt-4o", "requests": 1, "cost": 0.5, "tokens": 18}]
    assert answer.metadata["savings"] == []
    assert answer.data["totalCost"] == 0.5


async def test_hints_come_from_the_figures(desk: Desk) -> None:
    one = await desk.connect("a")
    for outcome in ("ok", "ok", "error"):
        desk.used(one, outcome=outcome, usage=Usage(input=50_000))
    hints = (await desk.agent("cost-analysis", "today")).metadata["savings"]
    assert len(hints) == 2
    assert hints[0].startswith("33 % of requests failed")
    assert "cache" in hints[1]
    for _ in range(30):
        desk.used(one, usage=Usage(input=1000, cache_read=9000))
    assert (await desk.agent("cost-analysis", "today")).metadata["savings"] == []
