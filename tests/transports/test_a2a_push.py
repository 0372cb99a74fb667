"""Push notifications of a whole hub: faults of the receiver, restarts, limits, what callers may not do."""

from __future__ import annotations

import asyncio
import json
import socket
import sqlite3
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from hub import delivery
from hub.outbound.client import Outbound
from hub.tasks import push
from tests.fakes.agent import agent_skills, new_gate
from tests.fakes.command import answer as command
from tests.fakes.command import serving
from tests.fakes.hub import Running, running_hub
from tests.fakes.receiver import Receiver, signed_by
from tests.fakes.upstream import Behaviour, answer_bytes, json_answer, raw, reset_before_head

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.fakes.upstream import Exchange

pytestmark = pytest.mark.anyio

ALLOWED = {"push_allowed_hosts": "127.0.0.1"}
BUSY, OK = json_answer({}, status=503), json_answer({})


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as server:
        yield server


@pytest.fixture
async def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    monkeypatch.setattr(delivery, "WAITS", (0.01, 0.02, 0.03, 0.04))
    async with running_hub(tmp_path, skills=agent_skills(), **ALLOWED) as made:
        yield made


class Client:
    """Sends JSON-RPC of A2A 1.0 with a key of its own."""

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        self.url, self.headers = url, {**headers, "a2a-version": "1.0"}

    async def call(self, method: str, params: Any, **headers: str) -> httpx.Response:
        async with httpx.AsyncClient(timeout=10) as http:
            body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
            return await http.post(f"{self.url}/a2a", json=body, headers={**self.headers, **headers})

    async def result(self, method: str, params: Any, **headers: str) -> Any:
        return (await self.call(method, params, **headers)).json()["result"]

    async def error(self, method: str, params: Any, **headers: str) -> Any:
        return (await self.call(method, params, **headers)).json()["error"]

    async def send(self, text: str = "one two", *, skill: str = "smart-routing", **config: Any) -> Any:
        """Send a message with a config; the task."""
        return (await self.result("SendMessage", said(text, skill=skill, **config)))["task"]


async def client_of(running: Running) -> Client:
    return Client(running.url, await running.headers())


def said(
    text: str = "one two", *, message_id: str = "m1", skill: str = "smart-routing", task_id: str = "", **config: Any
) -> dict[str, Any]:
    message = {"messageId": message_id, "role": "ROLE_USER", "parts": [{"text": text}], "metadata": {"skill": skill}}
    options = {"configuration": {"taskPushNotificationConfig": config}} if config else {}
    return {"message": {**message, **({"taskId": task_id} if task_id else {})}, **options}


def state(body: Any) -> str:
    return body["statusUpdate"]["status"]["state"].removeprefix("TASK_STATE_").lower() if "statusUpdate" in body else next(iter(body))


async def still(running: Running, seconds: float = 2.0) -> None:
    """Wait until no delivery is under way."""
    async with asyncio.timeout(seconds):
        while running.hub.pushes._running:  # pyright: ignore[reportPrivateUsage] - nothing else tells
            await asyncio.sleep(0.01)


async def test_a_busy_receiver_is_tried_again_in_order(running: Running, receiver: Receiver) -> None:
    """SEC-58: the same id with each try, a fresh signature, and nothing overtakes."""
    receiver.answer(BUSY, reset_before_head(), json_answer({}, status=429), OK)
    answer = await (await client_of(running)).call("SendMessage", said(url=receiver.hook))
    secret = answer.headers["x-hubroute-signing-secret"]
    bodies = await receiver.told(6)
    assert [state(body) for body in bodies] == ["working", "working", "working", "working", "artifactUpdate", "completed"]
    ids = [signed_by(request, secret) for request in receiver.requests]
    assert len(set(ids[:4])) == 1
    assert len(set(ids)) == 3


@pytest.mark.parametrize(
    "refusal",
    [json_answer({}, status=400), json_answer({}, status=404), json_answer({}, status=307, headers=[("location", "http://127.0.0.1:1/")])],
)
async def test_a_refused_event_is_not_sent_again(running: Running, receiver: Receiver, refusal: Behaviour) -> None:
    """SEC-12: neither is a redirect followed. The events after it have their own chance."""
    receiver.answer(refusal, OK)
    await (await client_of(running)).send(url=receiver.hook)
    await still(running)
    assert [state(body) for body in await receiver.told(3)] == ["working", "artifactUpdate", "completed"]


async def test_a_receiver_that_is_gone_is_left_alone(running: Running, receiver: Receiver) -> None:
    receiver.answer(json_answer({}, status=410))
    await (await client_of(running)).send(url=receiver.hook)
    await still(running)
    assert len(receiver.requests) == 1


async def test_a_dead_target_delays_nothing(running: Running, receiver: Receiver) -> None:
    """REL-19: push target dead. The task, its answer and the other target go on; the end is tried as often as an event may be."""
    with socket.socket() as dead:
        dead.bind(("127.0.0.1", 0))  # bound and not listening: every connection is refused
        url = f"http://127.0.0.1:{dead.getsockname()[1]}/"
        client = await client_of(running)
        held = new_gate()
        began = time.monotonic()
        task = (await client.result("SendMessage", {**said(skill="slow", url=url, id="dead"), **_at_once(url)}))["task"]
        await client.result("CreateTaskPushNotificationConfig", {"taskId": task["id"], "id": "alive", "url": receiver.hook})
        held.open.set()
        bodies = await receiver.told(2)
        assert time.monotonic() - began < 2
        assert [state(body) for body in bodies] == ["artifactUpdate", "completed"]
        assert (await client.result("GetTask", {"id": task["id"]}))["status"]["state"] == "TASK_STATE_COMPLETED"
        await still(running)


def _at_once(url: str) -> dict[str, Any]:
    return {"configuration": {"returnImmediately": True, "taskPushNotificationConfig": {"url": url, "id": "dead"}}}


async def test_a_slow_receiver_gets_the_task_in_place_of_what_it_missed(
    running: Running, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SEC B8: what waits for a receiver is bounded, and nothing is lost."""
    monkeypatch.setattr(push, "MOST_BEHIND", 5)
    held, slow = new_gate(), asyncio.Event()

    async def wait(exchange: Exchange) -> None:
        await slow.wait()
        await exchange.head(204, length=0)

    receiver.answer(Behaviour(wait), OK)
    held.open.set()
    words = " ".join(f"w{number}" for number in range(40))
    body = {"jsonrpc": "2.0", "id": 1, "method": "SendStreamingMessage", "params": said(words, url=receiver.hook)}
    client = await client_of(running)
    async with httpx.AsyncClient(timeout=10) as http:  # the stream is not held up
        lines = (await http.post(f"{client.url}/a2a", json=body, headers=client.headers)).text.count("data: ")
    assert lines > 40
    slow.set()
    bodies = await receiver.told(3)
    await still(running)
    assert [state(body) for body in bodies] == ["working", "task", "completed"]
    assert bodies[1]["task"]["artifacts"][0]["parts"][0]["text"] == words


async def test_the_end_is_told_after_a_restart(tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """REL-19: the hub stops while it waits to try again; the next one tells the end, under the id that the first one used."""
    monkeypatch.setattr(delivery, "WAITS", (60.0,))
    monkeypatch.setattr(push, "_GRACE_SECONDS", 0.05)
    receiver.answer(OK, OK, BUSY)
    async with running_hub(tmp_path, skills=agent_skills(), **ALLOWED) as first:
        answer = await (await client_of(first)).call("SendMessage", said(url=receiver.hook, token="t"))
        await receiver.received(3)
    receiver.answer(OK)
    for _ in range(2):  # the second start has nothing left to tell
        async with running_hub(tmp_path, skills=agent_skills(), **ALLOWED) as second:
            await receiver.received(4)
            await still(second)
            await asyncio.sleep(0.1)
    assert [state(body) for body in await receiver.told(4)] == ["working", "artifactUpdate", "completed", "completed"]
    ids = [signed_by(request, answer.headers["x-hubroute-signing-secret"]) for request in receiver.requests]
    assert ids[2] == ids[3]
    assert receiver.requests[3].body == receiver.requests[2].body
    assert receiver.requests[3].headers["x-a2a-notification-token"] == "t"
    assert len(receiver.requests) == 4


async def test_a_crash_is_told_at_the_next_start(tmp_path: Path, receiver: Receiver) -> None:
    """REL-19, REL-09: kill -9 while the task works; its failure is told by the next process."""
    data, env = tmp_path / "data", {"HUBROUTE_DEMO": "on", "HUBROUTE_PUSH_ALLOWED_HOSTS": "127.0.0.1", "HUBROUTE_ALLOW_PRIVATE": "true"}
    made = await asyncio.to_thread(command, data, "keys", "create", "agent", "--scopes", "*", **env)
    headers = {"authorization": f"Bearer {made['key']}"}
    stuck = asyncio.Event()

    async def hold(exchange: Exchange) -> None:
        stuck.set()
        await exchange.hold()

    async with Receiver() as model:
        model.answer(Behaviour(hold))
        with serving(data, **env) as served:
            async with httpx.AsyncClient(base_url=served.url, headers=headers, timeout=10) as http:
                provider = {"provider": "openai", "name": "a", "apiKey": "sk-1", "baseUrl": f"{model.url}/v1", "allowPrivate": True}
                assert (await http.post("/api/providers", json=provider)).status_code < 300
            client = Client(served.url, headers)
            params = said("hello", url=receiver.hook)
            params["message"]["metadata"]["model"] = "openai/gpt-4o"
            params["configuration"]["returnImmediately"] = True
            task = (await client.result("SendMessage", params))["task"]
            await asyncio.wait_for(stuck.wait(), 10)
            await receiver.received(1)
            served.process.kill()
        with serving(data, **env):
            bodies = await receiver.told(2, timeout=20)
    assert [state(body) for body in bodies] == ["working", "failed"]
    assert bodies[1]["statusUpdate"]["taskId"] == task["id"]


async def test_a_pause_and_what_follows_it_are_told(tmp_path: Path, receiver: Receiver) -> None:
    """A task that asks back is told of, and goes on being told after a restart."""
    async with running_hub(tmp_path, skills=agent_skills(), **ALLOWED) as first:
        headers = await first.headers()
        task = await Client(first.url, headers).send("buy", skill="priced", url=receiver.hook)
        assert [state(body) for body in await receiver.told(2)] == ["working", "input_required"]
        await still(first)
    async with running_hub(tmp_path, skills=agent_skills(), **ALLOWED) as second:
        more = {"message": {"messageId": "m2", "role": "ROLE_USER", "taskId": task["id"], "parts": [{"data": {"budget": 2}}]}}
        await Client(second.url, headers).result("SendMessage", more)
        bodies = await receiver.told(5)
        await still(second)
    assert [state(body) for body in bodies] == ["working", "input_required", "working", "artifactUpdate", "completed"]


async def test_a_cancelled_pause_is_told(tmp_path: Path, receiver: Receiver) -> None:
    async with running_hub(tmp_path, skills=agent_skills(), **ALLOWED) as running:
        client = await client_of(running)
        task = await client.send("buy", skill="priced", url=receiver.hook)
        await receiver.told(2)
        await still(running)
        await client.result("CancelTask", {"id": task["id"]})
        assert [state(body) for body in await receiver.told(3)] == ["working", "input_required", "canceled"]
        await still(running)
        assert len(receiver.requests) == 3


async def test_a_config_for_a_task_that_has_ended_is_told_its_end(running: Running, receiver: Receiver) -> None:
    """A client whose task was faster than its config learns of the end all the same, and once."""
    client = await client_of(running)
    task = (await client.result("SendMessage", said()))["task"]
    await client.result("CreateTaskPushNotificationConfig", {"taskId": task["id"], "url": receiver.hook})
    await still(running)
    assert [state(body) for body in await receiver.told(1)] == ["completed"]
    assert len(receiver.requests) == 1


async def test_a_target_is_judged_again_with_each_delivery(running: Running) -> None:
    """SEC-11: a name that was public when the config was made and is private afterwards gets nothing."""
    answers = [[(int(socket.AF_INET), "93.184.216.34")], [(int(socket.AF_INET), "127.0.0.1")]]
    asked: list[str] = []

    async def resolver(host: str, port: int) -> list[tuple[int, str]]:
        asked.append(host)
        return answers.pop(0) if len(answers) > 1 else answers[0]

    running.hub.pushes.deliverer.outbound = Outbound(resolver=resolver)
    client = await client_of(running)
    task = await client.send(url="https://rebinding.example/hook")
    assert task["status"]["state"] == "TASK_STATE_COMPLETED"
    await still(running)
    assert set(asked) == {"rebinding.example"}
    assert len(asked) >= 2


async def test_the_switch_for_connections_opens_nothing_here(tmp_path: Path, receiver: Receiver) -> None:
    """SEC-10: ``allow_private`` is for connections of the owner, not for addresses of callers."""
    async with running_hub(tmp_path, skills=agent_skills(), allow_private=True) as running:
        client = await client_of(running)
        for url in (
            receiver.hook,
            receiver.hook.replace("http:", "https:"),
            "https://[::1]/",
            "https://0x7f000001/",
            "https://169.254.169.254/",
        ):
            error = await client.error("SendMessage", said(url=url))
            assert (error["code"], error["data"][1]["fieldViolations"][0]["field"]) == (-32602, "url"), url
        assert (await client.result("ListTasks", {}))["totalSize"] == 0
    assert receiver.requests == []


async def test_words_of_a_refusal_tell_nothing_of_the_network(running: Running) -> None:
    """SEC-10: a name that is unknown and one that is private look alike."""

    async def resolver(host: str, port: int) -> list[tuple[int, str]]:
        if host.startswith("unknown"):
            raise OSError
        return [(int(socket.AF_INET), "10.1.2.3")]

    running.hub.pushes.deliverer.outbound = Outbound(resolver=resolver)
    client = await client_of(running)
    words = [(await client.error("SendMessage", said(url=f"https://{name}.corp/")))["message"] for name in ("unknown", "private")]
    assert words[0] == words[1]


async def test_a_listed_port_opens_that_port_only(tmp_path: Path, receiver: Receiver) -> None:
    async with running_hub(tmp_path, skills=agent_skills(), push_allowed_hosts=f" 127.0.0.1:{receiver.port} ,other") as running:
        client = await client_of(running)
        assert (await client.error("SendMessage", said(url="http://127.0.0.1:9/")))["code"] == -32602
        await client.send(url=receiver.hook)
        await receiver.received(3)


async def test_a_listed_name_need_not_be_known_yet(tmp_path: Path) -> None:
    """Its owner vouches for it; an address that is never allowed is refused all the same (SEC-10)."""

    async def resolver(host: str, port: int) -> list[tuple[int, str]]:
        if host == "later.corp":
            raise OSError
        return [(int(socket.AF_INET), "169.254.169.254")]

    async with running_hub(tmp_path, skills=agent_skills(), push_allowed_hosts="later.corp,metadata.corp") as running:
        running.hub.pushes.deliverer.outbound = Outbound(resolver=resolver)
        client = await client_of(running)
        task = await client.send()
        config = {"taskId": task["id"], "url": "http://later.corp/"}
        assert (await client.result("CreateTaskPushNotificationConfig", config))["url"] == "http://later.corp/"
        assert (await client.error("CreateTaskPushNotificationConfig", {**config, "url": "https://metadata.corp/"}))["code"] == -32602


async def test_an_old_receiver_will_do(running: Running, receiver: Receiver) -> None:
    """HTTP/1.0 without a length, and an answer that is longer than anybody reads."""
    receiver.answer(raw(b"HTTP/1.0 200 OK\r\n\r\n", then="close"), answer_bytes(b"x" * 200_000), OK)
    await (await client_of(running)).send(url=receiver.hook)
    await still(running)
    assert [state(body) for body in await receiver.told(3)] == ["working", "artifactUpdate", "completed"]
    assert len(receiver.requests) == 3


async def test_a_revoked_key_is_told_nothing_more(running: Running, receiver: Receiver) -> None:
    """Who took a key away also ends what it set up."""
    held = new_gate()
    key, secret = await running.hub.store.keys.create("leaked", grants=["*"])
    client = Client(running.url, {"authorization": f"Bearer {secret}"})
    params = said(skill="slow", url=receiver.hook)
    params["configuration"]["returnImmediately"] = True
    await client.result("SendMessage", params)
    await receiver.received(1)
    await running.hub.store.keys.revoke(key.id)
    held.open.set()
    await still(running)
    assert len(receiver.requests) == 1


async def test_limits(running: Running) -> None:
    client = await client_of(running)
    held = new_gate()
    params = said(skill="slow")
    task = (await client.result("SendMessage", {**params, "configuration": {"returnImmediately": True}}))["task"]
    url = "http://127.0.0.1:9/"
    for number in range(push.MOST_CONFIGS):
        await client.result("CreateTaskPushNotificationConfig", {"taskId": task["id"], "id": f"c{number}", "url": url})
    error = await client.error("CreateTaskPushNotificationConfig", {"taskId": task["id"], "id": "more", "url": url})
    assert (error["code"], "10" in error["message"]) == (-32602, True)
    assert await client.result("CreateTaskPushNotificationConfig", {"taskId": task["id"], "id": "c3", "url": url})  # in place of its elder
    for wrong in (
        {"url": ""},
        {"url": url + "x" * 2048},
        {"url": url, "id": "a b"},
        {"url": url, "token": "a\r\nb: c"},
        {"url": url, "token": "\u00e4"},
        {"url": url, "authentication": {"scheme": "a b"}},
        {"url": url, "authentication": {"scheme": "Bearer", "credentials": "x\ny"}},
        {"url": url, "authentication": "x"},
    ):
        error = await client.error("CreateTaskPushNotificationConfig", {"taskId": task["id"], **wrong})
        assert error["code"] == -32602, wrong
    held.open.set()


async def test_a_caller_may_bring_its_secret(running: Running, receiver: Receiver) -> None:
    own = "whsec_" + "QUJD" * 12
    client = await client_of(running)
    answer = await client.call("SendMessage", said(url=receiver.hook), **{"x-hubroute-signing-secret": own})
    assert answer.headers["x-hubroute-signing-secret"] == own
    await receiver.received(3)
    assert all(signed_by(request, own) for request in receiver.requests)
    poor = {"x-hubroute-signing-secret": "whsec_QUJD"}
    assert (await client.error("SendMessage", said(message_id="m2", url=receiver.hook), **poor))["code"] == -32602


async def test_secrets_are_sealed_and_not_shown(tmp_path: Path, receiver: Receiver) -> None:
    """SEC-23: nothing of a config's secrets is in the database as it is, and credentials are never shown again."""
    auth = {"scheme": "Bearer", "credentials": "credential-of-the-client"}
    async with running_hub(tmp_path, skills=agent_skills(), **ALLOWED) as running:
        client = await client_of(running)
        answer = await client.call("SendMessage", said(url=receiver.hook, token="token-of-the-client", authentication=auth))
        task = answer.json()["result"]["task"]
        found = await client.result("GetTaskPushNotificationConfig", {"taskId": task["id"], "id": task["id"]})
        assert (found["token"], found["authentication"]) == ("token-of-the-client", {"scheme": "Bearer"})
        assert "credential-of-the-client" not in json.dumps(found)
        await receiver.received(3)
    database = sqlite3.connect(tmp_path / "data" / "hubroute.db")
    dump = "\n".join(database.iterdump())
    database.close()
    assert receiver.hook in dump
    for secret in ("token-of-the-client", "credential-of-the-client", answer.headers["x-hubroute-signing-secret"]):
        assert secret not in dump


async def test_a_message_sent_again_replaces_its_config(running: Running, receiver: Receiver) -> None:
    """REL-19: a client that lost the answer gets the same task, a secret that is valid, and the end told by it."""
    client = await client_of(running)
    first = await client.call("SendMessage", said(url=receiver.hook))
    await receiver.told(3)
    await still(running)
    second = await client.call("SendMessage", said(url=receiver.hook))
    await receiver.told(4)
    assert first.json()["result"]["task"]["id"] == second.json()["result"]["task"]["id"]
    assert signed_by(receiver.requests[3], second.headers["x-hubroute-signing-secret"])
    assert state(receiver.requests[3].json()) == "completed"
