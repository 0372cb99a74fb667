"""Change notices over MCP: subscriptions of sessions, listen streams of 2026-07-28, and that nothing of them stays behind."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import anyio
import httpx2
import mcp_types as types
import pytest
from mcp import Client
from mcp.client.sse import sse_client
from mcp.client.subscriptions import PromptsListChanged, ResourcesListChanged, ResourceUpdated, ToolsListChanged
from mcp.shared.exceptions import MCPError

from tests.fakes.desk import HI, open_desk
from tests.fakes.mcp import SSE, STREAM, client, modern
from tests.fakes.vendor import stream
from transports._mcp_watch import Watch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.fakes.desk import Desk

pytestmark = pytest.mark.anyio


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with open_desk(tmp_path) as made:
        yield made


@dataclass
class Heard:
    """What a client heard, with when."""

    events: list[str] = field(default_factory=list[str])
    times: list[float] = field(default_factory=list[float])

    def add(self, event: str) -> None:
        self.events.append(event)
        self.times.append(asyncio.get_running_loop().time())

    async def until(self, event: str, count: int = 1, *, seconds: float = 5.0) -> None:
        with anyio.fail_after(seconds):
            while self.events.count(event) < count:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def streaming(desk: Desk, token: str, *uris: str) -> AsyncIterator[Heard]:
    """Listen as a client of 2026-07-28."""
    heard = Heard()

    async def hear(subscription: Any) -> None:
        async for event in subscription:
            heard.add(event.uri if isinstance(event, ResourceUpdated) else type(event).__name__)
        heard.add("end")

    async with (
        client(desk.running, token) as mcp,
        mcp.listen(tools_list_changed=True, prompts_list_changed=True, resources_list_changed=True, resource_subscriptions=uris) as sub,
        anyio.create_task_group() as group,
    ):
        group.start_soon(hear, sub)
        yield heard
        group.cancel_scope.cancel()


_NAMES = {
    "notifications/resources/list_changed": ResourcesListChanged.__name__,
    "notifications/tools/list_changed": ToolsListChanged.__name__,
    "notifications/prompts/list_changed": PromptsListChanged.__name__,
}


@asynccontextmanager
async def session(desk: Desk, token: str, *uris: str, transport: str = "http") -> AsyncIterator[Heard]:
    """Subscribe as a client of 2025-11-25."""
    heard = Heard()

    async def hear(message: Any) -> None:
        if isinstance(message, types.ResourceUpdatedNotification):
            heard.add(str(message.params.uri))
        elif (name := _NAMES.get(getattr(message, "method", ""))) is not None:
            heard.add(name)

    async with connected(desk, token, transport, hear) as mcp:
        await asyncio.sleep(0.5)  # the standing GET stream opens by itself, and nothing says when
        for uri in uris:
            await subscribe(mcp, uri)
        yield heard


async def subscribe(mcp: Client, uri: str) -> None:
    """As the era's clients do; the SDK's own method warns that the era is over."""
    await mcp.session.send_request(types.SubscribeRequest(params=types.SubscribeRequestParams(uri=uri)), types.EmptyResult)


async def unsubscribe(mcp: Client, uri: str) -> None:
    await mcp.session.send_request(types.UnsubscribeRequest(params=types.UnsubscribeRequestParams(uri=uri)), types.EmptyResult)


@asynccontextmanager
async def connected(desk: Desk, token: str, transport: str, hear: Any) -> AsyncIterator[Client]:
    if transport == "sse":
        wire = sse_client(desk.running.url + SSE, headers={"authorization": f"Bearer {token}"})
        async with Client(wire, mode="legacy", message_handler=hear) as mcp:
            yield mcp
    else:
        async with client(desk.running, token, mode="legacy", message_handler=hear) as mcp:
            yield mcp


WAYS = pytest.mark.parametrize("way", ["listen", "http", "sse"])


def subscribed(desk: Desk, way: str, token: str, *uris: str) -> Any:
    return streaming(desk, token, *uris) if way == "listen" else session(desk, token, *uris, transport=way)


def watch_of(desk: Desk) -> Watch:
    return next(callback.__self__ for callback in desk.running.hub.on_stop if isinstance(getattr(callback, "__self__", None), Watch))


async def nobody(desk: Desk) -> None:
    """Wait until nothing is left of any watcher: no client, no resource, no listener of the hub, no timer."""
    hub, watch = desk.running.hub, watch_of(desk)
    with anyio.fail_after(5):
        while watch.size != (0, 0) or hub.on_call or hub.on_changed:
            await asyncio.sleep(0.01)


@WAYS
async def test_who_watches_hears_of_changes_and_calls(desk: Desk, way: str) -> None:
    uris = ("hub://combos", "hub://usage/today", "hub://policies", "hub://combos/mine", "hub://combos/other")
    async with subscribed(desk, way, await desk.running.key("*"), *uris) as heard:
        await desk.combo("mine", "openrouter/a")
        await heard.until("hub://combos")
        await heard.until("ResourcesListChanged")
        await desk.combo("other", "openrouter/a")
        await asyncio.sleep(1.2)  # what is due is told of
        heard.events.clear()
        await desk.ask("mine")
        await heard.until("hub://usage/today")
        await heard.until("hub://combos/mine")
        await asyncio.sleep(0.1)
        assert sorted(heard.events) == ["hub://combos/mine", "hub://usage/today"], "a call changes no list and no other combo"
    await nobody(desk)


@WAYS
async def test_a_busy_resource_is_told_of_once_a_second(desk: Desk, way: str) -> None:
    await desk.combo("mine", "openrouter/a")
    async with subscribed(desk, way, await desk.running.key("*"), "hub://usage/today") as heard:
        began = asyncio.get_running_loop().time()
        for _ in range(25):
            await desk.ask("mine")
        await heard.until("hub://usage/today", 2)
        await asyncio.sleep(max(0.0, began + 2.5 - asyncio.get_running_loop().time()))
        times = [at for event, at in zip(heard.events, heard.times, strict=True) if event == "hub://usage/today"]
        assert 2 <= len(times) <= 4
        assert all(later - earlier > 0.8 for earlier, later in pairwise(times))


@pytest.mark.parametrize("way", ["listen", "http"])
async def test_a_decision_is_told_of_when_it_is_made(desk: Desk, way: str) -> None:
    """SEC-55: to who made the request, and to nobody else whose key may not see it."""
    desk.upstreams["openrouter"].answer(stream("a", "b", "c", delay=0.2))
    body = {"model": "openrouter/a", "messages": HI, "stream": True}
    async with desk.client.stream("POST", "/v1/chat/completions", json=body) as answer:
        uri = f"hub://decisions/{answer.headers['x-request-id']}"
        async with (
            subscribed(desk, way, await desk.running.key("*"), uri) as heard,
            subscribed(desk, way, await desk.running.key("read:*", "mcp:connect"), uri, "hub://usage/today") as other,
        ):
            await answer.aread()
            await heard.until(uri)
            await other.until("hub://usage/today")
            await desk.ask("together/b")
            await asyncio.sleep(1.2)
            assert heard.events.count(uri) == 1
            assert uri not in other.events


async def test_hidden_resources_are_never_told_of(desk: Desk) -> None:
    """SEC-03: a stream takes any address and tells of none that is hidden; a session refuses hidden and unknown ones alike."""
    token = await desk.running.key("read:models", "mcp:connect")
    async with streaming(desk, token, "hub://combos", "hub://policies", "hub://nowhere", "hub://models") as heard:
        await desk.combo("mine", "openrouter/a")
        await desk.running.hub.store.connections.create(provider="groq", name="new", secret="sk-new-connection-1")
        await heard.until("hub://models")
        await asyncio.sleep(0.1)
        assert not {"hub://combos", "hub://policies"} & set(heard.events)
    async with client(desk.running, token, mode="legacy") as mcp:
        for uri in ("hub://policies", "hub://nowhere"):
            with pytest.raises(MCPError) as refused:
                await subscribe(mcp, uri)
            assert (refused.value.code, refused.value.message) == (-32002, "Resource not found")


@WAYS
async def test_a_revoked_key_hears_no_more(desk: Desk, way: str) -> None:
    token = await desk.running.key("*")
    key = desk.running.hub.store.keys.find(token)
    assert key is not None
    async with subscribed(desk, way, token, "hub://combos") as heard:
        await desk.combo("mine", "openrouter/a")
        await heard.until("hub://combos")
        await desk.running.hub.store.keys.revoke(key.id)
        if way == "listen":
            await heard.until("end")
        heard.events.clear()
        await desk.combo("other", "openrouter/a")
        await asyncio.sleep(1.2)
        assert "hub://combos" not in heard.events


@WAYS
async def test_other_scopes_show_other_lists(desk: Desk, way: str) -> None:
    token = await desk.running.key("read:*", "mcp:connect")
    key = desk.running.hub.store.keys.find(token)
    assert key is not None
    async with subscribed(desk, way, token, "hub://combos") as heard:
        answer = await desk.client.patch(f"/api/keys/{key.id}", json={"scopes": ["read:models", "mcp:connect"]})
        assert answer.status_code == 200, answer.text
        for name in ("ToolsListChanged", "PromptsListChanged", "ResourcesListChanged"):
            await heard.until(name)
        heard.events.clear()
        await desk.combo("mine", "openrouter/a")
        await asyncio.sleep(0.2)
        assert "hub://combos" not in heard.events, "out of the key's reach now"


async def test_unsubscribing(desk: Desk) -> None:
    async with client(desk.running, await desk.running.key("*"), mode="legacy") as mcp:
        await subscribe(mcp, "hub://combos")
        await subscribe(mcp, "hub://combos")
        assert watch_of(desk).size == (1, 1)
        await unsubscribe(mcp, "hub://combos")
        await unsubscribe(mcp, "hub://never")
        assert watch_of(desk).size == (1, 0)
        for number in range(200):
            await subscribe(mcp, f"hub://decisions/{number}")
        with pytest.raises(MCPError, match="200"):
            await subscribe(mcp, "hub://combos")
    await nobody(desk)


async def test_clients_that_vanish_leave_nothing(desk: Desk) -> None:
    """REL-06: fifty streams that are cut and sessions that end leave no task, listener or timer."""
    token = await desk.running.key("*")
    async with client(desk.running, token) as warm:
        await warm.list_tools()
    before = len(asyncio.all_tasks())
    body, headers = modern("subscriptions/listen", {"notifications": {"resourceSubscriptions": ["hub://usage/today"]}})
    headers["authorization"] = f"Bearer {token}"
    async with httpx2.AsyncClient(base_url=desk.running.url, timeout=20) as http:
        for _ in range(50):
            async with http.stream("POST", STREAM, json=body, headers=headers) as answer:
                async for line in answer.aiter_lines():
                    if "acknowledged" in line:
                        break
    for _ in range(5):
        async with session(desk, token, "hub://usage/today", transport="sse"):
            pass
    await desk.ask("openrouter/a")
    await nobody(desk)
    with anyio.fail_after(5):
        while len(asyncio.all_tasks()) > before + 2:
            await asyncio.sleep(0.05)


async def test_one_key_cannot_take_every_stream(desk: Desk) -> None:
    body, headers = modern("subscriptions/listen", {"notifications": {"toolsListChanged": True}})
    headers["authorization"] = f"Bearer {await desk.running.key('*')}"
    limits = httpx2.Limits(max_connections=100)
    async with httpx2.AsyncClient(base_url=desk.running.url, timeout=20, limits=limits) as http, anyio.create_task_group() as group:
        for _ in range(64):
            group.start_soon(http.send, http.build_request("POST", STREAM, json=body, headers=headers))
        with anyio.fail_after(10):
            while (watch := watch_of_or_none(desk)) is None or watch.size[0] < 64:
                await asyncio.sleep(0.02)
        refused = await http.post(STREAM, json=body, headers=headers)
        assert "too many streams" in refused.text
        assert refused.json()["error"]["code"] == -32005
        group.cancel_scope.cancel()
    await nobody(desk)


def watch_of_or_none(desk: Desk) -> Watch | None:
    try:
        return watch_of(desk)
    except StopIteration:
        return None


async def test_streams_end_in_good_order_when_the_hub_stops(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk, streaming(desk, await desk.running.key("*"), "hub://combos") as heard:
        desk.running.hub.stop()
        await heard.until("end")
