"""Locked models and request queues as callers see them, and how models are unlocked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hub.errors import InvalidInput
from hub.providers.base import Failure, FailureKind
from hub.records import ConnectionRules
from hub.resilience.throttle import Limits
from hub.wire import iso

if TYPE_CHECKING:
    from hub.records import Connection
    from tests.skills.conftest import Desk

pytestmark = pytest.mark.anyio


def lock(desk: Desk, connection: Connection, model: str, seconds: float | None = None) -> None:
    failure = Failure(FailureKind.RATE, 429, "slow down", retry_after=seconds, source="header" if seconds else "")
    desk.hub.resilience.failed(connection, connection.provider, model, failure)


async def test_locked_models_by_the_time_that_is_left(desk: Desk) -> None:
    one = await desk.connect("a", "openrouter")
    lock(desk, one, "later", 500.0)
    lock(desk, one, "sooner")
    answer = (await desk.ask("lockouts-list")).model_dump(mode="json", by_alias=True)
    assert (answer["total"], [row["model"] for row in answer["items"]]) == (2, ["sooner", "later"])
    row = answer["items"][1]
    assert 500_000 <= row["remainingMs"] <= 530_000
    assert row == {
        "provider": "openrouter", "model": "later", "connectionId": one.id, "reason": "429: slow down", "remainingMs": row["remainingMs"],
        "expiresAt": iso(desk.clock.now_ms() + row["remainingMs"]), "failureCount": 1, "since": iso(desk.clock.now_ms()),
        "source": "header",
    }  # fmt: skip
    desk.clock.advance(5)
    assert [row.model for row in (await desk.ask("lockouts-list")).items] == ["later"]


async def test_a_model_is_unlocked_at_every_connection_by_id_or_alias(desk: Desk) -> None:
    one, two = await desk.connect("a", "openrouter"), await desk.connect("b", "openrouter")
    for connection in (one, two):
        lock(desk, connection, "x")
        lock(desk, connection, "y")
    alias = desk.hub.catalog.get("openrouter").alias
    assert (await desk.ask("lockouts-clear", provider=alias, model="x")).cleared == 2
    assert (await desk.ask("lockouts-clear", provider="nobody", model="y")).cleared == 0
    assert {row.model for row in (await desk.ask("lockouts-list")).items} == {"y"}
    answer = await desk.ask("lockouts-clear", all=True)
    assert answer.model_dump(by_alias=True) == {"ok": True, "cleared": 2}
    assert desk.hub.resilience.admit(one, "openrouter", "y")


@pytest.mark.parametrize("body", [{}, {"provider": "a"}, {"model": "x"}, {"all": False}, {"all": True, "model": "x"}, {"nonsense": 1}])
async def test_what_to_unlock_has_to_be_said(desk: Desk, body: dict[str, Any]) -> None:
    one = await desk.connect("a", "openrouter")
    lock(desk, one, "x")
    with pytest.raises(InvalidInput):
        await desk.ask("lockouts-clear", **body)
    assert (await desk.ask("lockouts-list")).total == 1


async def test_the_line_of_each_connection(desk: Desk) -> None:
    plain = await desk.connect("plain")
    paced = await desk.connect("paced", rules=ConnectionRules(rate_limit=True))
    narrow = await desk.connect("narrow", rules=ConnectionRules(max_concurrent=2), active=False)
    lock(desk, await desk.connect("other", "openrouter"), "x")
    (await desk.hub.throttle.slot(paced.id, Limits(concurrent=2))).release()
    ticket = await desk.hub.throttle.slot(paced.id, Limits(concurrent=2))
    answer = (await desk.ask("rate-limits")).model_dump(mode="json", by_alias=True)
    rows = {row["connectionId"]: row for row in answer["connections"]}
    words = ("rateLimitProtection", "enabled", "active", "queued", "running", "executing", "done")
    assert [rows[plain.id][word] for word in words] == [False, False, True, 0, 0, 0, 0]
    assert [rows[paced.id][word] for word in words] == [True, True, True, 0, 1, 1, 1]
    assert [rows[narrow.id][word] for word in words] == [False, True, False, 0, 0, 0, 0]
    assert answer["overview"] == {f"openai:{paced.id}": {"queued": 0, "running": 1, "executing": 1}}
    assert [row["model"] for row in answer["lockouts"]] == ["x"]
    assert answer["cacheStats"]["tool"] == {"entries": 0, "patterns": 0}
    assert "no signature cache" in answer["cacheStats"]["note"]
    ticket.release()


async def test_api_key_connections_wait_in_line_when_the_owner_says_so(desk: Desk) -> None:
    await desk.connect("a")
    await desk.ask("resilience-set", requestQueue={"autoEnableApiKeyProviders": True})
    (row,) = (await desk.ask("rate-limits")).connections
    assert (row.rate_limit_protection, row.enabled) == (False, True)
