"""What upstream servers ask in the middle of a call: put to the client that called, in both protocol eras on both sides."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import mcp_types as types
import pytest

from tests.fakes.mcp import ACCEPT, META, STREAM, modern
from tests.fakes.mcp import client as mcp_client
from tests.upstream.test_stdio import ROOT, program

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from tests.fakes.hub import Running

pytestmark = pytest.mark.anyio

FULL = {"elicitation": {"form": {}, "url": {}}, "sampling": {}, "roots": {}}
ERAS = pytest.mark.parametrize("mode", ["auto", "legacy"])
SERVERS = pytest.mark.parametrize("server", ["new", "old"])


def raw(tmp_path: Path, way: str = "", **more: Any) -> dict[str, Any]:
    """A body that adds the server of 2025-11-25."""
    env = {"RAWBOX": way, "RAWBOX_LOG": str(tmp_path / "raw.log"), **more.pop("env", {})}
    return {"name": "box", "command": sys.executable, "args": [str(ROOT / "tests/upstream/rawbox.py")], "env": env, **more}


async def added(client: httpx.AsyncClient, tmp_path: Path, server: str, **more: Any) -> None:
    """A server of one of the eras, allowed."""
    body = program(tmp_path, approve=True, **more) if server == "new" else raw(tmp_path, approve=True, **more)
    answer = await client.post("/api/mcp/servers", json=body)
    assert answer.status_code == 201, answer.text


class User:
    """A client's user and model; ``asked`` is what they were asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    async def elicit(self, context: Any, params: Any) -> types.ElicitResult:
        self.asked.append(params)
        return types.ElicitResult(action="accept", content={"name": "Ada"} if params.mode == "form" else None)

    async def sample(self, context: Any, params: Any) -> types.CreateMessageResult:
        self.asked.append(params)
        content = types.TextContent(type="text", text="a word")
        return types.CreateMessageResult(role="assistant", content=content, model="theirs")

    async def roots(self, context: Any) -> types.ListRootsResult:
        self.asked.append("roots")
        return types.ListRootsResult(roots=[types.Root(uri="file:///projects/work", name="work")])  # pyright: ignore[reportArgumentType]

    @asynccontextmanager
    async def client(self, running: Running, mode: str, *names: str) -> AsyncGenerator[Any]:
        """A stock client that can be asked for these things."""
        token = (await running.headers())["authorization"].removeprefix("Bearer ")
        can = {"elicitation_callback": self.elicit, "sampling_callback": self.sample, "list_roots_callback": self.roots}
        chosen = {f"{name}_callback": can[f"{name}_callback"] for name in names}
        async with mcp_client(running, token, mode=mode, **chosen) as mcp:
            yield mcp


async def answer(mcp: Any, what: str) -> dict[str, Any]:
    """What the tool ``ask`` got for its questions."""
    result = await mcp.call_tool("box__ask", {"what": what})
    assert not result.is_error, result.content
    read = json.loads(result.content[0].text)
    return read["responses"][what] if "responses" in read else read


@ERAS
@SERVERS
async def test_questions_reach_the_client_that_called(
    running: Running, client: httpx.AsyncClient, tmp_path: Path, mode: str, server: str
) -> None:
    """Elicitation, roots and sampling are relayed; the user reads which server asks (SEC-62)."""
    await added(client, tmp_path, server, sampling="client")
    user = User()
    async with user.client(running, mode, "elicitation", "sampling", "list_roots") as mcp:
        assert await answer(mcp, "elicit") == {"action": "accept", "content": {"name": "Ada"}}
        assert (await answer(mcp, "sample"))["content"]["text"] == "a word"
        assert (await answer(mcp, "roots"))["roots"][0]["uri"] == "file:///projects/work"
        assert (await answer(mcp, "url"))["action"] == "accept"
    assert user.asked[0].message == "The MCP server “box” asks: Who are you?"
    assert user.asked[1].max_tokens == 20
    assert (user.asked[3].url, user.asked[3].message) == ("https://example.com/in", "The MCP server “box” asks: Sign in.")
    assert running.hub.upstreams.rounds.parked == 0


@ERAS
@SERVERS
async def test_what_the_client_cannot_do_is_refused_to_the_server(
    running: Running, client: httpx.AsyncClient, tmp_path: Path, mode: str, server: str
) -> None:
    """A client without the capability is not asked; plain http addresses are shown to nobody (SEC-53); no sampling unless allowed."""
    await added(client, tmp_path, server)
    user = User()
    async with user.client(running, mode, "elicitation", "sampling") as mcp:
        for what in ("roots", "sample", "plain"):
            result = await mcp.call_tool("box__ask", {"what": what})
            assert result.is_error or json.loads(result.content[0].text)["error"]["code"] in (-32601, -32602, -32600), what
    async with user.client(running, mode) as mcp:
        result = await mcp.call_tool("box__ask", {"what": "elicit"})
        assert result.is_error or json.loads(result.content[0].text)["error"]["code"] == -32601
    assert user.asked == []


@pytest.mark.parametrize("door", ["rest", "auto", "legacy"])
@SERVERS
async def test_the_hubs_models_answer(running: Running, client: httpx.AsyncClient, tmp_path: Path, door: str, server: str) -> None:
    """Where the owner lets them: on the account of the key that called, and only for keys that may have completions."""
    await added(client, tmp_path, server, sampling="hub")
    if door == "rest":
        called = await client.post("/api/mcp/servers/box/tools/ask", json={"arguments": {"what": "sample"}})
        text = called.json()["content"][0]["text"]
    else:
        async with User().client(running, door) as mcp:
            text = (await mcp.call_tool("box__ask", {"what": "sample"})).content[0].text
    read = json.loads(text)
    assert (read["responses"]["sample"] if server == "new" else read)["role"] == "assistant"
    rows, _ = await running.hub.store.audit.page(skill="smart-routing")
    assert [row.outcome for row in rows] == ["ok"]
    headers = await running.headers("execute:tools")
    async with httpx.AsyncClient(base_url=running.url, headers=headers, timeout=30) as poor:
        refused = (await poor.post("/api/mcp/servers/box/tools/ask", json={"arguments": {"what": "sample"}})).json()
    assert "assistant" not in json.dumps(refused)


async def test_new_servers_hear_what_the_client_of_each_call_can(running: Running, client: httpx.AsyncClient, tmp_path: Path) -> None:
    """One session serves clients that differ; what is declared with each request is that client's."""
    await added(client, tmp_path, "new")
    async with User().client(running, "auto", "elicitation") as mcp:
        told = json.loads((await mcp.call_tool("box__ask", {"what": "elicit"})).content[0].text)
    assert told["able"] == {"elicitation": {"form": {}, "url": {}}}
    assert told["state"] == "the box's own"


class Rounds:
    """Raw requests of 2026-07-28, so that a state can be kept, changed and sent by others."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    async def call(self, arguments: dict[str, Any] | None = None, *, tool: str = "box__ask", **more: Any) -> dict[str, Any]:
        body, headers = modern("tools/call", {"name": tool, "arguments": arguments or {}, **more})
        body["params"]["_meta"] = {**META, "io.modelcontextprotocol/clientCapabilities": FULL}
        answer = await self.http.post(STREAM, json=body, headers={**ACCEPT, **headers})
        text = answer.text
        if not text.startswith("{"):
            text = next(line[5:] for line in text.splitlines() if line.startswith("data:") and '"id"' in line)
        return json.loads(text)


def yes(interim: dict[str, Any]) -> dict[str, Any]:
    """Answers to all questions of an interim result, with its state."""
    result = interim["result"]
    assert result["resultType"] == "input_required", interim
    given = {name: {"action": "accept", "content": {"name": "Ada"}} for name in result["inputRequests"]}
    return {"inputResponses": given, "requestState": result["requestState"]}


@SERVERS
async def test_a_state_counts_once_for_its_call_and_its_key(
    running: Running, client: httpx.AsyncClient, tmp_path: Path, server: str
) -> None:
    """SEC-55: tampered with, replayed, of another key, tool or arguments: refused, and no answer reaches the server."""
    await added(client, tmp_path, server)
    mine = Rounds(client)
    interim = await mine.call()
    assert "the box's own" not in interim["result"]["requestState"]  # sealed, not just signed
    async with httpx.AsyncClient(base_url=running.url, headers=await running.headers(), timeout=30) as http:
        assert "error" in await Rounds(http).call(**yes(interim))
    good = yes(interim)
    state = good["requestState"]
    middle = len(state) // 2
    for wrong in (state[:-2], state[:middle] + ("A" if state[middle] != "A" else "B") + state[middle + 1 :], "", "{}", '{"parked":"x"}'):
        assert "error" in await mine.call(**{**good, "requestState": wrong}), wrong
    assert "error" in await mine.call({"what": "roots"}, **good)
    assert "error" in await mine.call(tool="box__echo", **good)
    done = await mine.call(**good)
    assert "Ada" in done["result"]["content"][0]["text"]
    again = await mine.call(**good)
    assert "error" in again or again["result"]["isError"]


async def test_questions_left_open_are_asked_again(client: httpx.AsyncClient, tmp_path: Path) -> None:
    """A client that answers nothing gets the same question and a new state."""
    await added(client, tmp_path, "old")
    mine = Rounds(client)
    interim = await mine.call()
    more = await mine.call(**{**yes(interim), "inputResponses": {"something": {"action": "accept"}}})
    assert more["result"]["inputRequests"] == interim["result"]["inputRequests"]
    assert "Ada" in (await mine.call(**yes(more)))["result"]["content"][0]["text"]


async def test_parked_calls_are_bounded_and_expire(
    running: Running, client: httpx.AsyncClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that never comes back holds a few calls for a while, not many for ever; the server hears that they ended."""
    monkeypatch.setattr("hub.upstream.rounds._PARKED_OF_ONE", 1)
    monkeypatch.setattr("hub.upstream.rounds.PATIENCE_SECONDS", 0.5)
    await added(client, tmp_path, "old")
    mine = Rounds(client)
    interim = await mine.call()
    rounds = running.hub.upstreams.rounds
    assert rounds.parked == 1
    async with asyncio.timeout(10):
        while rounds.parked:
            await asyncio.sleep(0.02)
    late = await mine.call(**yes(interim))
    assert "is over" in json.dumps(late)


async def test_two_clients_of_one_key_are_not_mixed_up(running: Running, client: httpx.AsyncClient, tmp_path: Path) -> None:
    """SEC-55: on one stream for all, a question that might be another client's is put to nobody."""
    await added(client, tmp_path, "old")
    first, second = User(), User()
    token = (await running.headers())["authorization"].removeprefix("Bearer ")
    async with (
        mcp_client(running, token, mode="legacy", elicitation_callback=first.elicit) as one,
        mcp_client(running, token, mode="legacy", elicitation_callback=second.elicit) as two,
    ):
        waiting = asyncio.create_task(one.call_tool("box__wait", {}))
        async with asyncio.timeout(10):
            while not any(link.busy for state in running.hub.upstreams._states.values() for link in state.links.values()):
                await asyncio.sleep(0.02)
        result: Any = await two.call_tool("box__ask", {"what": "elicit"})
        assert json.loads(result.content[0].text)["error"]["code"] == -32600
        waiting.cancel()
    assert first.asked == second.asked == []


async def test_the_clock_stops_while_a_user_thinks(running: Running, client: httpx.AsyncClient, tmp_path: Path) -> None:
    """A call's time limit is the server's, not the user's."""
    await added(client, tmp_path, "old", timeoutSeconds=1.0)
    user = User()
    gone = asyncio.Event()

    async def slowly(context: Any, params: Any) -> types.ElicitResult:
        await asyncio.sleep(1.5)
        gone.set()
        return await user.elicit(context, params)

    token = (await running.headers())["authorization"].removeprefix("Bearer ")
    async with mcp_client(running, token, mode="legacy", elicitation_callback=slowly) as mcp:
        assert (await answer(mcp, "elicit"))["action"] == "accept"
    assert gone.is_set()


async def test_a_read_may_ask_too(client: httpx.AsyncClient, tmp_path: Path) -> None:
    """Resources and prompts of new servers ask by interim results, as their tools do."""
    await added(client, tmp_path, "new")
    body, headers = modern("resources/read", {"uri": "hub+box:note:///day/ask"})
    body["params"]["_meta"] = {**META, "io.modelcontextprotocol/clientCapabilities": FULL}
    interim = (await client.post(STREAM, json=body, headers={**ACCEPT, **headers})).json()
    assert interim["result"]["inputRequests"]["elicit"]["params"]["message"].startswith("The MCP server “box” asks")
    body["params"] |= yes(interim)
    done = (await client.post(STREAM, json=body, headers={**ACCEPT, **headers})).json()
    assert "Ada" in done["result"]["contents"][0]["text"]
