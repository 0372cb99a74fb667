"""SEC-64: what destroys something is confirmed first, in both revisions, by the user where the client can ask one."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import mcp_types as types
import pytest
from mcp.shared.exceptions import MCPError
from mcp_types import TextContent
from pydantic import BaseModel, Field

from hub.context import Context
from hub.skill import CostClass, Mcp, skill
from tests.fakes.database import postgres_database
from tests.fakes.mcp import META, STREAM, client, mcp_hub, modern, sse
from transports._mcp_tools import Tool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.fakes.hub import Running
    from tests.fakes.mcp import Watch

pytestmark = pytest.mark.anyio

ERAS = pytest.mark.parametrize("mode", ["auto", "legacy"])
CAN = {**META, "io.modelcontextprotocol/clientCapabilities": {"elicitation": {}}}
YES = {"confirm": {"action": "accept", "content": {"confirm": True}}}


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[tuple[Running, Watch]]:
    async with mcp_hub(tmp_path) as made:
        yield made


@pytest.fixture
async def http(here: tuple[Running, Watch]) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=here[0].url, timeout=20) as made:
        yield made


class Odd(BaseModel):
    confirm: bool = Field(description="A field of the skill's own.")


def answers(result: types.ElicitResult, asked: list[str]) -> Any:
    async def elicit(context: Any, params: Any) -> types.ElicitResult:
        asked.append(params.message)
        assert params.requested_schema["required"] == ["confirm"]
        return result

    return elicit


def words(result: Any) -> str:
    assert isinstance(result.content[0], TextContent)
    return result.content[0].text


@ERAS
async def test_the_user_is_asked_and_says_yes(here: tuple[Running, Watch], mode: str) -> None:
    running, watch = here
    asked: list[str] = []
    yes = answers(types.ElicitResult(action="accept", content={"confirm": True}), asked)
    async with client(running, await running.key("*"), mode=mode, elicitation_callback=yes) as mcp:
        tools = {tool.name: tool for tool in (await mcp.list_tools()).tools}
        assert tools["wipe"].input_schema["properties"]["confirm"]["type"] == "boolean"
        assert "confirm" not in tools["wipe"].input_schema.get("required", [])
        assert "confirm" not in tools["echo"].input_schema["properties"]
        assert not (await mcp.call_tool("wipe", {})).is_error
    assert watch.calls == ["wipe"]
    assert len(asked) == 1
    assert asked[0].startswith("Delete all. Run wipe with {}?")


@ERAS
@pytest.mark.parametrize("no", [("accept", {"confirm": False}), ("accept", {"confirm": "true"}), ("decline", None), ("cancel", None)])
async def test_anything_but_yes_changes_nothing(here: tuple[Running, Watch], mode: str, no: tuple[Any, Any]) -> None:
    """A model cannot confirm for its user: ``confirm: true`` does not count where the client can ask."""
    running, watch = here
    asked: list[str] = []
    refusal = answers(types.ElicitResult(action=no[0], content=no[1]), asked)
    async with client(running, await running.key("*"), mode=mode, elicitation_callback=refusal) as mcp:
        result = await mcp.call_tool("wipe", {"confirm": True})
        assert result.is_error
        assert "not confirmed" in words(result)
        assert not (await mcp.call_tool("echo", {"text": "x"})).is_error
    assert len(asked) == 1
    assert "wipe" not in watch.calls
    rows, _ = await running.hub.store.audit.page(skill="wipe")
    assert [(row.outcome, row.error_code) for row in rows] == [("error", "declined")]


@ERAS
async def test_clients_that_cannot_ask_say_confirm(here: tuple[Running, Watch], mode: str) -> None:
    running, watch = here
    async with client(running, await running.key("*"), mode=mode) as mcp:
        for arguments in ({}, {"confirm": False}, {"confirm": "true"}, {"confirm": 1}):
            refused = await mcp.call_tool("wipe", arguments)
            assert refused.is_error
            assert "confirm: true" in words(refused)
            assert refused.meta is not None
            assert refused.meta["hubroute/error"]["code"] == "unconfirmed"
        assert watch.calls == []
        assert not (await mcp.call_tool("wipe", {"confirm": True})).is_error
    assert watch.calls == ["wipe"]


async def test_over_the_older_transport(here: tuple[Running, Watch]) -> None:
    running, watch = here
    async with sse(running, await running.key("*")) as mcp:
        assert (await mcp.call_tool("wipe", {})).is_error
        assert not (await mcp.call_tool("wipe", {"confirm": True})).is_error
    assert watch.calls == ["wipe"]


async def test_who_may_not_call_is_not_asked(here: tuple[Running, Watch]) -> None:
    """SEC-54: a confirmation tells nobody that a tool exists."""
    running, watch = here
    asked: list[str] = []
    yes = answers(types.ElicitResult(action="accept", content={"confirm": True}), asked)
    async with client(running, await running.key("read:models", "mcp:connect"), elicitation_callback=yes) as mcp:
        with pytest.raises(MCPError, match="Unknown tool: wipe"):
            await mcp.call_tool("wipe", {"confirm": True})
    assert asked == watch.calls == []


class Rounds:
    """Raw requests of 2026-07-28, so that a state can be kept, changed and sent by others."""

    def __init__(self, http: httpx.AsyncClient, headers: dict[str, str]) -> None:
        self.http, self.headers = http, headers

    async def call(self, name: str = "wipe", arguments: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
        body, headers = modern("tools/call", {"name": name, "arguments": arguments or {}, **more})
        body["params"]["_meta"] = CAN
        answer = await self.http.post(STREAM, json=body, headers={**headers, **self.headers})
        return answer.json()


async def test_a_state_counts_once_for_its_call_and_its_key(here: tuple[Running, Watch], http: httpx.AsyncClient) -> None:
    """Tampered with, replayed, of another key, tool or arguments: refused in the same words, and nothing runs."""
    running, watch = here
    mine, other = Rounds(http, await running.headers("*")), Rounds(http, await running.headers("*"))
    asked = (await mine.call())["result"]
    assert asked["resultType"] == "input_required"
    assert set(asked["inputRequests"]) == {"confirm"}
    state = asked["requestState"]
    assert "ask_" not in state
    tries = [
        mine.call(requestState=state[:-2] + ("A" if state[-2] != "A" else "B") + state[-1], inputResponses=YES),
        mine.call(requestState="nonsense", inputResponses=YES),
        other.call(requestState=state, inputResponses=YES),
        mine.call(arguments={"x": 1}, requestState=state, inputResponses=YES),
    ]
    for attempt in tries:
        refused = await attempt
        assert refused["error"] == {
            "code": -32602, "message": "Invalid or expired requestState", "data": {"reason": "invalid_request_state"},
        }  # fmt: skip
    assert watch.calls == []
    again = await mine.call(inputResponses=YES)
    assert again["result"]["resultType"] == "input_required", "an answer without the question's state is none"
    done = await mine.call(requestState=state, inputResponses=YES)
    assert done["result"]["isError"] is False
    replayed = await mine.call(requestState=state, inputResponses=YES)
    assert replayed["error"]["message"] == "Invalid or expired requestState"
    assert watch.calls == ["wipe"]


async def test_two_answers_at_once_run_it_once(here: tuple[Running, Watch], http: httpx.AsyncClient) -> None:
    running, watch = here
    mine = Rounds(http, await running.headers("*"))
    state = (await mine.call())["result"]["requestState"]
    found = await asyncio.gather(*(mine.call(requestState=state, inputResponses=YES) for _ in range(8)))
    assert sum("result" in one for one in found) == 1
    assert watch.calls == ["wipe"]


async def test_two_processes_of_one_database(tmp_path: Path) -> None:
    """A state of one process counts in the other, and once in both."""
    with postgres_database() as url:
        async with mcp_hub(tmp_path / "a", database_url=url) as (one, seen), AsyncExitStack() as stack:
            master = {"master_key": (tmp_path / "a" / "data" / "master.key").read_text().strip()}
            other, elsewhere = await stack.enter_async_context(mcp_hub(tmp_path / "b", database_url=url, **master))
            headers = await one.headers("*")
            await asyncio.sleep(1.2)  # the other process has heard of the key
            first = Rounds(await stack.enter_async_context(httpx.AsyncClient(base_url=one.url, timeout=20)), headers)
            second = Rounds(await stack.enter_async_context(httpx.AsyncClient(base_url=other.url, timeout=20)), headers)
            state = (await first.call())["result"]["requestState"]
            found = await asyncio.gather(*(door.call(requestState=state, inputResponses=YES) for door in (first, second, first, second)))
            assert sum("result" in answer for answer in found) == 1, found
            assert seen.calls + elsewhere.calls == ["wipe"]


async def test_odd_answers_are_no(here: tuple[Running, Watch], http: httpx.AsyncClient) -> None:
    running, watch = here
    mine = Rounds(http, await running.headers("*"))
    for responses in (None, {}, {"confirm": {"action": "accept"}}, {"other": YES["confirm"]}, {"confirm": {"action": "decline"}}):
        state = (await mine.call())["result"]["requestState"]
        more = {} if responses is None else {"inputResponses": responses}
        found = await mine.call(requestState=state, **more)
        assert "error" in found or found["result"]["isError"] is True, json.dumps(found)
    assert watch.calls == []


async def test_a_key_revoked_while_the_user_thinks(here: tuple[Running, Watch]) -> None:
    running, watch = here
    token = await running.key("*")
    key = running.hub.store.keys.find(token)
    assert key is not None

    async def slowly(context: Any, params: Any) -> types.ElicitResult:
        await running.hub.store.keys.revoke(key.id)
        return types.ElicitResult(action="accept", content={"confirm": True})

    async with client(running, token, mode="legacy", elicitation_callback=slowly) as mcp:
        with anyio.move_on_after(5):
            assert (await mcp.call_tool("wipe", {})).is_error
    assert watch.calls == []


def test_a_name_of_the_door_is_refused() -> None:
    @skill("odd", scopes=["manage"], cost=CostClass.FREE, mcp=Mcp("odd"), destructive=True)
    async def odd(ctx: Context, ask: Odd) -> Odd:
        """Odd."""
        return ask

    with pytest.raises(ValueError, match="confirm"):
        Tool.of(odd, "odd")
