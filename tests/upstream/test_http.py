"""Upstream MCP servers over streamable HTTP and SSE, through the one way out."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.fakes.mcp import client as mcp_client
from tests.fakes.mcp import rpc
from tests.upstream.test_stdio import ROOT, program, tool_names

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.fakes.hub import Running

pytestmark = pytest.mark.anyio


@contextmanager
def toolbox(kind: str) -> Iterator[str]:
    """The toolbox as a server in its own process; its address."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    process = subprocess.Popen([sys.executable, str(ROOT / "tests/upstream/toolbox.py"), kind, str(port)])
    try:
        for _ in range(200):
            with socket.socket() as sock:
                if not sock.connect_ex(("127.0.0.1", port)):
                    break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}/{'sse' if kind == 'sse' else 'mcp'}"
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("kind", ["http", "sse"])
async def test_a_server_over_http(client: httpx.AsyncClient, kind: str) -> None:
    """REL-18: a server that goes away fails its own calls, comes back by itself, and its tools stay in the list."""
    with toolbox(kind) as url:
        body = {"name": "far", "url": url, "transport": kind, "headers": {"X-Token": "hush-hush-2"}, "approve": True}
        private = await client.post("/api/mcp/servers", json=body)
        assert private.status_code in (400, 502, 503), private.text  # SEC-10: loopback is private
        assert "private" in private.text
        added = await client.post("/api/mcp/servers", json={**body, "allowPrivate": True})
        assert added.status_code == 201, added.text
        assert "hush-hush" not in added.text
        assert "far__echo" in await tool_names(client)
        called = await client.post("/api/mcp/servers/far/tools/echo", json={"arguments": {"text": "hi"}})
        assert called.json()["structuredContent"] == {"text": "hi"}
        failed = (await client.post("/api/mcp/servers/far/tools/fail", json={})).json()
        assert (failed["isError"], failed["content"][0]["text"]) == (True, "it did not work")
    gone = await client.post("/api/mcp/servers/far/tools/echo", json={"arguments": {"text": "hi"}})
    assert gone.status_code in (502, 503), gone.text
    assert "far__echo" in await tool_names(client)


async def test_progress_comes_through(running: Running, client: httpx.AsyncClient, tmp_path: Path) -> None:
    """Progress of an upstream tool reaches the client that asked for it."""
    await client.post("/api/mcp/servers", json=program(tmp_path, approve=True))
    seen: list[float] = []

    async def watch(done: float, total: float | None, words: str | None) -> None:
        seen.append(done)

    token = (await running.headers())["authorization"].removeprefix("Bearer ")
    async with mcp_client(running, token) as mcp:
        await mcp.call_tool("box__slow", {"seconds": 0.1}, progress_callback=watch)
    assert seen == [1, 2]


async def test_one_dead_server_leaves_the_others_alone(client: httpx.AsyncClient, tmp_path: Path) -> None:
    """REL-18: calls of other servers go on while one is killed in the middle of a call."""
    with toolbox("http") as url:
        await client.post("/api/mcp/servers", json={"name": "far", "url": url, "allowPrivate": True, "approve": True})
        await client.post("/api/mcp/servers", json=program(tmp_path, approve=True))
        slow = asyncio.create_task(client.post("/api/mcp/servers/far/tools/slow", json={"arguments": {"seconds": 20}}))
        await asyncio.sleep(1)
    near = await client.post("/api/mcp/servers/box/tools/echo", json={"arguments": {"text": "still here"}})
    assert near.json()["structuredContent"] == {"text": "still here"}
    assert (await asyncio.wait_for(slow, 10)).status_code in (502, 503)


async def test_a_priced_tool_counts_against_the_budget(running: Running, client: httpx.AsyncClient, tmp_path: Path) -> None:
    """REL-13: a price per call is held before and settled after; a spent budget refuses the next call."""
    await client.post("/api/mcp/servers", json=program(tmp_path, approve=True, costPerCall=0.6))
    made = (await client.post("/api/keys", json={"name": "spender", "scopes": ["execute:tools", "mcp:connect"]})).json()
    await client.post("/api/usage/budget", json={"apiKeyId": made["id"], "dailyLimitUsd": 1.0})
    async with httpx.AsyncClient(base_url=running.url, headers={"authorization": f"Bearer {made['key']}"}, timeout=30) as spender:
        calls = [spender.post("/api/mcp/servers/box/tools/echo", json={"arguments": {"text": "x"}}) for _ in range(3)]
        answers = sorted(answer.status_code for answer in await asyncio.gather(*calls))
        assert answers == [200, 429, 429]
        await client.patch(f"/api/keys/{made['id']}", json={"maxRequestsPerMinute": 1})
        await client.post("/api/usage/budget", json={"apiKeyId": made["id"], "dailyLimitUsd": 100.0})
        words = {answer.text for answer in [await spender.post("/api/mcp/servers/box/tools/echo", json={}) for _ in range(2)]}
        assert any("minute" in one for one in words)  # a priced tool counts against the key's limits over REST, too
        refused = await rpc(spender, "tools/call", name="box__echo", arguments={"text": "x"})
        assert refused["isError"] is True


async def test_limits_can_be_changed(client: httpx.AsyncClient) -> None:
    """What is changed is what is shown afterwards, fields of two words, too."""
    with toolbox("http") as url:
        await client.post("/api/mcp/servers", json={"name": "far", "url": url, "allowPrivate": True})
        changed = await client.patch("/api/mcp/servers/far", json={"timeoutSeconds": 7, "costPerCall": 0.5})
        assert (changed.json()["timeoutSeconds"], changed.json()["costPerCall"]) == (7, 0.5)
