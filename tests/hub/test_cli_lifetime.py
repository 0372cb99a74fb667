"""How a hub ends, and MCP over standard input and output: alone, and beside a hub that runs."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from mcp import ClientSession
from mcp.client.stdio import StdioServerParameters, stdio_client

from hub.store.lock import FolderLock
from tests.fakes.command import COMMAND, LIMIT, answer, environment, hubroute, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.anyio


class SlowVendor:
    """An OpenAI-compatible vendor that sends one chunk, and the rest when it is told to."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.url = ""

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[SlowVendor]:
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        try:
            yield self
        finally:
            self.go.set()
            server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
        await reader.readexactly(length)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n" + _chunk("one"))
        await writer.drain()
        await self.go.wait()
        writer.write(_chunk("two", "stop") + b"data: [DONE]\n\n")
        writer.close()


def _chunk(text: str, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    body = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


@pytest.mark.parametrize("signals", [1, 2])
async def test_a_stop_signal_lets_answers_finish_and_a_second_one_does_not(tmp_path: Path, signals: int) -> None:
    data = tmp_path / "data"
    async with SlowVendor().listening() as vendor:
        with serving(data) as served:
            key = answer(data, "keys", "create", "k", "--scopes", "chat")["key"]
            add = ("providers", "add", "openai", "--name", "v", "--api-key", "k", "--base-url", vendor.url, "--allow-private", "-m", "m")
            assert hubroute(data, *add).returncode == 0
            ask = {"model": "openai/m", "stream": True, "messages": [{"role": "user", "content": "x"}]}
            async with (
                httpx.AsyncClient(base_url=served.url, headers={"authorization": f"Bearer {key}"}, timeout=LIMIT) as client,
                client.stream("POST", "/v1/chat/completions", json=ask) as response,
            ):
                lines = response.aiter_lines()
                assert "one" in await anext(lines)
                for _ in range(signals):
                    served.process.send_signal(signal.SIGTERM)
                    await _refused(served.url)
                if signals == 2:
                    assert await asyncio.to_thread(served.process.wait, 10) == 0
                    return
                vendor.go.set()
                rest = [line async for line in lines]
                assert "data: [DONE]" in rest
            assert await asyncio.to_thread(served.process.wait, LIMIT) == 0


async def _refused(url: str) -> None:
    """Return once the hub accepts no new connection."""
    while True:
        try:
            async with httpx.AsyncClient() as client:
                await client.get(f"{url}/health")
        except httpx.ConnectError:
            return
        except httpx.TransportError:
            continue  # accepted at the moment of closing


@asynccontextmanager
async def mcp_client(data: Path, **env: str) -> AsyncIterator[ClientSession]:
    """The SDK's client of ``hubroute mcp``."""
    parameters = StdioServerParameters(command=COMMAND[0], args=[*COMMAND[1:], "mcp"], env=environment(data, **env), cwd=data.parent)
    with (data.parent / "mcp.log").open("w") as log:
        async with stdio_client(parameters, errlog=log) as (reader, writer), ClientSession(reader, writer) as session:
            await session.initialize()
            yield session


def test_a_start_waits_while_a_short_command_has_the_folder(tmp_path: Path) -> None:
    """Somebody holds the folder and serves nobody, as a command does for a moment: the hub starts once it is free."""
    folder = tmp_path / "data"
    folder.mkdir()
    lock = FolderLock(folder / "hub.lock")
    lock.acquire()
    command = threading.Timer(3, lock.release)
    command.start()
    try:
        with serving(folder) as hub:
            assert not command.is_alive(), "it served while somebody else had the folder"
            assert hubroute(folder, "keys", "list").returncode == 0
            assert hub.stop() == 0
    finally:
        command.cancel()
        lock.release()


async def test_mcp_alone_is_the_hub_and_others_join_it(tmp_path: Path) -> None:
    """D24"""
    data = tmp_path / "data"
    async with mcp_client(data) as first:
        tools = {tool.name for tool in (await first.list_tools()).tools}
        assert "omniroute_get_health" in tools
        made = await asyncio.to_thread(answer, data, "keys", "create", "beside", "--scopes", "read:models,mcp:connect")
        assert json.loads((data / "hub.json").read_text())["url"] == ""
        async with mcp_client(data) as second:
            assert not (await second.call_tool("omniroute_get_health", {})).is_error
        async with mcp_client(data, HUBROUTE_API_KEY=made["key"]) as limited:
            assert "omniroute_get_health" not in {tool.name for tool in (await limited.list_tools()).tools}
        refused = await asyncio.to_thread(hubroute, data, "mcp", HUBROUTE_API_KEY="hr_wrong")
        assert refused.returncode == 1
        assert refused.stderr.startswith("error: a valid API key")
    assert not (data / "hub.sock").exists()


async def test_mcp_beside_a_hub_goes_through_it_and_ends_with_it(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serving(data) as served:
        async with mcp_client(data) as session:
            assert not (await session.call_tool("omniroute_get_health", {})).is_error
        bridge: subprocess.Popen[bytes] = subprocess.Popen(
            [*COMMAND, "mcp"], env=environment(data), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert bridge.stdin is not None
        assert bridge.stdout is not None
        bridge.stdin.write(_initialize() + b"\n")
        bridge.stdin.flush()
        assert json.loads(await asyncio.to_thread(bridge.stdout.readline))["id"] == 1
        assert await asyncio.to_thread(served.stop) == 0
        out, errors = await asyncio.to_thread(bridge.communicate, timeout=LIMIT)
    assert (bridge.returncode, out) == (1, b"")
    assert errors.startswith(b"error: the hub stopped")


async def test_mcp_logs_to_stderr_only_and_ends_with_its_input(tmp_path: Path) -> None:
    done = await asyncio.to_thread(hubroute, tmp_path / "data", "mcp", stdin="{not json\n", HUBROUTE_LOG_LEVEL="debug")
    assert done.returncode == 0
    for line in done.stdout.splitlines():
        assert json.loads(line)["jsonrpc"] == "2.0"


async def test_mcp_with_a_key_that_is_not_valid_refuses_to_start(tmp_path: Path) -> None:
    done = await asyncio.to_thread(hubroute, tmp_path / "data", "mcp", HUBROUTE_API_KEY="hr_wrong")
    assert done.returncode == 1
    assert done.stderr.startswith("error: a valid API key")


async def test_mcp_ends_at_a_stop_signal(tmp_path: Path) -> None:
    process = subprocess.Popen([*COMMAND, "mcp"], env=environment(tmp_path / "data"), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(_initialize() + b"\n")
    process.stdin.flush()
    assert await asyncio.to_thread(process.stdout.readline)
    os.kill(process.pid, signal.SIGTERM)
    assert await asyncio.to_thread(process.wait, LIMIT) == 0
    process.stdin.close()
    process.stdout.close()


def _initialize() -> bytes:
    parameters: dict[str, Any] = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": parameters}).encode()
