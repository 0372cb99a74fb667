"""Ollama's own SDK against the real door on a real socket, every vendor's format behind it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import httpx
import ollama
import pytest

from tests.fakes.doors import rows_of, vendor_hub
from tests.fakes.vendors import CITIES, MODELS, PIXEL, THOUGHT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.fakes.hub import Running
    from tests.fakes.upstream import FaultUpstream

pytestmark = pytest.mark.anyio

VENDORS = list(MODELS)
#: Prompt tokens with cached ones, generated tokens with thinking; as each vendor says it used.
USED = {"openai": (1000, 200), "anthropic": (600, 80), "gemini": (500, 100), "ollama": (30, 12)}
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Says the weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[tuple[Running, FaultUpstream]]:
    async with vendor_hub(tmp_path) as made:
        yield made


@pytest.fixture
async def client(running: tuple[Running, FaultUpstream]) -> AsyncIterator[ollama.AsyncClient]:
    async with ollama.AsyncClient(running[0].url, headers=await running[0].headers("chat"), timeout=20) as made:
        yield made


async def turn(client: ollama.AsyncClient, stream: bool, **ask: Any) -> ollama.ChatResponse:
    """One message of the assistant, the lines of a stream put together."""
    if not stream:
        return await client.chat(**ask)
    lines = [line async for line in await client.chat(stream=True, **ask)]
    assert [line.done for line in lines] == [False] * (len(lines) - 1) + [True]
    last = lines[-1]
    last.message.content = "".join(line.message.content or "" for line in lines)
    last.message.thinking = "".join(line.message.thinking or "" for line in lines) or None
    last.message.tool_calls = [call for line in lines for call in line.message.tool_calls or ()] or None
    return last


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("vendor", VENDORS)
async def test_an_answer_and_what_it_used(
    running: tuple[Running, FaultUpstream], client: ollama.AsyncClient, vendor: str, stream: bool
) -> None:
    messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hello"}]
    answer = await turn(client, stream, model=MODELS[vendor], messages=messages, options={"num_predict": 100}, keep_alive="5m")
    assert answer.message.content == f"{MODELS[vendor].split('/')[1]} heard: hello [be brief]"
    assert (answer.message.role, answer.done, answer.done_reason) == ("assistant", True, "stop")
    assert (answer.prompt_eval_count, answer.eval_count) == USED[vendor]
    if vendor != "ollama":  # whose own bytes pass
        assert answer.model == MODELS[vendor]
        assert answer.total_duration == answer.prompt_eval_duration + answer.eval_duration > 0
        assert answer.created_at.endswith("Z")
    (row,) = await rows_of(running[0])
    assert (row.door, row.outcome, row.status, row.provider, row.stream) == ("ollama", "ok", 200, vendor, stream)


@pytest.mark.parametrize("thinks", [False, True], ids=["plain", "thinking"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("vendor", VENDORS)
async def test_a_tool_loop(client: ollama.AsyncClient, vendor: str, stream: bool, thinks: bool) -> None:
    """The vendors refuse a lost id, arguments that are no object, and results in a wrong place. The format has no signatures."""
    ask: dict[str, Any] = {"model": MODELS[vendor], "tools": [WEATHER]}
    if thinks:
        ask["think"] = True
    messages: list[Any] = [{"role": "user", "content": "weather in Oslo and Bergen?"}]
    first = await turn(client, stream, messages=messages, **ask)
    calls = first.message.tool_calls
    assert [call.function.arguments for call in calls] == [{"city": city} for city in CITIES]
    assert first.message.thinking == (THOUGHT if thinks and vendor != "openai" else None)
    results = [{"role": "tool", "tool_name": call.function.name, "content": f"{number} C"} for number, call in enumerate(calls)]
    second = await turn(client, stream, messages=[*messages, first.message, *results], **ask)
    assert second.message.content == "Bergen: 1 C; Oslo: 0 C"


@pytest.mark.parametrize("vendor", VENDORS)
async def test_pictures_and_schemas(client: ollama.AsyncClient, vendor: str) -> None:
    answer = await turn(client, False, model=MODELS[vendor], messages=[{"role": "user", "content": "what is it?", "images": [PIXEL]}])
    kind = "image" if vendor == "ollama" else "image/png"
    assert answer.message.content.endswith(f"heard: what is it? I see {kind} of 69 bytes.")
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}
    shaped = await turn(client, False, model=MODELS[vendor], messages=[{"role": "user", "content": "how many?"}], format=schema)
    assert json.loads(shaped.message.content) == {"n": 4}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("vendor", VENDORS)
async def test_generate(client: ollama.AsyncClient, vendor: str, stream: bool) -> None:
    ask: dict[str, Any] = {"model": MODELS[vendor], "prompt": "hello", "system": "be brief"}
    if stream:
        lines = [line async for line in await client.generate(stream=True, **ask)]
        assert len(lines) >= 2
        words, last = "".join(line.response or "" for line in lines), lines[-1]
    else:
        last = await client.generate(**ask)
        words = last.response
    assert words == f"{MODELS[vendor].split('/')[1]} heard: hello [be brief]"
    assert (last.done, last.done_reason) == (True, "stop")
    assert last.model == ("llama3.2" if vendor == "ollama" else MODELS[vendor]), "a server's own bytes pass"
    assert (last.prompt_eval_count, last.eval_count) == USED[vendor]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("vendor", VENDORS)
async def test_errors(client: ollama.AsyncClient, vendor: str, stream: bool) -> None:
    for status in (400, 404, 429):
        with pytest.raises(ollama.ResponseError) as caught:
            await turn(client, stream, model=MODELS[vendor], messages=[{"role": "user", "content": f"fail {status}"}])
        assert caught.value.status_code == status
        assert "as you wish" in caught.value.error


async def test_models_are_listed_and_shown(running: tuple[Running, FaultUpstream], client: ollama.AsyncClient) -> None:
    listed = await client.list()
    names = [model.model for model in listed.models]
    assert "gemini/gemini-2.5-flash" in names
    assert len({model.digest for model in listed.models}) == len(names) > 20
    shown = await client.show("gemini/gemini-2.5-flash")
    assert shown.modelinfo["general.architecture"] == "gemini"
    assert shown.modelinfo["gemini.context_length"] == 1_048_576
    assert {"completion", "tools", "vision", "thinking"} <= set(shown.capabilities)
    assert (await client.ps()).models == []
    with pytest.raises(ollama.ResponseError) as missing:
        await client.show("gemini/none-such")
    assert missing.value.status_code == 404
    async with httpx.AsyncClient(base_url=running[0].url, headers=await running[0].headers("chat")) as plain:
        major, minor, _ = (await plain.get("/api/version")).json()["version"].split(".")
        assert (int(major), int(minor)) >= (0, 6), "editors refuse an older API"
        assert (await plain.get("/v1/api/tags")).json() == (await plain.get("/api/tags")).json()
        answer = await plain.post(
            "/v1/api/chat", json={"model": MODELS["openai"], "messages": [{"role": "user", "content": "x"}], "stream": False}
        )
        assert answer.json()["message"]["content"] == "gpt-5.4-mini heard: x"


@pytest.mark.parametrize(("body", "reason"), [({}, "load"), ({"keep_alive": 0}, "unload")])
async def test_loading_a_model_is_answered_without_a_call(
    running: tuple[Running, FaultUpstream], client: ollama.AsyncClient, body: dict[str, Any], reason: str
) -> None:
    assert (await client.generate(model=MODELS["ollama"], **body)).done_reason == reason
    assert (await client.chat(model=MODELS["ollama"], messages=[], **body)).done_reason == reason
    assert not running[1].requests


async def test_the_sync_sdk_with_a_wrong_key_and_a_right_one(running: tuple[Running, FaultUpstream]) -> None:
    hub = running[0]
    headers = await hub.headers("chat")

    def work() -> None:
        with ollama.Client(hub.url, headers={"authorization": "Bearer no"}) as stranger, pytest.raises(ollama.ResponseError) as refused:
            stranger.chat(MODELS["openai"], [{"role": "user", "content": "x"}])
        assert refused.value.status_code == 401
        with ollama.Client(hub.url, headers=headers) as client:
            lines = client.chat(MODELS["openai"], [{"role": "user", "content": "hi"}], stream=True)
            assert "".join(line.message.content or "" for line in lines) == "gpt-5.4-mini heard: hi"

    await asyncio.to_thread(work)


async def test_what_a_target_cannot_carry_is_said_and_its_own_options_pass(running: tuple[Running, FaultUpstream]) -> None:
    """D20."""
    hub, upstream = running
    async with httpx.AsyncClient(base_url=hub.url, headers=await hub.headers("chat")) as plain:
        body = {"messages": [{"role": "user", "content": "x"}], "stream": False, "options": {"num_ctx": 8192}, "keep_alive": "1h"}
        there = await plain.post("/api/chat", json={"model": MODELS["openai"], **body})
        assert there.headers["x-hubroute-dropped"] == "options.num_ctx, keep_alive"
        own = await plain.post("/api/chat", json={"model": MODELS["ollama"], **body})
        assert "x-hubroute-dropped" not in own.headers
        assert upstream.requests[-1].json() == {"model": "llama3.2", **body}
        once = {"prompt": "x", "stream": False, "raw": True, "suffix": "y", "options": {"num_ctx": 8192}}
        generated = await plain.post("/api/generate", json={"model": MODELS["openai"], **once})
        dropped = sorted(generated.headers["x-hubroute-dropped"].split(", "))
        assert dropped == ["generate.raw", "generate.suffix", "options.num_ctx"]
        passed = await plain.post("/api/generate", json={"model": MODELS["ollama"], **once})
        assert "x-hubroute-dropped" not in passed.headers
        assert upstream.requests[-1].json() == {"model": "llama3.2", **once}
