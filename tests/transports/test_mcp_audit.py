"""Tool search and call by name, profiles, gates, and the record of calls at the MCP door."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.fakes.hub import Running, running_hub
from tests.fakes.mcp import rpc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.anyio


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    async with running_hub(tmp_path) as hub:
        yield hub


@pytest.fixture
async def client(running: Running) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=running.url, headers=await running.headers(), timeout=30) as session:
        yield session


async def found(client: httpx.AsyncClient, query: str) -> list[str]:
    answer = await rpc(client, "tools/call", name="omniroute_tool_search", arguments={"query": query})
    return [tool["name"] for tool in answer["structuredContent"]["tools"]]


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("what did I spend this week", "omniroute_cost_report"),
        ("remaining quota", "omniroute_check_quota"),
        ("change strategy of a combo", "omniroute_set_routing_strategy"),
        ("explain why a request was routed", "omniroute_explain_route"),
        ("list_models", "omniroute_list_models_catalog"),
        ("flush cached answers", "omniroute_cache_flush"),
    ],
)
async def test_search_finds_what_is_meant(client: httpx.AsyncClient, query: str, wanted: str) -> None:
    assert wanted in (await found(client, query))[:3]


async def test_search_and_call_stay_within_scope(running: Running, client: httpx.AsyncClient) -> None:
    """SEC-54: what a key may not call is neither found nor callable by name."""
    made = (await client.post("/api/keys", json={"name": "poor", "scopes": ["mcp:connect", "read:health"]})).json()
    async with httpx.AsyncClient(base_url=running.url, headers={"authorization": f"Bearer {made['key']}"}, timeout=30) as poor:
        assert "omniroute_cache_flush" not in await found(poor, "flush cached answers")
        refused = await rpc(poor, "tools/call", name="omniroute_tool_call", arguments={"name": "omniroute_cache_flush"})
        assert refused["isError"] is True
        assert "no tool" in refused["content"][0]["text"]
        health = await rpc(poor, "tools/call", name="omniroute_tool_call", arguments={"name": "omniroute_get_health"})
        assert health["structuredContent"]["result"]["version"]
        wrong = await rpc(poor, "tools/call", name="omniroute_tool_call", arguments={"name": "omniroute_get_provider_metrics"})
        assert "provider" in wrong["content"][0]["text"]


async def test_call_by_name_asks_before_it_destroys(client: httpx.AsyncClient) -> None:
    """SEC-64: the way round by name needs the same confirmation."""
    flush = {"name": "omniroute_cache_flush", "arguments": {}}
    refused = await rpc(client, "tools/call", name="omniroute_tool_call", arguments=flush)
    assert (refused["isError"], "confirm" in refused["content"][0]["text"]) == (True, True)
    done = await rpc(client, "tools/call", name="omniroute_tool_call", arguments={**flush, "confirm": True})
    assert done["isError"] is False


async def test_profiles_of_hub_and_key(running: Running, client: httpx.AsyncClient) -> None:
    """D9: the list shows the profile of the key; hidden tools stay callable."""

    async def names(session: httpx.AsyncClient) -> set[str]:
        return {tool["name"] for tool in (await rpc(session, "tools/list"))["tools"]}

    core = await names(client)
    assert {"omniroute_tool_search", "omniroute_tool_call", "omniroute_get_health"} <= core
    profile = "omniroute_get_*"
    made = (await client.post("/api/keys", json={"name": "few", "scopes": ["*"], "mcpProfile": profile})).json()
    async with httpx.AsyncClient(base_url=running.url, headers={"authorization": f"Bearer {made['key']}"}, timeout=30) as few:
        listed = await names(few)
        assert all(name.startswith(("omniroute_get_", "omniroute_tool_")) for name in listed)
        assert "omniroute_tool_search" in listed
        assert not (await rpc(few, "tools/call", name="omniroute_check_quota", arguments={}))["isError"]
    await client.patch("/api/settings", json={"mcpProfile": "omniroute_check_quota"})
    assert await names(client) == {"omniroute_check_quota", "omniroute_tool_search", "omniroute_tool_call"}


async def test_every_call_is_on_record(running: Running, client: httpx.AsyncClient) -> None:
    """SEC-80: who called which tool with what outcome; no content."""
    await rpc(client, "tools/call", name="omniroute_get_health", arguments={})
    await rpc(client, "tools/call", name="omniroute_explain_route", arguments={"requestId": "req_nowhere"})
    page = (await client.get("/api/mcp/audit")).json()
    assert [(one["toolName"], one["success"]) for one in page["entries"]] == [
        ("omniroute_explain_route", False), ("omniroute_get_health", True),
    ]  # fmt: skip
    assert page["total"] == 2
    assert all(one["apiKeyId"] and one["createdAt"] and isinstance(one["id"], int) for one in page["entries"])
    failed = (await client.get("/api/mcp/audit", params={"success": "false"})).json()
    assert [one["errorCode"] for one in failed["entries"]] == ["not_found"]
    assert (await client.get("/api/mcp/audit", params={"tool": "omniroute_get_health"})).json()["total"] == 1
    assert (await client.get("/api/mcp/audit", params={"success": "maybe"})).status_code == 400
    stats = (await client.get("/api/mcp/audit/stats")).json()
    assert (stats["totalCalls"], stats["successRate"]) == (2, 0.5)
    assert {one["tool"] for one in stats["topTools"]} == {"omniroute_get_health", "omniroute_explain_route"}
    state = (await client.get("/api/mcp/status")).json()
    assert (state["online"], state["transport"], state["activity"]["lastCallTool"]) == (True, "all", "omniroute_explain_route")
    tools = (await client.get("/api/mcp/tools")).json()
    assert tools["total"] == len(tools["tools"]) > 20


async def test_gates_of_the_seed(client: httpx.AsyncClient) -> None:
    """mcpEnabled off is 503, another transport chosen is 400; a2aEnabled off is -32000."""

    async def listed() -> tuple[int, Any]:
        answer = await client.post("/api/mcp/stream", json={"jsonrpc": "2.0", "id": 1, "method": "ping"})
        return answer.status_code, answer.json().get("error")

    await client.patch("/api/settings", json={"mcpTransport": "sse"})
    status, words = await listed()
    assert (status, "sse" in words, "streamable-http" in words) == (400, True, True)
    await client.patch("/api/settings", json={"mcpEnabled": False, "mcpTransport": "all"})
    status, words = await listed()
    assert (status, "mcpEnabled" in words) == (503, True)
    assert (await client.get("/api/mcp/status")).json()["status"] == "offline"
    await client.patch("/api/settings", json={"mcpEnabled": True, "a2aEnabled": False})
    shut = await client.post("/a2a", json={"jsonrpc": "2.0", "id": 1, "method": "tasks/get", "params": {"id": "x"}})
    assert (shut.status_code, shut.json()["error"]["code"]) == (503, -32000)
    assert (await client.get("/api/a2a/status")).json()["status"] == "disabled"
