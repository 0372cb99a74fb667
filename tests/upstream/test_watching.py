"""Subscriptions to resources of upstream servers, passed on in both eras, and lists that change under a session."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import httpx
import mcp_types as types
import pytest

from tests.fakes.mcp import client as mcp_client
from tests.upstream.test_asking import added
from tests.upstream.test_stdio import tool_names
from tests.upstream.toolbox import PLAIN

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fakes.hub import Running

pytestmark = pytest.mark.anyio

URI = "hub+box:note:///today"


async def until(true: Any, seconds: float = 20) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.02)


async def subscribe(mcp: Any) -> None:
    """As clients with a session do."""
    await mcp.session.send_request(types.SubscribeRequest(params=types.SubscribeRequestParams(uri=URI)), types.EmptyResult)


def tool(server: str) -> dict[str, Any]:
    return {"text": "note:///today"} if server == "new" else {"uri": "note:///today"}


@pytest.mark.parametrize("server", ["new", "old"])
async def test_a_session_hears_of_a_resource(running: Running, client: httpx.AsyncClient, tmp_path: Path, server: str) -> None:
    """A change there is told here, to the key whose session heard of it, until it unsubscribes."""
    await added(client, tmp_path, server)
    heard: list[str] = []

    async def hear(message: Any) -> None:
        if isinstance(message, types.ResourceUpdatedNotification):
            heard.append(message.params.uri)

    async def quiet(message: Any) -> None:
        assert not isinstance(message, types.ResourceUpdatedNotification)

    watching = running.hub.upstreams.watching
    token = (await running.headers("operator"))["authorization"].removeprefix("Bearer ")
    other = (await running.headers("operator"))["authorization"].removeprefix("Bearer ")
    async with (
        mcp_client(running, token, mode="legacy", message_handler=hear) as mcp,
        mcp_client(running, other, mode="legacy", message_handler=quiet) as stranger,
    ):
        await subscribe(mcp)
        await subscribe(stranger)
        assert watching.size == 2
        async with asyncio.timeout(20):
            while not heard:
                await mcp.call_tool("box__touch", tool(server))
                await asyncio.sleep(0.05)
        assert heard[0] == URI
        await mcp.session.send_request(types.UnsubscribeRequest(params=types.UnsubscribeRequestParams(uri=URI)), types.EmptyResult)
        await until(lambda: watching.size == 1)
    await until(lambda: watching.size == 0)


async def test_a_listen_stream_hears_of_a_resource(running: Running, client: httpx.AsyncClient, tmp_path: Path) -> None:
    """The same over ``subscriptions/listen``; what the caller may not see is never told of (SEC-54)."""
    await added(client, tmp_path, "new")
    token = (await running.headers())["authorization"].removeprefix("Bearer ")
    async with mcp_client(running, token) as mcp, mcp.listen(resource_subscriptions=[URI, "hub+box:note:///none"]) as events:
        assert running.hub.upstreams.watching.size == 1
        touched = asyncio.create_task(_touch_again(mcp))
        async with asyncio.timeout(20):
            event: Any = await anext(aiter(events))
        touched.cancel()
        assert event.uri == URI
    await until(lambda: running.hub.upstreams.watching.size == 0)
    poor = (await running.headers("mcp:connect"))["authorization"].removeprefix("Bearer ")
    async with mcp_client(running, poor) as mcp, mcp.listen(resource_subscriptions=[URI]):
        assert running.hub.upstreams.watching.size == 0


async def _touch_again(mcp: Any) -> None:
    while True:
        await mcp.call_tool("box__touch", tool("new"))
        await asyncio.sleep(0.05)


async def test_a_watched_server_that_dies_is_watched_again(running: Running, client: httpx.AsyncClient, tmp_path: Path) -> None:
    """REL-18: a new session subscribes anew, and says that something may have been missed."""
    await added(client, tmp_path, "new")
    heard: list[str] = []

    async def hear(message: Any) -> None:
        if isinstance(message, types.ResourceUpdatedNotification):
            heard.append(message.params.uri)

    token = (await running.headers())["authorization"].removeprefix("Bearer ")
    async with mcp_client(running, token, mode="legacy", message_handler=hear) as mcp:
        await subscribe(mcp)
        assert (await mcp.call_tool("box__die", {})).is_error
        await until(lambda: heard)
        heard.clear()
        async with asyncio.timeout(20):
            while not heard:
                await mcp.call_tool("box__touch", tool("new"))
                await asyncio.sleep(0.05)


async def test_new_servers_tell_of_changed_lists(client: httpx.AsyncClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SEC-60: a server of 2026-07-28 tells of its lists on a listen stream; a changed tool is hidden without anybody's asking."""
    monkeypatch.setattr("hub.upstream.servers._RESYNC_SECONDS", 0.05)
    stated: list[dict[str, Any]] = [PLAIN, {"name": "relist", "description": "Tell.", "inputSchema": {"type": "object"}}]
    (tmp_path / "tools.json").write_text(json.dumps(stated))
    await added(client, tmp_path, "new")
    assert await tool_names(client) == {"box__echo", "box__relist"}
    await client.post("/api/mcp/servers/box/tools/echo", json={"arguments": {"text": "the session is open"}})
    await asyncio.sleep(0.3)  # the lists were read when the session was opened
    (tmp_path / "tools.json").write_text(json.dumps([{**PLAIN, "description": "Another."}, stated[1]]))
    await client.post("/api/mcp/servers/box/tools/relist", json={})
    async with asyncio.timeout(20):
        while "box__echo" in await tool_names(client):
            await asyncio.sleep(0.05)
