"""The fixtures for the public conformance suite: there in the test profile, nowhere else.

The suite itself runs from outside, against a running hub; here is what it relies on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mcp_types as types
import pytest
from mcp.shared.exceptions import MCPError
from pydantic import ValidationError

from hub.settings import Settings
from tests.fakes.mcp import client, mcp_hub

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio


async def test_fixtures_are_there_in_the_profile_only(tmp_path: Path) -> None:
    async with mcp_hub(tmp_path, test_profile="conformance") as (running, _), client(running, await running.key("*")) as mcp:
        names = [tool.name for tool in (await mcp.list_tools()).tools]
        assert names == sorted(names)
        assert {"echo", "test_simple_text", "test_input_required_result_multi_round"} <= set(names)
        assert not (await mcp.call_tool("echo", {"text": "still ours"})).is_error
        assert len((await mcp.list_resources()).resources) == 3
        assert len((await mcp.list_prompts()).prompts) == 5


async def test_no_fixture_without_the_profile(tmp_path: Path) -> None:
    async with mcp_hub(tmp_path) as (running, _), client(running, await running.key("*")) as mcp:
        assert not [tool for tool in (await mcp.list_tools()).tools if tool.name.startswith("test_")]
        with pytest.raises(MCPError, match="Unknown tool"):
            await mcp.call_tool("test_simple_text", {})
        assert not (await mcp.list_resources()).resources
        assert not (await mcp.list_prompts()).prompts


def test_the_profile_is_refused_beyond_loopback(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="loopback"):
        Settings(data_dir=tmp_path, host="0.0.0.0", test_profile="conformance")


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_kinds_of_content_and_unknown_resources(tmp_path: Path, mode: str) -> None:
    async with mcp_hub(tmp_path, test_profile="conformance") as (running, _), client(running, await running.key("*"), mode=mode) as mcp:
        mixed = await mcp.call_tool("test_multiple_content_types", {})
        assert [block.type for block in mixed.content] == ["text", "image", "resource"]
        assert (await mcp.call_tool("test_error_handling", {})).is_error
        read = await mcp.read_resource("test://template/7/data")
        assert isinstance(read.contents[0], types.TextResourceContents)
        assert '"id":"7"' in read.contents[0].text
        with pytest.raises(MCPError) as absent:
            await mcp.read_resource("test://nowhere")
        assert absent.value.code == (-32602 if mode == "auto" else -32002)
        for name, arguments in (
            ("test_simple_prompt", None),
            ("test_prompt_with_arguments", {"arg1": "a", "arg2": "b"}),
            ("test_prompt_with_image", None),
        ):
            assert (await mcp.get_prompt(name, arguments)).messages
        with pytest.raises(MCPError):
            await mcp.get_prompt("test_prompt_with_arguments", {"arg1": "a"})


async def test_input_on_the_way_in_rounds(tmp_path: Path) -> None:
    """2026-07-28: the client answers what a result asks for and repeats the call."""
    asked: list[str] = []

    async def elicit(context: Any, params: Any) -> types.ElicitResult:
        asked.append(params.message)
        return types.ElicitResult(action="accept", content={"name": "Ada", "color": "blue", "ok": True})

    async with mcp_hub(tmp_path, test_profile="conformance") as (running, _):
        async with client(running, await running.key("*"), elicitation_callback=elicit) as mcp:
            rounds = await mcp.call_tool("test_input_required_result_multi_round", {})
            assert isinstance(rounds.content[0], types.TextContent)
            assert rounds.content[0].text == "Ada likes blue."
            assert len(asked) == 2
            state = await mcp.call_tool("test_input_required_result_request_state", {})
            assert isinstance(state.content[0], types.TextContent)
            assert "state-ok" in state.content[0].text
        async with client(running, await running.key("*")) as mcp:
            with pytest.raises(MCPError) as refused:
                await mcp.call_tool("test_missing_capability", {})
            assert refused.value.code == -32021


async def test_questions_to_the_client_in_a_session(tmp_path: Path) -> None:
    """2025-11-25: the server asks in the middle of the call."""

    async def elicit(context: Any, params: Any) -> types.ElicitResult:
        return types.ElicitResult(action="accept", content={"response": "yes"})

    async with (
        mcp_hub(tmp_path, test_profile="conformance") as (running, _),
        client(running, await running.key("*"), mode="legacy", elicitation_callback=elicit) as mcp,
    ):
        result = await mcp.call_tool("test_elicitation", {"message": "Well?"})
        assert isinstance(result.content[0], types.TextContent)
        assert "action=accept" in result.content[0].text
