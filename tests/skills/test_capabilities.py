"""What a caller is told of the hub's skills and of its own latest requests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hub.access.scopes import expand
from hub.records import Caller
from tests.hub.store.rows import decision

if TYPE_CHECKING:
    from tests.skills.conftest import Desk

pytestmark = pytest.mark.anyio


def holder(*grants: str) -> Caller:
    return Caller(key_id="key_a", name="a", scopes=expand(grants))


async def test_capabilities_are_those_of_the_caller(desk: Desk) -> None:
    """SEC-54."""
    every = await desk.ask("capabilities-list")
    assert len(every.skills) == len(desk.hub.skills)
    assert every.hidden == 0
    some = await desk.ask("capabilities-list", holder("mcp:connect", "read:health"))
    assert {one.name for one in some.skills} >= {"health", "capabilities-list", "provider-metrics"}
    assert all(set(one.scopes) <= {"mcp:connect", "read:health"} for one in some.skills)
    assert len(some.skills) + some.hidden == len(every.skills)
    health = next(one for one in every.skills if one.name == "health")
    assert (health.tool, health.a2a, health.resources) == ("omniroute_get_health", "health-report", ["hub://health"])


async def test_decisions_are_ones_own_but_for_the_owner(desk: Desk) -> None:
    """SEC-55."""
    for number, key in enumerate(["key_a", "key_b", "key_a"]):
        desk.hub.store.decisions.add(decision(number, key_id=key, outcome="error" if number == 2 else "ok"))
    mine = holder("read:health", "read:usage")
    assert [one.request_id for one in (await desk.ask("decisions-list", mine)).decisions] == ["req_2", "req_0"]
    assert [one.request_id for one in (await desk.ask("decisions-list", mine, failed=True)).decisions] == ["req_2"]
    assert [one.request_id for one in (await desk.ask("decisions-list", limit=2)).decisions] == ["req_2", "req_1"]
