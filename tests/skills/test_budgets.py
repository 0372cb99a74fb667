"""Budgets over the doors: the seed's shapes, true figures, and refusals that store nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from hub.access.scopes import expand
from hub.errors import BudgetSpent, Forbidden, InvalidInput, NotFound
from hub.records import Caller
from tests.fakes.hub import running_hub
from tests.hub.store.rows import usage_row

if TYPE_CHECKING:
    from pathlib import Path

    from tests.skills.conftest import Desk

pytestmark = pytest.mark.anyio
DAY_MS = 86_400_000


async def key(desk: Desk, name: str = "laptop") -> str:
    return (await desk.ask("keys-create", name=name)).id


async def test_a_budget_with_what_was_spent(desk: Desk) -> None:
    name = await key(desk)
    now = desk.clock.now_ms()
    desk.hub.store.usage.add(usage_row(1, at=now, key_id=name, cost=0.25))
    desk.hub.store.usage.add(usage_row(2, at=now - DAY_MS, key_id=name, cost=0.5))
    made = await desk.ask("budgets-set", apiKeyId=name, dailyLimitUsd=1.0, monthlyLimitUsd=2.0, resetInterval="monthly", resetTime="06:00")
    assert (made.success, made.api_key_id) == (True, name)
    budget = made.budget
    assert (budget.daily_limit_usd, budget.weekly_limit_usd, budget.monthly_limit_usd) == (1.0, 0.0, 2.0)
    assert budget.last_budget_reset_at < now < budget.budget_reset_at
    hold = await desk.hub.budgets.hold(name, 0.01, group="p/m")
    shown = (await desk.ask("budgets-show", apiKeyId=name)).budgets[0]
    assert (shown.daily_total, shown.monthly_total, shown.total_cost_period, shown.total_entries) == (0.25, 0.75, 0.75, 2)
    assert (shown.active_limit_usd, shown.reset_interval, shown.reset_time) == (2.0, "monthly", "06:00")
    assert (shown.budget_check.allowed, shown.budget_check.remaining, shown.budget_check.warning_reached) == (True, 1.25, False)
    assert {one.period: (one.spent, one.limit) for one in shown.periods} == {
        "daily": (0.25, 1.0),
        "weekly": (0.75, None),
        "monthly": (0.75, 2.0),
    }
    assert all(one.held == 0.04 for one in shown.periods)
    desk.hub.budgets.settle(hold, 0.75)
    after = (await desk.ask("budgets-show", apiKeyId=name)).budgets[0]
    assert (after.budget_check.allowed, after.total_cost_today, after.periods[0].remaining) == (False, 1.0, 0.0)
    with pytest.raises(BudgetSpent):
        await desk.hub.budgets.hold(name, 0.01, group="p/m")


async def test_every_key_and_none_without_a_name(desk: Desk) -> None:
    first, second = await key(desk, "a"), await key(desk, "b")
    desk.hub.store.usage.add(usage_row(1, at=desk.clock.now_ms(), key_id=second, cost=0.25))
    await desk.ask("budgets-set", apiKeyId=first, dailyLimitUsd=1)
    report = await desk.ask("budgets-show")
    assert report.guard is None
    assert {one.api_key_id: (one.name, one.budget is None, one.daily_total) for one in report.budgets} == {
        first: ("a", False, 0.0),
        second: ("b", True, 0.25),
    }
    for skill, fields in (("budgets-show", {}), ("budgets-set", {"dailyLimitUsd": 1}), ("budgets-delete", {})):
        with pytest.raises(NotFound):
            await desk.ask(skill, apiKeyId="key_nobody", **fields)


async def test_a_deleted_key_takes_its_budget_along(desk: Desk) -> None:
    first, second = await key(desk, "a"), await key(desk, "b")
    for name in (first, second):
        await desk.ask("budgets-set", apiKeyId=name, weeklyLimitUsd=1)
    await desk.ask("keys-delete", id=first)
    await desk.ask("budgets-delete", apiKeyId=second)
    assert desk.hub.budgets.names() == []
    assert not desk.hub.budgets.limited(first)
    assert await desk.hub.store._database.read(lambda link: link.run("SELECT * FROM spend")) == []


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({}, ""),
        ({"dailyLimitUsd": 0}, "dailyLimitUsd"),
        ({"dailyLimitUsd": 1, "warningThreshold": 2}, "warningThreshold"),
        ({"dailyLimitUsd": 1, "resetInterval": "yearly"}, "resetInterval"),
        ({"dailyLimitUsd": 1, "resetTime": "25:00"}, "resetTime"),
        ({"dailyLimitUsd": 1, "resetTime": "noon"}, "resetTime"),
        ({"dailyLimitUsd": 1, "timeZone": "Nowhere"}, "timeZone"),
        ({"dailyLimitUsd": 1, "period": "daily"}, "period"),
    ],
)
async def test_bad_budgets_store_nothing(desk: Desk, wrong: dict[str, Any], field: str) -> None:
    name = await key(desk)
    with pytest.raises(InvalidInput) as refused:
        await desk.ask("budgets-set", apiKeyId=name, **wrong)
    assert refused.value.details[0]["field"] == field
    assert desk.hub.budgets.names() == []


async def test_the_guard_counts_from_when_it_was_set_and_is_kept(desk: Desk) -> None:
    name = await key(desk)
    desk.hub.store.usage.add(usage_row(1, at=desk.clock.now_ms(), key_id=name, cost=5.0))
    guard = await desk.ask("budget-guard", maxCost=1.0, action="block")
    assert guard.model_dump(by_alias=True) == {
        "sessionId": f"budget_{desk.clock.now_ms()}",
        "budgetTotal": 1.0,
        "budgetSpent": 0.0,
        "budgetRemaining": 1.0,
        "action": "block",
        "status": "active",
    }
    for cost, status in ((0.85, "warning"), (0.15, "exceeded")):
        desk.hub.budgets.charge(name, cost)
        report = await desk.ask("budgets-show")
        assert (report.guard.status, report.guard.budget_spent) == (status, pytest.approx(0.85 if status == "warning" else 1.0))
    with pytest.raises(BudgetSpent, match="this hub"):
        await desk.hub.budgets.hold(name, 0.01, group="p/m")
    costs = await desk.ask("cost-report")
    assert (costs.budget.limit, costs.budget.remaining) == (1.0, 0.0)
    desk.clock.advance(1)
    cheap = await desk.ask("budget-guard", maxCost=2.0, action="degrade")
    assert (cheap.budget_spent, cheap.status) == (0.0, "active")
    desk.hub.budgets.charge(name, 2.0)
    assert (await desk.hub.budgets.hold(name, 0.01, group="p/m")).degrade == "cheap"
    await desk.ask("budgets-delete", apiKeyId="hub")
    assert not desk.hub.budgets.limited(name)


async def test_who_may_set_what(desk: Desk) -> None:
    name = await key(desk)
    operator = Caller(key_id="key_o", name="o", scopes=expand(["operator"]))
    reader = Caller(key_id="key_r", name="r", scopes=expand(["read-only"]))
    assert (await desk.ask("budget-guard", operator, maxCost=1, action="alert")).action == "alert"
    for caller, skill, fields in (
        (reader, "budget-guard", {"maxCost": 1, "action": "block"}),
        (operator, "budgets-set", {"apiKeyId": name, "dailyLimitUsd": 1}),
        (operator, "budgets-show", {}),
    ):
        with pytest.raises(Forbidden):
            await desk.ask(skill, caller, **fields)


async def test_over_http_in_the_seed_s_shapes(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as running:
        headers = await running.headers("manage")
        async with httpx.AsyncClient(base_url=running.url, headers=headers) as client:
            name = (await client.post("/api/keys", json={"name": "a"})).json()["id"]
            fresh = await client.get("/api/usage/budget", params={"apiKeyId": name})
            assert (fresh.status_code, fresh.json()["budget"], fresh.json()["budgetCheck"]["allowed"]) == (200, None, True)
            made = await client.post("/api/usage/budget", json={"apiKeyId": name, "dailyLimitUsd": 5, "warningThreshold": 0.9})
            assert (made.status_code, made.json()["success"], made.json()["budget"]["dailyLimitUsd"]) == (200, True, 5)
            one = (await client.get("/api/usage/budget", params={"apiKeyId": name})).json()
            assert {"dailyTotal", "totalCostToday", "nextResetAt", "budgetCheck", "periods"} <= one.keys()
            assert (one["budget"]["warningThreshold"], one["activeLimitUsd"], one["dailyTotal"]) == (0.9, 5, 0)
            assert len((await client.get("/api/usage/budget")).json()["budgets"]) == 2
            legacy = await client.post("/api/usage/budget", json={"keyId": name, "limit": 1, "period": "daily"})
            assert legacy.status_code == 400
            assert {one["field"] for one in legacy.json()["error"]["details"]} == {"apiKeyId", "keyId", "limit", "period"}
            for status, answer in (
                (404, await client.get("/api/usage/budget", params={"apiKeyId": "key_x"})),
                (404, await client.post("/api/usage/budget", json={"apiKeyId": "key_x", "dailyLimitUsd": 1})),
                (200, await client.delete("/api/usage/budget", params={"apiKeyId": name})),
                (404, await client.delete("/api/usage/budget", params={"apiKeyId": name})),
            ):
                assert answer.status_code == status
