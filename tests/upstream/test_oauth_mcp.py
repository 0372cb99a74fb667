"""A login that a tool needs, asked of the user of an MCP client, in both eras."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import mcp_types as types
import pytest
from mcp.shared.exceptions import MCPError

from tests.fakes.hub import Running, running_hub
from tests.fakes.mcp import META, client, modern
from tests.fakes.protected import Protected, protected
from tests.upstream.browser import Browser, free_port
from tests.upstream.test_oauth import ready, user

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx

pytestmark = pytest.mark.anyio
URL_CAPABLE = {**META, "io.modelcontextprotocol/clientCapabilities": {"elicitation": {"url": {}}}}


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    async with running_hub(tmp_path, port=free_port()) as hub:
        yield hub


@pytest.fixture
async def far(running: Running) -> AsyncIterator[Protected]:
    """The protected server, approved; its owner is logged in and nobody else."""
    async with protected() as server, user(running) as owner:
        await ready(owner, server)
        server.issuer.user = "bob"
        yield server


async def called(http: httpx.AsyncClient, **params: Any) -> dict[str, Any]:
    """``tools/call`` of 2026-07-28 by a client that can open addresses; the result or the error."""
    body, headers = modern("tools/call", {"name": "far__whoami", "arguments": {}, **params})
    body["params"]["_meta"] = URL_CAPABLE
    text = (await http.post("/api/mcp/stream", json=body, headers=headers)).text
    line = next(line[5:] for line in text.splitlines() if line.startswith("data:") and '"id"' in line) if "data:" in text else text
    read: dict[str, Any] = json.loads(line)
    return read.get("result") or read["error"]


async def test_a_modern_client_is_asked_to_open_the_address(running: Running, far: Protected) -> None:
    """2026-07-28: an interim result with the address; the repeated call waits until the browser is back."""
    async with user(running, "execute:tools", "mcp:connect") as bob, Browser() as browser:
        first = await called(bob)
        assert first["resultType"] == "input_required"
        ask = first["inputRequests"]["login"]
        assert (ask["method"], ask["params"]["mode"]) == ("elicitation/create", "url")
        again = asyncio.create_task(called(bob, inputResponses={"login": {"action": "accept"}}))
        assert (await browser.log_in(ask["params"]["url"])).status_code == 200
        assert (await again)["content"][0]["text"] == "bob"


async def test_a_user_who_declines(running: Running, far: Protected) -> None:
    """No login, no call: the plain error says what to do; answers out of the protocol's form are refused."""
    async with user(running, "execute:tools", "mcp:connect") as bob:
        for action in ("decline", "cancel"):
            said = await called(bob, inputResponses={"login": {"action": action}})
            assert (said["isError"], "needs a login" in said["content"][0]["text"]) == (True, True)
        for garbage in ({}, "accept", None):
            said = await called(bob, inputResponses={"login": garbage})
            assert said["code"] == types.INVALID_PARAMS


async def test_the_stock_client_of_the_newest_revision(running: Running, far: Protected) -> None:
    """The SDK's own client, whose user opens the address when asked."""
    opened: list[str] = []

    async def open_it(context: Any, params: Any) -> types.ElicitResult:
        opened.append(params.url)
        async with Browser() as browser:
            assert (await browser.log_in(params.url)).status_code == 200
        return types.ElicitResult(action="accept")

    token = await running.key("execute:tools", "mcp:connect")
    async with client(running, token, elicitation_callback=open_it) as mcp:
        result = await mcp.call_tool("far__whoami", {})
    assert (result.is_error, result.content[0].text, len(opened)) == (False, "bob", 1)  # type: ignore[union-attr]


async def test_a_client_of_the_revision_before(running: Running, far: Protected) -> None:
    """2025-11-25: error -32042 with the address, where the client can open one; the plain error otherwise."""

    async def never(context: Any, params: Any) -> types.ElicitResult:
        raise AssertionError("nothing is asked in the middle of the call")

    token = await running.key("execute:tools", "mcp:connect")
    async with client(running, token, mode="legacy", elicitation_callback=never) as mcp:
        with pytest.raises(MCPError) as caught:
            await mcp.call_tool("far__whoami", {})
        assert caught.value.error.code == types.URL_ELICITATION_REQUIRED
        (ask,) = caught.value.error.data["elicitations"]
        assert (ask["mode"], bool(ask["elicitationId"])) == ("url", True)
        async with Browser() as browser:
            assert (await browser.log_in(ask["url"])).status_code == 200
        assert (await mcp.call_tool("far__whoami", {})).content[0].text == "bob"  # type: ignore[union-attr]

    other = await running.key("execute:tools", "mcp:connect")
    async with client(running, other, mode="legacy") as mcp:
        plain = await mcp.call_tool("far__whoami", {})
    assert plain.is_error
    assert f"open {running.url}/api/mcp/oauth/start?ticket=" in plain.content[0].text  # type: ignore[union-attr]
