"""Google's own SDK against the real door on a real socket, every vendor's format behind it."""

from __future__ import annotations

import asyncio
import base64
import json
import warnings
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.fakes.doors import rows_of, vendor_hub
from tests.fakes.upstream import cut_sse, sse
from tests.fakes.vendors import CITIES, MODELS, PIXEL, SIGNATURE, THOUGHT

with warnings.catch_warnings():
    # The SDK's imports are its own affair; our warnings stay errors.
    warnings.simplefilter("ignore")
    from google import genai
    from google.genai import errors, types

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.fakes.hub import Running
    from tests.fakes.upstream import FaultUpstream

pytestmark = pytest.mark.anyio

VENDORS = list(MODELS)
SIGNING = "gemini/gemini-3-flash-preview"
#: Prompt tokens with cached ones, of them cached, candidates without thoughts, thoughts; as each vendor says it used.
USED = {"openai": (1000, 400, 150, 50), "anthropic": (600, 300, 80, None), "gemini": (500, 200, 60, 40), "ollama": (30, None, 12, None)}
WEATHER = types.FunctionDeclaration(
    name="weather",
    description="Says the weather of a city.",
    parameters=types.Schema(type=types.Type.OBJECT, properties={"city": types.Schema(type=types.Type.STRING)}, required=["city"]),
)


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[tuple[Running, FaultUpstream]]:
    async with vendor_hub(tmp_path) as made:
        yield made


def client_of(url: str, key: str, version: str = "v1beta") -> genai.Client:
    return genai.Client(api_key=key, http_options=types.HttpOptions(base_url=url, api_version=version, timeout=20_000))


@pytest.fixture
async def client(running: tuple[Running, FaultUpstream]) -> AsyncIterator[genai.Client]:
    hub = running[0]
    made = client_of(hub.url, await hub.key("chat"))
    yield made
    await made.aio.aclose()


async def turn(client: genai.Client, stream: bool, **ask: Any) -> types.GenerateContentResponse:
    """One answer; the pieces of a stream put together as clients do it."""
    if not stream:
        return await client.aio.models.generate_content(**ask)
    pieces = [piece async for piece in await client.aio.models.generate_content_stream(**ask)]
    last = pieces[-1]
    assert [piece.candidates[0].finish_reason for piece in pieces[:-1]] == [None] * (len(pieces) - 1)
    assert all(piece.candidates[0].content.parts for piece in pieces), "clients take an answer without parts for a failure"
    last.candidates[0].content.parts = [part for piece in pieces for part in piece.candidates[0].content.parts]
    return last


def said(answer: types.GenerateContentResponse) -> str:
    return "".join(part.text for part in answer.candidates[0].content.parts if part.text and not part.thought)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("vendor", VENDORS)
async def test_an_answer_and_what_it_used(running: tuple[Running, FaultUpstream], client: genai.Client, vendor: str, stream: bool) -> None:
    config = types.GenerateContentConfig(system_instruction="be brief", max_output_tokens=100)
    answer = await turn(client, stream, model=MODELS[vendor], contents="hello", config=config)
    model = MODELS[vendor].split("/")[1]
    assert said(answer) == f"{model} heard: hello [be brief]"
    assert answer.candidates[0].finish_reason is types.FinishReason.STOP
    assert answer.candidates[0].content.role == "model"
    assert answer.response_id
    used = answer.usage_metadata
    assert (
        used.prompt_token_count, used.cached_content_token_count, used.candidates_token_count, used.thoughts_token_count,
    ) == USED[vendor]  # fmt: skip
    (row,) = await rows_of(running[0])
    assert (row.door, row.outcome, row.status, row.provider, row.stream) == ("gemini", "ok", 200, vendor, stream)


@pytest.mark.parametrize("thinks", [False, True], ids=["plain", "thinking"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("model", [*MODELS.values(), SIGNING])
async def test_a_tool_loop(client: genai.Client, model: str, stream: bool, thinks: bool) -> None:
    """The vendors refuse a lost id, a lost signature, arguments that are no object, and results in a wrong place."""
    config = types.GenerateContentConfig(
        tools=[types.Tool(function_declarations=[WEATHER])],
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
        thinking_config=types.ThinkingConfig(include_thoughts=True, thinking_budget=2048) if thinks else None,
    )
    asked = types.Content(role="user", parts=[types.Part(text="weather in Oslo and Bergen?")])
    first = await turn(client, stream, model=model, contents=[asked], config=config)
    parts = first.candidates[0].content.parts
    calls = [part.function_call for part in parts if part.function_call]
    assert [call.args for call in calls] == [{"city": city} for city in CITIES]
    if not model.startswith("gemini/"):
        assert len({call.id for call in calls}) == 2
    if thinks and not model.startswith("openai/"):
        assert "".join(part.text for part in parts if part.thought) == THOUGHT
    results = [
        types.Part(function_response=types.FunctionResponse(id=call.id, name=call.name, response={"output": f"{number} C"}))
        for number, call in enumerate(calls)
    ]
    turns = [asked, first.candidates[0].content, types.Content(role="user", parts=results)]
    second = await turn(client, stream, model=model, contents=turns, config=config)
    assert said(second) == "Bergen: 1 C; Oslo: 0 C"


@pytest.mark.parametrize("model", [*MODELS.values(), SIGNING])
async def test_the_sdks_own_chat_calls_functions_by_itself_in_a_stream(client: genai.Client, model: str) -> None:
    """The chat keeps each piece of a stream as a turn of its own, and sends them all back."""

    def weather(city: str) -> str:
        """Says the weather of a city."""
        return f"{len(city)} C"

    thinking = types.ThinkingConfig(include_thoughts=True, thinking_budget=2048)
    chat = client.aio.chats.create(model=model, config=types.GenerateContentConfig(tools=[weather], thinking_config=thinking))
    words = [piece.text async for piece in await chat.send_message_stream("weather in Oslo and Bergen?")]
    # The SDK wraps what a function gives, and says so to the model.
    assert "".join(word or "" for word in words).endswith('Bergen: {"result": "6 C"}; Oslo: {"result": "4 C"}')
    assert len(chat.get_history(curated=True)) > 3, "the SDK found every piece valid"


@pytest.mark.parametrize("first", [*MODELS.values(), SIGNING])
async def test_a_conversation_moves_from_any_vendor_to_google(
    running: tuple[Running, FaultUpstream], client: genai.Client, first: str
) -> None:
    """D20: the bytes pass through, and Google refuses what it did not sign: foreign thoughts must not be among them."""
    upstream = running[1]
    thinking = types.ThinkingConfig(include_thoughts=True, thinking_budget=2048)
    chat = client.aio.chats.create(model=first, config=types.GenerateContentConfig(thinking_config=thinking))
    await chat.send_message("hello")
    moved = [*chat.get_history(), types.Content(role="user", parts=[types.Part(text="again")])]
    answer = await client.aio.models.generate_content(model=MODELS["gemini"], contents=moved)
    assert said(answer) == "gemini-2.5-flash heard: again"
    sent = upstream.requests[-1].json()["contents"][1]["parts"]
    assert [part["text"] for part in sent if not part.get("thought")] == [f"{first.split('/')[1]} heard: hello"]
    assert not any("thoughtSignature" in part for part in sent)
    dropped = answer.sdk_http_response.headers.get("x-hubroute-dropped")
    assert dropped == ("reasoning" if first.startswith("anthropic/") else None)


@pytest.mark.parametrize("vendor", VENDORS)
async def test_pictures_and_schemas(client: genai.Client, vendor: str) -> None:
    picture = types.Part.from_bytes(data=base64.b64decode(PIXEL), mime_type="image/png")
    answer = await turn(client, stream=False, model=MODELS[vendor], contents=[picture, "what is it?"])
    assert said(answer).endswith(f"heard: what is it? I see {'image' if vendor == 'ollama' else 'image/png'} of 69 bytes.")
    schema = types.Schema(type=types.Type.OBJECT, properties={"n": types.Schema(type=types.Type.INTEGER)}, required=["n"])
    config = types.GenerateContentConfig(response_mime_type="application/json", response_schema=schema)
    if vendor != "gemini":  # whose own form of a schema passes through, and the fake reads the other one
        assert (await turn(client, stream=False, model=MODELS[vendor], contents="how many?", config=config)).text == '{"n": 4}'


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("vendor", VENDORS)
async def test_errors_are_those_that_the_sdk_knows(client: genai.Client, vendor: str, stream: bool) -> None:
    async def fails(words: str) -> errors.APIError:
        with pytest.raises(errors.APIError) as caught:
            await turn(client, stream, model=MODELS[vendor], contents=words)
        return caught.value

    bad = await fails("fail 400")
    assert (bad.code, bad.status) == (400, "INVALID_ARGUMENT")
    assert "as you wish" in bad.message
    assert ((missing := await fails("fail 404")).code, missing.status) == (404, "NOT_FOUND")
    assert ((slow := await fails("fail 429")).code, slow.status) == (429, "RESOURCE_EXHAUSTED")


@pytest.mark.parametrize("how", ["reset", "told"])
async def test_a_stream_that_breaks_fails_in_all_of_googles_sdks(
    running: tuple[Running, FaultUpstream], client: genai.Client, how: str
) -> None:
    """REL-01. The SDK for JavaScript (Gemini CLI) sees an error only where a piece of the body is nothing else; others read events."""
    hub, upstream = running
    begun = json.dumps({"id": "c", "model": "m", "choices": [{"index": 0, "delta": {"role": "assistant", "content": "Zwölf"}}]})
    told = json.dumps({"error": {"message": "it fell over", "type": "server_error", "code": "overloaded"}})
    broken = cut_sse([begun]) if how == "reset" else sse([begun, told], end=b"", delay=0.02)
    words = "closed the connection" if how == "reset" else "it fell over"
    ask = {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]}

    upstream.answer(broken)
    path = f"/v1beta/models/{MODELS['openai']}:streamGenerateContent?alt=sse"
    async with (
        httpx.AsyncClient(base_url=hub.url, headers=await hub.headers("chat")) as plain,
        plain.stream("POST", path, json=ask, timeout=20) as got,
    ):
        pieces = [piece async for piece in got.aiter_raw()]
    alone = [json.loads(piece) for piece in pieces if piece.startswith(b"{")]
    assert len(alone) == 1
    assert words in alone[0]["error"]["message"]
    assert 500 <= alone[0]["error"]["code"] < 600
    events = [json.loads(one[6:]) for one in b"".join(pieces).split(b"\r\n\r\n") if one.startswith(b"data: ")]
    assert events[-1] == alone[0]

    upstream.answer(broken)
    with pytest.raises(errors.ServerError) as caught:
        await turn(client, stream=True, model=MODELS["openai"], contents="hello")
    assert words in caught.value.message


@pytest.mark.parametrize("version", ["v1", "v1beta"])
async def test_models_are_listed_by_pages_and_shown(running: tuple[Running, FaultUpstream], version: str) -> None:
    hub = running[0]
    client = client_of(hub.url, await hub.key("chat"), version)
    pager = await client.aio.models.list(config={"page_size": 7})
    assert len(pager.page) == 7
    names = [model.name async for model in pager]
    assert len(names) == len(set(names)) > 20
    assert "models/gemini/gemini-2.5-flash" in names
    one = await client.aio.models.get(model="gemini/gemini-2.5-flash")
    assert (one.name, one.input_token_limit) == ("models/gemini/gemini-2.5-flash", 1_048_576)
    assert "generateContent" in one.supported_actions
    with pytest.raises(errors.ClientError) as missing:
        await client.aio.models.get(model="gemini/none-such")
    assert missing.value.status == "NOT_FOUND"
    counted = await client.aio.models.count_tokens(model="gemini/gemini-2.5-flash", contents="hello over there")
    assert counted.total_tokens == 4321, "as the provider says"
    guessed = await client.aio.models.count_tokens(model=MODELS["ollama"], contents="hello over there")
    assert 4 <= guessed.total_tokens <= 20
    await client.aio.aclose()


async def test_openais_list_stays_at_its_address(running: tuple[Running, FaultUpstream]) -> None:
    hub = running[0]
    async with httpx.AsyncClient(base_url=hub.url, headers=await hub.headers("chat")) as plain:
        assert (await plain.get("/v1/models")).json()["object"] == "list"
        assert (await plain.get("/v1/models/gemini/gemini-2.5-flash")).json()["object"] == "model"


async def test_the_sync_sdk(running: tuple[Running, FaultUpstream]) -> None:
    hub = running[0]
    key = await hub.key("chat")

    def work() -> None:
        with client_of(hub.url, "sk-wrong") as stranger, pytest.raises(errors.ClientError) as refused:
            stranger.models.generate_content(model=MODELS["openai"], contents="x")
        assert (refused.value.code, refused.value.status) == (401, "UNAUTHENTICATED")
        with client_of(hub.url, key) as client:
            words = [piece.text for piece in client.models.generate_content_stream(model=MODELS["openai"], contents="hi")]
            assert "".join(word or "" for word in words) == "gpt-5.4-mini heard: hi"

    await asyncio.to_thread(work)


async def test_signed_parts_and_what_nobody_knows_pass_through_as_they_are(
    running: tuple[Running, FaultUpstream], client: genai.Client
) -> None:
    """D20: signatures and settings of Google's own go to Google as bytes."""
    hub, upstream = running
    body = {
        "contents": [
            {"role": "user", "parts": [{"text": "a"}]},
            {"role": "model", "parts": [{"text": "hm", "thoughtSignature": SIGNATURE}]},
            {"role": "user", "parts": [{"text": "b"}]},
        ],
        "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
        "generationConfig": {"thinkingConfig": {"thinkingBudget": -1}, "topK": 40.0},
    }
    async with httpx.AsyncClient(base_url=hub.url) as plain:
        key = await hub.key("chat")
        for address in ("gemini%2Fgemini-2.5-flash", "gemini/gemini-2.5-flash"):
            answer = await plain.post(
                f"/v1beta/models/{address}:generateContent?key={key}", json={**body, "model": "models/gemini/gemini-2.5-flash"}
            )
            assert answer.status_code == 200, answer.text
            assert answer.json()["candidates"][0]["content"]["parts"][0]["text"] == "gemini-2.5-flash heard: b"
            assert upstream.requests[-1].json() == body
            assert key not in upstream.requests[-1].target


async def test_a_model_that_a_client_takes_for_a_whole_resource_name(running: tuple[Running, FaultUpstream]) -> None:
    """The AI SDK of Vercel puts ``models/`` only before names without a slash."""
    hub, _ = running
    body = {"contents": [{"role": "user", "parts": [{"text": "b"}]}]}
    async with httpx.AsyncClient(base_url=hub.url, headers={"x-goog-api-key": await hub.key("chat")}, timeout=20) as plain:
        for vendor, model in MODELS.items():
            whole = await plain.post(f"/v1beta/{model}:generateContent", json=body)
            assert "heard: b" in whole.json()["candidates"][0]["content"]["parts"][0]["text"], vendor
            stream = await plain.post(f"/v1beta/{model}:streamGenerateContent?alt=sse", json=body)
            assert stream.text.startswith("data: "), vendor
