"""The operator's view of agent tasks over REST: status, list, one, cancel; for keys with ``manage`` only."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from hub.registry import Skills
from skills import a2a_tasks
from tests.fakes.agent import SKILLS, new_gate
from tests.fakes.hub import running_hub

pytestmark = pytest.mark.anyio

OURS = [a2a_tasks.a2a_status, a2a_tasks.a2a_tasks_list, a2a_tasks.a2a_task_get, a2a_tasks.a2a_task_cancel]


@pytest.fixture
async def hub(tmp_path: Any) -> Any:
    registry = Skills({made.name: made for made in [*SKILLS, *OURS]})
    async with (
        running_hub(tmp_path, skills=registry) as running,
        httpx.AsyncClient(base_url=running.url, headers=await running.headers("manage")) as http,
    ):
        yield running, http


async def send(running: Any, http: httpx.AsyncClient, skill: str, *, wait: bool = True) -> str:
    message = {"messageId": skill, "role": "ROLE_USER", "parts": [{"text": "hello"}], "metadata": {"skill": skill}}
    params = {"message": message, "configuration": {"returnImmediately": not wait}}
    body = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": params}
    answer = await http.post("/a2a", json=body, headers={"a2a-version": "1.0", **await running.headers("operator")})
    return answer.json()["result"]["task"]["id"]


async def test_the_operator_sees_all_tasks(hub: Any) -> None:
    running, http = hub
    held = new_gate()
    done = await send(running, http, "smart-routing")
    works = await send(running, http, "slow", wait=False)
    await held.entered.wait()
    listed = (await http.get("/api/a2a/tasks")).json()
    assert (listed["total"], listed["limit"], listed["offset"]) == (2, 50, 0)
    assert {task["id"]: task["state"] for task in listed["tasks"]} == {done: "completed", works: "working"}
    assert [one["id"] for one in (await http.get("/api/a2a/tasks?state=working")).json()["tasks"]] == [works]
    assert [one["id"] for one in (await http.get("/api/a2a/tasks?skill=slow")).json()["tasks"]] == [works]
    assert (await http.get("/api/a2a/tasks?state=odd")).status_code == 400
    task = (await http.get(f"/api/a2a/tasks/{done}")).json()["task"]
    assert task["artifacts"] == [{"type": "text", "content": "hello"}]
    assert task["input"]["messages"] == [{"role": "user", "content": "hello"}]
    status = (await http.get("/api/a2a/status")).json()
    assert status["tasks"]["counts"] == {"submitted": 0, "working": 1, "completed": 1, "failed": 0, "cancelled": 0}
    assert (status["tasks"]["total"], status["status"], status["capabilities"]["streaming"]) == (2, "ok", True)
    assert [one["id"] for one in status["skills"]] == ["broken", "priced", "slow", "smart-routing"]


async def test_cancel(hub: Any) -> None:
    running, http = hub
    held = new_gate()
    works = await send(running, http, "slow", wait=False)
    await held.entered.wait()
    answer = await http.post(f"/api/a2a/tasks/{works}/cancel")
    assert answer.json() == {"task": {"id": works, "state": "cancelled"}}
    assert held.cancelled.is_set()
    assert (await http.post(f"/api/a2a/tasks/{works}/cancel")).status_code == 400
    assert (await http.get("/api/a2a/tasks?state=cancelled")).json()["total"] == 1
    assert (await http.get("/api/a2a/tasks?state=canceled")).json()["total"] == 1


async def test_unknown_and_forbidden(hub: Any) -> None:
    running, http = hub
    assert (await http.get("/api/a2a/tasks/nope")).status_code == 404
    assert (await http.post("/api/a2a/tasks/nope/cancel")).status_code == 404
    assert (await http.post("/api/a2a/tasks")).status_code == 405
    for path in ("/api/a2a/status", "/api/a2a/tasks", "/api/a2a/tasks/nope"):
        assert (await http.get(path, headers=await running.headers("operator"))).status_code == 403, path
        async with httpx.AsyncClient() as stranger:
            assert (await stranger.get(f"{running.url}{path}")).status_code == 401, path
