"""Upstream servers that lie, flood and crash: each is bounded, and nobody else notices (REL-18, SEC-62, SEC-63)."""

from __future__ import annotations

import asyncio
import json
import resource
import socket
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from hub.upstream import pinning
from hub.upstream.gate import Gate
from tests.fakes.mcp import client as mcp_client
from tests.fakes.mcp import rpc
from tests.upstream.test_asking import raw
from tests.upstream.test_stdio import program, tool_names
from tests.upstream.toolbox import PLAIN

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from tests.fakes.hub import Running

pytestmark = pytest.mark.anyio


def memory_mb() -> float:
    """The most memory that this process held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@asynccontextmanager
async def pulse() -> AsyncGenerator[list[float]]:
    """How long the event loop was held up, in seconds, while the block ran; the longest first."""
    gaps: list[float] = []

    async def beat() -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.01)
            gaps.append(time.monotonic() - before - 0.01)

    task = asyncio.create_task(beat())
    try:
        yield gaps
    finally:
        task.cancel()
        gaps.sort(reverse=True)


@pytest.mark.parametrize(("way", "most"), [("lists", 1000), ("heap", 1000), ("loop", 3)])
async def test_lying_lists(client: httpx.AsyncClient, tmp_path: Path, way: str, most: int) -> None:
    """REL-18: 10^5 tools on a list without end, 10^5 at once, and a cursor that leads in a circle."""
    before = memory_mb()
    async with pulse() as gaps, asyncio.timeout(60):
        added = await client.post("/api/mcp/servers", json=raw(tmp_path, way, approve=True))
    assert added.status_code == 201, added.text
    assert 1 <= len(added.json()["tools"]) <= most
    assert memory_mb() - before < 300
    assert gaps[0] < 5
    assert len(await tool_names(client)) <= most


async def test_a_flood_of_notifications_holds_up_nobody(client: httpx.AsyncClient, tmp_path: Path) -> None:
    """REL-18: notifications without end: calls of other servers go on, those of this one behind what it wrote, and memory stays."""
    await client.post("/api/mcp/servers", json={**program(tmp_path, approve=True), "name": "calm"})
    added = await client.post("/api/mcp/servers", json=raw(tmp_path, "flood", approve=True, timeoutSeconds=15.0))
    assert added.status_code in (201, 504), added.text
    before = memory_mb()
    async with pulse() as gaps, asyncio.timeout(60):
        mine = [client.post("/api/mcp/servers/box/tools/echo", json={"arguments": {"n": 1}}) for _ in range(5)]
        others = [client.post("/api/mcp/servers/calm/tools/echo", json={"arguments": {"text": "still"}}) for _ in range(5)]
        answers = await asyncio.gather(*others, *mine)
    assert {one.status_code for one in answers[:5]} == {200}
    assert {one.status_code for one in answers[5:]} <= {200, 404, 503, 504}
    assert memory_mb() - before < 150
    assert gaps[0] < 5


async def test_a_flood_of_questions_ends_the_session(client: httpx.AsyncClient, tmp_path: Path) -> None:
    """REL-18: a server that asks without end is not kept, and the others do not notice."""
    await client.post("/api/mcp/servers", json={**program(tmp_path, approve=True), "name": "calm"})
    async with pulse() as gaps, asyncio.timeout(30):
        adding = asyncio.create_task(client.post("/api/mcp/servers", json=raw(tmp_path, "asks")))
        others = [client.post("/api/mcp/servers/calm/tools/echo", json={"arguments": {"text": "still"}}) for _ in range(5)]
        assert {one.status_code for one in await asyncio.gather(*others)} == {200}
        # Its list may have come before its questions were too many.
        assert (await adding).status_code in (201, 503)
        while any(one["sessions"] for one in (await client.get("/api/mcp/servers")).json()["servers"] if one["name"] == "box"):
            await asyncio.sleep(0.05)
    assert gaps[0] < 5


async def test_one_who_asks_and_never_listens_is_ended() -> None:
    """REL-18: requests of a server that take no answers are not piled up without end."""
    import mcp_types as types
    from mcp.shared.message import SessionMessage

    ended = asyncio.Event()

    def told(method: str, params: dict[str, Any]) -> None:
        raise AssertionError(method)

    gate = Gate("box", told=told, end=ended.set)
    gate._requests._left = 1000.0
    gate._requests._most = 1000.0
    for number in range(65):
        assert await gate.lets(SessionMessage(types.JSONRPCRequest(jsonrpc="2.0", id=number, method="roots/list")))
    assert ended.is_set()


async def test_a_list_that_changes_all_the_time_makes_no_storm(
    running: Running, client: httpx.AsyncClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """REL-18: fifty changes a second are read once in a while, and clients hear of what is offered, not of what is announced."""
    monkeypatch.setattr("hub.upstream.servers._RESYNC_SECONDS", 0.2)
    reads = 0
    judged = running.hub.upstreams._judged

    async def counted(*args: Any) -> Any:
        nonlocal reads
        reads += 1
        return await judged(*args)

    monkeypatch.setattr(running.hub.upstreams, "_judged", counted)
    heard: list[Any] = []

    async def hear(message: Any) -> None:
        heard.append(type(message).__name__)

    token = (await running.headers())["authorization"].removeprefix("Bearer ")
    async with mcp_client(running, token, mode="legacy", message_handler=hear):
        await client.post("/api/mcp/servers", json=raw(tmp_path, "restless", approve=True))
        began = time.monotonic()
        async with asyncio.timeout(30):
            while reads < 6:
                await asyncio.sleep(0.05)
        spent = time.monotonic() - began
    assert reads <= 3 + spent / 0.2
    # Offered once, changed and hidden once: what goes on behind that is the owner's business.
    assert heard.count("ToolListChangedNotification") <= 3


async def test_garbage_before_every_answer(client: httpx.AsyncClient, tmp_path: Path) -> None:
    """REL-18: half JSON, deep JSON, bytes that are no text and messages without a method are passed over."""
    added = await client.post("/api/mcp/servers", json=raw(tmp_path, "garbage", approve=True))
    assert added.status_code == 201, added.text
    called = await client.post("/api/mcp/servers/box/tools/echo", json={"arguments": {"n": 1}})
    assert called.json()["content"][0]["text"] == '{"n": 1}'


@pytest.mark.parametrize("way", ["deaf", "version"])
async def test_who_does_not_greet_is_not_kept(client: httpx.AsyncClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """REL-18: no answer to the greeting, or a protocol that nobody speaks: an error that says so, and nothing is stored."""
    monkeypatch.setattr("hub.upstream.link._OPEN_SECONDS", 2.0 if way == "deaf" else 30.0)
    refused = await client.post("/api/mcp/servers", json=raw(tmp_path, way))
    assert refused.status_code == 503, refused.text
    assert "the server was not added" in refused.text
    assert (await client.get("/api/mcp/servers")).json()["total"] == 0


@pytest.mark.parametrize("structured", [{"x": 1}, [1, 2], "text", 7, None], ids=repr)
@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_structured_content_of_any_shape(
    running: Running, client: httpx.AsyncClient, tmp_path: Path, structured: Any, mode: str
) -> None:
    """SEC-63: what does not fit what the tool states breaks neither the hub nor its clients; it is marked as a stranger's."""
    await client.post("/api/mcp/servers", json=raw(tmp_path, approve=True))
    token = (await running.headers())["authorization"].removeprefix("Bearer ")
    async with mcp_client(running, token, mode=mode) as mcp:
        result = await mcp.call_tool("box__odd", {"as": structured})
        plain = isinstance(structured, dict) or result.is_error
        assert plain or structured is None or result.structured_content == {"result": structured}
        assert not (await mcp.call_tool("box__echo", {})).is_error


BOMB = {"type": "string", "pattern": "^(a+)+$", "description": "x"}
LOOP = {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}


async def test_schemas_that_hang_validators(client: httpx.AsyncClient, tmp_path: Path) -> None:
    """SEC-63: a schema with a regex bomb, a circle of references or a flood of branches costs nothing, at any door."""
    wide = {"type": "object", "properties": {f"p{number}": {"anyOf": [{"type": "string"}] * 8} for number in range(200)}}
    stated = [
        {
            **PLAIN,
            "inputSchema": {"type": "object", "properties": {"text": BOMB}},
            "outputSchema": {"type": "object", "properties": {"text": BOMB}},
        },
        {**PLAIN, "name": "count", "inputSchema": {"type": "object", **LOOP}},
        {**PLAIN, "name": "fail", "inputSchema": wide},
    ]
    (tmp_path / "tools.json").write_text(json.dumps(stated))
    await client.post("/api/mcp/servers", json=program(tmp_path, approve=True))
    assert await tool_names(client) == {"box__echo", "box__count", "box__fail"}
    evil = "a" * 40 + "!"
    async with pulse() as gaps, asyncio.timeout(20):
        assert (await rpc(client, "tools/call", name="box__echo", arguments={"text": evil}))["structuredContent"] == {"text": evil}
        await rpc(client, "tools/call", name="box__count", arguments={"text": evil})
        await rpc(client, "tools/call", name="omniroute_tool_search", arguments={"query": "say a text back"})
        send = {"message": {"messageId": "m1", "role": "ROLE_USER", "parts": [{"text": evil}], "metadata": {"skill": "box.echo"}}}
        body = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": send}
        assert (await client.post("/a2a", json=body, headers={"a2a-version": "1.0"})).status_code == 200
    assert gaps[0] < 3


def test_the_scan_of_words_is_quick() -> None:
    """SEC-62, SEC-34: the scan reads what a server writes in time that grows with its length, whatever it is."""
    texts = ["a" * 60_000, "ignore " * 9000, "before using this " * 3000, "A1b2" * 15_000, "\u200b" * 60_000, "é" * 60_000, "<" * 60_000]
    began = time.process_time()
    for text in texts:
        pinning.findings([text] * 4)
    assert time.process_time() - began < 5


@asynccontextmanager
async def lying(answer: bytes) -> AsyncGenerator[str]:
    """An HTTP server that answers every request with these bytes, and then hangs up."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    sock = socket.create_server(("127.0.0.1", 0))
    server = await asyncio.start_server(serve, sock=sock)
    async with server:
        yield f"http://127.0.0.1:{sock.getsockname()[1]}/mcp"


JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
GOOD = b'{"jsonrpc":"2.0","id":1,"result":{}}'


@pytest.mark.parametrize(
    "answer",
    [
        JSON + b"Content-Length: 100000\r\n\r\n" + GOOD,
        JSON + b"Content-Length: 5\r\n\r\n" + GOOD,
        JSON + b"Content-Length: -1\r\n\r\n" + GOOD,
        JSON + b"Content-Length: 3\r\nContent-Length: 7\r\n\r\n" + GOOD,
        JSON + b"Content-Length: 99999999999999\r\n\r\n{",
        JSON + b"Transfer-Encoding: chunked\r\n\r\nffffffffff\r\n{",
        JSON + b"Content-Encoding: gzip\r\nContent-Length: 36\r\n\r\n" + GOOD,
        JSON + b"Connection: close\r\n\r\n" + b"[" * 200_000,
        SSE + b"Connection: close\r\n\r\ndata: " + b"x" * 2_000_000,
        SSE + b"Connection: close\r\n\r\n" + b"event: message\r\ndata: {}\r\n\r\n" * 1000,
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nhi",
        b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"",
    ],
    ids=lambda answer: answer[:70].decode().replace("\r\n", " ")[16:],
)
async def test_lying_http_answers(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, answer: bytes) -> None:
    """REL-18, REL-03: lengths that lie, encodings that are none, streams without end: an error, in time, and nothing is stored."""
    monkeypatch.setattr("hub.upstream.link._OPEN_SECONDS", 3.0)
    async with lying(answer) as url, asyncio.timeout(30):
        body = {"name": "liar", "url": url, "allowPrivate": True, "timeoutSeconds": 3}
        refused = await client.post("/api/mcp/servers", json=body)
    assert refused.status_code in (502, 503, 504), refused.text
    assert "the server was not added" in refused.text
    assert (await client.get("/api/mcp/servers")).json()["total"] == 0


async def test_much_talk_in_a_call_is_bounded(running: Running, client: httpx.AsyncClient, tmp_path: Path) -> None:
    """REL-18: five hundred reports and log lines in one call reach the client in a bounded number, in order, the last one too."""
    await client.post("/api/mcp/servers", json=program(tmp_path, approve=True))
    progress: list[float] = []
    lines: list[Any] = []

    async def report(done: float, total: float | None, words: str | None) -> None:
        progress.append(done)

    async def logged(params: Any) -> None:
        lines.append(params)

    token = (await running.headers())["authorization"].removeprefix("Bearer ")
    async with mcp_client(running, token, logging_callback=logged, log_level="info") as mcp:
        await mcp.call_tool("box__chatter", {}, progress_callback=report)
    assert progress == sorted(set(progress))
    assert 1 <= len(progress) <= 120
    assert 1 <= len(lines) <= 101
    assert {line.data["server"] for line in lines} == {"box"}
    assert lines[0].data["message"] == "line 0"
