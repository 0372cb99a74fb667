"""Skills of agents made with the stock a2a-sdk, over REST: every binding and version, streaming and not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.fakes.sdk_agent import BINDINGS, sdk_agent
from tests.remote_agents.conftest import Owner

if TYPE_CHECKING:
    from tests.fakes.hub import Running

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize(("binding", "version"), BINDINGS)
async def test_a_call(owner: Owner, binding: str, version: str, streaming: bool) -> None:
    """An agent of either version over either binding makes text and data, and asks back in the middle of a task."""
    async with sdk_agent(binding, version, streaming=streaming) as remote:
        added = await owner.add(remote.url)
        assert (added["standing"], added["interface"]["binding"], added["interface"]["version"]) == ("approved", binding, version)
        done = await owner.call("echo hello there")
        assert (done["state"], done["text"], done["taskId"]) == ("completed", "you said hello there", "")
        assert done["artifacts"][1]["parts"] == [{"data": {"words": 2}}]
        asked = await owner.call("ask", contextId=done["contextId"])
        assert (asked["state"], asked["text"]) == ("input-required", "which city?")
        answered = await owner.call("echo Paris", taskId=asked["taskId"])
        assert (answered["state"], answered["text"]) == ("completed", "you said Paris")
        contexts, tasks = ([getattr(one, name) for one in remote.asked] for name in ("context_id", "task_id"))
        assert len(set(contexts)) == 1
        assert tasks[1] == tasks[2] != tasks[0]
        assert remote.metadata(0)["skill"] == "talk"
        for handle in (done["contextId"], asked["taskId"]):
            assert contexts[0] not in handle


@pytest.mark.parametrize(("binding", "version"), BINDINGS)
async def test_failures_are_told(owner: Owner, binding: str, version: str) -> None:
    """An agent that fails, refuses or wants a sign-in gives a clear error, and a message alone is an answer."""
    async with sdk_agent(binding, version) as remote:
        await owner.add(remote.url)
        assert "failed: no satellites" in (await owner.call("fail", status=502))["error"]
        assert "refused the task: not my job" in (await owner.call("reject", status=502))["error"]
        wanted = await owner.call("auth", status=503)
        assert wanted["code"] == "agent_unauthorized"
        assert "https://login.example" in wanted["error"]
        answer = await owner.call("answer at once")
        assert (answer["state"], answer["text"], answer["artifacts"]) == ("completed", "answered at once", [])


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize(("binding", "version"), BINDINGS)
async def test_whoever_leaves_cancels(owner: Owner, binding: str, version: str, streaming: bool) -> None:
    """REL-06: the caller's leaving cancels the task at the agent."""
    async with sdk_agent(binding, version, streaming=streaming) as remote:
        await owner.add(remote.url)
        call = asyncio.create_task(owner.call("hold"))
        await asyncio.wait_for(remote.entered.wait(), 10)
        call.cancel()
        await asyncio.wait_for(remote.cancelled.wait(), 10)
        with pytest.raises(asyncio.CancelledError):
            await call


async def test_waiting_is_as_long_as_one_likes(owner: Owner) -> None:
    """A caller that does not wait finds its task again, and may cancel it; a call's own limit cancels it."""
    async with sdk_agent() as remote:
        await owner.add(remote.url)
        begun = await owner.call("hold", waitSeconds=0.2)
        assert (begun["state"], begun["text"]) == ("working", "first ")
        assert not remote.cancelled.is_set()
        remote.open.set()
        assert (await owner.call(taskId=begun["taskId"]))["text"] == "first second"
        remote.open.clear()
        again = await owner.call("hold", waitSeconds=0.2)
        await owner.ask("POST", "/far/cancel", {"taskId": again["taskId"]})
        assert remote.cancelled.is_set()
        remote.cancelled.clear()
        await owner.ask("PATCH", "/far", {"timeoutSeconds": 0.2})
        late = await owner.call("hold", status=504)
        assert "its task is cancelled" in late["error"]
        await asyncio.wait_for(remote.cancelled.wait(), 10)


async def test_handles_are_their_callers_own(owner: Owner, running: Running) -> None:
    """SEC-55: another key's task or conversation is not found, nor is a made-up one, at the call, the look and the cancel."""
    async with sdk_agent() as remote:
        await owner.add(remote.url)
        await owner.add(remote.url, "near")
        asked = await owner.call("ask")
        async with httpx.AsyncClient(base_url=running.url, headers=await running.headers("execute:agents")) as http:
            other = Owner(running, http)
            for body in ({"taskId": asked["taskId"]}, {"contextId": asked["contextId"]}, {"taskId": "bm90LWEtaGFuZGxl"}, {"taskId": "é"}):
                refused = await other.ask("POST", "/far/call", {"message": "echo me", **body}, status=404)
                assert "that is yours" in refused["error"]
            await other.call(taskId=asked["taskId"], status=404)
            await other.ask("POST", "/far/cancel", {"taskId": asked["taskId"]}, status=404)
            await other.ask("GET", "", status=403)
        # A task's handle is none of a conversation, and none at another agent.
        await owner.call("echo me", contextId=asked["taskId"], status=404)
        await owner.call("echo me", "near", taskId=asked["taskId"], status=404)
        assert remote.texts == ["ask"]
        assert (await owner.call("echo Rome", taskId=asked["taskId"]))["text"] == "you said Rome"


async def test_an_agent_behind_a_credential(owner: Owner) -> None:
    """The credential goes where the card's scheme has it, and is shown nowhere."""
    async with sdk_agent() as remote:
        scheme = {"apiKeySecurityScheme": {"location": "header", "name": "X-Weather-Key"}}
        remote.card["securitySchemes"] = {"key": scheme, "token": {"httpAuthSecurityScheme": {"scheme": "Bearer"}}}
        added = await owner.add(remote.url, credential="hush-hush-4", headers={"X-Team": "hush-hush-5"})
        assert (added["hasCredential"], added["headers"]) == (True, ["x-team"])
        await owner.add(remote.url, "near", credential="hush-hush-6", scheme="token")
        await owner.add(remote.url, "off", credential="hush-hush-7", scheme="nothing", status=400)
        await owner.call("echo hi")
        await owner.call("echo hi", "near")
        sent = [headers for path, headers in remote.seen if path == "/rpc"]
        assert (sent[0]["x-weather-key"], sent[0]["x-team"], sent[0]["x-hubroute-hops"]) == ("hush-hush-4", "hush-hush-5", "1")
        assert sent[1]["authorization"] == "Bearer hush-hush-6"
        assert "hush" not in str(await owner.ask("GET", ""))
        cards = [headers for path, headers in remote.seen if path.startswith("/.well-known")]
        assert not any("authorization" in headers or "x-weather-key" in headers for headers in cards)


async def test_bad_input_is_named(owner: Owner) -> None:
    async with sdk_agent() as remote:
        await owner.add(remote.url)
        for body in ({}, {"parts": [{"text": "a", "url": "b"}]}, {"parts": [{"text": 1}]}, {"message": "x", "waitSeconds": -1}):
            refused = await owner.ask("POST", "/far/call", body, status=400)
            assert refused["error"]["details"][0]["field"] in ("message", "parts", "waitSeconds")
        assert "it has talk" in (await owner.call("x", skill="nope", status=404))["error"]
        assert remote.asked == []
        await owner.add(remote.url, "Bad Name", status=400)
        await owner.add(remote.url, "far", status=409)
        await owner.add("ftp://x", "ftp", status=400)
