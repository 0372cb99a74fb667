"""Push notifications with the stock a2a-sdk clients, in 1.0 over both bindings and in 0.3, to a receiver on a real socket."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import pytest

from tests.fakes.a2a_clients import CARDS, Agents
from tests.fakes.agent import agent_skills, new_gate
from tests.fakes.hub import running_hub
from tests.fakes.receiver import Receiver, signed_by

with warnings.catch_warnings():
    # The SDK's imports are its own affair; our warnings stay errors.
    warnings.simplefilter("ignore")
    from a2a.client.errors import A2AClientError
    from a2a.compat.v0_3 import types as old
    from a2a.helpers import new_text_part
    from a2a.types import (
        AuthenticationInfo,
        DeleteTaskPushNotificationConfigRequest,
        GetTaskPushNotificationConfigRequest,
        ListTaskPushNotificationConfigsRequest,
        Message,
        Role,
        SendMessageConfiguration,
        SendMessageRequest,
        StreamResponse,
        TaskPushNotificationConfig,
    )
    from a2a.utils.errors import InvalidParamsError, TaskNotFoundError
    from google.protobuf.json_format import ParseDict

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = [pytest.mark.anyio, pytest.mark.filterwarnings("ignore::DeprecationWarning:a2a.*")]


@pytest.fixture(params=list(CARDS))
async def agents(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Agents]:
    async with running_hub(tmp_path, skills=agent_skills(), push_allowed_hosts="127.0.0.1") as running:
        made = Agents(running, request.param)
        yield made
        await made.close()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as server:
        yield server


def ask(text: str = "hello there", *, skill: str = "", push: TaskPushNotificationConfig | None = None, **more: Any) -> SendMessageRequest:
    message = Message(message_id="m1", role=Role.ROLE_USER, parts=[new_text_part(text)])
    if skill:
        message.metadata.update({"skill": skill})
    options = SendMessageConfiguration(task_push_notification_config=push, **more)
    return SendMessageRequest(message=message, configuration=options)


async def sent(client: Any, request: SendMessageRequest) -> Any:
    return [event async for event in client.send_message(request)]


def kinds(agents: Agents, bodies: list[Any]) -> list[str]:
    """What was told, by the SDK's own types: a body that does not fit them exactly raises."""
    if agents.binding != "0.3":
        return [(ParseDict(body, StreamResponse()).WhichOneof("payload") or "").replace("_", "-") for body in bodies]
    types = {"status-update": old.TaskStatusUpdateEvent, "artifact-update": old.TaskArtifactUpdateEvent, "task": old.Task}
    return [types[body["kind"]].model_validate(body).kind for body in bodies]


def last_state(body: Any) -> str:
    status = body["statusUpdate"]["status"] if "statusUpdate" in body else body["status"]
    return status["state"].removeprefix("TASK_STATE_").lower()


async def test_a_message_with_a_config_is_told_to_its_end(agents: Agents, receiver: Receiver) -> None:
    """SEC-58: each event in the dialect's own shape, with token, credentials and signature."""
    auth = AuthenticationInfo(scheme="Bearer", credentials="let-me-in")
    push = TaskPushNotificationConfig(url=f"{receiver.hook}?a=b", token="tok-1", authentication=auth)
    client = await agents.make()
    assert client._card.capabilities.push_notifications
    (answer,) = await sent(client, ask(push=push))
    bodies = await receiver.told(3)
    assert kinds(agents, bodies) == ["status-update", "artifact-update", "status-update"]
    assert last_state(bodies[-1]) == "completed"
    assert answer.task.id in receiver.requests[0].body.decode()
    ids = [signed_by(request, *agents.secrets) for request in receiver.requests]
    assert len(set(ids)) == 3
    for request in receiver.requests:
        assert (request.method, request.target) == ("POST", "/hook?a=b")
        assert request.headers["x-a2a-notification-token"] == "tok-1"
        assert request.headers["authorization"] == "Bearer let-me-in"
        assert request.headers["content-type"] == "application/json"
        assert request.headers["a2a-version"] == ("0.3" if agents.binding == "0.3" else "1.0")


async def test_a_stream_is_pushed_as_it_is_streamed(agents: Agents, receiver: Receiver) -> None:
    new_gate().open.set()
    events = await sent(await agents.make(streaming=True), ask("one two three", push=TaskPushNotificationConfig(url=receiver.hook)))
    bodies = await receiver.told(len(events))
    # The stream begins with the task as it is; the receiver is told why it is so.
    assert kinds(agents, bodies) == ["status-update", *["artifact-update"] * 4, "status-update"]
    assert len(bodies) == len(events)
    assert signed_by(receiver.requests[-1], agents.secrets[0])


async def test_configs_are_made_read_listed_and_deleted(agents: Agents, receiver: Receiver) -> None:
    held = new_gate()
    client = await agents.make()
    (answer,) = await sent(client, ask(skill="slow", return_immediately=True))
    task_id = answer.task.id
    first = await client.create_task_push_notification_config(
        TaskPushNotificationConfig(
            task_id=task_id, id="one", url=receiver.hook, token="t", authentication=AuthenticationInfo(scheme="Basic")
        )
    )
    assert (first.task_id, first.id, first.url, first.token, first.authentication.scheme) == (task_id, "one", receiver.hook, "t", "Basic")
    # Without an id it is the task's own one.
    second = await client.create_task_push_notification_config(TaskPushNotificationConfig(task_id=task_id, url=f"{receiver.hook}/2"))
    assert second.id == task_id
    found = await client.get_task_push_notification_config(GetTaskPushNotificationConfigRequest(task_id=task_id, id="one"))
    assert found == first
    listed = await client.list_task_push_notification_configs(ListTaskPushNotificationConfigsRequest(task_id=task_id))
    assert [one.id for one in listed.configs] == ["one", task_id]
    for _ in range(2):  # deleting again changes nothing
        await client.delete_task_push_notification_config(DeleteTaskPushNotificationConfigRequest(task_id=task_id, id=task_id))
    listed = await client.list_task_push_notification_configs(ListTaskPushNotificationConfigsRequest(task_id=task_id))
    assert [one.id for one in listed.configs] == ["one"]
    with pytest.raises(TaskNotFoundError):
        await client.get_task_push_notification_config(GetTaskPushNotificationConfigRequest(task_id=task_id, id="two"))
    held.open.set()
    bodies = await receiver.told(2)
    assert [request.target for request in receiver.requests] == ["/hook", "/hook"]
    assert last_state(bodies[-1]) == "completed"


async def test_another_key_finds_no_config(agents: Agents, receiver: Receiver) -> None:
    """SEC-04, SEC-55: to any other principal the task is not there, whatever it asks of it."""
    held = new_gate()
    (answer,) = await sent(await agents.make(), ask(skill="slow", return_immediately=True))
    task_id, stranger = answer.task.id, await agents.make()
    for call in (
        stranger.create_task_push_notification_config(TaskPushNotificationConfig(task_id=task_id, url=receiver.hook)),
        stranger.get_task_push_notification_config(GetTaskPushNotificationConfigRequest(task_id=task_id, id=task_id)),
        stranger.list_task_push_notification_configs(ListTaskPushNotificationConfigsRequest(task_id=task_id)),
        stranger.delete_task_push_notification_config(DeleteTaskPushNotificationConfigRequest(task_id=task_id, id=task_id)),
        stranger.create_task_push_notification_config(TaskPushNotificationConfig(task_id="nope", url=receiver.hook)),
    ):
        with pytest.raises(TaskNotFoundError):
            await call
    held.open.set()


@pytest.mark.parametrize(
    "url", ["http://169.254.169.254/latest", "http://10.0.0.7/x", "https://localhost/x", "ftp://127.0.0.1/x", "http://a@127.0.0.1/"]
)
async def test_a_target_that_is_not_allowed_is_refused_at_once(agents: Agents, url: str) -> None:
    """SEC-10, SEC-13: with a message too, which then is not worked on."""
    client = await agents.make()
    # Over HTTP+JSON the SDK makes its own words of a 400.
    words = "400" if agents.binding == "HTTP+JSON" else "url"
    with pytest.raises((InvalidParamsError, A2AClientError), match=words):
        await sent(client, ask(push=TaskPushNotificationConfig(url=url)))
    (answer,) = await sent(client, ask())
    with pytest.raises((InvalidParamsError, A2AClientError), match=words):
        await client.create_task_push_notification_config(TaskPushNotificationConfig(task_id=answer.task.id, url=url))
