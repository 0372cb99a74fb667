"""The test profile: what the conformance kits ask for by the prefix of ``messageId``; without it nothing of this happens."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.fakes.agent import agent_skills
from tests.fakes.hub import running_hub

pytestmark = pytest.mark.anyio


async def call(hub: Any, http: httpx.AsyncClient, message_id: str, *, method: str = "SendMessage", **more: Any) -> Any:
    message = {"messageId": message_id, "role": "ROLE_USER", "parts": [{"text": "Hello from TCK"}], **more}
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {"message": message}}
    answer = await http.post(f"{hub.url}/a2a", json=body)
    if answer.headers["content-type"] != "text/event-stream":
        return answer.json()["result"]
    return [json.loads(line[6:])["result"] for line in answer.text.splitlines() if line.startswith("data: ")]


@pytest.fixture
async def kit(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("TCK_STREAMING_TIMEOUT", "0.01")
    async with (
        running_hub(tmp_path, skills=agent_skills(), test_profile="conformance") as hub,
        httpx.AsyncClient(headers={**await hub.headers(), "a2a-version": "1.0"}) as http,
    ):
        yield hub, http


@pytest.mark.parametrize(
    ("prefix", "state", "part"),
    [
        ("tck-complete-task", "COMPLETED", None),
        ("tck-whatever", "COMPLETED", None),
        ("tck-artifact-text", "COMPLETED", {"text": "Generated text content"}),
        ("tck-artifact-file", "COMPLETED", {"filename": "output.txt", "mediaType": "text/plain"}),
        ("tck-artifact-file-url", "COMPLETED", {"url": "https://example.com/output.txt"}),
        ("tck-artifact-data", "COMPLETED", {"data": {"key": "value", "count": 42}}),
        ("tck-input-required", "INPUT_REQUIRED", None),
        ("tck-reject-task", "REJECTED", None),
        ("test-history-create-message-id", "INPUT_REQUIRED", None),
        ("test-resubscribe-message-id", "COMPLETED", None),
    ],
)
async def test_reactions(kit: Any, prefix: str, state: str, part: dict[str, Any] | None) -> None:
    task = (await call(*kit, f"{prefix}-1"))["task"]
    assert task["status"]["state"] == f"TASK_STATE_{state}"
    assert len(task.get("artifacts", [])) == (part is not None)
    if part is not None:
        assert part.items() <= task["artifacts"][0]["parts"][0].items()


async def test_message_instead_of_task(kit: Any) -> None:
    assert (await call(*kit, "tck-message-response-1"))["message"]["parts"] == [{"text": "Direct message response"}]
    (event,) = await call(*kit, "tck-message-response-2", method="SendStreamingMessage")
    assert event["message"]["role"] == "ROLE_AGENT"


async def test_streams(kit: Any) -> None:
    events = await call(*kit, "tck-stream-artifact-chunked-1", method="SendStreamingMessage")
    pieces = [event["artifactUpdate"] for event in events if "artifactUpdate" in event]
    assert [piece["artifact"]["parts"][0]["text"] for piece in pieces] == ["chunk-1 ", "chunk-2"]
    assert len({piece["artifact"]["artifactId"] for piece in pieces}) == 1
    assert (pieces[1]["append"], pieces[1]["lastChunk"]) == (True, True)
    assert "task" in events[0]
    assert events[-1]["statusUpdate"]["status"]["state"] == "TASK_STATE_COMPLETED"


async def test_an_open_task_is_continued(kit: Any) -> None:
    task = (await call(*kit, "tck-input-required-1"))["task"]
    task = (await call(*kit, "tck-complete-task-1", taskId=task["id"]))["task"]
    assert task["status"]["message"]["parts"][0]["text"] == "Hello from TCK"


async def test_a_kits_message_makes_a_task_each_time_it_is_sent(kit: Any) -> None:
    """Kits give one id to many messages; outside of the profile the same message gives the same task."""
    first, second = [(await call(*kit, "tck-input-required-1"))["task"] for _ in range(2)]
    assert first["id"] != second["id"]
    again = [(await call(*kit, "tck-input-required-1", taskId=first["id"]))["task"] for _ in range(2)]
    assert [one["messageId"] for one in again[1]["history"] if one["role"] == "ROLE_USER"] == ["tck-input-required-1"] * 3
    mine, same = [(await call(*kit, "mine"))["task"] for _ in range(2)]
    assert mine["id"] == same["id"]


async def test_other_messages_reach_the_skills(kit: Any) -> None:
    task = (await call(*kit, "mine"))["task"]
    assert task["metadata"]["model"] == "echo-1"


async def test_the_profile_is_off_by_default(tmp_path: Any) -> None:
    async with (
        running_hub(tmp_path, skills=agent_skills()) as hub,
        httpx.AsyncClient(headers={**await hub.headers(), "a2a-version": "1.0"}) as http,
    ):
        assert (await call(hub, http, "tck-reject-task-1"))["task"]["status"]["state"] == "TASK_STATE_COMPLETED"
