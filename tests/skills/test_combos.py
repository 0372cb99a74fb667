"""Combos over their skills and doors: create, change, rename, order, delete, test, count; nothing is stored by halves."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from hub.access.scopes import expand
from hub.errors import BadRequest, Conflict, Forbidden, InvalidInput, NotFound
from hub.records import Caller
from tests.fakes.hub import running_hub
from tests.fakes.upstream import Behaviour, FaultUpstream, json_answer
from tests.fakes.vendor import good

if TYPE_CHECKING:
    from pathlib import Path

    from tests.skills.conftest import Desk

pytestmark = pytest.mark.anyio

BUSY = json_answer({"error": {"message": "overloaded", "type": "server_error"}}, status=503)


def agent(*models: str) -> Caller:
    return Caller(key_id="k", name="k", scopes=expand(["operator"]), allowed_models=models)


async def make(desk: Desk, name: str, *models: Any, **fields: Any) -> Any:
    return await desk.ask("combos-create", name=name, models=list(models), **fields)


async def names(desk: Desk) -> list[str]:
    return [one.name for one in (await desk.ask("combos-list")).combos]


async def test_from_making_one_to_deleting_it_over_http(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as hub, httpx.AsyncClient(base_url=hub.url, headers=await hub.headers()) as client:
        body = {
            "name": "golden-combo",
            "models": ["openai/gpt-4o", {"provider": "groq", "model": "x", "weight": 30}],
            "config": {"maxRetries": 2},
        }
        made = await client.post("/api/combos", json=body)
        assert made.status_code == 201, made.text
        combo = made.json()
        assert combo["models"] == [
            {"id": "golden-combo-model-1-openai-gpt-4o", "kind": "model", "model": "openai/gpt-4o", "providerId": "openai", "weight": 0},
            {"id": "golden-combo-model-2-groq-x", "kind": "model", "model": "groq/x", "providerId": "groq", "weight": 30},
        ]
        assert {name: combo[name] for name in ("name", "strategy", "config", "isHidden", "isActive", "sortOrder", "version")} == {
            "name": "golden-combo", "strategy": "priority", "config": {"maxRetries": 2}, "isHidden": False, "isActive": True,
            "sortOrder": 1, "version": 2,
        }  # fmt: skip
        path = f"/api/combos/{combo['id']}"
        assert (await client.get(path)).json() == combo
        assert (await client.get("/api/combos")).json() == {"combos": [combo]}
        changed = (await client.put(path, json={"isActive": False, "models": combo["models"]})).json()
        assert (changed["isActive"], changed["models"], changed["config"]) == (False, combo["models"], combo["config"])
        again = await client.post("/api/combos", json=body)
        assert (again.status_code, again.json()["error"]) == (409, "there is a combo 'golden-combo' already")
        wrong = await client.post(
            "/api/combos", json={**body, "name": "other", "colour": 1, "config": {"compressionMode": "some", "what": 1}}
        )
        assert wrong.status_code == 400
        assert {one["field"] for one in wrong.json()["error"]["details"]} == {"colour", "config.compressionMode", "config.what"}
        assert (await client.delete(path)).json() == {"success": True}
        assert (await client.delete(path)).status_code == 404
        listed = (await client.get("/api/combos/metrics")).json()
        assert listed["metrics"] == {}


async def test_faults_name_their_field_and_nothing_is_stored(desk: Desk) -> None:
    one = await desk.connect("a")
    for given, fields in (
        ({"name": "bad*name"}, {"name"}),
        (
            {"name": "c", "models": ["nobody/x", {"model": "openai/x", "connectionId": "con_gone"}]},
            {"models[0].model", "models[1].connectionId"},
        ),
        ({"name": "c", "models": [{"model": "groq/x", "connectionId": one.id}]}, {"models[0].connectionId"}),
        ({"name": "c", "strategy": "chance"}, {"strategy"}),
        ({"name": "c", "tool_filter_regex": "(a"}, {"tool_filter_regex"}),
        ({"name": "c", "models": ["c"]}, {"models[0].model"}),
        ({"name": "c", "models": [{"kind": "combo-ref", "comboName": "c"}]}, {"models"}),
        ({"name": "c", "context_length": 10}, {"context_length"}),
        ({"name": "c", "allowedProviders": ["openai", "nobody"]}, {"allowedProviders[1]"}),
    ):
        with pytest.raises(BadRequest) as told:
            await desk.ask("combos-create", **given)
        details = told.value.details if isinstance(told.value, InvalidInput) else [{"field": told.value.field}]
        assert {detail["field"] for detail in details} == fields, given
    assert await names(desk) == []


async def test_names_that_models_have_and_names_that_lead_nowhere_yet(desk: Desk) -> None:
    """With nothing connected the built-in provider answers any name: that proves nothing of a step."""
    made = await make(desk, "openai/gpt-4o", "openai/gpt-4o", "gpt-4o", "auto/coding")
    assert [step["model"] for step in made.models] == ["openai/gpt-4o", "gpt-4o", "auto/coding"]
    with pytest.raises(InvalidInput, match="gpt-nonsense"):
        await make(desk, "x", "gpt-nonsense")


async def test_a_prefix_of_an_own_node_is_a_provider(desk: Desk) -> None:
    node = await desk.connect("node", data={"prefix": "mine"}, base_url="http://127.0.0.1:9/v1", allow_private=True)
    (step,) = (await make(desk, "c", {"model": "mine/llama", "connectionId": node.id})).models
    assert (step["model"], step["providerId"], step["connectionId"]) == ("mine/llama", "openai", node.id)


async def test_circles_and_depth_are_refused_whoever_changes(desk: Desk) -> None:
    await make(desk, "a", "openai/gpt-4o")
    await make(desk, "b", "a")
    await make(desk, "c", "b")
    await make(desk, "d", "c")
    with pytest.raises(BadRequest, match="Circular combo reference detected: a -> d -> c -> b -> a"):
        await desk.ask("combos-update", id="a", models=["d"])
    with pytest.raises(BadRequest, match=r"Max combo nesting depth \(3\) exceeded"):
        await make(desk, "e", "d")
    # One at the bottom that grows deeper is too much for those above it.
    await make(desk, "z", "openai/gpt-4o")
    with pytest.raises(BadRequest, match="'d' is nested 4 deep"):
        await desk.ask("combos-update", id="a", models=["z"])
    assert (await desk.ask("combos-get", id="a")).models[0]["kind"] == "model"
    await desk.ask("combos-update", id="d", config={"maxComboDepth": 5})
    await desk.ask("combos-update", id="a", models=["z"])


async def test_a_rename_is_followed_in_one_step(desk: Desk) -> None:
    first = await make(desk, "first", "openai/gpt-4o")
    await make(desk, "second", "first", "groq/x")
    await make(desk, "taken")
    mapping = await desk.ask("mappings-create", pattern="gpt-*", comboId="first")
    desk.hub.board.note("first", "k", ok=True, status=200, latency_ms=1, fallback=False, model="m", provider="p")
    before = (await desk.ask("combos-get", id="second")).models[0]
    with pytest.raises(Conflict):
        await desk.ask("combos-update", id=first.id, name="taken")
    assert (await desk.ask("combos-update", id=first.id, name="new")).name == "new"
    after = (await desk.ask("combos-get", id="second")).models[0]
    assert (before["comboName"], after["comboName"], after["id"]) == ("first", "new", before["id"])
    assert (await desk.ask("mappings-get", id=mapping.id)).combo_name == "new"
    assert desk.hub.board.last_good("new") == "k"
    assert desk.hub.combos.find("first") is None


async def test_what_is_used_is_not_deleted(desk: Desk) -> None:
    await make(desk, "inner", "openai/gpt-4o")
    await make(desk, "outer", "inner")
    mapping = await desk.ask("mappings-create", pattern="gpt-*", comboId="inner")
    with pytest.raises(Conflict, match=r"combo 'inner' is used by combo 'outer', mapping 'gpt-\*'") as told:
        await desk.ask("combos-delete", id="inner")
    assert told.value.data == {"usedBy": ["combo 'outer'", "mapping 'gpt-*'"]}
    await desk.ask("combos-delete", id="outer")
    await desk.ask("mappings-delete", id=mapping.id)
    await desk.ask("combos-delete", id="inner")
    assert await names(desk) == []


async def test_a_reference_made_while_its_combo_is_deleted(desk: Desk) -> None:
    """Whichever comes first, no combo is left that refers to nothing."""
    for _ in range(5):
        await make(desk, "inner", "openai/gpt-4o")
        await asyncio.gather(
            make(desk, "outer", {"kind": "combo-ref", "comboName": "inner"}), desk.ask("combos-delete", id="inner"), return_exceptions=True
        )
        there = await names(desk)
        assert there in ([], ["inner", "outer"])
        for name in reversed(there):
            await desk.ask("combos-delete", id=name)


async def test_changes_keep_the_rest_and_null_resets(desk: Desk) -> None:
    made = await make(
        desk, "c", "openai/gpt-4o", system_message="s", context_length=5000, config={"maxRetries": 3}, allowedProviders=["oa", "openai"][1:]
    )
    changed = await desk.ask("combos-update", id=made.id, context_length=None, isHidden=True)
    assert (changed.context_length, changed.is_hidden, changed.system_message, changed.config) == (None, True, "s", {"maxRetries": 3})
    assert changed.models == made.models
    assert (await desk.ask("combos-update", id="c", config={})).config == {}
    assert (await desk.ask("combos-update", id="c", compressionOverride="lite")).config == {"compressionMode": "lite"}
    assert (await desk.ask("combos-update", id="c", compressionOverride=None)).config == {}
    with pytest.raises(InvalidInput, match="compressionOverride"):
        await desk.ask("combos-update", id="c", compressionOverride="some")
    with pytest.raises(InvalidInput, match="nothing to change"):
        await desk.ask("combos-update", id="c")
    with pytest.raises(NotFound):
        await desk.ask("combos-update", id="none", isHidden=True)


async def test_order(desk: Desk) -> None:
    made = {name: (await make(desk, name)).id for name in "abcd"}
    assert await names(desk) == ["a", "b", "c", "d"]
    await desk.ask("combos-reorder", comboIds=[made["c"], made["a"]])
    assert await names(desk) == ["c", "a", "b", "d"]
    with pytest.raises(InvalidInput) as told:
        await desk.ask("combos-reorder", comboIds=[made["a"], "none", made["a"]])
    assert [one["field"] for one in told.value.details] == ["comboIds[1]", "comboIds[2]"]
    assert (await make(desk, "e")).sort_order == 5


async def test_agents_list_switch_and_steer(desk: Desk) -> None:
    await make(desk, "inner", "gpt-4o")
    made = await make(desk, "outer", "inner", "groq/x", isHidden=True)
    (_, found) = (await desk.ask("combos-overview", agent())).combos
    assert [(one.provider, one.model, one.priority) for one in found.models] == [("combo", "inner", 1), ("groq", "x", 2)]
    assert (found.enabled, found.metrics) == (True, None)
    report = await desk.ask("combos-switch", agent(), comboId="outer", active=False)
    assert (report.success, report.combo.id, report.combo.enabled) == (True, made.id, False)
    steered = await desk.ask("combos-strategy", agent(), comboId=made.id, strategy="priority")
    assert (steered.combo.strategy, steered.combo.auto_routing_strategy) == ("priority", None)
    with pytest.raises(BadRequest, match="with strategy 'auto' only"):
        await desk.ask("combos-strategy", agent(), comboId="outer", strategy="priority", autoRoutingStrategy="cost")
    with pytest.raises(InvalidInput, match="no routing strategy 'chance'; there are auto, "):
        await desk.ask("combos-strategy", agent(), comboId="outer", strategy="chance")
    reader = Caller(key_id="r", name="r", scopes=expand(["read:combos"]))
    with pytest.raises(Forbidden):
        await desk.ask("combos-switch", reader, comboId="outer", active=True)


async def test_counts_and_costs(desk: Desk) -> None:
    connection = await desk.connect("a")
    made = await make(desk, "c", "openai/gpt-4o", "groq/x")
    first, second = (step["id"] for step in made.models)
    told = await desk.ask("combos-metrics", combo="c")
    assert (told.metrics, told.message) == (None, "combo 'c' has not been used since its counts began")
    board = desk.hub.board
    board.note("c", first, ok=False, status=503, latency_ms=50, fallback=False, model="gpt-4o", provider="openai")
    board.note("c", second, ok=True, status=200, latency_ms=150, fallback=True, model="x", provider="groq")
    board.note("c", first, ok=True, status=200, latency_ms=100, fallback=False, model="gpt-4o", provider="openai")
    desk.used(connection, combo="c", cost=0.25)
    one = (await desk.ask("combos-metrics")).metrics["c"]
    assert {name: one[name] for name in one if name not in ("byModel", "byTarget", "lastUsedAt")} == {
        "totalRequests": 2, "totalSuccesses": 2, "totalFailures": 0, "totalFallbacks": 1, "totalLatencyMs": 300, "strategy": "priority",
        "intentCounts": {}, "avgLatencyMs": 100, "successRate": 100, "fallbackRate": 50,
    }  # fmt: skip
    target = one["byTarget"][first]
    assert (target["executionKey"], target["stepId"], target["model"], target["providerId"], target["label"]) == (
        first, first, "openai/gpt-4o", "openai", None,
    )  # fmt: skip
    assert (target["requests"], target["failures"], target["successRate"], target["lastStatus"]) == (2, 1, 50, "ok")
    assert set(one["byModel"]) == {"openai/gpt-4o", "groq/x"}
    (told,) = (await desk.ask("combos-overview", includeMetrics=True)).combos
    assert (told.metrics.request_count, told.metrics.success_rate, told.metrics.avg_latency_ms, told.metrics.total_cost) == (
        2,
        1.0,
        100.0,
        0.25,
    )
    figures = await desk.ask("combo-performance", comboId=made.id)
    assert (figures.requests, figures.fallback_count, figures.cost_total) == (2, 1, 0.25)
    assert [(part.provider, part.requests, part.success_rate, part.avg_latency) for part in figures.by_provider] == [
        ("groq", 1, 1.0, 150.0), ("openai", 2, 0.5, 75.0),
    ]  # fmt: skip
    await desk.ask("combos-metrics-reset", combo="c")
    assert (await desk.ask("combos-metrics", combo=made.id)).metrics is None
    assert "0" not in (await desk.ask("combos-metrics-reset")).message


async def test_every_target_is_tried_with_its_own_connection(desk: Desk, upstream: FaultUpstream) -> None:
    upstream.script(lambda request: BUSY if "sk-b-secret" in str(request.headers) else good())
    one = await desk.connect("a", base_url=f"{upstream.url}/v1", allow_private=True)
    two = await desk.connect("b", base_url=f"{upstream.url}/v1", allow_private=True)
    await make(desk, "inner", {"model": "openai/gpt-4o", "connectionId": one.id, "label": "good"})
    # Named like a model, and mapped: the test is of the targets all the same.
    await make(desk, "openai/gpt-4o-mini", {"model": "openai/gpt-4o", "connectionId": two.id}, "inner")
    caller = agent("openai/gpt-4o-mini")
    report = await desk.ask("combos-test", caller, comboName="openai/gpt-4o-mini")
    bad, fine = report.results
    assert (bad.status, bad.status_code, bad.connection_id, bad.response_text) == ("error", 503, two.id, "")
    assert "overloaded" in bad.error
    assert (fine.status, fine.response_text, fine.token_count, fine.label) == ("ok", "Hello from upstream", 120, "good")
    assert fine.cost
    assert (report.resolved_by, report.resolved_by_execution_key) == ("openai/gpt-4o", fine.execution_key)
    assert fine.execution_key.count(">") == 1
    assert upstream.requests[0].json()["max_tokens"] == 50
    rows, _ = await desk.hub.store.usage.page()
    assert len({row.request_id for row in rows}) == 2
    address = desk.hub.find("combos-test").mcp
    assert address is not None
    assert address.view is not None
    tool = address.view(report)
    assert (tool.summary.total_providers, tool.summary.successful, tool.summary.fastest_provider, tool.summary.cheapest_provider) == (
        2, 1, "openai", "openai",
    )  # fmt: skip
    with pytest.raises(Forbidden):
        await desk.ask("combos-test", agent("other"), comboName="inner")
    with pytest.raises(InvalidInput):
        await desk.ask("combos-test", caller)
    await make(desk, "empty")
    with pytest.raises(BadRequest, match="no targets"):
        await desk.ask("combos-test", comboId="empty")


async def test_a_target_that_never_answers_costs_its_time_only(desk: Desk, upstream: FaultUpstream) -> None:
    upstream.answer(Behaviour(lambda exchange: exchange.hold()))
    await desk.connect("a", base_url=f"{upstream.url}/v1", allow_private=True)
    await make(desk, "c", "openai/gpt-4o", config={"healthCheckTimeoutMs": 100})
    (one,) = (await desk.ask("combos-test", comboName="c")).results
    assert (one.status, one.status_code, one.error) == ("error", 504, "no answer within 0.1 s")
    assert await upstream.closed_by_client()


async def test_combos_among_the_models(desk: Desk) -> None:
    await desk.connect("a")
    await make(desk, "zed", "openai/gpt-4o", "openai/gpt-4o-mini")
    await make(desk, "able", "openai/gpt-4o", context_length=9000)
    await make(desk, "hidden", "openai/gpt-4o", isHidden=True)
    await make(desk, "off", "openai/gpt-4o", isActive=False)
    listed = (await desk.ask("openai-models")).data
    assert [one.id for one in listed[:2]] == ["zed", "able"]
    assert {one.owned_by for one in listed[:2]} == {"combo"}
    assert "combo" not in {one.owned_by for one in listed[2:]}
    row = desk.hub.catalog.get("openai").model("gpt-4o")
    assert row is not None
    assert (listed[0].context_length, listed[1].context_length, listed[0].capabilities["tool_calling"]) == (
        row.context,
        9000,
        "tools" in row.caps,
    )
    assert [one.id for one in (await desk.ask("openai-models", agent("able"))).data] == ["able"]
    assert (await desk.ask("openai-model", model="hidden")).owned_by == "combo"
    for name in ("off", "zed"):
        with pytest.raises(NotFound):
            await desk.ask("openai-model", agent("able"), model=name)
