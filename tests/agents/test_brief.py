"""Tasks whose work is done at once: stored a moment later than they are answered, and seen by everybody all the same."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.fakes.agent import agent_skills, new_gate
from tests.fakes.database import postgres_database
from tests.fakes.hub import running_hub
from tests.hub.store.test_queue import Failing
from transports import a2a

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from tests.fakes.hub import Running

pytestmark = pytest.mark.anyio


def hub(folder: Path, **settings: Any) -> AbstractAsyncContextManager[Running]:
    """A hub that stores nothing by itself for five seconds."""
    return running_hub(folder, skills=agent_skills(brief=True), doors=[a2a], flush_ms=5_000, **settings)


async def ask(running: Running, token: str, method: str, **params: Any) -> Any:
    """The result of a request, or its error."""
    headers = {"authorization": f"Bearer {token}", "a2a-version": "1.0"}
    async with httpx.AsyncClient(timeout=20) as http:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        answer = (await http.post(f"{running.url}/a2a", json=body, headers=headers)).json()
    return answer.get("result", answer.get("error"))


def words(message_id: str = "m1", skill: str = "slow") -> dict[str, Any]:
    message = {"messageId": message_id, "role": "ROLE_USER", "parts": [{"text": "hello"}], "metadata": {"skill": skill}}
    return {"message": message}


async def test_a_task_that_waits_to_be_stored_is_found_listed_and_kept(tmp_path: Path) -> None:
    """REL-19: also over an orderly stop; and the same message is not worked on twice."""
    held = new_gate()
    held.open.set()
    async with hub(tmp_path) as running:
        token = await running.key()
        task = (await ask(running, token, "SendMessage", **words()))["task"]
        assert running.hub.store.queue.depth > 0
        found = await ask(running, token, "GetTask", id=task["id"])
        assert found["artifacts"] == task["artifacts"]
        assert (await ask(running, await running.key(), "GetTask", id=task["id"]))["code"] == -32001
        assert (await ask(running, token, "SendMessage", **words()))["task"] == task
        again = (await ask(running, token, "SendMessage", **words("m2")))["task"]
        listed = await ask(running, token, "ListTasks")
        assert {one["id"] for one in listed["tasks"]} == {task["id"], again["id"]}
    async with hub(tmp_path) as running:
        assert (await ask(running, token, "SendMessage", **words()))["task"] == task
        # By now the ids of all tasks were read, and the message is still known.
        assert (await ask(running, token, "SendMessage", **words("m2")))["task"] == again
        assert (await ask(running, token, "SendMessage", **words("m3")))["task"]["id"] not in {task["id"], again["id"]}
    assert held.calls == 3


async def test_twins_are_one(tmp_path: Path) -> None:
    """The second waits for the first, and its leaving does not end what the first waits for."""
    held = new_gate()
    async with hub(tmp_path) as running:
        token = await running.key()
        first = asyncio.create_task(ask(running, token, "SendMessage", **words()))
        await held.entered.wait()
        second, third = (asyncio.create_task(ask(running, token, "SendMessage", **words())) for _ in range(2))
        await attended(running, 3)
        third.cancel()
        await attended(running, 2)
        held.open.set()
        assert (await first)["task"] == (await second)["task"]
    assert held.calls == 1


async def attended(running: Running, number: int) -> None:
    """Wait until so many wait for the one task."""
    async with asyncio.timeout(10):
        while sum(live.attended for live in running.hub.tasks._live.values()) != number:
            await asyncio.sleep(0.005)


async def test_a_database_that_fails_keeps_no_answer_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SEC-82: rows wait, and their tasks can be asked for."""
    new_gate().open.set()
    async with hub(tmp_path) as running:
        token = await running.key()
        assert "task" in await ask(running, token, "SendMessage", **words())
        await running.hub.store.flush()
        failing = Failing(running.hub.store, monkeypatch)
        task = (await ask(running, token, "SendMessage", **words("m2")))["task"]
        assert task["status"]["state"] == "TASK_STATE_COMPLETED"
        assert (await ask(running, token, "GetTask", id=task["id"]))["id"] == task["id"]
        failing.broken = False


@pytest.fixture
def shared() -> Iterator[str]:
    with postgres_database() as url:
        yield url


async def test_other_processes_see_it_at_once(tmp_path: Path, shared: str) -> None:
    """D24: on PostgreSQL nothing waits, because a request for the task may come to any process."""
    new_gate().open.set()
    async with hub(tmp_path, database_url=shared) as one, hub(tmp_path, database_url=shared) as two:
        token = await one.key()
        async with asyncio.timeout(10):
            while two.hub.store.keys.find(token) is None:
                await asyncio.sleep(0.01)
        task = (await ask(one, token, "SendMessage", **words()))["task"]
        assert (await ask(two, token, "GetTask", id=task["id"]))["id"] == task["id"]
