"""Conversations with the hub's own skills by the stock a2a-sdk clients: contexts, questions back, streams, lists, cards."""

from __future__ import annotations

import asyncio
import warnings
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.fakes.a2a_clients import CARDS, Agents
from tests.fakes.agent import agent_skills, new_gate
from tests.fakes.hub import running_hub
from tests.fakes.upstream import FaultUpstream, json_answer
from tests.fakes.vendor import completion, connect

with warnings.catch_warnings():
    # The SDK's imports are its own affair; our warnings stay errors.
    warnings.simplefilter("ignore")
    from a2a.helpers import new_data_part, new_text_part
    from a2a.types import (
        GetExtendedAgentCardRequest,
        GetTaskRequest,
        ListTasksRequest,
        Message,
        Role,
        SendMessageRequest,
        SubscribeToTaskRequest,
        TaskState,
    )
    from google.protobuf.timestamp_pb2 import Timestamp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = [pytest.mark.anyio, pytest.mark.filterwarnings("ignore::DeprecationWarning:a2a.*")]

INPUT_REQUIRED, COMPLETED = TaskState.TASK_STATE_INPUT_REQUIRED, TaskState.TASK_STATE_COMPLETED


@pytest.fixture
async def model() -> AsyncIterator[FaultUpstream]:
    async with FaultUpstream() as server:
        server.script(lambda request: json_answer(completion(f"answer {len(request.json()['messages'])}")))
        yield server


@pytest.fixture(params=list(CARDS))
async def agents(request: pytest.FixtureRequest, tmp_path: Path, model: FaultUpstream) -> AsyncIterator[Agents]:
    """The hub with its real skills and one model."""
    async with running_hub(tmp_path) as running:
        await connect(running, model)
        made = Agents(running, request.param)
        yield made
        await made.close()


@pytest.fixture(params=list(CARDS))
async def echoes(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Agents]:
    """The hub with the skills of tests."""
    async with running_hub(tmp_path, skills=agent_skills()) as running:
        made = Agents(running, request.param)
        yield made
        await made.close()


def ask(text: str = "", *, parts: Any = None, metadata: dict[str, Any] | None = None, number: int = 1, **more: Any) -> SendMessageRequest:
    message = Message(message_id=f"m{number}", role=Role.ROLE_USER, parts=parts or [new_text_part(text)], **more)
    message.metadata.update({"model": "openai/gpt-4o", **(metadata or {})})
    return SendMessageRequest(message=message)


async def sent(client: Any, request: SendMessageRequest) -> Any:
    """The task that a message ends with."""
    return [event async for event in client.send_message(request)][-1].task


def heard(model: FaultUpstream) -> list[Any]:
    """What the model was asked in all, each time its messages."""
    return [[(one["role"], one["content"]) for one in request.json()["messages"]] for request in model.requests]


async def test_a_context_is_a_conversation(agents: Agents, model: FaultUpstream) -> None:
    """The model is given what was said and answered before in the context, by this caller only (SEC-04)."""
    client, stranger = await agents.make(), await agents.make()
    first = await sent(client, ask("my name is Ada"))
    second = await sent(client, ask("what is my name?", number=2, context_id=first.context_id))
    assert (second.context_id, second.id == first.id) == (first.context_id, False)
    await sent(stranger, ask("and what is it?", number=3, context_id=first.context_id))
    await sent(client, ask("who am I?", number=4))
    assert heard(model) == [
        [("user", "my name is Ada")],
        [("user", "my name is Ada"), ("assistant", "answer 1"), ("user", "what is my name?")],
        [("user", "and what is it?")],
        [("user", "who am I?")],
    ]


@pytest.mark.parametrize("empty", ["", "  \n"])
async def test_nothing_to_answer_is_asked_for(agents: Agents, model: FaultUpstream, empty: str) -> None:
    client = await agents.make()
    parts = [new_text_part(empty)] if empty else [new_data_part({})]
    task = await sent(client, ask(parts=parts))
    assert task.status.state == INPUT_REQUIRED
    assert "send the text" in task.status.message.parts[0].text
    assert model.requests == []
    again = await sent(client, ask("hello", number=2, task_id=task.id, context_id=task.context_id))
    assert (again.id, again.context_id, again.status.state) == (task.id, task.context_id, COMPLETED)
    assert again.artifacts[0].parts[0].text == "answer 1"
    assert heard(model) == [[("user", "hello")]]


@pytest.mark.parametrize("budget", [None, ""])
async def test_a_budget_without_an_amount_is_asked_for(agents: Agents, model: FaultUpstream, budget: Any) -> None:
    client = await agents.make()
    task = await sent(client, ask("a poem", metadata={"budget": budget}))
    assert task.status.state == INPUT_REQUIRED
    assert "0.05" in task.status.message.parts[0].text
    again = await sent(client, ask(parts=[new_data_part({})], metadata={"budget": 1}, number=2, task_id=task.id))
    assert (again.id, again.status.state) == (task.id, COMPLETED)
    assert heard(model) == [[("user", "a poem")]]


@pytest.mark.parametrize(
    "reply",
    [
        {"parts": [new_data_part({"budget": 2})]},
        {"text": "go on", "metadata": {"budget": 2}},
        {"text": " $2.00 "},
        {"text": "2 dollars"},
    ],
)
async def test_a_budget_that_is_too_small_is_asked_for(agents: Agents, model: FaultUpstream, reply: dict[str, Any]) -> None:
    """Nothing is spent until the caller has said more; an amount in plain words will do and is not told to the model."""
    client = await agents.make()
    task = await sent(client, ask("a poem", metadata={"budget": 1e-9}))
    assert task.status.state == INPUT_REQUIRED
    assert "budget" in task.status.message.parts[0].text
    still = await sent(client, ask("0.000001", number=2, task_id=task.id, context_id=task.context_id))
    assert (still.id, still.status.state) == (task.id, INPUT_REQUIRED)
    assert model.requests == []
    again = await sent(client, ask(**reply, number=3, task_id=task.id, context_id=task.context_id))
    assert (again.id, again.status.state) == (task.id, COMPLETED)
    (asked,) = heard(model)
    assert asked == [("user", "a poem"), *([("user", "go on")] if reply.get("text") == "go on" else [])]


async def test_a_stranger_does_not_continue_what_asks_back(agents: Agents) -> None:
    """SEC-04, SEC-55."""
    client, stranger = await agents.make(), await agents.make()
    task = await sent(client, ask("a poem", metadata={"budget": 1e-9}))
    with pytest.raises(Exception, match=r"not found|404"):
        await sent(stranger, ask("5", number=2, task_id=task.id, context_id=task.context_id))
    assert (await client.get_task(GetTaskRequest(id=task.id))).status.state == INPUT_REQUIRED


async def test_a_lost_stream_is_taken_up_without_gap_or_duplicate(echoes: Agents) -> None:
    """REL-19: two subscribers, one of which left and came again; SubscribeToTask and tasks/resubscribe."""
    held = new_gate()
    client = await echoes.make(streaming=True)
    words = " ".join(f"w{number}" for number in range(50))
    stream = client.send_message(ask(words))
    task_id = (await anext(stream)).task.id
    await held.entered.wait()
    await stream.aclose()
    tasks = echoes.running.hub.tasks

    async def watched() -> tuple[str, TaskState]:
        text, state = "", TaskState.TASK_STATE_UNSPECIFIED
        async for event in client.subscribe(SubscribeToTaskRequest(id=task_id)):
            if event.HasField("task"):
                text += "".join(part.text for artifact in event.task.artifacts for part in artifact.parts)
            elif event.HasField("artifact_update"):
                text += "".join(part.text for part in event.artifact_update.artifact.parts)
            else:
                state = event.status_update.status.state
        return text, state

    while tasks.streams:
        await asyncio.sleep(0.005)
    watching = [asyncio.create_task(watched()) for _ in range(2)]
    while tasks.streams < 2:
        await asyncio.sleep(0.005)
    held.open.set()
    assert await asyncio.gather(*watching) == [(words, COMPLETED)] * 2


@pytest.mark.parametrize("echoes", ["JSONRPC", "HTTP+JSON"], indirect=True)
async def test_list_filters_and_pages(echoes: Agents) -> None:
    """ListTasks of 1.0; 0.3 has no such method."""
    client = await echoes.make()
    done = [await sent(client, ask(f"text {number}", number=number, context_id="talk" if number % 2 else "other")) for number in range(7)]
    paused = await sent(client, ask("buy", number=10, metadata={"skill": "priced"}))
    await sent(await echoes.make(), ask("a stranger's", number=11, context_id="talk"))

    async def ids(**query: Any) -> tuple[list[str], int]:
        found: list[str] = []
        page = await client.list_tasks(ListTasksRequest(page_size=2, **query))
        found += [task.id for task in page.tasks]
        while page.next_page_token:
            assert len(page.tasks) == 2
            page = await client.list_tasks(ListTasksRequest(page_size=2, page_token=page.next_page_token, **query))
            found += [task.id for task in page.tasks]
        return found, page.total_size

    newest_first = [task.id for task in reversed(done)]
    assert await ids(status=COMPLETED) == (newest_first, 7)
    assert await ids(status=INPUT_REQUIRED) == ([paused.id], 1)
    assert await ids(context_id="talk") == ([task.id for task in reversed(done) if task.context_id == "talk"], 3)
    assert await ids(context_id="talk", status=INPUT_REQUIRED) == ([], 0)
    assert await ids() == ([paused.id, *newest_first], 8)
    since = done[4].status.timestamp
    after, count = await ids(status_timestamp_after=since)
    assert set(after) >= {done[4].id, done[5].id, done[6].id, paused.id}
    assert len(after) == count
    assert await ids(status_timestamp_after=Timestamp(seconds=since.seconds + 3600)) == ([], 0)
    page = await client.list_tasks(ListTasksRequest(history_length=0))
    assert not any(task.history or task.artifacts for task in page.tasks)
    page = await client.list_tasks(ListTasksRequest(history_length=1, include_artifacts=True, status=COMPLETED))
    assert all(len(task.history) == 1 and task.artifacts for task in page.tasks)


async def test_the_extended_card_shows_what_the_key_may_use(agents: Agents) -> None:
    all_, poor = await agents.make(), await agents.make("mcp:connect", "execute:completions")
    names = [{skill.id for skill in (await one.get_extended_agent_card(GetExtendedAgentCardRequest())).skills} for one in (all_, poor)]
    assert names[1] == {"smart-routing"}
    assert names[0] > names[1]


async def test_what_http_says_of_cards_types_and_versions(tmp_path: Path) -> None:
    """SEC-01: the extended card is for callers with a key; and the errors that have a number of their own."""
    async with running_hub(tmp_path, skills=agent_skills()) as running, httpx.AsyncClient(base_url=running.url) as http:
        headers = {**await running.headers(), "a2a-version": "1.0"}
        rpc = {"jsonrpc": "2.0", "id": 1, "method": "GetExtendedAgentCard", "params": {}}
        old = {**rpc, "method": "agent/getAuthenticatedExtendedCard"}
        for answer in (
            await http.post("/a2a", json=rpc, headers={"a2a-version": "1.0"}),
            await http.post("/a2a", json=old),
            await http.get("/a2a/rest/extendedAgentCard", headers={"a2a-version": "1.0"}),
            await http.get("/a2a/v1/card"),
        ):
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Bearer realm="hubroute"')
        for path in ("/.well-known/agent-card.json", "/.well-known/agent.json"):
            card = await http.get(path)
            assert parsedate_to_datetime(card.headers["last-modified"])
            assert (await http.get(path, headers={"if-modified-since": card.headers["last-modified"]})).status_code == 304
        for kind in ("text/plain", "application/xml", "multipart/form-data"):
            wrong = await http.post("/a2a", content=b"{}", headers={**headers, "content-type": kind})
            assert (wrong.status_code, wrong.json()["error"]["code"]) == (415, -32005)
        assert (await http.post("/a2a", content=b'{"jsonrpc":', headers={**headers, "content-type": "application/a2a+json"})).json()[
            "error"
        ]["code"] == -32700
        for version in ("2.0", "0.2", "1", "x", "1.0.0.0x"):
            code = (await http.post("/a2a", json=rpc, headers={**headers, "a2a-version": version})).json()
            assert ("result" in code) == version.startswith("1.0"), version
            assert "result" in code or code["error"]["code"] == -32009, version
