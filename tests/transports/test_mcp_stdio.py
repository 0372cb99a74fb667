"""MCP over lines: a pair of streams as the control socket has, and a real process's standard input and output."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import fastmcp
import pytest
from fastmcp.client.transports import StdioTransport
from mcp import Client, StdioServerParameters

from hub.access.scopes import expand
from hub.records import Caller
from tests.fakes.mcp import LEGACY, META, READ, Watch, mcp_hub, request
from transports.mcp_stdio import serve_stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from hub.call import Hub

pytestmark = pytest.mark.anyio

PROGRAM = """
import asyncio, sys
from pathlib import Path
from hub.call import Hub
from hub.records import Caller
from hub.settings import Settings
from tests.fakes.mcp import Watch, make_skills
from transports.mcp_stdio import serve

async def main():
    hub = Hub(Settings(data_dir=Path(sys.argv[1])), skills=make_skills(Watch()))
    await hub.open()
    try:
        await serve(hub, Caller.owner())
    finally:
        await hub.close()

asyncio.run(main())
"""


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[tuple[Hub, Watch]]:
    async with mcp_hub(tmp_path, max_body_mb=1) as (running, watch):
        yield running.hub, watch


class Line:
    """A client on a socket that a hub serves."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, *values: Any) -> None:
        self.writer.write(b"".join(value if isinstance(value, bytes) else json.dumps(value).encode() + b"\n" for value in values))
        await self.writer.drain()

    async def receive(self) -> dict[str, Any]:
        with anyio.fail_after(10):
            return json.loads(await self.reader.readline())

    async def shake(self) -> None:
        hello = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}}
        await self.send(request("initialize", hello, id_=0), {"jsonrpc": "2.0", "method": "notifications/initialized"})
        assert (await self.receive())["result"]["serverInfo"]["name"] == "hubroute"


@asynccontextmanager
async def line(hub: Hub, caller: Caller, tmp_path: Path) -> AsyncIterator[tuple[Line, asyncio.Event]]:
    """Connect through a unix socket, as ``hubroute mcp`` does beside a running hub; the event tells that serving ended."""
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await serve_stream(hub, caller, reader, writer)
        writer.close()
        ended.set()

    path = str(tmp_path / "s")
    async with await asyncio.start_unix_server(serve, path):
        reader, writer = await asyncio.open_unix_connection(path, limit=4 * 1024 * 1024)
        try:
            yield Line(reader, writer), ended
        finally:
            writer.close()
            with anyio.fail_after(10):
                await ended.wait()


READER = Caller(key_id="key_1", name="reader", scopes=expand([READ]))


async def test_a_stream_serves_its_caller(here: tuple[Hub, Watch], tmp_path: Path) -> None:
    async with line(here[0], READER, tmp_path) as (client, _):
        await client.shake()
        await client.send(request("tools/list", id_=1))
        assert [tool["name"] for tool in (await client.receive())["result"]["tools"]] == ["broken", "count", "echo", "limited", "wait"]
        await client.send(request("tools/call", {"name": "echo", "arguments": {"text": "é"}, "_meta": {"progressToken": "p"}}, id_=2))
        first, second, answer = [await client.receive() for _ in range(3)]
        assert (first["params"]["progress"], second["params"]["progress"]) == (1, 3)
        assert answer["result"]["structuredContent"] == {"said": "é", "caller": "reader", "missing": None}
        await client.send(request("tools/call", {"name": "wipe"}, id_=3))
        assert (await client.receive())["error"] == {"code": -32602, "message": "Unknown tool: wipe"}


async def test_the_newest_revision_needs_no_handshake(here: tuple[Hub, Watch], tmp_path: Path) -> None:
    async with line(here[0], READER, tmp_path) as (client, _):
        await client.send(request("server/discover", {"_meta": META}))
        assert "2026-07-28" in (await client.receive())["result"]["supportedVersions"]
        await client.send(request("tools/call", {"name": "echo", "arguments": {"text": "x"}, "_meta": META}, id_=2))
        assert (await client.receive())["result"]["structuredContent"]["said"] == "x"


async def test_lists_wait_for_the_handshake(here: tuple[Hub, Watch], tmp_path: Path) -> None:
    async with line(here[0], READER, tmp_path) as (client, _):
        await client.send(request("tools/list", id_=1))
        assert "error" in await client.receive()
        await client.shake()
        await client.send(request("tools/list", id_=2))
        assert "result" in await client.receive()


async def test_bad_lines_are_answered_and_survived(here: tuple[Hub, Watch], tmp_path: Path) -> None:
    async with line(here[0], READER, tmp_path) as (client, ended):
        await client.shake()
        await client.send(b"{\n", b"\n", b'{"id":1}\n', b"[" * 5000 + b"\n", b"\xff\n")
        assert [(await client.receive())["error"]["code"] for _ in range(4)] == [-32700, -32600, -32700, -32700]
        await client.send(request("ping", id_=9))
        assert (await client.receive())["id"] == 9
        # A message may come in pieces, and be longer than a stream's own limit for lines.
        long = json.dumps(request("tools/call", {"name": "echo", "arguments": {"text": "y" * 300_000}}, id_=10)).encode() + b"\n"
        for start in range(0, len(long), 50_000):
            await client.send(long[start : start + 50_000])
        assert len((await client.receive())["result"]["structuredContent"]["said"]) == 300_000
        await client.send(b"x" * (1024 * 1024 + 70_000))
        assert (await client.receive())["error"]["code"] == -32600
        with anyio.fail_after(10):
            await ended.wait()


async def test_the_end_of_input_cancels_what_runs(here: tuple[Hub, Watch], tmp_path: Path) -> None:
    hub, watch = here
    async with line(hub, READER, tmp_path) as (client, ended):
        await client.shake()
        await client.send(request("tools/call", {"name": "wait", "arguments": {}}, id_=1))
        with anyio.fail_after(10):
            await watch.started.wait()
            client.writer.write_eof()
            await watch.cancelled.wait()
            await ended.wait()


async def test_a_notice_cancels_one_call(here: tuple[Hub, Watch], tmp_path: Path) -> None:
    hub, watch = here
    async with line(hub, READER, tmp_path) as (client, _):
        await client.shake()
        await client.send(request("tools/call", {"name": "wait", "arguments": {}}, id_=1))
        with anyio.fail_after(10):
            await watch.started.wait()
            await client.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}})
            await watch.cancelled.wait()
        await client.send(request("ping", id_=2))
        assert (await client.receive())["id"] == 2, "a cancelled request is not answered"


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_process_speaks_to_the_sdk_client(tmp_path: Path, mode: str) -> None:
    """What else the process prints does not get onto the wire, once it serves."""
    stray = "        asyncio.get_running_loop().call_later(0.2, print, 'stray')\n"
    program = PROGRAM.replace("        await serve(", f"{stray}        await serve(")
    parameters = StdioServerParameters(command=sys.executable, args=["-c", program, str(tmp_path)], env=dict(os.environ), cwd=os.getcwd())
    async with Client(parameters, mode=mode) as mcp:
        result = await mcp.call_tool("echo", {"text": "over stdio"})
        assert result.structured_content is not None
        assert result.structured_content["caller"] == "owner"


async def test_a_process_speaks_to_fastmcp(tmp_path: Path) -> None:
    arguments = ["-c", PROGRAM, str(tmp_path)]
    async with fastmcp.Client(StdioTransport(sys.executable, arguments, env=dict(os.environ), cwd=os.getcwd(), keep_alive=False)) as mcp:
        result = await mcp.call_tool("echo", {"text": "over stdio"})
        assert result.structured_content is not None
        assert result.structured_content["said"] == "over stdio"


@pytest.mark.parametrize("ending", ["nothing", "file"])
async def test_a_process_ends_with_its_input(tmp_path: Path, ending: str) -> None:
    """Any kind of file may be standard input; nothing but JSON-RPC leaves."""
    source = tmp_path / "in"
    source.write_text("" if ending == "nothing" else json.dumps(request("server/discover", {"_meta": META})) + "\n")
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "data")]
    with source.open() as lines:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=lines,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        with anyio.fail_after(30):
            out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    assert [json.loads(one)["jsonrpc"] for one in out.splitlines()] in ([], ["2.0"])
