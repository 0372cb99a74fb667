"""The A2A door with the stock a2a-sdk clients: 1.0 over JSON-RPC, HTTP+JSON and gRPC, 0.3 over JSON-RPC and HTTP+JSON, on a real socket."""

from __future__ import annotations

import asyncio
import warnings
from typing import Any

import httpx
import pytest

from tests.fakes.agent import agent_skills, new_gate
from tests.fakes.grpc import channel
from tests.fakes.hub import Running, running_hub

with warnings.catch_warnings():
    # The SDK's imports are its own affair; our warnings stay errors.
    warnings.simplefilter("ignore")
    from a2a.client import A2ACardResolver, ClientConfig, ClientFactory
    from a2a.compat.v0_3.types import AgentCard as CompatCard
    from a2a.helpers import new_data_part, new_text_part
    from a2a.types import (
        CancelTaskRequest,
        GetExtendedAgentCardRequest,
        GetTaskRequest,
        ListTasksRequest,
        Message,
        Part,
        Role,
        SendMessageConfiguration,
        SendMessageRequest,
        SubscribeToTaskRequest,
        TaskState,
    )
    from a2a.utils.errors import TaskNotCancelableError, TaskNotFoundError, UnsupportedOperationError

pytestmark = [pytest.mark.anyio, pytest.mark.filterwarnings("ignore::DeprecationWarning:a2a.*")]

CARDS = {
    "JSONRPC": "/.well-known/agent-card.json",
    "HTTP+JSON": "/.well-known/agent-card.json",
    "GRPC": "/.well-known/agent-card.json",
    "0.3": "/.well-known/agent.json",
    "0.3 HTTP+JSON": "/.well-known/agent.json",
}


@pytest.fixture(params=list(CARDS))
async def agents(request: pytest.FixtureRequest, tmp_path: Any) -> Any:
    """A function that makes a client with a new key; and how it speaks."""
    binding = request.param
    async with running_hub(tmp_path, skills=agent_skills(), grpc_address="127.0.0.1:0" if binding == "GRPC" else "") as running:
        opened: list[httpx.AsyncClient] = []
        channels: list[Any] = []

        async def make(*, streaming: bool = False, scopes: tuple[str, ...] = ()) -> Any:
            http = httpx.AsyncClient(headers=await running.headers(*scopes), timeout=10)
            opened.append(http)
            card = await A2ACardResolver(http, running.url).get_agent_card(CARDS[binding])
            protocol = {"0.3": "JSONRPC", "0.3 HTTP+JSON": "HTTP+JSON"}.get(binding, binding)
            config = ClientConfig(
                httpx_client=http,
                streaming=streaming,
                supported_protocol_bindings=[protocol],
                grpc_channel_factory=lambda url: keep(channels, channel(url, http.headers["authorization"])),
            )
            return ClientFactory(config).create(card)

        yield make, binding
        for http in opened:
            await http.aclose()
        for one in channels:
            await one.close()


def keep(made: list[Any], one: Any) -> Any:
    made.append(one)
    return one


def ask(
    text: str = "hello there", *, message_id: str = "m1", skill: str = "", parts: list[Part] | None = None, **more: Any
) -> SendMessageRequest:
    message = Message(message_id=message_id, role=Role.ROLE_USER, parts=parts or [new_text_part(text)], **more)
    if skill:
        message.metadata.update({"skill": skill})
    return SendMessageRequest(message=message)


async def sent(client: Any, request: SendMessageRequest) -> Any:
    return [event async for event in client.send_message(request)]


async def test_send(agents: Any) -> None:
    client = await agents[0]()
    (answer,) = await sent(client, ask())
    task = answer.task
    assert task.status.state == TaskState.TASK_STATE_COMPLETED
    assert task.artifacts[0].parts[0].text == "hello there"
    assert task.artifacts[0].parts[1].data.struct_value["times"] == 1
    assert task.metadata["model"] == "echo-1"
    found = await client.get_task(GetTaskRequest(id=task.id, history_length=1))
    assert found.history[0].parts[0].text == "hello there"
    assert found.status == task.status


async def test_data_part_chooses_skill_and_arguments(agents: Any) -> None:
    client = await agents[0]()
    (answer,) = await sent(client, ask(parts=[new_data_part({"skill": "priced", "text": "x", "budget": 3})]))
    assert answer.task.artifacts[0].parts[0].text == "bought for 3.0"


async def test_stream(agents: Any) -> None:
    held = new_gate()
    client = await agents[0](streaming=True)
    events: list[Any] = []
    async for event in client.send_message(ask("one two three")):
        events.append(event)
        if event.HasField("artifact_update"):
            held.open.set()
    assert events[0].task.status.state == TaskState.TASK_STATE_WORKING
    pieces = [event.artifact_update for event in events if event.HasField("artifact_update")]
    assert "".join(part.text for piece in pieces for part in piece.artifact.parts) == "one two three"
    assert [piece.append for piece in pieces] == [False, True, True, True]
    assert pieces[-1].last_chunk
    assert events[-1].status_update.status.state == TaskState.TASK_STATE_COMPLETED


async def test_subscribe_and_cancel(agents: Any) -> None:
    held = new_gate()
    client = await agents[0](streaming=True)
    stream = client.send_message(ask("one two"))
    task_id = (await anext(stream)).task.id
    await held.entered.wait()
    await stream.aclose()
    watching = client.subscribe(SubscribeToTaskRequest(id=task_id))
    assert (await anext(watching)).task.artifacts[0].parts[0].text == "one"
    task = await client.cancel_task(CancelTaskRequest(id=task_id))
    assert task.status.state == TaskState.TASK_STATE_CANCELED
    rest = [event async for event in watching]
    assert rest[-1].status_update.status.state == TaskState.TASK_STATE_CANCELED
    assert held.cancelled.is_set()
    with pytest.raises(TaskNotCancelableError):
        await client.cancel_task(CancelTaskRequest(id=task_id))
    with pytest.raises(UnsupportedOperationError):
        await sent(client, ask(message_id="x", task_id=task_id))


async def test_return_immediately_and_poll(agents: Any) -> None:
    held = new_gate()
    client = await agents[0]()
    request = ask(skill="slow")
    request.configuration.CopyFrom(SendMessageConfiguration(return_immediately=True))
    (answer,) = await sent(client, request)
    assert answer.task.status.state == TaskState.TASK_STATE_WORKING
    held.open.set()
    while (await client.get_task(GetTaskRequest(id=answer.task.id))).status.state == TaskState.TASK_STATE_WORKING:
        await asyncio.sleep(0.01)
    assert (await client.get_task(GetTaskRequest(id=answer.task.id))).status.state == TaskState.TASK_STATE_COMPLETED


async def test_asking_back(agents: Any) -> None:
    client = await agents[0]()
    (answer,) = await sent(client, ask(skill="priced"))
    assert answer.task.status.state == TaskState.TASK_STATE_INPUT_REQUIRED
    (answer,) = await sent(client, ask(message_id="m2", task_id=answer.task.id, parts=[new_data_part({"budget": 2})]))
    assert answer.task.status.state == TaskState.TASK_STATE_COMPLETED


async def test_another_key_finds_nothing(agents: Any) -> None:
    """SEC-04."""
    (answer,) = await sent(await agents[0](), ask())
    stranger = await agents[0]()
    with pytest.raises(TaskNotFoundError):
        await stranger.get_task(GetTaskRequest(id=answer.task.id))


async def test_list(agents: Any) -> None:
    client = await agents[0]()
    if agents[1].startswith("0.3"):
        with pytest.raises(NotImplementedError):
            await client.list_tasks(ListTasksRequest())
        return
    for number in range(3):
        await sent(client, ask(message_id=f"m{number}"))
    page = await client.list_tasks(ListTasksRequest(page_size=2, status=TaskState.TASK_STATE_COMPLETED))
    assert (len(page.tasks), page.total_size) == (2, 3)
    page = await client.list_tasks(ListTasksRequest(page_size=2, page_token=page.next_page_token, include_artifacts=True))
    assert (len(page.tasks), page.next_page_token) == (1, "")
    assert page.tasks[0].artifacts


async def test_a_card_for_every_version_is_read_by_clients_of_both(tmp_path: Any) -> None:
    """Clients that fetch the card do not say which version they speak: 0.3 knows its own fields, 1.0 those of 1.0."""
    async with running_hub(tmp_path, skills=agent_skills()) as running, httpx.AsyncClient(headers=await running.headers()) as http:
        data = (await http.get(f"{running.url}/.well-known/agent-card.json")).json()
        old = CompatCard.model_validate(data)
        assert (old.url, old.preferred_transport, old.protocol_version) == (f"{running.url}/a2a", "JSONRPC", "0.3.0")
        assert old.security_schemes is not None
        assert old.security_schemes["bearer"].root.type == "http"
        new = await A2ACardResolver(http, running.url).get_agent_card()
        assert new.security_schemes["bearer"].http_auth_security_scheme.scheme.lower() == "bearer"
        assert [one.protocol_version for one in new.supported_interfaces] == ["1.0", "1.0", "0.3"]


async def test_extended_card(agents: Any) -> None:
    client = await agents[0](scopes=("mcp:connect", "execute:completions"))
    card = await client.get_extended_agent_card(GetExtendedAgentCardRequest())
    assert [skill.id for skill in card.skills] == ["smart-routing"]


async def test_rest_binding_errors(tmp_path: Any) -> None:
    async with running_hub(tmp_path, skills=agent_skills()) as running, httpx.AsyncClient() as http:
        await _rest_errors(running, http, {**await running.headers(), "a2a-version": "1.0"})


async def _rest_errors(running: Running, http: httpx.AsyncClient, headers: dict[str, str]) -> None:
    base = f"{running.url}/a2a/rest"
    for method, path, status, reason in (
        ("GET", "/tasks/nope", 404, "TASK_NOT_FOUND"),
        ("POST", "/tasks/nope:cancel", 404, "TASK_NOT_FOUND"),
        ("POST", "/tasks/nope:subscribe", 404, "TASK_NOT_FOUND"),
        ("GET", "/tasks/nope/pushNotificationConfigs", 404, "TASK_NOT_FOUND"),
        ("GET", "/tasks/nope/pushNotificationConfigs/x", 404, "TASK_NOT_FOUND"),
        ("DELETE", "/tasks/nope/pushNotificationConfigs/x", 404, "TASK_NOT_FOUND"),
        ("GET", "/tasks?pageSize=0", 400, "BAD_REQUEST"),
    ):
        answer = await http.request(method, base + path, headers=headers)
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["details"][0]["reason"]) == (status, status, reason), path
        assert answer.headers["content-type"] == "application/json"
    assert (await http.post(f"{base}/message:send", json={}, headers=headers)).status_code == 400
    assert (await http.post(f"{base}/message:send", content=b"x", headers={**headers, "content-type": "text/plain"})).status_code == 415
    old = await http.get(f"{base}/tasks/nope", headers={**headers, "a2a-version": "0.3"})
    assert old.json()["error"]["details"][0]["reason"] == "VERSION_NOT_SUPPORTED"
    assert (await http.get(f"{base}/tasks/nope", headers={"a2a-version": "1.0"})).status_code == 401
    body = {"message": {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "x"}]}}
    task = (await http.post(f"{base}/message:send", json=body, headers=headers)).json()["task"]
    assert (await http.post(f"{base}/tasks/{task['id']}:cancel", headers=headers)).status_code == 409
