"""Recommendations: from what models can do, cost and took; constraints are kept, and what is unknown is said to be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hub.access.scopes import expand
from hub.chat import Usage
from hub.errors import BadRequest, Forbidden, InvalidInput
from hub.records import Caller

if TYPE_CHECKING:
    from tests.skills.conftest import Desk

pytestmark = pytest.mark.anyio


async def combo(desk: Desk, name: str, *models: Any, **fields: Any) -> str:
    return (await desk.ask("combos-create", name=name, models=list(models), **fields)).id


def answered(desk: Desk, name: str, latency: int) -> None:
    desk.hub.board.note(name, "k", ok=True, status=200, latency_ms=latency, fallback=False, model="m", provider="openai")


async def test_the_best_fit_then_the_cheaper(desk: Desk) -> None:
    await desk.connect("a")
    big, small = (desk.hub.catalog.get("openai").model(name) for name in ("gpt-4o", "gpt-4o-mini"))
    assert big is not None
    assert small is not None
    assert "tools" in big.caps
    assert "tools" in small.caps
    await combo(desk, "dear", "openai/gpt-4o")
    await combo(desk, "cheap", "openai/gpt-4o-mini")
    await combo(desk, "unknown", "openai/never-heard-of")
    await combo(desk, "off", "openai/gpt-4o", isActive=False)
    await combo(desk, "elsewhere", "groq/x")
    best = await desk.ask("best-combo", taskType="coding")
    assert best.recommended_combo.name == "cheap"
    assert "100% of what coding asks" in best.recommended_combo.reason
    assert [(one.name, one.tradeoff) for one in best.alternatives] == [
        ("dear", "fits as well, higher cost, latency not known"),
        ("unknown", "fits 50% instead of 100%, cost not known, latency not known"),
    ]
    assert {one.name: one.reason for one in best.excluded} == {
        "off": "it is switched off",
        "elsewhere": "it has no targets whose provider is connected and healthy",
    }
    assert best.free_alternative is None


async def test_constraints_are_kept(desk: Desk) -> None:
    connection = await desk.connect("a")
    await combo(desk, "dear", "openai/gpt-4o")
    await combo(desk, "cheap", "openai/gpt-4o-mini")
    await combo(desk, "unknown", "openai/never-heard-of")
    budget = await desk.ask("best-combo", taskType="coding", budgetConstraint=0.005)
    assert (budget.recommended_combo.name, budget.alternatives) == ("cheap", [])
    assert {one.name for one in budget.excluded} == {"dear", "unknown"}
    answered(desk, "cheap", 3000)
    desk.used(connection, model="gpt-4o", latency_ms=500, outcome="ok")
    quick = await desk.ask("best-combo", taskType="coding", latencyConstraint=1000)
    assert quick.recommended_combo.name == "dear"
    assert {one.name: one.reason for one in quick.excluded} == {
        "cheap": "it takes 3000 ms, longer than the 1000 ms asked for",
        "unknown": "its latency has not been measured yet",
    }
    none = await desk.ask("best-combo", taskType="coding", latencyConstraint=1)
    assert (none.recommended_combo, none.alternatives) == (None, [])


async def test_a_free_one_is_free_by_its_price(desk: Desk) -> None:
    await desk.connect("a")
    await combo(desk, "free-by-name", "openai/gpt-4o")
    await desk.connect("local", "ollama", base_url="http://127.0.0.1:9", allow_private=True)
    await combo(desk, "home", "ollama/qwen")
    best = await desk.ask("best-combo", taskType="documentation")
    assert best.free_alternative.name == "home"


async def test_only_combos_that_the_key_may_use(desk: Desk) -> None:
    await desk.connect("a")
    await combo(desk, "mine", "openai/gpt-4o")
    await combo(desk, "theirs", "openai/gpt-4o-mini", "auto")
    caller = Caller(key_id="k", name="k", scopes=expand(["operator"]), allowed_models=("mine",))
    best = await desk.ask("best-combo", caller, taskType="planning")
    assert (best.recommended_combo.name, best.alternatives, best.excluded) == ("mine", [], [])


async def test_the_fastest_by_measure(desk: Desk) -> None:
    one, two = await desk.connect("a"), await desk.connect("g", "groq")
    for _ in range(3):
        desk.used(one, model="slow", latency_ms=4000, outcome="ok", usage=Usage(output=100))
        desk.used(two, model="quick", latency_ms=800, ttft_ms=100, stream=True, outcome="ok", usage=Usage(output=140))
    desk.used(two, model="quick", latency_ms=1, outcome="error", status=503)
    desk.used(one, model="old", latency_ms=1, outcome="ok", days_ago=2)
    desk.used(one, model="second", latency_ms=1, outcome="ok", fallbacks=1)
    desk.used(one, model="gone", latency_ms=1, outcome="cancelled")
    found = await desk.ask("fastest-model")
    assert [(row.provider, row.model) for row in found.ranked] == [("groq", "quick"), ("openai", "slow")]
    assert found.fastest == found.ranked[0]
    quick, slow = found.ranked
    assert (quick.metrics["ttft"], quick.metrics["tps"], quick.metrics["e2e"], quick.metrics["successRate"]) == (100, 200, 800, 0.75)
    assert (slow.metrics["ttft"], slow.factors["ttft"], slow.factors["e2e"], slow.metrics["tps"]) == (None, None, 0.2, 25)
    assert quick.score > slow.score
    assert abs(sum(found.weights.values()) - 1) < 0.01
    steady = await desk.ask("fastest-model", weights={"reliability": 2})
    assert steady.ranked[0].model == "slow"
    desk.cool(two)
    assert [row.model for row in (await desk.ask("fastest-model")).ranked] == ["slow"]
    assert len((await desk.ask("fastest-model", includeUnhealthy=True)).ranked) == 2
    assert len((await desk.ask("fastest-model", includeUnhealthy=True, limit=1)).ranked) == 1


async def test_without_measures_there_is_no_fastest(desk: Desk) -> None:
    found = await desk.ask("fastest-model")
    assert (found.fastest, found.ranked) == (None, [])


async def test_within_a_combo_and_applied_to_it(desk: Desk) -> None:
    one = await desk.connect("a")
    desk.used(one, model="gpt-4o", outcome="ok", latency_ms=10)
    desk.used(one, model="gpt-4o-mini", outcome="ok", latency_ms=5)
    identity = await combo(desk, "c", "openai/gpt-4o")
    found = await desk.ask("fastest-model", comboId="c")
    assert ([row.model for row in found.ranked], found.combo_scope.id, found.applied_to_combo) == (["gpt-4o"], identity, None)
    reader = Caller(key_id="k", name="k", scopes=expand(["read:*"]))
    with pytest.raises(Forbidden):
        await desk.ask("fastest-model", reader, comboId="c", applyToCombo=True)
    with pytest.raises(InvalidInput):
        await desk.ask("fastest-model", applyToCombo=True)
    if "auto" not in desk.hub.strategies:
        with pytest.raises(BadRequest, match="there is no strategy 'auto'"):
            await desk.ask("fastest-model", comboId="c", applyToCombo=True)
        desk.hub.strategies = {**desk.hub.strategies, "auto": desk.hub.strategies["priority"]}
    applied = (await desk.ask("fastest-model", comboId="c", applyToCombo=True)).applied_to_combo
    assert applied == {"id": identity, "name": "c", "strategy": "auto", "routerStrategy": "latency"}
    assert (await desk.ask("combos-get", id="c")).config == {"routerStrategy": "latency"}


@pytest.mark.parametrize("weights", [{"speed": 1}, {"ttft": -1}, {"ttft": 0}, {}, {"ttft": float("inf")}])
async def test_weights_that_weigh_nothing(desk: Desk, weights: dict[str, float]) -> None:
    with pytest.raises(InvalidInput):
        await desk.ask("fastest-model", weights=weights)
