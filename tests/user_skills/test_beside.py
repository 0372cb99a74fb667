"""Installed skills beside what else changes or records a chat: memory, and the storing of what is said."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.fakes.vendors import MODELS, Reply
from tests.user_skills.conftest import benched
from tests.user_skills.test_chats import SAID, TOOL, Client, _both

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.user_skills.conftest import Bench

pytestmark = pytest.mark.anyio
FACT = "I like fog"


@pytest.fixture
async def both(tmp_path: Any) -> AsyncIterator[Bench]:
    """Skills and memory are on, and there is something to tell."""
    async with benched(tmp_path, vendors=("openai",)) as bench:
        await bench.ask("PUT", "/api/settings/memory", json={"enabled": True, "extraction": False, "strategy": "recent"})
        await bench.ask("POST", "/api/memory", 201, json={"key": "fog", "content": FACT})
        yield bench


def _noted(bench: Bench) -> list[str]:
    """The roles of the messages that the note stands in, in the last request that a vendor got."""
    return [one["role"] for one in bench.vendors.requests[-1].json()["messages"] if FACT in json.dumps(one)]


async def test_the_note_stays_in_the_users_turn_behind_instructions(both: Bench) -> None:
    """Instructions may begin a conversation that had none; the note does not slip into another message."""
    await both.install(skillMdContent="---\nname: pirate\ndescription: Talks.\n---\nSay arr.", mode="on")
    both.reply = lambda heard: Reply(text=heard.system)
    client = Client(both, "openai", MODELS["openai"])
    assert "Say arr." in (await client.ask(stream=False))["text"]
    assert _noted(both) == ["user"]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_the_note_stays_in_the_users_turn_over_hidden_turns(both: Bench, stream: bool) -> None:
    await both.weather()
    client = Client(both, "openai", MODELS["openai"])
    assert SAID in (await client.ask(stream=stream))["text"]
    assert _noted(both) == ["user"]
    assert int(client.headers["x-hubroute-memory-tokens"]) > 0
    both.reply = _both
    got = await client.ask(stream=stream, own=True)
    ((call, name, city),) = got["calls"]
    calls = [{"id": call, "type": "function", "function": {"name": name, "arguments": json.dumps({"city": city})}}]
    messages = [
        {"role": "user", "content": "what is the weather?"},
        {"role": "assistant", "content": got["text"], "tool_calls": calls},
        {"role": "tool", "tool_call_id": call, "content": "mine says rain"},
        {"role": "user", "content": "go on"},
    ]
    await both.ask("POST", "/api/memory", 201, json={"key": "rain", "content": "I like rain"})
    await client.ask(stream=stream, own=True, messages=messages)
    sent = both.vendors.requests[-1].json()["messages"]
    assert TOOL in json.dumps(sent), "what was hidden is put back"
    assert _noted(both) == ["user"]
    assert [one["role"] for one in sent if "I like rain" in json.dumps(one)] == ["user"]
    assert "I like rain" in json.dumps(sent[-1])


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_every_round_is_stored_and_nothing_stays_in_memory(both: Bench, stream: bool) -> None:
    await both.weather()
    await both.ask("PUT", "/api/settings/request-content", json={"enabled": True})
    client = Client(both, "openai", MODELS["openai"])
    await client.ask(stream=stream)
    request = client.headers["x-request-id"]
    for name, words in ((request, "Oslo"), (f"{request}.round2", "sun in Oslo")):
        stored = await both.ask("GET", f"/api/usage/request-logs/{name}/content")
        (call,) = stored["calls"]
        assert words in call["answer"]["text"] + call["sent"]["text"]
        assert call["answer"]["text"], "the answer of this round"
    assert both.hub.hub.contents.held == 0
    other = Client(both, "openai", MODELS["openai"])
    await other.ask(stream=stream)
    gone = await both.ask("DELETE", f"/api/usage/request-logs/{request}/content")
    assert gone == {"requests": 2}, "the request, with what was asked for it"
    await both.ask("GET", f"/api/usage/request-logs/{request}.round2/content", 404)
    await both.ask("GET", f"/api/usage/request-logs/{other.headers['x-request-id']}.round2/content")
