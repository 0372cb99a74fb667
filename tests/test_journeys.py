"""The main job on real input: stock clients on real sockets, several vendors behind the hub, every call priced and recorded."""

from __future__ import annotations

import asyncio
import json
import warnings
from collections import Counter
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import fastmcp
import httpx
import httpx2
import mcp
import openai
import pytest
from fastmcp.client.transports import StreamableHttpTransport
from google.protobuf.json_format import MessageToDict
from mcp.client.sse import sse_client
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from openai import AsyncOpenAI, OpenAI

from tests.fakes.command import COMMAND, environment, serving
from tests.fakes.command import answer as command_answer
from tests.fakes.database import postgres_database
from tests.fakes.hub import Running, impatient, running_hub
from tests.fakes.upstream import FaultUpstream
from tests.fakes.vendors import BASES, CITIES, KEY, MODELS, PIXEL, THOUGHT, answer

with warnings.catch_warnings():
    # The SDK's imports are its own affair; our warnings stay errors.
    warnings.simplefilter("ignore")
    from a2a.client import A2ACardResolver, ClientConfig, ClientFactory
    from a2a.helpers import new_text_part
    from a2a.types import Message, Role, SendMessageRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

pytestmark = pytest.mark.anyio

VENDORS = list(MODELS)
#: Dollars of one call: what each vendor says it used, at its list price, worked out by hand.
COSTS = {
    "openai": (600 * 0.75 + 400 * 0.075 + 200 * 4.5) / 1e6,
    "anthropic": (100 * 3 + 300 * 0.3 + 150 * 3.75 + 50 * 6 + 80 * 15) / 1e6,
    "gemini": (300 * 0.3 + 200 * 0.03 + 100 * 2.5) / 1e6,
}
#: Prompt tokens with cached ones, generated tokens with thinking.
TOKENS = {"openai": (1000, 200), "anthropic": (600, 80), "gemini": (500, 100), "ollama": (30, 12)}
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Says the weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False},
    },
}


async def connect_vendors(running: Running, upstream: FaultUpstream, *vendors: str) -> None:
    for vendor in vendors or VENDORS:
        await running.hub.store.connections.create(
            provider=vendor,
            name=f"my {vendor}",
            base_url=upstream.url + BASES[vendor],
            secret="" if vendor == "ollama" else KEY,
            allow_private=True,
        )


@pytest.fixture
async def upstream() -> AsyncIterator[FaultUpstream]:
    async with FaultUpstream() as server:
        server.script(answer)
        yield server


@pytest.fixture
async def running(tmp_path: Path, upstream: FaultUpstream) -> AsyncIterator[Running]:
    async with running_hub(tmp_path) as hub:
        await connect_vendors(hub, upstream)
        await impatient(hub)
        yield hub


@pytest.fixture
async def client(running: Running) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{running.url}/v1", api_key=await running.key("chat"), max_retries=0, timeout=20) as made:
        yield made


async def rows_of(running: Running) -> list[Any]:
    await running.hub.store.flush()
    rows, _ = await running.hub.store.usage.page(limit=100, offset=0)
    return rows


def asks(words: str) -> list[Any]:
    return [{"role": "user", "content": words}]


@pytest.mark.parametrize("vendor", VENDORS)
async def test_openai_sdk_gets_a_priced_answer(running: Running, client: AsyncOpenAI, vendor: str) -> None:
    raw = await client.chat.completions.with_raw_response.create(
        model=MODELS[vendor], messages=[{"role": "system", "content": "be brief"}, *asks("hello")]
    )
    said = raw.parse()
    model = MODELS[vendor].split("/")[1]
    assert said.choices[0].message.content == f"{model} heard: hello [be brief]"
    assert said.choices[0].finish_reason == "stop"
    assert said.usage is not None
    assert (said.usage.prompt_tokens, said.usage.completion_tokens, said.usage.total_tokens) == (*TOKENS[vendor], sum(TOKENS[vendor]))
    assert (raw.headers["x-omniroute-provider"], raw.headers["x-omniroute-model"]) == (vendor, model)
    (row,) = await rows_of(running)
    assert (row.usage.prompt, row.usage.output) == TOKENS[vendor]
    assert row.cost == (pytest.approx(COSTS[vendor], rel=1e-12) if vendor in COSTS else None)
    assert raw.headers.get("x-omniroute-response-cost") == (f"{COSTS[vendor]:.10f}" if vendor in COSTS else None)
    assert (row.door, row.outcome, row.status, row.provider, row.model) == ("openai", "ok", 200, vendor, model)
    decision = await running.hub.store.decisions.get(raw.headers["x-request-id"])
    assert decision is not None
    assert (decision.provider, decision.model, decision.cost, decision.key_id) == (vendor, model, row.cost, row.key_id)
    assert [(one.kind, one.status) for one in decision.attempts] == [("ok", 200)]


@pytest.mark.parametrize("vendor", VENDORS)
async def test_openai_sdk_streams(running: Running, client: AsyncOpenAI, vendor: str) -> None:
    stream = await client.chat.completions.create(
        model=MODELS[vendor], messages=asks("hello"), stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    words = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(words) == f"{MODELS[vendor].split('/')[1]} heard: hello"
    assert sum(bool(word) for word in words) > 2, "it came in pieces"
    assert chunks[-1].usage is not None
    assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == TOKENS[vendor]
    assert {chunk.id for chunk in chunks} == {chunks[0].id}
    (row,) = await rows_of(running)
    assert row.cost == (pytest.approx(COSTS[vendor], rel=1e-12) if vendor in COSTS else None)
    assert row.stream
    assert row.ttft_ms is not None


async def _turn(client: AsyncOpenAI, stream: bool, **ask: Any) -> Any:
    """One message of the assistant; a stream is put together by the SDK itself."""
    if not stream:
        return (await client.chat.completions.create(**ask)).choices[0]
    async with client.chat.completions.stream(**ask) as events:
        async for _ in events:
            pass
        return (await events.get_final_completion()).choices[0]


@pytest.mark.parametrize("thinks", [False, True], ids=["plain", "thinking"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("model", [*MODELS.values(), "gemini/gemini-3-flash-preview"])
async def test_openai_sdk_runs_a_tool_loop(client: AsyncOpenAI, model: str, stream: bool, thinks: bool) -> None:
    """The vendors refuse a lost id, a lost signature, arguments that are no object, and results in a wrong place."""
    ask: dict[str, Any] = {"model": model, "tools": [WEATHER], **({"reasoning_effort": "low"} if thinks else {})}
    messages = asks("weather in Oslo and Bergen?")
    first = await _turn(client, stream, messages=messages, **ask)
    assert first.finish_reason == "tool_calls"
    calls = first.message.tool_calls
    assert [json.loads(call.function.arguments) for call in calls] == [{"city": city} for city in CITIES]
    assert len({call.id for call in calls}) == 2
    if thinks and not model.startswith("openai/"):
        assert first.message.reasoning_content == THOUGHT
    results = [{"role": "tool", "tool_call_id": call.id, "content": f"{number} C"} for number, call in enumerate(calls)]
    second = await _turn(client, stream, messages=[*messages, first.message, *results], **ask)
    assert (second.finish_reason, second.message.content) == ("stop", "Bergen: 1 C; Oslo: 0 C")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("vendor", VENDORS)
async def test_openai_sdk_shows_a_picture(client: AsyncOpenAI, vendor: str, stream: bool) -> None:
    parts = [
        {"type": "text", "text": "what is it?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
    ]
    said = await _turn(client, stream, model=MODELS[vendor], messages=[{"role": "user", "content": parts}])
    kind = "image" if vendor == "ollama" else "image/png"
    assert said.message.content.endswith(f"heard: what is it? I see {kind} of 69 bytes.")


@pytest.mark.parametrize("vendor", VENDORS)
async def test_openai_sdk_parses_a_schema(client: AsyncOpenAI, vendor: str) -> None:
    from pydantic import BaseModel

    class Weather(BaseModel):
        celsius: int
        wind: int

    said = await client.chat.completions.parse(model=MODELS[vendor], messages=asks("weather?"), response_format=Weather)
    assert said.choices[0].message.parsed == Weather(celsius=4, wind=4)


@pytest.mark.parametrize(
    ("vendor", "dropped"),
    [
        ("openai", None),
        ("anthropic", {"seed", "n", "logit_bias"}),
        ("gemini", {"logit_bias", "user"}),
        ("ollama", {"n", "user", "logit_bias"}),
    ],
)
async def test_what_a_vendor_cannot_carry_is_named(client: AsyncOpenAI, vendor: str, dropped: set[str] | None) -> None:
    """D20: nothing is left out in silence."""
    extra: dict[str, Any] = {} if vendor == "openai" else {"logit_bias": {"1": 2}, "n": 2}
    raw = await client.chat.completions.with_raw_response.create(model=MODELS[vendor], messages=asks("x"), seed=7, user="u1", **extra)
    named = raw.headers.get("x-hubroute-dropped")
    assert (set(named.split(", ")) if named else None) == dropped
    stream = await client.chat.completions.with_raw_response.create(
        model=MODELS[vendor], messages=asks("x"), seed=7, user="u1", stream=True, **extra
    )
    assert stream.headers.get("x-hubroute-dropped") == named
    async for _ in stream.parse():
        pass


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("vendor", VENDORS)
async def test_errors_are_the_classes_that_the_sdk_has_for_them(client: AsyncOpenAI, vendor: str, stream: bool) -> None:
    async def fails(words: str) -> openai.APIStatusError:
        with pytest.raises(openai.APIStatusError) as caught:
            await client.chat.completions.create(model=MODELS[vendor], messages=asks(words), stream=stream)
        return caught.value

    bad = await fails("fail 400")
    assert isinstance(bad, openai.BadRequestError)
    assert "as you wish" in bad.message
    missing = await fails("fail 404")
    assert isinstance(missing, openai.NotFoundError)
    slow = await fails("fail 429")
    assert isinstance(slow, openai.RateLimitError)
    if vendor != "ollama":
        assert slow.response.headers["retry-after"] == "7"
    again = await fails("hello")
    assert isinstance(again, openai.RateLimitError), "the connection cools down"
    assert 1 <= int(again.response.headers["retry-after"]) <= 8 or vendor == "ollama"
    assert again.type == "rate_limit_error"


async def test_sync_sdk_its_keys_its_models_and_its_retries(running: Running, upstream: FaultUpstream) -> None:
    base, key = f"{running.url}/v1", await running.key("chat")

    def work() -> None:
        with OpenAI(base_url=base, api_key="sk-wrong", max_retries=0) as stranger:
            for call in (stranger.models.list, lambda: stranger.chat.completions.create(model="x", messages=asks("x"))):
                with pytest.raises(openai.AuthenticationError) as refused:
                    call()
                assert (refused.value.code, refused.value.type) == ("invalid_api_key", "authentication_error")
        with OpenAI(base_url=base, api_key=key, max_retries=0) as client:
            found = {model.id for model in client.models.list()}
            assert {MODELS["openai"], MODELS["anthropic"], MODELS["gemini"]} <= found
            assert client.models.retrieve(MODELS["anthropic"]).owned_by == "anthropic"
            with pytest.raises(openai.NotFoundError) as unknown:
                client.models.retrieve("nobody/nothing")
            assert (unknown.value.code, unknown.value.param, unknown.value.type) == ("model_not_found", "model", "invalid_request_error")
            with pytest.raises(openai.NotFoundError):
                client.embeddings.create(model="x", input="x")
            with pytest.raises(openai.BadRequestError) as wrong:
                client.chat.completions.create(model=MODELS["anthropic"], messages=[{"role": "user", "content": 5}])  # type: ignore[typeddict-item]
            assert wrong.value.param == "messages.0.content"
            pieces = client.chat.completions.create(model=MODELS["anthropic"], messages=asks("hi"), stream=True)
            words = "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)
            assert words == "claude-sonnet-4-5 heard: hi"
        with OpenAI(base_url=base, api_key=key, max_retries=2) as patient:
            said = patient.chat.completions.create(model=MODELS["openai"], messages=asks("hi"))
            assert said.choices[0].message.content == "gpt-5.4-mini heard: hi"

    await asyncio.to_thread(work)


async def test_wrong_vendor_key_is_the_owners_trouble_and_said_so(running: Running, client: AsyncOpenAI) -> None:
    connection = next(one for one in running.hub.store.connections.all() if one.provider == "anthropic")
    await running.hub.store.connections.update(connection.id, secret="sk-of-nobody-0000")
    with pytest.raises(openai.AuthenticationError) as refused:
        await client.chat.completions.create(model=MODELS["anthropic"], messages=asks("x"))
    assert "Anthropic answered 401" in refused.value.message
    assert "sk-of-nobody" not in refused.value.message
    with pytest.raises(openai.APIStatusError) as again:
        await client.chat.completions.create(model=MODELS["anthropic"], messages=asks("x"))
    assert "expired" in again.value.message


async def test_bare_model_and_auto_find_their_way(running: Running, client: AsyncOpenAI) -> None:
    for model in ("claude-sonnet-4-5", "gemini-2.5-flash", "gpt-5.4-mini"):
        said = await client.chat.completions.create(model=model, messages=asks("hi"))
        assert said.choices[0].message.content == f"{model} heard: hi"
    said = await client.chat.completions.create(model="auto", messages=asks("hi"))
    assert said.choices[0].message.content is not None
    assert Counter(row.outcome for row in await rows_of(running)) == {"ok": 4}


ROUTE = "omniroute_route_request"
REPORT = "omniroute_cost_report"


@asynccontextmanager
async def mcp_client(running: Running, token: str, kind: str) -> AsyncIterator[Any]:
    """A stock MCP client over one transport of the hub; ``auto`` speaks the newest revision, ``legacy`` shakes hands."""
    bearer = {"authorization": f"Bearer {token}"}
    async with httpx2.AsyncClient(headers=bearer, timeout=20) as http:
        if kind == "sse":
            client: Any = mcp.Client(sse_client(f"{running.url}/api/mcp/sse", headers=bearer), mode="legacy")
        elif kind == "fastmcp":
            client = fastmcp.Client(StreamableHttpTransport(f"{running.url}/api/mcp/stream", headers=bearer))
        else:
            client = mcp.Client(streamable_http_client(f"{running.url}/api/mcp/stream", http_client=http), mode=kind)
        async with client as connected:
            yield connected


@pytest.mark.parametrize("kind", ["auto", "legacy", "sse", "fastmcp"])
async def test_mcp_clients_route_and_see_the_bill(running: Running, kind: str) -> None:
    token = await running.key("operator")
    async with mcp_client(running, token, kind) as client:
        listed = await client.list_tools()
        tools = {tool.name: tool for tool in (listed if isinstance(listed, list) else listed.tools)}
        assert {ROUTE, REPORT, "omniroute_check_quota", "omniroute_get_health", "omniroute_explain_route"} <= set(tools)
        for vendor in VENDORS:
            said = await client.call_tool(ROUTE, {"model": MODELS[vendor], "messages": [{"role": "user", "content": "hello"}]})
            found = said.structured_content
            assert found["response"]["content"] == f"{MODELS[vendor].split('/')[1]} heard: hello"
            assert (found["response"]["tokens"]["prompt"], found["response"]["tokens"]["completion"]) == TOKENS[vendor]
            assert found["routing"]["cost"] == (pytest.approx(COSTS[vendor], rel=1e-12) if vendor in COSTS else None)
            why = (await client.call_tool("omniroute_explain_route", {"requestId": found["routing"]["requestId"]})).structured_content
            assert why["decision"]["providerSelected"] == vendor
        await running.hub.store.flush()
        bill = (await client.call_tool(REPORT, {"period": "day"})).structured_content
        assert bill["totalCost"] == pytest.approx(sum(COSTS.values()), rel=1e-9)
        assert (bill["requestCount"], bill["unpricedRequests"]) == (4, 1)
        assert {row["name"] for row in bill["byProvider"]} == set(VENDORS)
    rows = await rows_of(running)
    assert {(row.door, row.outcome) for row in rows} == {("mcp", "ok")}
    audit = await _audit(running)
    assert audit["smart-routing", "ok"] == 4
    assert audit["cost-report", "ok"] == 1


async def _audit(running: Running) -> Counter[tuple[str, str]]:
    await running.hub.store.flush()
    rows = await running.hub.store._database.read(lambda link: link.run("SELECT skill, outcome FROM audit_log"))
    return Counter((row["skill"], row["outcome"]) for row in rows)


@pytest.mark.parametrize("kind", ["auto", "legacy", "sse", "fastmcp"])
async def test_mcp_clients_are_told_what_went_wrong(running: Running, kind: str) -> None:
    token = await running.key("mcp:connect", "execute:completions")
    async with mcp_client(running, token, kind) as client:
        quiet = {"raise_on_error": False} if kind == "fastmcp" else {}
        slow = await client.call_tool(ROUTE, {"model": MODELS["gemini"], "messages": [{"role": "user", "content": "fail 429"}]}, **quiet)
        assert slow.is_error
        assert "answered 429" in slow.content[0].text
        wrong = await client.call_tool(ROUTE, {"messages": []}, **quiet)
        assert wrong.is_error
        assert "messages" in wrong.content[0].text
        with pytest.raises(Exception, match="Unknown tool"):
            await client.call_tool(REPORT, {"period": "day"})
    row = (await rows_of(running))[0]
    assert (row.outcome, row.status, row.cost, row.provider) == ("error", 429, 0.0, "gemini")


@pytest.mark.parametrize("card", ["/.well-known/agent-card.json", "rest", "/.well-known/agent.json"], ids=["jsonrpc", "rest", "0.3"])
@pytest.mark.parametrize("streaming", [False, True], ids=["send", "stream"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning:a2a.*")
async def test_a2a_client_routes_and_sees_the_bill(running: Running, card: str, streaming: bool) -> None:
    async with httpx.AsyncClient(headers=await running.headers("operator"), timeout=20) as http:
        path = "/.well-known/agent-card.json" if card == "rest" else card
        found = await A2ACardResolver(http, running.url).get_agent_card(path)
        binding = "HTTP+JSON" if card == "rest" else "JSONRPC"
        agent = ClientFactory(ClientConfig(httpx_client=http, streaming=streaming, supported_protocol_bindings=[binding])).create(found)
        for number, vendor in enumerate(VENDORS):
            text, metadata = await _a2a_ask(agent, f"m{number}", "hello", {"skill": "smart-routing", "model": MODELS[vendor]})
            assert text == f"{MODELS[vendor].split('/')[1]} heard: hello"
            actual = metadata["cost_envelope"]["actual"] if vendor in COSTS else None
            assert actual == (pytest.approx(COSTS[vendor], rel=1e-9) if vendor in COSTS else None)
        await running.hub.store.flush()
        text, metadata = await _a2a_ask(agent, "bill", "What did I spend today?", {})
        assert text.startswith(f"${sum(COSTS.values()):.4f} for 4 requests (day). 1 requests have no known price.")
        assert metadata["totalCost"] == pytest.approx(sum(COSTS.values()), rel=1e-9)
    rows = await rows_of(running)
    assert [(row.door, row.outcome, row.stream) for row in rows] == [("a2a", "ok", streaming)] * 4


async def _a2a_ask(agent: Any, identity: str, text: str, metadata: dict[str, Any]) -> tuple[str, Any]:
    """Text of the artifacts, and metadata of the task's end."""
    message = Message(message_id=identity, role=Role.ROLE_USER, parts=[new_text_part(text)])
    message.metadata.update(metadata)
    words, last = "", None
    async for event in agent.send_message(SendMessageRequest(message=message)):
        if event.HasField("artifact_update"):
            words += "".join(part.text for part in event.artifact_update.artifact.parts)
        elif event.HasField("task"):
            words += "".join(part.text for artifact in event.task.artifacts for part in artifact.parts)
            last = event.task.metadata
        elif event.HasField("status_update"):
            last = event.status_update.metadata
    return words, MessageToDict(last)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """Settings for child processes: one file, or an empty PostgreSQL database."""
    with postgres_database(empty=True) if request.param == "postgresql" else nullcontext("") as url:
        yield {"HUBROUTE_DATABASE_URL": url}


async def test_a_new_users_first_hour(tmp_path: Path, upstream: FaultUpstream, database: dict[str, str]) -> None:
    """The real commands, each in a process of its own, beside a hub that serves; then all clients, and the bill."""
    data = tmp_path / "data"

    async def run(*args: str, **more: str) -> Any:
        return await asyncio.to_thread(command_answer, data, *args, **database, **more)

    with serving(data, first=True, **database) as served:

        async def add(vendor: str) -> Any:
            key = () if vendor == "ollama" else ("--api-key", KEY)
            return await run("providers", "add", vendor, *key, "--base-url", upstream.url + BASES[vendor], "--allow-private")

        made, *added = await asyncio.gather(run("keys", "create", "app", "--scopes", "operator"), *map(add, VENDORS))
        assert [one["provider"] for one in added] == VENDORS
        tested = await run("providers", "test")
        assert [(one["provider"], one["valid"], one["models"]) for one in tested] == [(vendor, True, 1) for vendor in sorted(VENDORS)]
        await asyncio.sleep(1.0)  # the promise: in effect within a second (D24)
        await _every_door(served.url, made["key"], stdio=(data, database))
        bill = await run("call", "cost-report", '{"period": "day"}')
        assert bill["totalCost"] == pytest.approx(2 * COSTS["anthropic"] + COSTS["gemini"] + COSTS["openai"], rel=1e-9)
        assert (bill["requestCount"], bill["unpricedRequests"], bill["errorCount"]) == (4, 0, 0)
        assert await asyncio.to_thread(served.stop) == 0
    assert (await run("call", "cost-report", '{"period": "day"}'))["totalCost"] == bill["totalCost"]


async def _every_door(url: str, token: str, *, stdio: tuple[Path, dict[str, str]]) -> None:
    """One call through each: OpenAI whole and streaming, A2A, and MCP over a child process's pipes."""
    async with AsyncOpenAI(base_url=f"{url}/v1", api_key=token, max_retries=0, timeout=20) as client:
        said = await client.chat.completions.create(model="claude-sonnet-4-5", messages=asks("hi"))
        assert said.choices[0].message.content == "claude-sonnet-4-5 heard: hi"
        stream = await client.chat.completions.create(model=MODELS["gemini"], messages=asks("hi"), stream=True)
        pieces = [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]
        assert "".join(pieces) == "gemini-2.5-flash heard: hi"
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {token}"}, timeout=20) as http:
        card = await A2ACardResolver(http, url).get_agent_card()
        agent = ClientFactory(ClientConfig(httpx_client=http, streaming=True)).create(card)
        text, _ = await _a2a_ask(agent, "m1", "hi", {"skill": "smart-routing", "model": MODELS["anthropic"]})
        assert text == "claude-sonnet-4-5 heard: hi"
    data, database = stdio
    program = mcp.StdioServerParameters(command=COMMAND[0], args=[*COMMAND[1:], "mcp"], env=environment(data, **database), cwd=data.parent)
    with (data.parent / "mcp.log").open("w") as log:
        async with mcp.Client(stdio_client(program, errlog=log)) as client:
            said = await client.call_tool(ROUTE, {"model": MODELS["openai"], "messages": [{"role": "user", "content": "hi"}]})
            assert said.structured_content is not None
            assert said.structured_content["response"]["content"] == "gpt-5.4-mini heard: hi"
