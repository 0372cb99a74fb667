"""OpenAI's own SDK against the Responses door on a real socket, every vendor's format behind it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from tests.fakes.doors import rows_of, vendor_hub
from tests.fakes.upstream import silent
from tests.fakes.vendors import CITIES, MODELS, PIXEL, THOUGHT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.fakes.hub import Running
    from tests.fakes.upstream import FaultUpstream

pytestmark = pytest.mark.anyio

VENDORS = list(MODELS)
#: Input with cached tokens, those of it that were read from the cache, output with thinking.
USED = {"openai": (1000, 400, 200), "anthropic": (600, 300, 80), "gemini": (500, 200, 100), "ollama": (30, 0, 12)}
WEATHER: Any = {
    "type": "function",
    "name": "weather",
    "description": "Says the weather of a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False},
    "strict": True,
}


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[tuple[Running, FaultUpstream]]:
    async with vendor_hub(tmp_path) as made:
        yield made


@pytest.fixture
async def client(running: tuple[Running, FaultUpstream]) -> AsyncIterator[AsyncOpenAI]:
    hub = running[0]
    async with AsyncOpenAI(base_url=f"{hub.url}/v1", api_key=await hub.key("chat"), max_retries=0, timeout=20) as made:
        yield made


async def turn(client: AsyncOpenAI, stream: bool, **ask: Any) -> Any:
    """One response; a stream is put together by the SDK itself, and its events must be numbered without a gap."""
    if not stream:
        return await client.responses.create(**ask)
    numbers: list[int] = []
    async with client.responses.stream(**ask) as events:
        async for event in events:
            numbers.append(event.sequence_number)
        assert numbers == list(range(len(numbers)))
        return await events.get_final_response()


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("vendor", VENDORS)
async def test_an_answer_and_what_it_used(running: tuple[Running, FaultUpstream], client: AsyncOpenAI, vendor: str, stream: bool) -> None:
    said = await turn(client, stream, model=MODELS[vendor], instructions="be brief", input="hello", max_output_tokens=100)
    assert said.output_text == f"{MODELS[vendor].split('/')[1]} heard: hello [be brief]"
    assert (said.status, said.object, said.error, said.instructions) == ("completed", "response", None, "be brief")
    assert [item.type for item in said.output] == ["message"]
    used = said.usage
    assert (used.input_tokens, used.input_tokens_details.cached_tokens, used.output_tokens) == USED[vendor]
    (row,) = await rows_of(running[0])
    assert (row.outcome, row.status, row.provider, row.stream) == ("ok", 200, vendor, stream)
    again = await client.responses.retrieve(said.id)
    assert again.output_text == said.output_text
    assert again.id == said.id


@pytest.mark.parametrize("stored", [False, True], ids=["sent again", "from the store"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("model", [*MODELS.values(), "gemini/gemini-3-flash-preview"])
async def test_a_tool_loop(client: AsyncOpenAI, model: str, stream: bool, stored: bool) -> None:
    """The vendors refuse a lost id, a lost signature, arguments that are no object, and results in a wrong place."""
    ask: dict[str, Any] = {"model": model, "tools": [WEATHER], "store": stored}
    if not model.startswith("openai/"):
        ask["reasoning"] = {"effort": "low"}
    first = await turn(client, stream, input="weather in Oslo and Bergen?", **ask)
    calls = [item for item in first.output if item.type == "function_call"]
    assert [json.loads(call.arguments) for call in calls] == [{"city": city} for city in CITIES]
    assert len({call.call_id for call in calls}) == 2
    thoughts = [piece.text for item in first.output if item.type == "reasoning" for piece in item.summary]
    assert thoughts == ([] if model.startswith("openai/") else [THOUGHT])
    results = [{"type": "function_call_output", "call_id": call.call_id, "output": f"{number} C"} for number, call in enumerate(calls)]
    if stored:
        second = await turn(client, stream, input=results, previous_response_id=first.id, **ask)
        assert second.previous_response_id == first.id
    else:
        items = [{"role": "user", "content": "weather in Oslo and Bergen?"}, *(item.to_dict() for item in first.output), *results]
        second = await turn(client, stream, input=items, **ask)
    assert (second.status, second.output_text) == ("completed", "Bergen: 1 C; Oslo: 0 C")


@pytest.mark.parametrize("vendor", VENDORS)
async def test_a_picture_and_a_shape(client: AsyncOpenAI, vendor: str) -> None:
    parts = [
        {"type": "input_text", "text": "what is it?"},
        {"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}", "detail": "auto"},
    ]
    said = await client.responses.create(model=MODELS[vendor], input=[{"role": "user", "content": parts}])
    kind = "image" if vendor == "ollama" else "image/png"
    assert said.output_text.endswith(f"heard: what is it? I see {kind} of 69 bytes.")
    schema = {"type": "object", "properties": {"celsius": {"type": "integer"}}, "required": ["celsius"], "additionalProperties": False}
    shaped = await client.responses.create(
        model=MODELS[vendor],
        input="weather?",
        text={"format": {"type": "json_schema", "name": "weather", "schema": schema, "strict": True}},
    )
    assert json.loads(shaped.output_text) == {"celsius": 4}


async def test_free_form_tools_on_a_vendor_that_has_none(client: AsyncOpenAI) -> None:
    tool: Any = {"type": "custom", "name": "patch", "description": "Applies a patch.", "format": {"type": "text"}}
    said = await turn(client, True, model=MODELS["anthropic"], input="go", tools=[tool])
    calls = [item for item in said.output if item.type == "custom_tool_call"]
    # the vendor here calls every tool with a city
    assert [json.loads(call.input) for call in calls] == [{"city": city} for city in CITIES]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("vendor", VENDORS)
async def test_tools_of_a_namespace_go_to_every_vendor_and_come_back_under_it(client: AsyncOpenAI, vendor: str, stream: bool) -> None:
    """Codex offers the tools of MCP servers in namespaces; every vendor gets them as functions."""
    inner = {name: value for name, value in WEATHER.items() if name != "strict"}
    space: Any = {"type": "namespace", "name": "mcp__sky", "description": "All about the sky.", "tools": [inner]}
    ask: dict[str, Any] = {"model": MODELS[vendor], "tools": [space], "store": False}
    first = await turn(client, stream, input="weather?", **ask)
    calls = [item.to_dict() for item in first.output if item.type == "function_call"]
    assert [(call["namespace"], call["name"]) for call in calls] == [("mcp__sky", "weather")] * 2
    results = [{"type": "function_call_output", "call_id": call["call_id"], "output": f"{number} C"} for number, call in enumerate(calls)]
    items = [{"role": "user", "content": "weather?"}, *(item.to_dict() for item in first.output), *results]
    second = await turn(client, stream, input=items, **ask)
    assert second.output_text == "Bergen: 1 C; Oslo: 0 C"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("vendor", VENDORS)
async def test_a_turn_that_refers_to_items_instead_of_sending_them(
    running: tuple[Running, FaultUpstream], client: AsyncOpenAI, vendor: str, stream: bool
) -> None:
    """The AI SDK of Vercel does that, without ``previous_response_id``. Items of another key are none (SEC)."""
    ask: dict[str, Any] = {"model": MODELS[vendor], "tools": [WEATHER]}
    first = await turn(client, stream, input="weather?", **ask)
    calls = [item for item in first.output if item.type == "function_call"]
    results = [{"type": "function_call_output", "call_id": call.call_id, "output": f"{number} C"} for number, call in enumerate(calls)]
    items: list[Any] = [{"role": "user", "content": "weather?"}, *({"type": "item_reference", "id": item.id} for item in first.output)]
    second = await turn(client, stream, input=[*items, *results], **ask)
    assert second.output_text == "Bergen: 1 C; Oslo: 0 C"
    # what is kept are the items, so that the next turn can go on from it
    third = await turn(client, stream, input="and now?", previous_response_id=second.id, **ask)
    assert third.status == "completed"
    async with AsyncOpenAI(base_url=f"{running[0].url}/v1", api_key=await running[0].key("chat"), max_retries=0) as other:
        with pytest.raises(openai.BadRequestError) as refused:
            await other.responses.create(input=[*items, *results], **ask)
    assert refused.value.param == "input.1.id"


async def test_what_no_target_can_carry_is_named_or_refused(client: AsyncOpenAI) -> None:
    """D20; and a choice that only the vendor itself could honour is no request at all."""
    raw = await client.responses.with_raw_response.create(
        model=MODELS["gemini"], input="hi", tools=[{"type": "web_search"}], truncation="auto", metadata={"a": "b"}
    )
    assert set(raw.headers["x-hubroute-dropped"].split(", ")) == {"tools.web_search", "truncation"}
    assert raw.parse().metadata == {"a": "b"}
    with pytest.raises(openai.BadRequestError) as refused:
        await client.responses.create(
            model=MODELS["gemini"], input="hi", tools=[{"type": "web_search"}], tool_choice={"type": "web_search_preview"}
        )
    assert refused.value.param == "tool_choice"


async def test_what_is_kept_belongs_to_its_key(running: tuple[Running, FaultUpstream], client: AsyncOpenAI) -> None:
    hub = running[0]
    first = await client.responses.create(model=MODELS["openai"], input="one")
    second = await client.responses.create(model=MODELS["openai"], input="two", previous_response_id=first.id)
    listed = await client.responses.input_items.list(second.id)
    assert [item.content[0].text for item in listed.data] == ["two"]
    async with AsyncOpenAI(base_url=f"{hub.url}/v1", api_key=await hub.key("chat"), max_retries=0) as other:
        for asking in (
            lambda: other.responses.retrieve(first.id),
            lambda: other.responses.delete(first.id),
            lambda: other.responses.input_items.list(first.id),
            lambda: other.responses.cancel(first.id),
        ):
            with pytest.raises(openai.NotFoundError):
                await asking()
        with pytest.raises(openai.BadRequestError) as foreign:
            await other.responses.create(model=MODELS["openai"], input="x", previous_response_id=first.id)
        assert foreign.value.code == "previous_response_not_found"
    await client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(first.id)
    with pytest.raises(openai.BadRequestError) as gone:
        await client.responses.create(model=MODELS["openai"], input="x", previous_response_id=second.id)
    assert gone.value.param == "previous_response_id"
    unkept = await client.responses.create(model=MODELS["openai"], input="x", store=False)
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(unkept.id)


async def test_the_background_goes_on_when_the_client_has_left(client: AsyncOpenAI) -> None:
    begun = await client.responses.create(model=MODELS["anthropic"], input="hello", background=True)
    assert (begun.status, begun.output) == ("queued", [])
    async with asyncio.timeout(10):
        while (found := await client.responses.retrieve(begun.id)).status in ("queued", "in_progress"):
            await asyncio.sleep(0.02)
    assert (found.status, found.output_text, found.background) == ("completed", "claude-sonnet-4-5 heard: hello", True)
    again = await client.responses.cancel(begun.id)
    assert again.status == "completed", "what is over stays as it is"


async def test_a_stream_in_the_background_is_taken_up_again(client: AsyncOpenAI) -> None:
    stream = await client.responses.create(model=MODELS["openai"], input="hello", background=True, stream=True)
    seen: list[Any] = []
    async for event in stream:
        seen.append(event)
        if event.type == "response.output_text.delta":
            break
    await stream.close()
    resumed = await client.responses.retrieve(seen[0].response.id, stream=True, starting_after=seen[-1].sequence_number)
    rest = [event async for event in resumed]
    assert [event.sequence_number for event in (*seen, *rest)] == list(range(len(seen) + len(rest)))
    assert rest[-1].type == "response.completed"
    assert rest[-1].response.output_text == "gpt-5.4-mini heard: hello"


async def test_errors_are_the_classes_that_the_sdk_has_for_them(client: AsyncOpenAI) -> None:
    for words, kind in (("fail 400", openai.BadRequestError), ("fail 429", openai.RateLimitError)):
        with pytest.raises(kind):
            await client.responses.create(model=MODELS["gemini"], input=words)
    failed = await client.responses.create(model=MODELS["openai"], input="fail 400", background=True)
    async with asyncio.timeout(10):
        while (found := await client.responses.retrieve(failed.id)).status in ("queued", "in_progress"):
            await asyncio.sleep(0.02)
    assert found.status == "failed"
    assert "as you wish" in found.error.message
    for wrong, field in (
        ({"input": 5}, "input"),
        ({"input": [{"type": "message"}]}, "input.0.role"),
        ({"conversation": "c"}, "conversation"),
    ):
        with pytest.raises(openai.BadRequestError) as refused:
            await client.responses.create(**{"model": MODELS["openai"], "input": "x", **wrong})
        assert refused.value.param == field


async def test_the_sync_sdk(running: tuple[Running, FaultUpstream]) -> None:
    hub = running[0]
    key = await hub.key("chat")

    def work() -> None:
        with OpenAI(base_url=f"{hub.url}/v1", api_key=key, max_retries=0) as client:
            events = list(client.responses.create(model=MODELS["ollama"], input="hi", stream=True))
            assert [event.type for event in events[:4]] == [
                "response.created",
                "response.in_progress",
                "response.output_item.added",
                "response.content_part.added",
            ]
            assert events[-1].response.output_text == "llama3.2 heard: hi"
            assert client.responses.input_tokens.count(model=MODELS["gemini"], input="hi").input_tokens == 4321

    await asyncio.to_thread(work)


async def test_the_background_ends_with_the_hub_or_when_cancelled(running: tuple[Running, FaultUpstream], client: AsyncOpenAI) -> None:
    """REL-06: the vendor is left at once, and what nobody works on any more says so."""
    hub, upstream = running
    upstream.script(lambda request: silent())
    cancelled = await client.responses.create(model=MODELS["openai"], input="hello", background=True)
    assert (await client.responses.retrieve(cancelled.id)).status == "in_progress"
    with pytest.raises(openai.BadRequestError) as early:
        await client.responses.create(model=MODELS["openai"], input="x", previous_response_id=cancelled.id)
    assert early.value.code == "response_not_complete"
    assert (await client.responses.cancel(cancelled.id)).status == "cancelled"
    assert (await client.responses.retrieve(cancelled.id)).status == "cancelled"
    left = await client.responses.create(model=MODELS["openai"], input="hello", background=True)
    await hub.hub.responses.close()
    found = await client.responses.retrieve(left.id)
    assert (found.status, found.error.code) == ("failed", "server_error")
    assert "the hub stopped" in found.error.message
