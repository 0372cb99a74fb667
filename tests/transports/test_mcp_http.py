"""MCP over streamable HTTP, with the SDK's client in both revisions and with raw requests."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import anyio
import fastmcp
import httpx
import orjson
import pytest
from fastmcp.client.transports import StreamableHttpTransport
from mcp.shared.exceptions import MCPError
from mcp_types import TextContent

from hub.version import VERSION
from tests.fakes.mcp import ACCEPT, META, READ, SSE, STREAM, client, mcp_hub, modern, open_session, request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.fakes.hub import Running
    from tests.fakes.mcp import Watch

pytestmark = pytest.mark.anyio

ERAS = pytest.mark.parametrize("mode", ["auto", "legacy"])


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[tuple[Running, Watch]]:
    async with mcp_hub(tmp_path, max_body_mb=1) as made:
        yield made


@pytest.fixture
async def http(here: tuple[Running, Watch]) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=here[0].url, timeout=20) as made:
        yield made


@ERAS
async def test_the_sdk_client_lists_and_calls(here: tuple[Running, Watch], mode: str) -> None:
    token = await here[0].key(READ, "mcp:connect")
    async with client(here[0], token, mode=mode) as mcp:
        assert mcp.server_info is not None
        assert (mcp.server_info.name, mcp.server_info.version) == ("hubroute", VERSION)
        assert "provider/model" in (mcp.instructions or "")
        tools = (await mcp.list_tools()).tools
        assert [tool.name for tool in tools] == ["broken", "count", "echo", "limited", "wait"]
        echo = tools[2]
        assert echo.description == "Say it again."
        assert echo.input_schema["required"] == ["text"]
        assert echo.output_schema is not None
        assert set(echo.output_schema["properties"]) == {"said", "caller", "missing"}
        assert echo.annotations is not None
        assert (echo.annotations.read_only_hint, echo.annotations.open_world_hint) == (True, False)
        result = await mcp.call_tool("echo", {"text": "hé"})
        assert result.structured_content == {"said": "hé", "caller": "test key 1", "missing": None}
        assert isinstance(result.content[0], TextContent)
        assert result.content[0].text == '{"said":"hé","caller":"test key 1","missing":null}'


async def test_fastmcp_client(here: tuple[Running, Watch]) -> None:
    token = await here[0].key(READ, "mcp:connect")
    async with fastmcp.Client(StreamableHttpTransport(here[0].url + STREAM, auth=token)) as mcp:
        result = await mcp.call_tool("echo", {"text": "hi"})
        assert result.structured_content is not None
        assert result.structured_content["said"] == "hi"


@ERAS
async def test_progress_arrives_and_only_grows(here: tuple[Running, Watch], mode: str) -> None:
    seen: list[tuple[float, float | None, str | None]] = []

    async def progress(done: float, total: float | None, words: str | None) -> None:
        seen.append((done, total, words))

    async with client(here[0], await here[0].key(READ, "mcp:connect"), mode=mode) as mcp:
        await mcp.call_tool("echo", {"text": "x"}, progress_callback=progress)
        assert seen == [(1, 3, "one"), (3, 3, None)]
        seen.clear()
        counted = await mcp.call_tool("count", {}, progress_callback=progress)
        assert counted.structured_content == {"items": [{"number": 1}, {"number": 2}, {"number": 3}]}
        assert [done for done, _, _ in seen] == [1, 2, 3]


@ERAS
async def test_leaving_a_call_cancels_the_skill(here: tuple[Running, Watch], mode: str) -> None:
    """REL-06: the modern client closes its stream, the older one sends notifications/cancelled."""
    running, watch = here
    async with client(running, await running.key(READ, "mcp:connect"), mode=mode) as mcp:
        with anyio.fail_after(10):
            async with anyio.create_task_group() as group:
                group.start_soon(mcp.call_tool, "wait", {})
                await watch.started.wait()
                group.cancel_scope.cancel()
            await watch.cancelled.wait()


@ERAS
async def test_failures_are_results_that_say_what_to_do(here: tuple[Running, Watch], mode: str) -> None:
    async with client(here[0], await here[0].key(READ, "mcp:connect"), mode=mode) as mcp:
        limited = await mcp.call_tool("limited", {})
        assert limited.is_error
        assert _text(limited) == "Error: come back later"
        assert limited.meta is not None
        detail = limited.meta["hubroute/error"]
        assert (detail["code"], detail["field"], detail["retryAfter"]) == ("rate_limit_exceeded", "text", 7)
        wrong = await mcp.call_tool("echo", {"text": 5})
        assert wrong.is_error
        assert _text(wrong).startswith("Error: text: ")
        broken = await mcp.call_tool("broken", {})
        assert broken.is_error
        assert "hunter2" not in broken.model_dump_json()


@ERAS
async def test_a_key_sees_and_calls_its_own_tools_only(here: tuple[Running, Watch], mode: str) -> None:
    """SEC-03, SEC-54: what a key may not use does not exist for it, in the same words as what is nowhere."""
    running, watch = here
    async with client(running, await running.key(READ, "mcp:connect"), mode=mode) as mcp:
        with pytest.raises(MCPError) as hidden:
            await mcp.call_tool("wipe", {})
        with pytest.raises(MCPError) as unknown:
            await mcp.call_tool("nope", {})
    assert (hidden.value.code, hidden.value.message) == (-32602, "Unknown tool: wipe")
    assert (unknown.value.code, unknown.value.message) == (-32602, "Unknown tool: nope")
    assert watch.calls == []
    async with client(running, await running.key("*"), mode=mode) as mcp:
        listed = {tool.name: tool for tool in (await mcp.list_tools()).tools}
        wipe = listed["wipe"].annotations
        assert wipe is not None
        assert wipe.destructive_hint
        assert "seldom" not in listed
        assert (await mcp.call_tool("wipe", {"confirm": True})).structured_content is not None
        assert not (await mcp.call_tool("seldom", {})).is_error, "outside the profile, yet callable by name (D9)"


@pytest.mark.parametrize("path", [STREAM, STREAM + "/", SSE])
async def test_closed_without_a_key_or_scope(here: tuple[Running, Watch], http: httpx.AsyncClient, path: str) -> None:
    body, headers = modern("tools/list")
    for authorization in ({}, {"authorization": "Bearer hr_wrong_key"}):
        refused = await http.post(path, json=body, headers={**headers, **authorization})
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"].startswith("Bearer")
        assert refused.json()["error"]["code"] == -32001
    scopeless = await http.post(path, json=body, headers={**headers, **await here[0].headers(READ)})
    assert scopeless.status_code == 403
    assert 'scope="mcp:connect"' in scopeless.headers["www-authenticate"]


async def test_both_spellings_and_revisions_answer(here: tuple[Running, Watch], http: httpx.AsyncClient) -> None:
    key = await here[0].headers(READ, "mcp:connect")
    for path in (STREAM, STREAM + "/"):
        body, headers = modern("tools/list")
        listed = await http.post(path, json=body, headers={**headers, **key})
        assert listed.status_code == 200
        result = listed.json()["result"]
        assert (result["cacheScope"], result["resultType"]) == ("private", "complete")
        assert result["ttlMs"] > 0
        again = await http.post(path, json=body, headers={**headers, **key})
        assert again.json()["result"] == result
        assert listed.headers["x-request-id"]


async def test_lists_are_kept_per_scope_set(here: tuple[Running, Watch], http: httpx.AsyncClient) -> None:
    body, headers = modern("tools/list")
    for grants, sees in ((("*",), True), ((READ, "mcp:connect"), False), (("*",), True)):
        listed = await http.post(STREAM, json=body, headers={**headers, **await here[0].headers(*grants)})
        assert ("wipe" in listed.text) is sees


async def test_a_cursor_of_ours_does_not_exist(here: tuple[Running, Watch], http: httpx.AsyncClient) -> None:
    body, headers = modern("tools/list", {"cursor": "abc"})
    refused = await http.post(STREAM, json=body, headers={**headers, **await here[0].headers("*")})
    assert refused.json()["error"]["code"] == -32602


@pytest.mark.parametrize("revision", ["2026-07-28", "2025-11-25"])
@pytest.mark.parametrize("data", [b"{", b"\xff\xfe", b"[" * 20_000, b'{"jsonrpc":"2.0","id":1,"method":' + b'{"a":' * 5_000])
async def test_malformed_json(here: tuple[Running, Watch], http: httpx.AsyncClient, revision: str, data: bytes) -> None:
    headers = {**ACCEPT, "mcp-protocol-version": revision, **await here[0].headers("*")}
    refused = await http.post(STREAM, content=data, headers=headers)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, -32700)


async def test_a_batch_or_something_else_is_refused(here: tuple[Running, Watch], http: httpx.AsyncClient) -> None:
    _, headers = modern("tools/list")
    headers |= await here[0].headers("*")
    for value in ([], [request("ping")], "hello", 5, None, {"id": 1}):
        refused = await http.post(STREAM, content=orjson.dumps(value), headers=headers)
        assert refused.status_code == 400
        assert refused.json()["error"]["code"] in (-32600, -32602)


async def test_oversized_bodies_are_refused(here: tuple[Running, Watch], http: httpx.AsyncClient) -> None:
    """SEC-42: with and without an announced length."""
    _, headers = modern("tools/call", {"name": "echo"})
    headers |= await here[0].headers("*")
    announced = await http.post(STREAM, content=b"x" * (1024 * 1024 + 1), headers=headers)
    assert (announced.status_code, announced.json()["jsonrpc"]) == (413, "2.0")

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"x" * 65536

    assert (await http.post(STREAM, content=pieces(), headers=headers)).status_code == 413


async def test_huge_and_deep_arguments_are_refused_by_the_skill(here: tuple[Running, Watch], http: httpx.AsyncClient) -> None:
    """SEC-63: a hostile argument costs its sender an error and nobody else a thing."""
    deep: Any = 1
    for _ in range(150):
        deep = {"a": deep}
    headers = await here[0].headers("*")
    for arguments in ({"text": deep}, {"text": "x", "deep": [0] * 100_000}, {"text": list(range(50_000))}):
        body, more = modern("tools/call", {"name": "echo", "arguments": arguments})
        answer = await http.post(STREAM, json=body, headers={**more, **headers})
        assert answer.status_code == 200
        assert answer.json()["result"]["isError"] is True
    assert here[1].calls == []


async def test_foreign_origin_and_host(here: tuple[Running, Watch], http: httpx.AsyncClient) -> None:
    """SEC-07."""
    body, headers = modern("tools/list")
    headers |= await here[0].headers("*")
    for foreign in ({"origin": "https://evil.example"}, {"origin": "null"}, {"host": "evil.example"}):
        assert (await http.post(STREAM, json=body, headers={**headers, **foreign})).status_code == 403
        assert (await http.get(SSE, headers={**headers, **foreign})).status_code == 403


async def test_sessions_belong_to_who_opened_them(here: tuple[Running, Watch], http: httpx.AsyncClient) -> None:
    """SEC-55: another principal gets what it would get for a session that does not exist."""
    session = await open_session(http, await here[0].key(READ, "mcp:connect"))
    other = {**session, **await here[0].headers("*")}
    unknown = {**session, "mcp-session-id": "f" * 32}
    none = {name: value for name, value in session.items() if name != "mcp-session-id"}
    ping = request("ping")
    assert (await http.post(STREAM, json=ping, headers=other)).status_code == 404
    assert (await http.delete(STREAM, headers=other)).status_code == 404
    assert (await http.get(STREAM, headers=other)).status_code == 404
    assert (await http.post(STREAM, json=ping, headers=unknown)).status_code == 404
    assert (await http.post(STREAM, json=ping, headers=none)).status_code == 400
    assert (await http.post(STREAM, json=ping, headers=session)).status_code == 200
    assert (await http.delete(STREAM, headers=session)).status_code == 200
    assert (await http.post(STREAM, json=ping, headers=session)).status_code == 404


async def test_a_revoked_key_ends_its_session(here: tuple[Running, Watch], http: httpx.AsyncClient) -> None:
    """Every request is authenticated; a session carries no right of its own."""
    key, token = await here[0].hub.store.keys.create("soon gone", grants=[READ, "mcp:connect"])
    session = await open_session(http, token)
    await here[0].hub.store.keys.revoke(key.id)
    assert (await http.post(STREAM, json=request("tools/list"), headers=session)).status_code == 401


async def test_the_caller_is_who_sent_the_message(here: tuple[Running, Watch]) -> None:
    """Two clients at once: neither answer nor identity is mixed up."""
    running, _ = here
    tokens = [await running.key(READ, "mcp:connect") for _ in range(4)]
    found: dict[int, list[Any]] = {}

    async def use(number: int, mode: str) -> None:
        async with client(running, tokens[number], mode=mode) as mcp:
            found[number] = [(await mcp.call_tool("echo", {"text": f"{number}-{turn}"})).structured_content for turn in range(5)]

    await asyncio.gather(*(use(number, "legacy" if number % 2 else "auto") for number in range(4)))
    for number, answers in found.items():
        assert [answer["said"] for answer in answers] == [f"{number}-{turn}" for turn in range(5)]
        assert {answer["caller"] for answer in answers} == {f"test key {number + 1}"}


async def test_older_methods_and_their_removal(here: tuple[Running, Watch], http: httpx.AsyncClient) -> None:
    key = await here[0].key(READ, "mcp:connect")
    session = await open_session(http, key)
    for method, params in (("ping", None), ("logging/setLevel", {"level": "info"})):
        answer = await http.post(STREAM, json=request(method, params), headers=session)
        assert '"result":{}' in answer.text
        body, headers = modern(method, params)
        gone = await http.post(STREAM, json=body, headers={**headers, "authorization": session["authorization"]})
        assert (gone.status_code, gone.json()["error"]["code"]) == (404, -32601)


async def test_headers_and_body_must_agree(here: tuple[Running, Watch], http: httpx.AsyncClient) -> None:
    body, headers = modern("tools/call", {"name": "echo", "arguments": {"text": "x"}})
    headers |= await here[0].headers("*")
    for wrong in ({"mcp-name": "wipe"}, {"mcp-method": "tools/list"}):
        refused = await http.post(STREAM, json=body, headers={**headers, **wrong})
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, -32020)
    assert here[1].calls == []
    missing = request("tools/list", {"_meta": {name: value for name, value in META.items() if "Capabilities" not in name}})
    refused = await http.post(STREAM, json=missing, headers={**headers, "mcp-method": "tools/list"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, -32602)


async def test_calls_are_audited_with_the_door(here: tuple[Running, Watch]) -> None:
    """SEC-80: the refused one too."""
    running, _ = here
    rows: list[Any] = []
    running.hub.store.audit.add = rows.append  # type: ignore[method-assign]
    async with client(running, await running.key(READ, "mcp:connect")) as mcp:
        await mcp.call_tool("echo", {"text": "x"})
        with pytest.raises(MCPError):
            await mcp.call_tool("wipe", {})
    assert [(row.door, row.skill, row.outcome) for row in rows] == [("mcp", "echo", "ok"), ("mcp", "wipe", "denied")]


async def test_stopping_ends_standing_streams_in_good_order(tmp_path: Path) -> None:
    """A client that listens does not hold up the hub's end."""
    async with mcp_hub(tmp_path, shutdown_seconds=20) as (running, _):
        token = await running.key(READ, "mcp:connect")
        async with httpx.AsyncClient(base_url=running.url, timeout=20) as http:
            session = await open_session(http, token)
            async with http.stream("GET", STREAM, headers=session) as stream, http.stream("GET", SSE, headers=session) as sse:
                assert (stream.status_code, sse.status_code) == (200, 200)
                events = sse.aiter_bytes()
                assert b"event: endpoint" in await anext(events)
                running.hub.stop()
                with anyio.fail_after(5):
                    assert b"event: message" not in b"".join([piece async for piece in stream.aiter_bytes()])
                    assert [piece async for piece in events if piece.startswith(b"event: message")] == []


async def test_methods_outside_the_protocol(here: tuple[Running, Watch], http: httpx.AsyncClient) -> None:
    refused = await http.put(STREAM, json={}, headers=await here[0].headers("*"))
    assert refused.status_code == 405


def _text(result: Any) -> str:
    return result.content[0].text
