"""MCP over HTTP+SSE: many clients at once on one path."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import anyio
import fastmcp
import httpx
import pytest
from fastmcp.client.transports import SSETransport

from tests.fakes.mcp import READ, SSE, mcp_hub, request, sse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.fakes.hub import Running
    from tests.fakes.mcp import Watch

pytestmark = pytest.mark.anyio


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[tuple[Running, Watch]]:
    async with mcp_hub(tmp_path) as made:
        yield made


@pytest.fixture
async def http(here: tuple[Running, Watch]) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=here[0].url, timeout=20) as made:
        yield made


async def test_fastmcp_client(here: tuple[Running, Watch]) -> None:
    token = await here[0].key(READ, "mcp:connect")
    async with fastmcp.Client(SSETransport(here[0].url + SSE, auth=token)) as mcp:
        assert "echo" in [tool.name for tool in await mcp.list_tools()]
        result = await mcp.call_tool("echo", {"text": "hi"})
        assert result.structured_content == {"said": "hi", "caller": "test key 1", "missing": None}


async def test_several_clients_at_once(here: tuple[Running, Watch]) -> None:
    """The seed shared one transport object, so a second client broke the first."""
    running, _ = here
    tokens = [await running.key(READ, "mcp:connect") for _ in range(5)]
    all_open = anyio.Event()
    opened = 0
    found: dict[int, list[Any]] = {}

    async def use(number: int) -> None:
        nonlocal opened
        async with sse(running, tokens[number]) as mcp:
            opened += 1
            if opened == len(tokens):
                all_open.set()
            await all_open.wait()
            assert "echo" in [tool.name for tool in (await mcp.list_tools()).tools]
            found[number] = [(await mcp.call_tool("echo", {"text": f"{number}-{turn}"})).structured_content for turn in range(4)]

    with anyio.fail_after(20):
        await asyncio.gather(*(use(number) for number in range(len(tokens))))
    for number, answers in found.items():
        assert [(answer["said"], answer["caller"]) for answer in answers] == [
            (f"{number}-{turn}", f"test key {number + 1}") for turn in range(4)
        ]


async def test_progress_and_cancellation(here: tuple[Running, Watch]) -> None:
    running, watch = here
    seen: list[float] = []

    async def progress(done: float, total: float | None, words: str | None) -> None:
        seen.append(done)

    async with sse(running, await running.key(READ, "mcp:connect")) as mcp:
        await mcp.call_tool("echo", {"text": "x"}, progress_callback=progress)
        assert seen == [1, 3]
        with anyio.fail_after(10):
            async with anyio.create_task_group() as group:
                group.start_soon(mcp.call_tool, "wait", {})
                await watch.started.wait()
                group.cancel_scope.cancel()
            await watch.cancelled.wait()


async def test_leaving_cancels_the_work(here: tuple[Running, Watch], http: httpx.AsyncClient) -> None:
    """REL-06: the stream is the connection; when it goes, so does what was asked through it."""
    running, watch = here
    headers = await running.headers(READ, "mcp:connect")
    with anyio.fail_after(10):
        async with http.stream("GET", SSE, headers=headers) as stream:
            address, _ = await _shake(http, stream, headers)
            await http.post(address, json=request("tools/call", {"name": "wait", "arguments": {}}, id_=2), headers=headers)
            await watch.started.wait()
        await watch.cancelled.wait()
        gone = await http.post(address, json=request("ping"), headers=headers)
        while gone.status_code != 404:
            gone = await http.post(address, json=request("ping"), headers=headers)


async def test_sessions_are_unguessable_and_belong_to_who_opened_them(here: tuple[Running, Watch], http: httpx.AsyncClient) -> None:
    """SEC-55."""
    running, _ = here
    headers = await running.headers(READ, "mcp:connect")
    other = await running.headers("*")
    with anyio.fail_after(10):
        async with http.stream("GET", SSE, headers=headers) as stream:
            assert stream.headers["deprecation"].startswith("@")
            assert stream.headers["content-type"] == "text/event-stream"
            address, events = await _shake(http, stream, headers)
            assert len(address.partition("session_id=")[2]) >= 32
            assert (await http.post(address, json=request("ping"), headers=other)).status_code == 404
            assert (await http.post(address[:-1] + "-", json=request("ping"), headers=headers)).status_code == 404
            assert (await http.post(SSE, json=request("ping"), headers=headers)).status_code == 400
            broken = await http.post(address, content=b"{", headers=headers)
            assert (broken.status_code, broken.json()["error"]["code"]) == (400, -32700)
            shapeless = await http.post(address, json={"id": 1}, headers=headers)
            assert (shapeless.status_code, shapeless.json()["error"]["code"]) == (400, -32600)
            assert (await http.post(address, json=request("ping", id_="alive"), headers=headers)).status_code == 202
            assert '"alive"' in await anext(events)


async def _shake(http: httpx.AsyncClient, stream: httpx.Response, headers: dict[str, str]) -> tuple[str, AsyncIterator[str]]:
    """Open a session on a stream; its address and the events that follow."""
    events = _events(stream)
    address = await anext(events)
    hello = {"protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}}
    assert (await http.post(address, json=request("initialize", hello), headers=headers)).status_code == 202
    assert '"protocolVersion":"2024-11-05"' in await anext(events)
    assert (await http.post(address, json={"jsonrpc": "2.0", "method": "notifications/initialized"}, headers=headers)).status_code == 202
    return address, events


async def _events(stream: httpx.Response) -> AsyncIterator[str]:
    async for line in stream.aiter_lines():
        if line.startswith("data: "):
            yield line.removeprefix("data: ")
