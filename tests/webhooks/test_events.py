"""Where events come from: each is told when it happens, and nothing is made of one that nobody wants."""

from __future__ import annotations

import ast
import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from hub.events import Event
from hub.webhooks import names
from tests.fakes.command import ROOT
from tests.fakes.mcp import client
from tests.fakes.upstream import json_answer

if TYPE_CHECKING:
    from tests.webhooks.conftest import Desk

pytestmark = pytest.mark.anyio

CHAT = {"model": "demo/echo", "messages": [{"role": "user", "content": "a word that no receiver may see"}]}


async def told(desk: Desk, count: int = 1) -> list[Any]:
    """The first so many events that the receiver got, in the order of their making."""
    bodies = await desk.receiver.told(count)
    assert "no receiver may see" not in json.dumps(bodies)
    return sorted(bodies, key=lambda body: body["timestamp"])


async def test_calls(desk: Desk) -> None:
    desk.receiver.answer(json_answer({}))
    await desk.hook("request.*")
    answer = await desk.http.post("/v1/chat/completions", json=CHAT)
    assert answer.status_code == 200
    [body] = await told(desk)
    data = body["data"]
    assert (body["event"], data["provider"], data["status"], data["outcome"]) == ("request.completed", "demo", 200, "ok")
    assert data["requestId"] == answer.headers["x-request-id"]
    assert data["outputTokens"] > 0
    connection = {
        "provider": "openai",
        "name": "dead",
        "apiKey": "sk-dead-secret",
        "baseUrl": "http://127.0.0.1:9/v1",
        "allowPrivate": True,
    }
    await desk.ask("POST", "/api/providers", 201, json=connection)
    assert (await desk.http.post("/v1/chat/completions", json={**CHAT, "model": "openai/gpt-4o"})).status_code >= 500
    bodies = await told(desk, 2)
    assert {one["event"] for one in bodies} == {"request.completed", "request.failed"}


async def test_changes_of_owners(desk: Desk) -> None:
    desk.receiver.answer(json_answer({}))
    await desk.hook("key.*", "connection.*", "combo.*")
    key = await desk.ask("POST", "/api/keys", 201, json={"name": "app"})
    await desk.ask("PATCH", f"/api/keys/{key['id']}", json={"name": "other"})
    await desk.ask("POST", f"/api/keys/{key['id']}/revoke")
    await desk.ask("DELETE", f"/api/keys/{key['id']}")
    made = await desk.ask("POST", "/api/providers", 201, json={"provider": "openai", "name": "one", "apiKey": "sk-canary-secret-1"})
    connection = made["connection"]["id"]
    await desk.ask("PUT", f"/api/providers/{connection}", json={"name": "two"})
    await desk.ask("DELETE", f"/api/providers/{connection}")
    await desk.ask("POST", "/api/keys", 400, json={"name": ""})  # what fails is no event
    bodies = await told(desk, 7)
    assert [one["event"] for one in sorted(bodies, key=lambda one: one["data"]["requestId"])] == [
        "key.created", "key.updated", "key.revoked", "key.deleted", "connection.created", "connection.updated", "connection.deleted",
    ]  # fmt: skip
    assert {one["data"]["id"] for one in bodies} == {key["id"], connection}
    assert "sk-canary" not in json.dumps(bodies)
    assert "hr_" not in json.dumps(bodies)


async def test_a_combo_that_is_switched_or_falls_back(desk: Desk) -> None:
    desk.receiver.answer(json_answer({}))
    await desk.hook("combo.switched")
    connection = {
        "provider": "openai",
        "name": "dead",
        "apiKey": "sk-dead-secret",
        "baseUrl": "http://127.0.0.1:9/v1",
        "allowPrivate": True,
    }
    await desk.ask("POST", "/api/providers", 201, json=connection)
    await desk.running.hub.preferences.change({"resilienceSettings": {"waitForCooldown": {"enabled": False}}})
    await desk.ask("POST", "/api/combos", 201, json={"name": "both", "models": ["openai/gpt-4o", "demo/echo"]})
    hub = desk.running.hub
    answer = await desk.http.post("/v1/chat/completions", json={**CHAT, "model": "both"})
    assert answer.status_code == 200, answer.text
    [body] = await told(desk)
    assert (body["data"]["reason"], body["data"]["combo"], body["data"]["provider"]) == ("fallback", "both", "demo")
    ctx = hub.context(hub.authenticate(desk.http.headers["authorization"].removeprefix("Bearer ")), "mcp")
    await hub.call(hub.find("combos-switch"), {"comboId": "both", "active": False}, ctx)
    await desk.receiver.received(2)
    assert desk.receiver.requests[1].json()["data"]["reason"] == "owner"


async def test_a_tool_that_fails(desk: Desk) -> None:
    desk.receiver.answer(json_answer({}))
    await desk.hook("mcp.tool.failed")
    async with client(desk.running, await desk.running.key("manage")) as session:
        failed = await session.call_tool("omniroute_switch_combo", {"comboId": "none", "active": True})
    assert failed.is_error
    [body] = await told(desk)
    assert body["data"]["tool"] == "omniroute_switch_combo"
    assert body["data"]["errorCode"]


async def test_an_agent_task(desk: Desk) -> None:
    desk.receiver.answer(json_answer({}))
    await desk.hook("a2a.task.*")
    parts = [{"text": "a word that no receiver may see"}]
    message = {"messageId": "m1", "role": "ROLE_USER", "parts": parts, "metadata": {"skill": "smart-routing"}}
    body = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": message}}
    task = (await desk.http.post("/a2a", json=body, headers={"a2a-version": "1.0"})).json()["result"]["task"]
    bodies = await told(desk, 2)
    assert {one["event"] for one in bodies} == {"a2a.task.working", "a2a.task.completed"}
    assert {one["data"]["task"] for one in bodies} == {task["id"]}


async def test_events_of_the_hub_have_their_outside_names(desk: Desk) -> None:
    """The kinds inside are ours, those outside a promise."""
    desk.receiver.answer(json_answer({}))
    await desk.hook("provider.*", "cloud_agent.*", "batch.*")
    emit = desk.running.hub.events.emit
    emit("breaker.open", provider="openai", failures=5, until=1, reason="x")
    emit("breaker.closed", provider="openai", failures=5, by="probe")
    emit("agent_task.status", task="t", provider="p", status="awaiting_approval")
    emit("batch.progress", batch="b", status="completed", changed=True, total=1, completed=1, failed=0)
    emit("batch.progress", batch="b", status="in_progress", changed=False, total=1, completed=0, failed=0)
    bodies = await told(desk, 6)
    assert sorted(one["event"] for one in bodies) == [
        "batch.completed", "batch.progress", "batch.progress", "cloud_agent.awaiting_approval", "provider.error", "provider.recovered",
    ]  # fmt: skip


async def test_anchors_of_the_audit_log(desk: Desk) -> None:
    """Kept by a receiver elsewhere, they find out a log that was rolled back together with the file of anchors."""
    desk.receiver.answer(json_answer({}))
    await desk.hook("audit.*")
    anchor = (await desk.ask("POST", "/api/compliance/audit-log/anchor"))["anchor"]
    [body] = await told(desk)
    assert body["event"] == "audit.anchor"
    assert {name: body["data"][name] for name in ("seq", "hash", "digest")} == {name: anchor[name] for name in ("seq", "hash", "digest")}


async def test_nothing_listens_while_nobody_wants_it(desk: Desk) -> None:
    """The chat path pays for webhooks only where one asks for calls."""
    hub = desk.running.hub

    def listening() -> list[int]:
        return [len(one) for one in (hub.on_call, hub.on_audited, hub.tasks.on_moved)]

    assert listening() == [0, 0, 0]
    hook = await desk.hook("budget.*")
    assert listening() == [0, 0, 0]
    await desk.ask("PUT", f"/api/webhooks/{hook['id']}", json={"events": ["*"]})
    assert listening() == [1, 1, 1]
    await desk.ask("PUT", f"/api/webhooks/{hook['id']}", json={"enabled": False})
    assert listening() == [0, 0, 0]
    hub.events.emit("budget.warning")
    await asyncio.sleep(0.05)
    assert desk.receiver.requests == []


def test_every_kind_that_the_hub_emits_is_in_the_table() -> None:
    """A new kind is offered to receivers, or the table of other names says what it is called."""
    found: set[str] = set()
    for path in [*(ROOT / "hub").rglob("*.py"), *(ROOT / "skills").rglob("*.py"), *(ROOT / "transports").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in ("emit", "_emit", "_say")
                and node.args
            ):
                found |= {leaf.value for leaf in ast.walk(node.args[0]) if isinstance(leaf, ast.Constant) and isinstance(leaf.value, str)}
    kinds = {kind for kind in found if "." in kind.strip(".")}
    assert {"breaker.open", "quota.exceeded", "mcp.server.failed", "webhook.disabled"} <= kinds
    lost = [
        kind for kind in kinds if not names.outside(Event(id="e", at=0, kind=kind, data={"status": "queued"})) and not kind.endswith(".")
    ]
    assert lost == []


def test_patterns() -> None:
    assert names.wants(["quota.*"], "quota.exceeded")
    assert names.wants(["*.failed"], "batch.failed")
    assert names.wants(["*"], "key.created")
    assert not names.wants(["*"], names.TEST)
    assert not names.wants(["quota.warning"], "quota.exceeded")
    assert names.unknown(["quota.*", "*", "key.created", "quota.none", "none.*"]) == ["quota.none", "none.*"]
