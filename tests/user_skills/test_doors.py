"""Installed skills at the other doors: MCP tools, prompts and resources with notice of changes, A2A, policies."""

from __future__ import annotations

import asyncio
import json
import warnings
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from fastmcp import Client
from fastmcp.client.transports import StreamableHttpTransport

from tests.fakes.mcp import client

if TYPE_CHECKING:
    from tests.user_skills.conftest import Bench

pytestmark = pytest.mark.anyio
warnings.filterwarnings("ignore", category=DeprecationWarning)


def mcp(bench: Bench, key: str, **options: Any) -> Client[Any]:
    return Client(StreamableHttpTransport(f"{bench.hub.url}/api/mcp/stream", headers={"authorization": f"Bearer {key}"}), **options)


async def test_an_executable_skill_is_a_tool_and_an_instruction_a_prompt_and_a_resource(bench: Bench) -> None:
    await bench.weather(schema={"input": {"type": "object", "properties": {"city": {"type": "string"}}}, "output": {"type": "object"}})
    await bench.install(skillMdContent="---\nname: pirate\ndescription: Talks like a pirate.\n---\nSay arr.")
    key = await bench.hub.key("*")
    own = bench.hub.hub.authenticate(key).key_id
    await bench.install(name="mine only", description="For one key.", handler="file_read", apiKeyId=own)
    await bench.install(name="my words", skillMdContent="Be mine.", apiKeyId=own)
    async with mcp(bench, key) as door:
        tools = {tool.name: tool for tool in await door.list_tools()}
        assert {"omniroute_skills_list", "omniroute_skills_enable", "omniroute_skills_execute", "omniroute_skills_executions"} <= set(tools)
        tool = tools["skill_city_weather"]
        assert (tool.description, tool.input_schema["properties"]) == ("Says the weather of a city.", {"city": {"type": "string"}})
        assert "skill_mine_only" not in tools, "what belongs to one key is in nobody's list: it is run by name"
        assert (await door.call_tool("skill_city_weather", {"city": "Oslo"})).structured_content == {"said": "sun in Oslo"}
        run = (
            await door.call_tool("omniroute_skills_execute", {"skillName": "city weather@1.0.0", "input": {"city": "Bergen"}})
        ).structured_content
        assert (run["status"], run["output"], run["error"]) == ("success", {"said": "sun in Bergen"}, None)
        listed = (await door.call_tool("omniroute_skills_list", {"name": "city"})).structured_content
        assert (listed["count"], listed["skills"][0]["enabled"]) == (1, True)
        assert (await door.call_tool("omniroute_skills_executions", {"limit": 1})).structured_content["count"] == 2
        off = await door.call_tool("omniroute_skills_enable", {"skillId": listed["skills"][0]["id"], "enabled": False})
        assert off.structured_content["enabled"] is False
        assert "skill_city_weather" not in {one.name for one in await door.list_tools()}
        failed = await door.call_tool("omniroute_skills_execute", {"skillName": "city weather", "input": {}}, raise_on_error=False)
        assert failed.is_error
        prompts = {prompt.name: prompt for prompt in await door.list_prompts()}
        assert prompts["skill_pirate"].description == "Talks like a pirate."
        assert "skill_my_words" in prompts
        said = await door.get_prompt("skill_pirate")
        assert said.messages[0].content.text == "Say arr."  # pyright: ignore[reportAttributeAccessIssue]
        resources = {str(one.uri): one for one in await door.list_resources()}
        assert resources["hub://instructions/pirate"].mime_type == "text/markdown"
        (content,) = await door.read_resource("hub://instructions/pirate")
        assert (content.text, content.mime_type) == ("Say arr.", "text/markdown")  # pyright: ignore[reportAttributeAccessIssue]
    other = await bench.hub.key("mcp:connect", "read:skills")
    async with mcp(bench, other) as door:
        assert "skill_city_weather" not in {one.name for one in await door.list_tools()}
        assert "skill_my_words" not in {one.name for one in await door.list_prompts()}
        with pytest.raises(Exception, match="Unknown prompt"):
            await door.get_prompt("skill_my_words")
        with pytest.raises(Exception, match="esource"):
            await door.read_resource("hub://instructions/my%20words")


async def test_clients_hear_of_skills_that_come_and_go(bench: Bench) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    async with (
        client(bench.hub, await bench.hub.key("*")) as mine,
        mine.listen(tools_list_changed=True, prompts_list_changed=True) as told,
    ):

        async def hear() -> None:
            async for event in told:
                heard.put_nowait(type(event).__name__)

        task = asyncio.create_task(hear())
        await bench.weather()
        async with asyncio.timeout(10):
            assert {await heard.get(), await heard.get()} == {"ToolsListChanged", "PromptsListChanged"}
        task.cancel()


async def test_an_agent_finds_it_on_the_card_and_calls_it(bench: Bench) -> None:
    await bench.weather()
    key = await bench.hub.key("*")
    headers = {"authorization": f"Bearer {key}", "a2a-version": "1.0"}
    async with httpx.AsyncClient(base_url=bench.hub.url, headers=headers) as http:
        card = (await http.post("/a2a", json={"jsonrpc": "2.0", "id": 1, "method": "GetExtendedAgentCard", "params": {}})).json()
        assert "skill.city_weather" in json.dumps(card)
        message = {"messageId": "m1", "role": "ROLE_USER", "parts": [{"text": "Oslo"}], "metadata": {"skill": "skill.city_weather"}}
        done = (await http.post("/a2a", json={"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": message}})).json()
    assert done["result"]["task"]["status"]["state"] == "TASK_STATE_COMPLETED"
    assert "sun in Oslo" in json.dumps(done)


async def test_a_policy_stops_a_skill_in_a_chat_as_at_every_door(bench: Bench) -> None:
    await bench.weather()
    rule = {"name": "no weather", "when": {"skills": ["skill_city_weather"]}, "then": {"action": "deny"}}
    made = await bench.ask("POST", "/api/policies", 201, json=rule)
    body = {"model": "openai/gpt-5.4-mini", "messages": [{"role": "user", "content": "what is the weather?"}]}
    said = (await bench.ask("POST", "/v1/chat/completions", json=body))["choices"][0]["message"]["content"]
    assert "Error:" in said
    assert not bench.service.requests
    await bench.ask("DELETE", f"/api/policies/{(made.get('policy') or made)['id']}")
