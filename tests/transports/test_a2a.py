"""The A2A door with raw requests: dialect choice, A2A 1.0, errors, owners, cancel, streams, cards."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from tests.fakes.agent import agent_skills, new_gate
from tests.fakes.hub import Running, running_hub

pytestmark = pytest.mark.anyio

V1 = {"a2a-version": "1.0"}


class Client:
    """Sends raw JSON-RPC to a running hub."""

    def __init__(self, running: Running, http: httpx.AsyncClient, headers: dict[str, str]) -> None:
        self.running, self.http, self.headers = running, http, headers

    async def post(self, body: Any, **headers: str) -> httpx.Response:
        return await self.http.post(f"{self.running.url}/a2a", json=body, headers={**self.headers, **headers})

    async def call(self, method: str, params: Any, *, version: str = "1.0", rpc_id: Any = 1) -> dict[str, Any]:
        body = {"jsonrpc": "2.0", "id": rpc_id, "method": method, "params": params}
        answer = await self.post(body, **({"a2a-version": version} if version else {}))
        assert answer.status_code == 200, answer.text
        found = answer.json()
        assert found["id"] == rpc_id
        return found

    async def result(self, method: str, params: Any, **options: Any) -> Any:
        found = await self.call(method, params, **options)
        assert "result" in found, found
        return found["result"]

    async def error(self, method: str, params: Any, **options: Any) -> Any:
        found = await self.call(method, params, **options)
        assert "error" in found, found
        return found["error"]

    async def events(self, method: str, params: Any, *, version: str = "1.0") -> list[Any]:
        return [event async for event in self.stream(method, params, version=version)]

    async def stream(self, method: str, params: Any, *, version: str = "1.0") -> Any:
        body = {"jsonrpc": "2.0", "id": 7, "method": method, "params": params}
        headers = {**self.headers, **({"a2a-version": version} if version else {})}
        async with self.http.stream("POST", f"{self.running.url}/a2a", json=body, headers=headers) as answer:
            assert answer.headers["content-type"] == "text/event-stream", await answer.aread()
            async for line in answer.aiter_lines():
                if line.startswith("data: "):
                    yield json.loads(line[6:])


@pytest.fixture(params=["work", "brief"])
async def client(tmp_path: Any, request: pytest.FixtureRequest) -> Any:
    """A client of a hub whose skills do work, or say that they only read, which is done while the request waits."""
    async with running_hub(tmp_path, skills=agent_skills(brief=request.param == "brief")) as running, httpx.AsyncClient(timeout=10) as http:
        yield Client(running, http, await running.headers())


def said(text: str = "hello there friend", *, message_id: str = "m1", **more: Any) -> dict[str, Any]:
    return {"message": {"messageId": message_id, "role": "ROLE_USER", "parts": [{"text": text}], **more}}


async def other(client: Client, *scopes: str) -> Client:
    return Client(client.running, client.http, await client.running.headers(*scopes))


async def test_send_answers_with_a_completed_task(client: Client) -> None:
    task = (await client.result("SendMessage", said()))["task"]
    assert task["status"]["state"] == "TASK_STATE_COMPLETED"
    parts = task["artifacts"][0]["parts"]
    assert parts[0]["text"] == "hello there friend"
    assert parts[1]["data"]["times"] == 1
    assert task["metadata"]["model"] == "echo-1"
    assert task["metadata"]["requestId"]
    assert task["history"][0]["contextId"] == task["contextId"]
    assert task["history"][0]["taskId"] == task["id"]


async def test_trailing_slash_is_the_same_door(client: Client) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": said()}
    answer = await client.http.post(f"{client.running.url}/a2a/", json=body, headers={**client.headers, **V1})
    assert answer.json()["result"]["task"]["status"]["state"] == "TASK_STATE_COMPLETED"


async def test_skill_is_chosen_by_metadata_data_or_words(client: Client) -> None:
    held = new_gate()
    held.open.set()
    named = await client.result("SendMessage", said(message_id="a", metadata={"skill": "slow"}))
    data = {"message": {"messageId": "b", "role": "ROLE_USER", "parts": [{"data": {"skill": "slow", "text": "x", "times": 2}}]}}
    by_data = await client.result("SendMessage", data)
    by_words = await client.result("SendMessage", said("how is the turtle?", message_id="c"))
    assert [one["task"]["metadata"]["skill"] for one in (named, by_data, by_words)] == ["slow"] * 3
    assert by_data["task"]["artifacts"][0]["parts"][1]["data"]["times"] == 2
    long = await client.result("SendMessage", said("please write a long story about a turtle " * 5, message_id="d"))
    assert long["task"]["metadata"]["skill"] == "smart-routing"


async def test_unknown_skill_names_the_others(client: Client) -> None:
    error = await client.error("SendMessage", said(metadata={"skill": "nope"}))
    assert error["code"] == -32602
    assert "smart-routing" in error["message"]
    assert (await client.result("ListTasks", {}))["totalSize"] == 0


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({}, "message"),
        ({"message": "x"}, "message"),
        ({"message": {"role": "ROLE_USER", "parts": [{"text": "x"}]}}, "message.messageId"),
        ({"message": {"messageId": "m", "role": "user", "parts": [{"text": "x"}]}}, "message.role"),
        ({"message": {"messageId": "m", "role": "ROLE_USER", "parts": []}}, "message.parts"),
        ({"message": {"messageId": "m", "role": "ROLE_USER", "parts": [{}]}}, "message.parts[0]"),
        ({"message": {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "x", "url": "y"}]}}, "message.parts[0]"),
        ({"message": {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": 5}]}}, "message.parts[0].text"),
        ({**said(), "configuration": {"historyLength": -1}}, "configuration.historyLength"),
        ({**said(), "configuration": {"returnImmediately": "yes"}}, "configuration.returnImmediately"),
        ([], "params"),
    ],
)
async def test_wrong_parameters_name_the_field(client: Client, params: Any, field: str) -> None:
    error = await client.error("SendMessage", params)
    assert error["code"] == -32602
    assert error["data"][1]["fieldViolations"][0]["field"] == field


async def test_protocol_errors(client: Client) -> None:
    url, json_type, text_type = f"{client.running.url}/a2a", {"content-type": "application/json"}, {"content-type": "text/plain"}
    raw = await client.http.post(url, content=b"{nope", headers={**client.headers, **json_type})
    assert (raw.status_code, raw.json()["error"]["code"]) == (200, -32700)
    for body in ([], "x", {"jsonrpc": "1.0", "method": "x"}, {"jsonrpc": "2.0"}, {"jsonrpc": "2.0", "method": "x", "id": {"a": 1}}):
        answer = await client.post(body, **V1)
        assert (answer.status_code, answer.json()["error"]["code"]) == (200, -32600)
    assert (await client.error("NoSuch", {}))["code"] == -32601
    assert (await client.error("message/send", {}))["code"] == -32601
    assert (await client.error("SendMessage", said(), version="99.0"))["code"] == -32009
    assert (await client.error("SendMessage", said(), version=""))["code"] == -32009
    assert (await client.result("SendMessage", said(), version="1.0.3"))["task"]
    wrong = await client.http.post(url, content=b"x", headers={**client.headers, **V1, **text_type})
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (415, -32005)
    assert (await client.http.get(f"{client.running.url}/a2a", headers=client.headers)).status_code == 405


async def test_version_may_come_in_the_query(client: Client) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": "GetTask", "params": {"id": "x"}}
    answer = await client.http.post(f"{client.running.url}/a2a?A2A-Version=1.0", json=body, headers=client.headers)
    assert answer.json()["error"]["code"] == -32001


async def test_error_info(client: Client) -> None:
    error = await client.error("GetTask", {"id": "nope"})
    assert error["code"] == -32001
    info = error["data"][0]
    assert info["@type"].endswith("google.rpc.ErrorInfo")
    assert (info["reason"], info["domain"]) == ("TASK_NOT_FOUND", "a2a-protocol.org")


async def test_without_or_with_a_poor_key(client: Client) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": said()}
    answer = await client.http.post(f"{client.running.url}/a2a", json=body, headers=V1)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.json()["error"]["code"] == -32600
    for scopes in (("chat",), ("mcp:connect",)):
        poor = await other(client, *scopes)
        answer = await poor.post(body, **V1)
        assert answer.status_code == 403, scopes
    assert (await client.result("ListTasks", {}))["totalSize"] == 0


async def test_tasks_are_their_callers_own(client: Client) -> None:
    """SEC-04: another key with every scope sees, lists, cancels, continues and watches nothing."""
    held = new_gate()
    sent = await client.result("SendMessage", {**said(metadata={"skill": "slow"}), "configuration": {"returnImmediately": True}})
    task_id = sent["task"]["id"]
    stranger = await other(client)
    for method, params in (
        ("GetTask", {"id": task_id}),
        ("CancelTask", {"id": task_id}),
        ("SubscribeToTask", {"id": task_id}),
        ("SendMessage", said(message_id="m9", taskId=task_id)),
    ):
        assert (await stranger.error(method, params))["code"] == -32001, method
    assert (await stranger.result("ListTasks", {}))["tasks"] == []
    await held.entered.wait()
    held.open.set()


async def test_same_message_gives_the_same_task(client: Client) -> None:
    """REL-19: a duplicate send, at the same time or later, runs nothing twice; another caller's is another task."""
    held = new_gate()
    params = said(metadata={"skill": "slow"})
    both = asyncio.gather(client.result("SendMessage", params), client.result("SendMessage", params))
    await held.entered.wait()
    held.open.set()
    first, second = await both
    third = await client.result("SendMessage", params)
    assert first["task"]["id"] == second["task"]["id"] == third["task"]["id"]
    assert held.calls == 1
    stranger = await other(client)
    assert (await stranger.result("SendMessage", params))["task"]["id"] != first["task"]["id"]
    changed = await client.result("SendMessage", said("other words", metadata={"skill": "slow"}))
    assert changed["task"]["id"] != first["task"]["id"]


async def test_cancel_stops_the_work(client: Client) -> None:
    """REL-19: the skill is cancelled, the state is final, and a second cancel is refused."""
    held = new_gate()
    sent = await client.result("SendMessage", {**said(metadata={"skill": "slow"}), "configuration": {"returnImmediately": True}})
    assert sent["task"]["status"]["state"] == "TASK_STATE_WORKING"
    await held.entered.wait()
    task = await client.result("CancelTask", {"id": sent["task"]["id"]})
    assert task["status"]["state"] == "TASK_STATE_CANCELED"
    assert held.cancelled.is_set()
    held.open.set()
    assert (await client.error("CancelTask", {"id": task["id"]}))["code"] == -32002
    assert (await client.error("SubscribeToTask", {"id": task["id"]}))["code"] == -32004
    assert (await client.error("SendMessage", said(message_id="m2", taskId=task["id"])))["code"] == -32004
    again = await client.result("GetTask", {"id": task["id"]})
    assert again["status"] == task["status"]


async def test_leaving_a_blocking_send_cancels_the_work(client: Client) -> None:
    """REL-06: the client goes away before the answer."""
    held = new_gate()
    body = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": said(metadata={"skill": "slow"})}
    async with httpx.AsyncClient() as leaving:
        request = asyncio.create_task(leaving.post(f"{client.running.url}/a2a", json=body, headers={**client.headers, **V1}))
        await held.entered.wait()
        request.cancel()
        await asyncio.wait([request])
    await asyncio.wait_for(held.cancelled.wait(), 1)
    # Tried anew, the same message is worked on again.
    held = new_gate()
    held.open.set()
    task = (await client.result("SendMessage", said(metadata={"skill": "slow"})))["task"]
    assert task["status"]["state"] == "TASK_STATE_COMPLETED"


async def test_stream_shows_the_work_as_it_happens(client: Client) -> None:
    held = new_gate()
    events: list[Any] = []
    async for event in client.stream("SendStreamingMessage", said("one two three")):
        assert event["id"] == 7
        events.append(event["result"])
        if len(events) == 2:
            assert events[1]["artifactUpdate"]["artifact"]["parts"] == [{"text": "one"}]
            held.open.set()
    assert events[0]["task"]["status"]["state"] == "TASK_STATE_WORKING"
    updates = [event["artifactUpdate"] for event in events if "artifactUpdate" in event]
    assert [update.get("append", False) for update in updates] == [False, True, True, True]
    assert [update.get("lastChunk", False) for update in updates] == [False, False, False, True]
    assert updates[-1]["artifact"]["parts"][0]["data"] == {"pieces": 3}
    assert events[-1]["statusUpdate"]["status"]["state"] == "TASK_STATE_COMPLETED"
    assert events[-1]["statusUpdate"]["metadata"]["model"] == "echo-1"
    task = await client.result("GetTask", {"id": events[0]["task"]["id"]})
    assert task["artifacts"][0]["parts"][0]["text"] == "one two three"


async def test_streams_see_the_same_events_and_leaving_one_changes_nothing(client: Client) -> None:
    """REL-19: a stream lost and taken up again has no gap and no duplicate."""
    held = new_gate()
    first = client.stream("SendStreamingMessage", said("one two three"))
    begun = [(await anext(first))["result"], (await anext(first))["result"]]
    task_id = begun[0]["task"]["id"]
    await first.aclose()
    watching = [asyncio.create_task(client.events("SubscribeToTask", {"id": task_id})) for _ in range(2)]
    while client.running.hub.tasks.streams < 2:
        await asyncio.sleep(0.005)
    held.open.set()
    left, right = [[event["result"] for event in await task] for task in watching]
    assert left == right
    assert left[0]["task"]["artifacts"][0]["parts"] == [{"text": "one"}]
    text = left[0]["task"]["artifacts"][0]["parts"][0]["text"]
    text += "".join(part.get("text", "") for event in left[1:-1] for part in event["artifactUpdate"]["artifact"]["parts"])
    assert text == "one two three"
    assert left[-1]["statusUpdate"]["status"]["state"] == "TASK_STATE_COMPLETED"
    assert not held.cancelled.is_set()


async def test_work_that_fails_fails_its_task(client: Client) -> None:
    task = (await client.result("SendMessage", said(metadata={"skill": "broken"})))["task"]
    assert task["status"]["state"] == "TASK_STATE_FAILED"
    assert task["status"]["message"]["parts"][0]["text"] == "the provider failed"
    assert task["metadata"]["error"]["code"] == "bad_gateway"
    task = (await client.result("SendMessage", said("bug", message_id="m2", metadata={"skill": "broken"})))["task"]
    assert task["status"]["state"] == "TASK_STATE_FAILED"
    assert "secret detail" not in json.dumps(task)


async def test_a_task_asks_back_and_goes_on(client: Client) -> None:
    task = (await client.result("SendMessage", said("buy", metadata={"skill": "priced"})))["task"]
    assert task["status"]["state"] == "TASK_STATE_INPUT_REQUIRED"
    assert "budget" in task["status"]["message"]["parts"][0]["text"]
    here = {"taskId": task["id"]}
    wrong = await client.error("SendMessage", said(message_id="m2", contextId="other", **here))
    assert wrong["code"] == -32602
    more = {"message": {"messageId": "m3", "role": "ROLE_USER", "parts": [{"data": {"budget": 0.5}}], **here}}
    task = (await client.result("SendMessage", more))["task"]
    assert task["status"]["message"]["parts"][0]["text"] == "this costs 1 dollar; send a higher budget"
    more = {"message": {"messageId": "m4", "role": "ROLE_USER", "parts": [{"data": {"budget": 2}}], **here}}
    task = (await client.result("SendMessage", more))["task"]
    assert task["status"]["state"] == "TASK_STATE_COMPLETED"
    assert task["artifacts"][0]["parts"][0]["text"] == "bought for 2.0"
    assert [message["role"] for message in task["history"]] == ["ROLE_USER", "ROLE_AGENT", "ROLE_USER", "ROLE_AGENT", "ROLE_USER"]
    assert "error" not in task["metadata"]


async def test_a_context_is_remembered(client: Client) -> None:
    first = (await client.result("SendMessage", said("my name is Ada")))["task"]
    second = (await client.result("SendMessage", said("what is my name?", message_id="m2", contextId=first["contextId"])))["task"]
    assert second["contextId"] == first["contextId"]
    assert [turn["content"] for turn in second["artifacts"][0]["parts"][1]["data"]["turns"]] == [
        "my name is Ada",
        "my name is Ada",
        "what is my name?",
    ]


async def test_history_length(client: Client) -> None:
    task = (await client.result("SendMessage", {**said(), "configuration": {"historyLength": 0}}))["task"]
    assert "history" not in task
    assert len((await client.result("GetTask", {"id": task["id"], "history_length": 1}))["history"]) == 1
    assert "history" not in await client.result("GetTask", {"id": task["id"], "historyLength": 0})


async def test_media_types(client: Client) -> None:
    def part(**fields: Any) -> dict[str, Any]:
        return {"message": {"messageId": json.dumps(fields), "role": "ROLE_USER", "parts": [fields]}}

    assert (await client.error("SendMessage", part(raw="aGk=", mediaType="image/png")))["code"] == -32005
    assert (await client.error("SendMessage", part(url="http://x/", mediaType="text/plain")))["code"] == -32005
    assert (await client.error("SendMessage", part(raw="!", mediaType="text/plain")))["code"] == -32602
    task = (await client.result("SendMessage", part(raw="aGk=", mediaType="text/plain", filename="a.txt")))["task"]
    assert task["artifacts"][0]["parts"][0]["text"] == "hi"
    asked = {**said(message_id="t"), "configuration": {"acceptedOutputModes": ["text/plain"]}}
    assert [next(iter(part)) for part in (await client.result("SendMessage", asked))["task"]["artifacts"][0]["parts"]] == ["text"]


async def test_list(client: Client) -> None:
    ids = [(await client.result("SendMessage", said(message_id=f"m{n}")))["task"]["id"] for n in range(5)]
    await client.result("SendMessage", said(message_id="m9", metadata={"skill": "broken"}))
    page = await client.result("ListTasks", {"pageSize": 2, "status": "TASK_STATE_COMPLETED"})
    assert (page["totalSize"], page["pageSize"], len(page["tasks"])) == (5, 2, 2)
    assert "artifacts" not in page["tasks"][0]
    found = [task["id"] for task in page["tasks"]]
    # A task that is new between two pages neither repeats nor hides one.
    await client.result("SendMessage", said(message_id="m10"))
    while page["nextPageToken"]:
        params = {"page_size": 2, "status": "TASK_STATE_COMPLETED", "pageToken": page["nextPageToken"], "includeArtifacts": True}
        page = await client.result("ListTasks", params)
        assert "artifacts" in page["tasks"][0]
        found += [task["id"] for task in page["tasks"]]
    assert found == sorted(found, key=ids.index, reverse=True)
    assert set(found) == set(ids)
    for params in ({"pageSize": 0}, {"pageSize": 101}, {"pageToken": "x!"}, {"status": "x"}, {"statusTimestampAfter": "x"}):
        assert (await client.error("ListTasks", params))["code"] == -32602, params
    assert (await client.result("ListTasks", {"statusTimestampAfter": "2100-01-01T00:00:00Z"}))["tasks"] == []
    assert (await client.result("ListTasks", {"contextId": "none"}))["tasks"] == []


async def test_cards(client: Client) -> None:
    http, url = client.http, client.running.url
    card = await http.get(f"{url}/.well-known/agent-card.json")
    assert card.headers["cache-control"] == "public, max-age=3600"
    assert card.json()["supportedInterfaces"][0] == {"url": f"{url}/a2a", "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}
    assert [one["id"] for one in card.json()["skills"]] == ["broken", "priced", "slow", "smart-routing"]
    assert "url" not in card.json()
    assert card.json()["capabilities"] == {"streaming": True, "pushNotifications": True, "extendedAgentCard": True}
    old = (await http.get(f"{url}/.well-known/agent.json")).json()
    assert (old["url"], old["protocolVersion"]) == (f"{url}/a2a", "0.3.0")
    assert old["capabilities"]["pushNotifications"] is True
    assert old["authentication"] == {"schemes": ["bearer"], "apiKeyHeader": "Authorization"}
    asked = await http.get(f"{url}/.well-known/agent-card.json", headers={"a2a-version": "0.3.0"})
    assert (asked.json(), asked.headers["vary"]) == (old, "A2A-Version")
    for headers in ({"if-none-match": card.headers["etag"]}, {"if-modified-since": card.headers["last-modified"]}):
        again = await http.get(f"{url}/.well-known/agent-card.json", headers=headers)
        assert (again.status_code, again.content) == (304, b"")
    assert (await http.get(f"{url}/.well-known/agent-card.json", headers={"if-none-match": '"x"'})).status_code == 200


async def test_extended_card_shows_what_the_caller_may_use(client: Client) -> None:
    poor = await other(client, "mcp:connect", "read:health")
    assert [one["id"] for one in (await poor.result("GetExtendedAgentCard", {}))["skills"]] == ["broken", "priced", "slow"]
    old = await poor.result("agent/getAuthenticatedExtendedCard", {}, version="")
    assert old["protocolVersion"] == "0.3.0"
    assert (await client.http.get(f"{client.running.url}/a2a/v1/card")).status_code == 401
    assert (await client.http.get(f"{client.running.url}/a2a/v1/card", headers=client.headers)).json()["skills"]
