"""Simulation: the path a request would take, with odds and costs, and nothing spent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hub.errors import BadRequest, Forbidden, InvalidInput, NotFound, RateLimited
from hub.money.prices import Prices
from hub.planning.query import Query
from hub.records import Caller, Candidate, Level
from tests.hub.store.rows import decision

if TYPE_CHECKING:
    from tests.skills.conftest import Desk

pytestmark = pytest.mark.anyio


async def test_the_path_is_the_plan(desk: Desk) -> None:
    """D21: the same order and exclusions as a request would have."""
    first, second, off = await desk.connect("first"), await desk.connect("second", priority=2), await desk.connect("off")
    await desk.hub.store.connections.update(off.id, active=False)
    found = await desk.ask("simulate-route", model="openai/gpt-4o")
    plan = desk.hub.planner.plan(Query(model="openai/gpt-4o", caller=Caller.owner(), peek=True))
    assert [hop.connection for hop in found.simulated_path] == [one.connection.name for one in plan.options] == ["first", "second"]
    assert [(one.connection, one.reason) for one in found.excluded] == [("off", "switched off")]
    assert found.fallback_tree.primary == "openai/gpt-4o"
    assert found.fallback_tree.fallbacks == ["openai/gpt-4o"]
    assert (found.strategy, found.resolution) == ("fill-first", plan.resolution.why)
    assert first.id != second.id


@pytest.mark.parametrize(
    ("outcomes", "want"),
    [
        ({}, [1.0, 0.0, 0.0]),
        ({"a": "eeee"}, [0.2, 0.8, 0.0]),
        ({"a": "oe"}, [0.6667, 0.3333, 0.0]),
        ({"a": "oooe", "b": "eee", "c": "e"}, [0.8, 0.05, 0.075]),
        ({"a": "oooo", "b": "ee"}, [1.0, 0.0, 0.0]),
        ({"a": "cc"}, [1.0, 0.0, 0.0]),
    ],
)
async def test_odds_from_a_day_of_successes(desk: Desk, outcomes: dict[str, str], want: list[float]) -> None:
    """A hop serves when all before it fail; one success more than was seen is assumed."""
    words = {"o": "ok", "e": "error", "c": "cancelled"}
    for priority, name in enumerate("abc", start=1):
        connection = await desk.connect(name, priority=priority)
        for letter in outcomes.get(name, ""):
            desk.used(connection, outcome=words[letter])
        desk.used(connection, outcome="error", days_ago=1.5)
    hops = (await desk.ask("simulate-route", model="openai/gpt-4o")).simulated_path
    assert [hop.probability for hop in hops] == want
    assert sum(want) <= 1.0001


async def test_costs_are_the_upper_bound_of_each_hop(desk: Desk) -> None:
    await desk.connect("a", default_model="gpt-4o")
    await desk.connect("b", default_model="gpt-4o-mini", priority=2)
    found = await desk.ask("simulate-route", promptTokenEstimate=10_000, completionTokenEstimate=2000)
    want: list[float | None] = []
    for name in ("gpt-4o-mini", "gpt-4o"):  # with nothing measured yet, the price decides
        row = desk.hub.catalog.get("openai").model(name)
        assert row is not None
        assert row.price is not None
        want.append(Prices.estimate(row.price, 10_000, 2000))
    assert [hop.estimated_cost for hop in found.simulated_path] == want
    assert found.fallback_tree.worst_case_cost == want[1]
    assert found.fallback_tree.best_case_cost == want[0]
    assert found.fallback_tree.fallbacks == ["openai/gpt-4o"]


async def test_a_price_nobody_knows_makes_the_bounds_unknown(desk: Desk) -> None:
    """D17."""
    await desk.connect("a", default_model="gpt-4o")
    await desk.connect("b", default_model="never-heard-of", priority=2)
    found = await desk.ask("simulate-route")
    costs = {hop.connection: hop.estimated_cost for hop in found.simulated_path}
    assert costs["a"] is not None
    assert costs["b"] is None
    assert (found.fallback_tree.worst_case_cost, found.fallback_tree.best_case_cost) == (None, None)


async def test_health_and_quota_of_each_hop(desk: Desk) -> None:
    one, two = await desk.connect("a"), await desk.connect("b", priority=2)
    desk.limit(two, 300, 100)
    found = (await desk.ask("simulate-route", model="openai/gpt-4o")).simulated_path
    assert [(hop.health_status, hop.quota_available) for hop in found] == [("CLOSED", 100.0), ("CLOSED", 33.33)]
    desk.cool(one)
    desk.cool(two)
    found = (await desk.ask("simulate-route", model="openai/gpt-4o")).simulated_path
    assert [hop.health_status for hop in found] == ["HALF_OPEN"]
    desk.hub.resilience.cooldowns.clear(one.id)
    found = await desk.ask("simulate-route", model="openai/gpt-4o")
    assert [hop.connection for hop in found.simulated_path] == ["a"]
    assert [one.reason for one in found.excluded] == ["why"]


async def test_what_would_fail_fails_here_too(desk: Desk) -> None:
    one = await desk.connect("a")
    desk.cool(one, soft=False)
    with pytest.raises(RateLimited):
        await desk.ask("simulate-route", model="openai/gpt-4o")
    limited = Caller(key_id="k", name="k", scopes=Caller.owner().scopes, allowed_models=("other/*",))
    with pytest.raises(Forbidden):
        await desk.ask("simulate-route", limited, model="openai/gpt-4o")
    for wrong in ({"promptTokenEstimate": -1}, {"completionTokenEstimate": 10**9}, {"model": "x" * 201}):
        with pytest.raises(InvalidInput):
            await desk.ask("simulate-route", **wrong)


async def test_nothing_is_spent_or_recorded_as_spent(desk: Desk) -> None:
    await desk.connect("a")
    await desk.ask("simulate-route", model="openai/gpt-4o")
    assert (await desk.hub.store.usage.page())[1] == 0
    assert desk.hub.outbound.stats()["pools"] == []


async def test_the_demo_can_be_imagined_too(desk: Desk) -> None:
    found = await desk.ask("simulate-route")
    assert found.fallback_tree.primary == "demo/demo"
    assert found.simulated_path[0].probability == 1.0


async def test_a_past_order_is_made_again(desk: Desk) -> None:
    """D21: the recorded inputs give the recorded order, also when a connection is gone; a record that was changed shows."""
    first, second = await desk.connect("first"), await desk.connect("second", priority=2)
    places = [(first, ""), (second, ""), (first, "switched off")]
    candidates = [
        Candidate(
            provider="openai",
            model="gpt-4o",
            connection_id=one.id,
            connection=one.name,
            excluded=why,
            step=f"s{index}",
        )
        for index, (one, why) in enumerate(places)
    ]
    for name, order in (("kept", [0, 1]), ("changed", [1, 0])):
        levels = [Level(strategy="priority", given=["s0", "s1"], order=order)]
        desk.hub.store.decisions.add(decision(request_id=name, candidates=candidates, order=order, levels=levels))
    await desk.hub.store.connections.delete(second.id)
    found = await desk.ask("simulate-route", requestId="kept")
    assert found.replay is not None
    assert found.replay.same
    assert [(level.strategy, level.order, level.recorded) for level in found.replay.levels] == [("priority", ["s0", "s1"], ["s0", "s1"])]
    assert [hop.connection for hop in found.simulated_path] == ["first", "second"]
    assert [one.reason for one in found.excluded] == ["switched off"]
    assert (await desk.ask("simulate-route", requestId="changed")).replay.same is False


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"levels": [Level(strategy="gone", given=["a"], order=[0])]}, "no routing strategy 'gone'"),
        ({"levels": [Level(strategy="random", facts={"moon": 1}, given=["a", "b"], order=[0, 1])]}, "another version"),
        ({"levels": [Level(strategy="p2c", given=["a", "b"], sights=[{"moon": 1}, {}], order=[0, 1])]}, "another version"),
    ],
)
async def test_records_that_cannot_be_ordered_again_say_so(desk: Desk, changes: dict[str, Any], words: str) -> None:
    desk.hub.store.decisions.add(decision(request_id="odd", **changes))
    with pytest.raises(BadRequest, match=words):
        await desk.ask("simulate-route", requestId="odd")
    stranger = Caller(key_id="key_z", name="z", scopes=frozenset({"read:health", "read:combos"}))
    for request_id, caller in (("none", None), ("odd", stranger)):
        with pytest.raises(NotFound):
            await desk.ask("simulate-route", caller, requestId=request_id)
