"""The older completions with OpenAI's own SDK on a real socket: as chats of every vendor, and as bytes where a provider has them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI

from hub.chat import ChatResponse, Choice, Failed, Finish, Finished, Started, Text, TextDelta, Usage, Used
from hub.errors import BadRequest
from hub.providers.completions import COMPLETIONS
from hub.providers.ollama_generate import adapter as generate
from tests.fakes import upstream as faults
from tests.fakes.doors import rows_of, vendor_hub
from tests.fakes.upstream import Behaviour, FaultUpstream, Received, json_answer, sse
from tests.fakes.vendors import MODELS
from transports._completions import StreamEncoder, decode, encode, envelope

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.fakes.hub import Running

pytestmark = pytest.mark.anyio

VENDORS = list(MODELS)
#: Prompt and generated tokens, as each vendor says it used.
USED = {"openai": (1000, 200), "anthropic": (600, 80), "gemini": (500, 100)}
NATIVE_USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


def native(request: Received) -> Behaviour:
    """A model server that has completions: fills in between prompt and suffix."""
    body = request.json()
    assert request.target == "/v1/completions", request.target
    text = f"<{body['prompt']}|{body.get('suffix', '')}>"
    head = {"id": "cmpl-native", "object": "text_completion", "created": 1, "model": body["model"], "vendor": "kept"}
    if not body.get("stream"):
        return json_answer({**head, "choices": [{"text": text, "index": 0, "finish_reason": "stop"}], "usage": NATIVE_USAGE})
    chunks = [{**head, "choices": [{"text": piece, "index": 0, "finish_reason": None}]} for piece in (text[:3], text[3:])]
    chunks.append({**head, "choices": [{"text": "", "index": 0, "finish_reason": "stop"}]})
    if body.get("stream_options", {}).get("include_usage"):
        chunks.append({**head, "choices": [], "usage": NATIVE_USAGE})
    return sse([json.dumps(chunk) for chunk in chunks])


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[tuple[Running, FaultUpstream]]:
    async with vendor_hub(tmp_path) as made:
        yield made


@pytest.fixture
async def client(running: tuple[Running, FaultUpstream]) -> AsyncIterator[AsyncOpenAI]:
    hub = running[0]
    async with AsyncOpenAI(base_url=f"{hub.url}/v1", api_key=await hub.key("chat"), max_retries=0, timeout=20) as made:
        yield made


@pytest.fixture
async def server(running: tuple[Running, FaultUpstream]) -> AsyncIterator[FaultUpstream]:
    async with FaultUpstream() as upstream:
        upstream.script(native)
        await running[0].hub.store.connections.create(
            provider="vllm", name="own", base_url=f"{upstream.url}/v1", secret="", allow_private=True
        )
        yield upstream


async def told(client: AsyncOpenAI, stream: bool, **ask: Any) -> tuple[dict[int, str], Any]:
    """The text of each choice, and the usage."""
    if not stream:
        whole = await client.completions.create(**ask)
        assert all(choice.finish_reason == "stop" for choice in whole.choices)
        return {choice.index: choice.text for choice in whole.choices}, whole.usage
    texts: dict[int, str] = {}
    usage = None
    async for chunk in await client.completions.create(stream=True, stream_options={"include_usage": True}, **ask):
        assert chunk.object == "text_completion"
        for choice in chunk.choices:
            texts[choice.index] = texts.get(choice.index, "") + choice.text
        usage = chunk.usage or usage
    return texts, usage


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("vendor", list(USED))
async def test_a_prompt_is_a_chat_of_one_turn(
    running: tuple[Running, FaultUpstream], client: AsyncOpenAI, vendor: str, stream: bool
) -> None:
    texts, usage = await told(client, stream, model=MODELS[vendor], prompt="hello", max_tokens=100)
    assert texts == {0: f"{MODELS[vendor].split('/')[1]} heard: hello"}
    assert (usage.prompt_tokens, usage.completion_tokens) == USED[vendor]
    (row,) = await rows_of(running[0])
    assert (row.door, row.outcome, row.provider, row.stream) == ("openai", "ok", vendor, stream)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_several_prompts_are_answered_as_one_and_echoed(
    running: tuple[Running, FaultUpstream], client: AsyncOpenAI, stream: bool
) -> None:
    prompts = ["one", "two", "three"]
    texts, usage = await told(client, stream, model=MODELS["openai"], prompt=prompts, echo=True)
    assert texts == {place: f"{prompt}gpt-5.4-mini heard: {prompt}" for place, prompt in enumerate(prompts)}
    assert (usage.prompt_tokens, usage.completion_tokens) == (3000, 600)
    rows = await rows_of(running[0])
    assert len(rows) == len({row.request_id for row in rows}) == 3, "each is a call of its own"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_bytes_pass_to_a_provider_that_has_completions(
    running: tuple[Running, FaultUpstream], client: AsyncOpenAI, server: FaultUpstream, stream: bool
) -> None:
    """D20: prompt and suffix as they came; the usage that nobody asked for is cut."""
    texts, usage = await told(client, stream, model="vllm/coder", prompt="def f(", suffix="return 1", extra_body={"vendor_extra": [1]})
    assert texts == {0: "<def f(|return 1>"}
    assert usage.prompt_tokens == 7
    sent = server.requests[-1].json()
    assert (sent["model"], sent["suffix"], sent["vendor_extra"]) == ("coder", "return 1", [1])
    (row,) = await rows_of(running[0])
    assert (row.usage.prompt, row.usage.output, row.provider) == (7, 3, "vllm")
    async for chunk in await client.completions.create(model="vllm/coder", prompt="x", stream=True):
        assert chunk.usage is None
        assert chunk.vendor == "kept"  # type: ignore[attr-defined]


async def test_ollamas_generate_passes_to_ollama(running: tuple[Running, FaultUpstream]) -> None:
    hub, upstream = running
    lines = [{"model": "llama3.2", "created_at": "2026-01-01T00:00:00Z", "response": "ab", "done": False}]
    last = {**lines[0], "response": "", "done": True, "done_reason": "stop", "prompt_eval_count": 4, "eval_count": 2}
    body = {"model": MODELS["ollama"], "prompt": "a", "suffix": "c", "raw": True, "template": "t", "context": [1]}
    headers = await hub.headers("chat")
    async with httpx.AsyncClient(base_url=hub.url, headers=headers) as plain:
        upstream.answer(json_answer({**last, "response": "ab"}))
        whole = await plain.post("/api/generate", json={**body, "stream": False})
        assert whole.json() == {**last, "response": "ab"}
        assert (upstream.requests[-1].target, upstream.requests[-1].json()) == (
            "/ollama/api/generate",
            {**body, "model": "llama3.2", "stream": False},
        )
        data = b"".join(json.dumps(line).encode() + b"\n" for line in (*lines, last))
        upstream.answer(faults.answer_bytes(data, headers=[("content-type", "application/x-ndjson")]))
        assert (await plain.post("/api/generate", json=body)).content == data
    rows = await rows_of(hub)
    assert [(row.usage.prompt, row.usage.output) for row in rows] == [(4, 2), (4, 2)]


async def test_what_a_chat_cannot_do_is_said(running: tuple[Running, FaultUpstream]) -> None:
    hub = running[0]
    async with httpx.AsyncClient(base_url=hub.url, headers=await hub.headers("chat")) as plain:
        answer = await plain.post(
            "/v1/completions", json={"model": MODELS["gemini"], "prompt": "x", "suffix": "y", "best_of": 3, "logit_bias": {}, "echo": True}
        )
    assert answer.json()["choices"][0]["text"] == "xgemini-2.5-flash heard: x"
    assert sorted(answer.headers["x-hubroute-dropped"].split(", ")) == ["best_of", "suffix"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "model"),
        ({"model": 5, "prompt": "x"}, "model"),
        ({"model": "m"}, "prompt"),
        ({"model": "m", "prompt": []}, "prompt"),
        ({"model": "m", "prompt": 5}, "prompt"),
        ({"model": "m", "prompt": [1, 2, 3]}, "prompt"),
        ({"model": "m", "prompt": [[1, 2], [3]]}, "prompt"),
        ({"model": "m", "prompt": ["x"] * 65}, "prompt"),
        ({"model": "m", "prompt": "x", "stream": "yes"}, "stream"),
        ({"model": "m", "prompt": "x", "max_tokens": "9"}, "max_tokens"),
        ({"model": "m", "prompt": "x", "stop": [5]}, "stop"),
        ({"model": "m", "prompt": "x", "logprobs": True}, "logprobs"),
    ],
)
def test_what_is_wrong_is_named(body: dict[str, Any], field: str) -> None:
    with pytest.raises(BadRequest) as caught:
        _both(json.dumps(body).encode())
    assert caught.value.field == field


def _both(body: bytes) -> None:
    assert envelope(body).prompts
    decode(body)


async def test_errors_are_openais(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as tokens:
        await client.completions.create(model=MODELS["openai"], prompt=[1, 2, 3])
    assert (tokens.value.param, tokens.value.type) == ("prompt", "invalid_request_error")
    for prompt in ("fail 429", ["x", "fail 429"]):
        with pytest.raises(openai.RateLimitError):
            await client.completions.create(model=MODELS["openai"], prompt=prompt)


async def test_a_stream_of_several_that_breaks_ends_with_an_error(running: tuple[Running, FaultUpstream]) -> None:
    """REL-01: the second prompt fails after the first was sent."""
    hub = running[0]
    async with httpx.AsyncClient(base_url=hub.url, headers=await hub.headers("chat"), timeout=20) as plain:
        answer = await plain.post("/v1/completions", json={"model": MODELS["openai"], "prompt": ["x", "fail 400", "y"], "stream": True})
    assert answer.status_code == 200
    lines = [line.removeprefix("data: ") for line in answer.text.split("\n") if line]
    assert "heard: x" in "".join(json.loads(line)["choices"][0]["text"] for line in lines[:-1])
    assert "as you wish" in json.loads(lines[-1])["error"]["message"]


def test_logprobs_in_the_older_form() -> None:
    given = {
        "content": [{"token": "He", "logprob": -0.5, "top_logprobs": [{"token": "He", "logprob": -0.5}]}, {"token": "y", "logprob": -1}]
    }
    answer = ChatResponse("r", "m", [Choice([Text("Hey")], Finish.LENGTH, logprobs=given)])
    (choice,) = json.loads(encode([answer], ["ab"], id="i", created=1))["choices"]
    assert (choice["text"], choice["finish_reason"]) == ("abHey", "length")
    assert choice["logprobs"] == {
        "tokens": ["He", "y"],
        "token_logprobs": [-0.5, -1],
        "top_logprobs": [{"He": -0.5}, {}],
        "text_offset": [2, 4],
    }


def test_nothing_follows_an_error_event() -> None:
    """REL-01."""
    encoder = StreamEncoder(id="i", model="m", created=1, include_usage=True)
    stream = encoder.feed([Started("r", "m"), TextDelta("a"), Used(Usage(input=1)), Failed("it broke")]) + encoder.end()
    assert json.loads(stream.split(b"\n\n")[-2][6:])["error"]["message"] == "it broke"
    assert b"[DONE]" not in stream


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_what_passed_can_be_read_for_later(size: int) -> None:
    """Kept answers are read with the adapters of their dialects, wherever the bytes were cut."""
    chunks = [{"id": "i", "choices": [{"text": word, "index": 0, "finish_reason": None}]} for word in ("a", "é日")]
    chunks.append({"id": "i", "choices": [{"text": "", "index": 0, "finish_reason": "stop"}]})
    texts = b"".join(b"data: " + json.dumps(chunk, ensure_ascii=False).encode() + b"\n\n" for chunk in chunks) + b"data: [DONE]\n\n"
    lines = b"".join(json.dumps({"response": word, "done": word == ""}, ensure_ascii=False).encode() + b"\n" for word in ("a", "é日", ""))
    for adapter, stream in ((COMPLETIONS, texts), (generate, lines)):
        decoder = adapter.reading.decoder()
        events = [event for at in range(0, len(stream), size) for event in decoder.feed(stream[at : at + size])] + decoder.end()
        assert "".join(event.text for event in events if isinstance(event, TextDelta)) == "aé日"
        assert [event.reason for event in events if isinstance(event, Finished)] == [Finish.STOP]
