"""Skills that show how a call went, and MCP clients and raw requests against a running hub."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx
import httpx2
from mcp import Client
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from pydantic import BaseModel, Field

from hub.context import Context
from hub.errors import RateLimited
from hub.registry import Skills
from hub.skill import CostClass, Mcp, skill
from tests.fakes.hub import running_hub

if TYPE_CHECKING:
    from pathlib import Path

    from hub.skill import Skill
    from tests.fakes.hub import Running

READ = "read:models"
STREAM = "/api/mcp/stream"
SSE = "/api/mcp/sse"
ACCEPT = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
MODERN = "2026-07-28"
META = {"io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": {}}
LEGACY = "2025-11-25"


class Ask(BaseModel):
    text: str = Field(description="What to say.")
    deep: dict[str, Any] = Field(default_factory=dict, description="Anything.")


class Nothing(BaseModel):
    pass


class Said(BaseModel):
    said: str
    caller: str
    missing: int | None = None


class Item(BaseModel):
    number: int


@dataclass
class Watch:
    """What the skills saw, and what holds them."""

    started: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    go: asyncio.Event = field(default_factory=asyncio.Event)
    calls: list[str] = field(default_factory=list)


def make_skills(watch: Watch) -> Skills:
    return Skills({one.name: one for one in (*_ordinary(watch), *_odd(watch))})


def _ordinary(watch: Watch) -> list[Skill]:
    @skill("echo", scopes=[READ], cost=CostClass.FREE, mcp=Mcp("echo"), read_only=True)
    async def echo(ctx: Context, ask: Ask) -> Said:
        """Say it again."""
        watch.calls.append(ask.text)
        await ctx.progress(1, 3, "one")
        await ctx.progress(1, 3, "one again")
        await ctx.progress(3, 3)
        return Said(said=ask.text, caller=ctx.caller.name)

    @skill("wait-for-it", scopes=[READ], cost=CostClass.METERED, mcp=Mcp("wait"))
    async def wait(ctx: Context, ask: Nothing) -> Said:
        """Wait until it is let go."""
        watch.started.set()
        try:
            await watch.go.wait()
        except asyncio.CancelledError:
            watch.cancelled.set()
            raise
        return Said(said="gone", caller=ctx.caller.name)

    @skill("count", scopes=[READ], cost=CostClass.FREE, mcp=Mcp("count"))
    async def count(ctx: Context, ask: Nothing) -> AsyncIterator[Item]:
        """Count to three."""
        for number in (1, 2, 3):
            yield Item(number=number)

    return [echo, wait, count]


def _odd(watch: Watch) -> list[Skill]:
    @skill("limited", scopes=[READ], cost=CostClass.NETWORK, mcp=Mcp("limited"))
    async def limited(ctx: Context, ask: Nothing) -> Said:
        """Refuse."""
        raise RateLimited("come back later", retry_after=7, field="text")

    @skill("broken", scopes=[READ], cost=CostClass.FREE, mcp=Mcp("broken"))
    async def broken(ctx: Context, ask: Nothing) -> Said:
        """Fail with a fault of ours."""
        raise RuntimeError("password=hunter2")

    @skill("wipe", scopes=["manage"], cost=CostClass.FREE, mcp=Mcp("wipe"), destructive=True)
    async def wipe(ctx: Context, ask: Nothing) -> Said:
        """Delete all."""
        watch.calls.append("wipe")
        return Said(said="wiped", caller=ctx.caller.name)

    @skill("seldom", scopes=[READ], cost=CostClass.FREE, mcp=Mcp("seldom", profiles=("all",)))
    async def seldom(ctx: Context, ask: Nothing) -> Said:
        """Outside the core profile."""
        return Said(said="seldom", caller=ctx.caller.name)

    return [limited, broken, wipe, seldom]


@contextlib.asynccontextmanager
async def mcp_hub(tmp_path: Path, **settings: Any) -> AsyncIterator[tuple[Running, Watch]]:
    """A hub with these skills and the MCP doors alone."""
    from transports import mcp_http, mcp_sse

    watch = Watch()
    async with running_hub(tmp_path, skills=make_skills(watch), doors=[mcp_http, mcp_sse], **settings) as running:
        yield running, watch


@contextlib.asynccontextmanager
async def client(running: Running, token: str, *, mode: str = "auto", **options: Any) -> AsyncIterator[Client]:
    """The SDK's client over streamable HTTP; ``mode`` legacy or auto (the newest revision)."""
    async with httpx2.AsyncClient(headers={"authorization": f"Bearer {token}"}, timeout=20) as http:
        transport = streamable_http_client(running.url + STREAM, http_client=http)
        async with Client(transport, mode=mode, **options) as connected:
            yield connected


@contextlib.asynccontextmanager
async def sse(running: Running, token: str) -> AsyncIterator[Client]:
    """The SDK's client over HTTP+SSE."""
    transport = sse_client(running.url + SSE, headers={"authorization": f"Bearer {token}"})
    async with Client(transport, mode="legacy") as connected:
        yield connected


def request(method: str, params: dict[str, Any] | None = None, *, id_: int | str = 1) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id_, "method": method, **({} if params is None else {"params": params})}


def modern(method: str, params: dict[str, Any] | None = None) -> tuple[dict[str, Any], dict[str, str]]:
    """A request of 2026-07-28 and its headers."""
    params = params or {}
    headers = {**ACCEPT, "mcp-protocol-version": MODERN, "mcp-method": method}
    if "name" in params:
        headers["mcp-name"] = params["name"]
    if method == "resources/read":
        headers["mcp-name"] = params["uri"]
    return request(method, {**params, "_meta": META}), headers


async def open_session(http: httpx.AsyncClient, token: str) -> dict[str, str]:
    """Shake hands as a client of 2025-11-25; the headers for the session."""
    headers = {**ACCEPT, "authorization": f"Bearer {token}"}
    hello = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}}
    answer = await http.post(STREAM, json=request("initialize", hello), headers=headers)
    assert answer.status_code == 200, answer.text
    headers |= {"mcp-session-id": answer.headers["mcp-session-id"], "mcp-protocol-version": LEGACY}
    done = await http.post(STREAM, json={"jsonrpc": "2.0", "method": "notifications/initialized"}, headers=headers)
    assert done.status_code == 202
    return headers


async def rpc(http: httpx.AsyncClient, method: str, **params: Any) -> dict[str, Any]:
    """Send a request of 2026-07-28 with a client that holds a key; the result, or the whole answer where it is an error."""
    body, headers = modern(method, params)
    answer = await http.post(STREAM, json=body, headers={**ACCEPT, **headers})
    text = answer.text
    if text.startswith(("event:", "data:", ":")):
        text = next(line[5:] for line in text.splitlines() if line.startswith("data:") and '"id"' in line)
    read: dict[str, Any] = json.loads(text)
    return read.get("result") or read
