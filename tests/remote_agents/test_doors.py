"""Skills of remote agents at the other doors: A2A to the letter, MCP with progress, and one hub behind another."""

from __future__ import annotations

import asyncio
import warnings
from typing import TYPE_CHECKING, Any

import httpx
import orjson
import pytest
from starlette.responses import Response
from starlette.routing import Route

from hub.remote_agents.agents import MOST_HOPS
from tests.fakes.a2a_clients import Agents
from tests.fakes.hub import running_hub
from tests.fakes.mcp import client as mcp_client
from tests.fakes.sdk_agent import card_of, sdk_agent, served
from tests.remote_agents.conftest import Owner

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.requests import Request

    from tests.fakes.hub import Running

pytestmark = pytest.mark.anyio

V1 = {"a2a-version": "1.0"}


def message(text: str, **more: Any) -> dict[str, Any]:
    """A message for the agent's skill."""
    said = {"messageId": f"m-{text}", "role": "ROLE_USER", "parts": [{"text": text}], "metadata": {"skill": "agent-far.talk"}}
    return {"message": {**said, **more}}


async def rpc(http: httpx.AsyncClient, method: str, params: Any, **headers: str) -> Any:
    """The result of a call of A2A 1.0."""
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    answer = (await http.post("/a2a", json=body, headers={**V1, **headers})).json()
    assert "result" in answer, answer
    return answer["result"]


async def events(http: httpx.AsyncClient, params: Any) -> list[dict[str, Any]]:
    """What a stream tells, to its end."""
    found: list[dict[str, Any]] = []
    body = {"jsonrpc": "2.0", "id": 1, "method": "SendStreamingMessage", "params": params}
    async with http.stream("POST", "/a2a", json=body, headers=V1) as answer:
        async for line in answer.aiter_lines():
            if line.startswith("data: "):
                found.append(orjson.loads(line[6:])["result"])
    return found


@pytest.mark.parametrize("streaming", [True, False])
async def test_artifacts_stream_through(owner: Owner, streaming: bool) -> None:
    """What the agent tells reaches our caller as it is: words of progress, artifacts in pieces, data parts."""
    async with sdk_agent(streaming=streaming) as remote:
        await owner.add(remote.url)
        stream = asyncio.create_task(events(owner.http, message("hold")))
        await asyncio.wait_for(remote.entered.wait(), 10)
        remote.open.set()
        told = await stream
        words = [one["statusUpdate"]["status"] for one in told if "statusUpdate" in one]
        pieces = [one["artifactUpdate"] for one in told if "artifactUpdate" in one]
        assert words[-1]["state"] == "TASK_STATE_COMPLETED"
        assert "".join(part["text"] for piece in pieces for part in piece["artifact"]["parts"]) == "first second"
        assert not pieces[0].get("append", False)
        if streaming:
            assert any(status.get("message", {}).get("parts") == [{"text": "thinking"}] for status in words)
        whole = await rpc(owner.http, "SendMessage", message("echo one two"))
        made = whole["task"]["artifacts"]
        assert ("".join(part["text"] for part in made[0]["parts"]), made[1]["parts"]) == ("you said one two", [{"data": {"words": 2}}])


async def test_a_question_is_passed_on(owner: Owner, running: Running) -> None:
    """Our task waits when the agent's does; the answer goes on there; a new task of the conversation stays in it there, too."""
    async with sdk_agent() as remote:
        await owner.add(remote.url)
        task = (await rpc(owner.http, "SendMessage", message("ask")))["task"]
        assert task["status"]["state"] == "TASK_STATE_INPUT_REQUIRED"
        assert task["status"]["message"]["parts"] == [{"text": "which city?"}]
        async with httpx.AsyncClient(base_url=running.url, headers=await running.headers("*")) as http:
            body = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": message("echo x", taskId=task["id"])}
            assert (await http.post("/a2a", json=body, headers=V1)).json()["error"]["code"] == -32001  # SEC-55
        done = (await rpc(owner.http, "SendMessage", message("echo Paris", taskId=task["id"])))["task"]
        assert (done["status"]["state"], done["id"]) == ("TASK_STATE_COMPLETED", task["id"])
        assert done["artifacts"][0]["parts"] == [{"text": "you said Paris"}]
        later = (await rpc(owner.http, "SendMessage", message("echo again", contextId=task["contextId"])))["task"]
        assert later["status"]["state"] == "TASK_STATE_COMPLETED"
        assert len({one.context_id for one in remote.asked}) == 1
        assert remote.asked[1].task_id == remote.asked[0].task_id != remote.asked[2].task_id
        shown = orjson.dumps([task, done, later]).decode()
        assert remote.asked[0].context_id not in shown
        assert "kept" not in shown


async def test_cancels_go_through(owner: Owner) -> None:
    """CancelTask stops the agent, while it works and while it waits for an answer."""
    async with sdk_agent() as remote:
        await owner.add(remote.url)
        params = {**message("hold"), "configuration": {"returnImmediately": True}}
        task = (await rpc(owner.http, "SendMessage", params))["task"]
        await asyncio.wait_for(remote.entered.wait(), 10)
        assert (await rpc(owner.http, "CancelTask", {"id": task["id"]}))["status"]["state"] == "TASK_STATE_CANCELED"
        await asyncio.wait_for(remote.cancelled.wait(), 10)
        remote.cancelled.clear()
        asked = (await rpc(owner.http, "SendMessage", message("ask")))["task"]
        await rpc(owner.http, "CancelTask", {"id": asked["id"]})
        await asyncio.wait_for(remote.cancelled.wait(), 10)


async def test_failures_are_the_tasks_own(owner: Owner) -> None:
    async with sdk_agent() as remote:
        await owner.add(remote.url)
        for word, words in (("fail", "no satellites"), ("auth", "sign in"), ("reject", "not my job")):
            task = (await rpc(owner.http, "SendMessage", message(word)))["task"]
            assert task["status"]["state"] == "TASK_STATE_FAILED"
            assert words in task["status"]["message"]["parts"][0]["text"]


async def test_who_sees_and_may_call_it(owner: Owner, running: Running) -> None:
    """SEC-03: the extended card and the tools show an agent's skills to keys with its scope; the public card shows them to nobody."""
    async with sdk_agent() as remote:
        await owner.add(remote.url)
        public = (await owner.http.get("/.well-known/agent-card.json")).json()
        extended = await rpc(owner.http, "GetExtendedAgentCard", {})
        ids = [{one["id"] for one in card["skills"]} for card in (public, extended)]
        assert ["agent-far.talk" in found for found in ids] == [False, True]
        for scopes, allowed in ((("execute:agents", "mcp:connect"), True), (("execute:tools", "mcp:connect"), False)):
            async with httpx.AsyncClient(base_url=running.url, headers=await running.headers(*scopes)) as http:
                called = await http.post("/api/agents/far/call", json={"message": "echo hi"})
                sent = (
                    await http.post(
                        "/a2a", json={"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": message("echo hi")}, headers=V1
                    )
                ).json()
                assert (called.status_code, "result" in sent) == ((200, True) if allowed else (403, False))
        assert len(remote.asked) == 2


async def test_over_mcp(owner: Owner, running: Running) -> None:
    """A tool with progress, an answer that is marked as a stranger's, a question with what goes on from it, and a cancel."""
    async with sdk_agent() as remote:
        await owner.add(remote.url)
        token = (await running.headers("operator"))["authorization"].removeprefix("Bearer ")
        seen: list[str] = []

        async def watch(done: float, total: float | None, words: str | None) -> None:
            seen.append(words or "")

        async with mcp_client(running, token) as mcp:
            tool = next(one for one in (await mcp.list_tools()).tools if one.name == "agent-far__talk")
            assert tool.output_schema is not None
            done = await mcp.call_tool("agent-far__talk", {"message": "echo hi there"}, progress_callback=watch)
            assert done.structured_content is not None
            assert (done.structured_content["state"], done.content[0].text) == ("completed", "you said hi there")
            assert done.meta is not None
            assert done.meta["hubroute/origin"] == {"server": "far", "trusted": False}
            assert seen == ["thinking", "you said ", "hi there"]
            asked = await mcp.call_tool("agent-far__talk", {"message": "ask"})
            assert asked.structured_content is not None
            assert (asked.structured_content["state"], asked.is_error) == ("input-required", False)
            more = {"message": "echo Rome", "taskId": asked.structured_content["taskId"]}
            assert (await mcp.call_tool("agent-far__talk", more)).content[0].text == "you said Rome"
            failed = await mcp.call_tool("agent-far__talk", {"message": "fail"})
            assert failed.is_error
            call = asyncio.create_task(mcp.call_tool("agent-far__talk", {"message": "hold"}))
            await asyncio.wait_for(remote.entered.wait(), 10)
            call.cancel()
            await asyncio.wait_for(remote.cancelled.wait(), 10)


async def test_over_rest_as_a_stream(owner: Owner) -> None:
    """Server-sent events of what the agent does, and a cancel there when the reader leaves (REL-06)."""
    async with sdk_agent() as remote:
        await owner.add(remote.url)
        async with owner.http.stream("POST", "/api/agents/far/stream", json={"message": "echo hi"}) as answer:
            found = [orjson.loads(line[6:]) async for line in answer.aiter_lines() if line.startswith("data: ")]
        assert found[0]["words"] == "thinking"
        assert "".join(one["artifact"]["parts"][0].get("text", "") for one in found if one["artifact"]) == "you said hi"
        assert found[-1]["reply"]["text"] == "you said hi"
        async with owner.http.stream("POST", "/api/agents/far/stream", json={"message": "hold"}) as answer:
            await asyncio.wait_for(remote.entered.wait(), 10)
        await asyncio.wait_for(remote.cancelled.wait(), 10)


@pytest.mark.parametrize("binding", ["JSONRPC", "HTTP+JSON", "0.3"])
async def test_a_hub_behind_a_hub(owner: Owner, tmp_path: Path, binding: str) -> None:
    """Another HubRoute as the agent, in each of its forms: its skills by name, with its key, streamed through."""
    async with running_hub(tmp_path / "other", demo="on") as other:
        key = await other.key("operator")
        card = "/.well-known/agent.json" if binding == "0.3" else "/.well-known/agent-card.json"
        async with httpx.AsyncClient() as anybody:
            shown = (await anybody.get(other.url + card)).json()
        if binding == "HTTP+JSON":
            shown["supportedInterfaces"] = [one for one in shown["supportedInterfaces"] if one["protocolBinding"] == binding]
        async with sdk_agent() as shelf:
            shelf.card = shown
            added = await owner.add(shelf.url if binding == "HTTP+JSON" else other.url + card, "peer", credential=key, approve=False)
            await owner.ask("POST", "/peer/approve")
            assert {one["id"] for one in added["skills"]} >= {"smart-routing", "health-report"}
            health = await owner.call("how are you?", "peer", skill="health-report")
            assert health["state"] == "completed"
            assert health["artifacts"][0]["parts"]
            said = await owner.call("Hello", "peer", skill="smart-routing", metadata={"model": "demo/demo-fast"})
            assert said["text"]
            paused = await owner.call("Hello", "peer", skill="smart-routing", metadata={"budget": "lots"})
            assert paused["state"] == "input-required"


async def test_the_stock_client_sees_it_through_two_hubs(owner: Owner, running: Running) -> None:
    """The SDK's own client of our hub gets the remote artifacts in order."""
    async with sdk_agent() as remote:
        await owner.add(remote.url)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from a2a.types import Message, Part, Role, SendMessageRequest
        agents = Agents(running, "JSONRPC")
        sdk = await agents.make("operator", streaming=True)
        said = Message(message_id="m1", role=Role.ROLE_USER, parts=[Part(text="echo hi")])
        said.metadata["skill"] = "agent-far.talk"
        texts = [
            part.text
            async for item in sdk.send_message(SendMessageRequest(message=said))
            if item.HasField("artifact_update")
            for part in item.artifact_update.artifact.parts
            if part.text
        ]
        await agents.close()
        assert "".join(texts) == "you said hi"


@pytest.mark.parametrize("way", ["header", "metadata"])
async def test_circles_are_cut(owner: Owner, way: str) -> None:
    """A call that has passed too many hubs is refused, however it says so; each hub counts itself."""
    async with sdk_agent() as remote:
        await owner.add(remote.url)
        for hops, state in ((MOST_HOPS - 1, "COMPLETED"), (MOST_HOPS, "FAILED")):
            header = {"x-hubroute-hops": str(hops)} if way == "header" else {}
            stated = {"hubroute/hops": hops} if way == "metadata" else {}
            params = message(f"echo {hops}", metadata={"skill": "agent-far.talk", **stated})
            task = (await rpc(owner.http, "SendMessage", params, **header))["task"]
            assert task["status"]["state"] == f"TASK_STATE_{state}"
        assert "in circles" in task["status"]["message"]["parts"][0]["text"]
        assert len(remote.asked) == 1
        assert (remote.metadata(0)["hubroute/hops"], remote.seen[-1][1]["x-hubroute-hops"]) == (MOST_HOPS, str(MOST_HOPS))


async def test_a_circle_ends_by_itself(owner: Owner, running: Running) -> None:
    """REL-04: an agent that answers every message by asking the hub for itself is called a few times and not for ever."""
    passed: list[Any] = []
    headers = await running.headers("operator")

    async def relay(request: Request) -> Response:
        asked = (await request.json())["params"]["message"]
        passed.append(asked["metadata"]["hubroute/hops"])
        async with httpx.AsyncClient(base_url=running.url, headers=headers, timeout=30) as http:
            again = message("again", messageId=f"m{len(passed)}", metadata={**asked["metadata"], "skill": "agent-far.talk"})
            return Response(orjson.dumps({"jsonrpc": "2.0", "id": 1, "result": await rpc(http, "SendMessage", again)}))

    async def show(request: Request) -> Response:
        return Response(orjson.dumps(card_of(f"http://{request.headers['host']}/rpc", streaming=False)))

    async with served(lambda _: [Route("/rpc", relay, methods=["POST"]), Route("/card.json", show)]) as (url, _):
        await owner.add(f"{url}/card.json")
        failed = await owner.call("hi", status=502)
        assert "in circles" in failed["error"]
        assert passed == list(range(1, MOST_HOPS + 1))
