"""The seed's dialect at the A2A door: what its clients send, and the envelopes, statuses and frames they expect."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from tests.fakes.agent import agent_skills, new_gate
from tests.fakes.hub import Running, running_hub

pytestmark = pytest.mark.anyio


@pytest.fixture
async def hub(tmp_path: Any) -> Any:
    async with running_hub(tmp_path, skills=agent_skills()) as running:
        yield running


async def post(hub: Running, method: str, params: Any, headers: dict[str, str]) -> httpx.Response:
    async with httpx.AsyncClient(timeout=10) as http:
        return await http.post(f"{hub.url}/a2a", json={"jsonrpc": "2.0", "id": "1", "method": method, "params": params}, headers=headers)


@pytest.mark.parametrize(
    "params",
    [
        {"skill": "smart-routing", "messages": [{"role": "user", "content": "hello"}]},
        {"messages": [{"content": ""}, {"content": "hello"}]},
        {"message": {"role": "user", "content": "hello"}},
        {"message": {"role": "user", "parts": ["hello"]}},
        {"message": {"parts": [{"text": "hello"}]}},
        {"message": {"parts": [{"content": "hello"}]}, "skill": "smart-routing"},
    ],
)
async def test_send(hub: Running, params: Any) -> None:
    answer = await post(hub, "message/send", params, await hub.headers())
    assert answer.status_code == 200
    result = answer.json()["result"]
    assert result["task"] == {"id": result["task"]["id"], "state": "completed"}
    assert result["artifacts"] == [{"type": "text", "content": "hello"}]
    assert result["metadata"]["model"] == "echo-1"


async def test_conversation_and_metadata_reach_the_skill(hub: Running) -> None:
    messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hello"}]
    headers = await hub.headers()
    params = {"messages": messages, "metadata": {"times": 2}}
    sent = (await post(hub, "message/send", params, headers)).json()["result"]
    assert sent["artifacts"][0]["content"] == "hello hello"
    task = (await post(hub, "tasks/get", {"taskId": sent["task"]["id"]}, headers)).json()["result"]["task"]
    assert task["input"] == {"skill": "smart-routing", "messages": messages, "metadata": {"times": 2}}
    assert [event["state"] for event in task["events"]] == ["submitted", "working", "completed"]
    assert (task["state"], task["skill"], task["metadata"]["times"]) == ("completed", "smart-routing", 2)
    assert task["createdAt"] <= task["updatedAt"] < task["expiresAt"]


@pytest.mark.parametrize(
    ("method", "params", "status", "code"),
    [
        ("message/send", {"messages": []}, 200, -32602),
        ("message/send", {"messages": [{"content": 5}]}, 200, -32602),
        ("message/send", {"skill": "nope", "messages": [{"content": "x"}]}, 404, -32601),
        ("message/send", {"skill": "broken", "messages": [{"content": "x"}]}, 500, -32603),
        ("message/send", {"skill": "priced", "messages": [{"content": "x"}]}, 200, -32602),
        ("tasks/get", {"taskId": "nope"}, 404, -32601),
        ("tasks/cancel", {"taskId": "nope"}, 404, -32601),
    ],
)
async def test_errors(hub: Running, method: str, params: Any, status: int, code: int) -> None:
    answer = await post(hub, method, params, await hub.headers())
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert answer.json()["id"] == "1"


async def test_key_is_needed(hub: Running) -> None:
    params = {"messages": [{"content": "x"}]}
    answer = await post(hub, "message/send", params, {})
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, -32600)
    answer = await post(hub, "message/send", params, await hub.headers("mcp:connect"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, -32600)


async def test_cancel(hub: Running) -> None:
    """REL-19: a cancelled task stays cancelled, and its skill has stopped."""
    held, headers = new_gate(), await hub.headers()
    sending = asyncio.create_task(post(hub, "message/send", {"skill": "slow", "messages": [{"content": "x"}]}, headers))
    await held.entered.wait()
    (task_id,) = [row.id for row in (await hub.hub.tasks.page(None))[0]]
    answer = await post(hub, "tasks/cancel", {"taskId": task_id}, headers)
    assert answer.json()["result"] == {"task": {"id": task_id, "state": "cancelled"}}
    assert held.cancelled.is_set()
    assert (await sending).json()["error"]["code"] == -32603
    again = await post(hub, "tasks/cancel", {"taskId": task_id}, headers)
    assert (again.status_code, again.json()["error"]["code"]) == (500, -32603)


async def test_stream(hub: Running) -> None:
    held, headers, frames = new_gate(), await hub.headers(), []
    body = {"jsonrpc": "2.0", "id": 1, "method": "message/stream", "params": {"messages": [{"content": "one two"}]}}
    async with httpx.AsyncClient(timeout=10) as http, http.stream("POST", f"{hub.url}/a2a", json=body, headers=headers) as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        assert answer.headers["x-accel-buffering"] == "no"
        async for line in answer.aiter_lines():
            if line.startswith("data: "):
                frames.append(json.loads(line[6:]))
                held.open.set()
    assert all(frame["method"] == "message/stream" and "id" not in frame for frame in frames)
    assert [frame["params"]["chunk"] for frame in frames[:-1]] == [{"type": "text", "content": "one"}, {"type": "text", "content": " two"}]
    assert {frame["params"]["task"]["state"] for frame in frames[:-1]} == {"working"}
    assert frames[-1]["params"]["task"]["state"] == "completed"
    assert frames[-1]["params"]["metadata"]["model"] == "echo-1"


async def test_stream_of_a_failure(hub: Running) -> None:
    params = {"skill": "broken", "messages": [{"content": "x"}]}
    answer = await post(hub, "message/stream", params, await hub.headers())
    (frame,) = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]
    assert frame["params"]["task"]["state"] == "failed"
    assert frame["params"]["metadata"] == {"error": "the provider failed"}


async def test_leaving_a_stream_cancels_the_work(hub: Running) -> None:
    """REL-06: this dialect has no way back to a stream, so nobody would ever read the rest."""
    held, headers = new_gate(), await hub.headers()
    body = {"jsonrpc": "2.0", "id": 1, "method": "message/stream", "params": {"messages": [{"content": "one two"}]}}
    async with httpx.AsyncClient() as http, http.stream("POST", f"{hub.url}/a2a", json=body, headers=headers) as answer:
        await anext(answer.aiter_lines())
    await asyncio.wait_for(held.cancelled.wait(), 1)


async def test_heartbeat(hub: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.tasks.task.HEARTBEAT_SECONDS", 0.02)
    held, headers, comments = new_gate(), await hub.headers(), 0
    body = {"jsonrpc": "2.0", "id": 1, "method": "message/stream", "params": {"messages": [{"content": "one two"}]}}
    async with httpx.AsyncClient() as http, http.stream("POST", f"{hub.url}/a2a", json=body, headers=headers) as answer:
        async for line in answer.aiter_lines():
            comments += line.startswith(": heartbeat 20")
            if comments:
                held.open.set()
    assert comments
