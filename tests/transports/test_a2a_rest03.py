"""The HTTP+JSON binding of A2A 0.3 with raw requests: its own JSON in and out, errors by their type, bad input."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.fakes.agent import agent_skills, new_gate
from tests.fakes.hub import running_hub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.anyio


@pytest.fixture
async def http(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        running_hub(tmp_path, skills=agent_skills(), push_allowed_hosts="127.0.0.1") as running,
        httpx.AsyncClient(base_url=f"{running.url}/a2a/rest/v1", headers=await running.headers(), timeout=10) as made,
    ):
        yield made


def message(content: Any = None, **more: Any) -> dict[str, Any]:
    return {"message_id": "m1", "role": "ROLE_USER", "content": [{"text": "hello"}] if content is None else content, **more}


async def test_a_message_in_both_spellings(http: httpx.AsyncClient) -> None:
    data = {"data": {"data": {"skill": "priced", "text": "x", "budget": 3}}}
    task = (await http.post("/message:send", json={"message": message([data])})).json()["task"]
    assert task["status"]["state"] == "TASK_STATE_COMPLETED"
    assert task["artifacts"][0]["parts"] == [{"text": "bought for 3.0"}, {"data": {"data": {"budget": 3.0}}}]
    assert task["history"][0]["content"] == [data]
    assert "parts" not in task["history"][0]
    file = {"file": {"fileWithBytes": "aGVsbG8=", "mimeType": "text/plain", "name": "a.txt"}}
    asked = {"request": {"messageId": "m2", "role": 1, "content": [file]}, "configuration": {"blocking": True, "historyLength": 0}}
    task = (await http.post("/message:send", json=asked)).json()["task"]
    assert task["artifacts"][0]["parts"][0] == {"text": "hello"}
    assert task["history"][0]["content"] == [file], "zero cannot be told from nothing in protocol buffers"
    found = (await http.get(f"/tasks/{task['id']}", params={"history_length": 1})).json()
    assert found["id"] == task["id"]


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ([], "content"),
        ([{}], "content[0]"),
        ([{"text": "x", "data": {"data": {}}}], "content[0]"),
        ([{"text": 5}], "content[0].text"),
        ([{"file": {}}], "fileWithBytes"),
        ([{"file": {"file_with_uri": "http://x", "file_with_bytes": "eA=="}}], "fileWithBytes"),
        ([{"data": {"data": 5}}], "content[0].data.data"),
        ("text", "content"),
    ],
)
async def test_wrong_parts_are_named(http: httpx.AsyncClient, content: Any, field: str) -> None:
    answer = await http.post("/message:send", json={"message": message(content)})
    assert (answer.status_code, answer.json()["type"]) == (400, "InvalidRequestError")
    assert field in answer.json()["message"]


async def test_errors_have_their_types(http: httpx.AsyncClient) -> None:
    answer = await http.get("/tasks/nope")
    assert (answer.status_code, answer.json()["type"]) == (404, "TaskNotFoundError")
    task = (await http.post("/message:send", json={"message": message()})).json()["task"]
    answer = await http.post(f"/tasks/{task['id']}:cancel")
    assert (answer.status_code, answer.json()["type"]) == (409, "TaskNotCancelableError")
    answer = await http.get(f"/tasks/{task['id']}:subscribe")
    assert answer.json()["type"] == "UnsupportedOperationError"
    answer = await http.post("/message:send", json={"message": message()}, headers={"a2a-version": "1.0"})
    assert answer.json()["error"]["details"][0]["reason"] == "VERSION_NOT_SUPPORTED"
    assert (await http.post("/message:send", json={"message": message()}, headers={"authorization": ""})).status_code == 401


async def test_streams_pause_cancel_and_ends(http: httpx.AsyncClient) -> None:
    held = new_gate()
    events: list[dict[str, Any]] = []
    async with http.stream("POST", "/message:stream", json={"message": message([{"text": "one two"}])}) as stream:
        async for line in stream.aiter_lines():
            if line.startswith("data: "):
                events.append(json.loads(line[6:]))
                if "artifactUpdate" in events[-1]:
                    break
    task_id = events[0]["task"]["id"]
    async with http.stream("GET", f"/tasks/{task_id}:subscribe") as stream:
        lines = stream.aiter_lines()
        assert json.loads((await anext(lines))[6:])["task"]["id"] == task_id
        canceled = (await http.post(f"/tasks/{task_id}:cancel")).json()
        assert canceled["status"]["state"] == "TASK_STATE_CANCELLED"
        rest = [json.loads(line[6:]) async for line in lines if line.startswith("data: ")]
    assert rest[-1]["statusUpdate"]["final"] is True
    assert rest[-1]["statusUpdate"]["status"]["state"] == "TASK_STATE_CANCELLED"
    assert held.cancelled.is_set()


async def test_push_configs_and_the_card(http: httpx.AsyncClient) -> None:
    task = (await http.post("/message:send", json={"message": message()})).json()["task"]
    config = {"id": "c1", "url": "http://127.0.0.1:9/hook"}
    asked = {"parent": f"tasks/{task['id']}", "config_id": "c1", "config": {"push_notification_config": config}}
    path = f"/tasks/{task['id']}/pushNotificationConfigs"
    made = await http.post(path, json=asked)
    assert made.json() == {"name": f"tasks/{task['id']}/pushNotificationConfigs/c1", "pushNotificationConfig": config}
    assert made.headers["x-hubroute-signing-secret"].startswith("whsec_")
    assert (await http.get(path)).json()["configs"] == [made.json()]
    assert (await http.delete(f"{path}/c1")).status_code == 200
    assert (await http.get(f"{path}/c1")).status_code == 404
    card = (await http.get("/card")).json()
    assert card["additionalInterfaces"][1]["transport"] == "HTTP+JSON"
