"""The Realtime door end to end: OpenAI's SDK and the websockets library as clients, a provider of conversations on loopback."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import openai
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from hub.money.budgets import Budget
from hub.records import KeyLimits
from tests.fakes.hub import Running, impatient, running_hub
from tests.fakes.realtime import USAGE, RealtimeUpstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from websockets.asyncio.server import ServerConnection

pytestmark = pytest.mark.anyio

SECRET = "sk-upstream-secret-0001"
MODEL = "openai/gpt-realtime"
#: gpt-realtime, dollars per million tokens: text in, cached and out, sound in, cached and out.
COST = (80 * 4 + 20 * 0.4 + 30 * 16 + 160 * 32 + 40 * 0.4 + 50 * 64) / 1e6


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    async with running_hub(tmp_path, connect_timeout=3.0) as hub:
        await impatient(hub)
        yield hub


@pytest.fixture
async def upstream(running: Running) -> AsyncIterator[RealtimeUpstream]:
    async with RealtimeUpstream() as server:
        await join(running, server)
        yield server


async def join(running: Running, upstream: RealtimeUpstream, provider: str = "openai", **fields: Any) -> None:
    number = len(running.hub.store.connections.all()) + 1
    options = {"name": f"up{number}", "secret": f"sk-upstream-secret-{number:04}", "allow_private": True, "priority": number, **fields}
    await running.hub.store.connections.create(provider=provider, base_url=upstream.url, **options)


@asynccontextmanager
async def opened(running: Running, *, key: str | None = None, model: str = MODEL, **options: Any) -> AsyncIterator[ClientConnection]:
    headers = {"authorization": f"Bearer {key or await running.key()}", **options.pop("headers", {})}
    url = f"ws{running.url.removeprefix('http')}/v1/realtime?model={model}"
    async with connect(url, additional_headers=headers, proxy=None, **options) as made:
        yield made


async def event(client: ClientConnection) -> dict[str, Any]:
    return json.loads(await asyncio.wait_for(client.recv(), 10))


async def until(client: ClientConnection, *kinds: str) -> list[dict[str, Any]]:
    found = [await event(client)]
    while found[-1]["type"] not in kinds:
        found.append(await event(client))
    return found


async def create(client: ClientConnection) -> None:
    await client.send('{"type": "response.create"}')


async def closed_with(client: ClientConnection) -> tuple[int | None, str | None]:
    """Read to the end; with what it was closed."""
    async with asyncio.timeout(10):
        try:
            while True:
                await client.recv()
        except ConnectionClosed:
            return client.close_code, client.close_reason


async def refused(running: Running, **options: Any) -> Any:
    with pytest.raises(InvalidStatus) as found:
        async with opened(running, **options):
            pass
    return found.value.response


async def rows(running: Running, skill: str = "realtime") -> list[Any]:
    await running.hub.store.flush()
    found, _ = await running.hub.store.usage.page(limit=50, offset=0)
    return [row for row in found if row.skill == skill]


async def test_openai_s_sdk_holds_a_conversation(running: Running, upstream: RealtimeUpstream) -> None:
    """The client's own path: connect, update the session, ask, read to the end; each answer is a priced row."""
    sdk = openai.AsyncOpenAI(base_url=f"{running.url}/v1", api_key=await running.key())
    async with sdk, sdk.realtime.connect(model=MODEL, websocket_connection_options={"proxy": None}) as talk:  # type: ignore[arg-type]
        await talk.session.update(session={"type": "realtime", "output_modalities": ["audio"], "instructions": "Be brief."})
        await talk.conversation.item.create(item={"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hello"}]})
        await talk.response.create()
        kinds: list[str] = []
        async with asyncio.timeout(10):
            async for one in talk:
                kinds.append(one.type)
                if one.type == "response.done":
                    assert one.response.usage is not None
                    assert one.response.usage.total_tokens == 380
                    break
    assert kinds == [
        "session.created", "session.updated", "response.created", "response.output_audio.delta", "response.output_text.delta",
        "response.done",
    ]  # fmt: skip
    assert [one["type"] for one in upstream.events] == ["session.update", "conversation.item.create", "response.create"]
    row = (await rows(running))[0]
    assert (row.door, row.provider, row.model, row.outcome, row.requested_model) == ("realtime", "openai", "gpt-realtime", "ok", MODEL)
    assert (row.usage.input, row.usage.cache_read, row.usage.output) == (240, 60, 80)
    assert row.cost == pytest.approx(COST)
    session = (await rows(running, "realtime-session"))[0]
    assert (session.outcome, session.cost, session.usage.total) == ("ok", 0.0, 0)


async def test_what_goes_to_the_provider(running: Running, upstream: RealtimeUpstream) -> None:
    """The model's own name, the connection's key, the dialect's headers; nothing else of the client's (SEC-14, no token passed on)."""
    key = await running.key()
    headers = {"openai-beta": "realtime=v1", "openai-safety-identifier": "u1", "openai-organization": "org-x", "cookie": "a=b"}
    async with opened(running, key=key, headers=headers) as client:
        await event(client)
    sent = upstream.requests[0]
    assert sent.path == "/v1/realtime?model=gpt-realtime"
    assert sent.headers["authorization"] == f"Bearer {SECRET}"
    assert (sent.headers["openai-beta"], sent.headers["openai-safety-identifier"]) == ("realtime=v1", "u1")
    for name in ("openai-organization", "cookie", "origin", "sec-websocket-protocol", "content-type"):
        assert name not in sent.headers
    assert key not in str(sent.headers)


async def test_a_browser_brings_key_and_preview_as_subprotocols(running: Running, upstream: RealtimeUpstream) -> None:
    key = await running.key()
    offered = [Subprotocol(one) for one in ("realtime", f"openai-insecure-api-key.{key}", "openai-beta.realtime-v1")]
    url = f"ws{running.url.removeprefix('http')}/v1/realtime?model={MODEL}"
    async with connect(url, subprotocols=offered, origin=running.url, proxy=None) as client:  # type: ignore[arg-type]
        assert client.subprotocol == "realtime"
        await event(client)
    assert upstream.requests[0].headers["openai-beta"] == "realtime=v1"
    assert key not in str(upstream.requests[0].headers)
    with pytest.raises(InvalidStatus):
        await connect(url, subprotocols=offered, origin="https://evil.example", proxy=None)  # type: ignore[arg-type]


async def test_messages_pass_both_ways_as_they_are(running: Running, upstream: RealtimeUpstream) -> None:
    """D20: texts to the byte, binary as binary, events that nobody knows yet."""
    async with opened(running) as client:
        await event(client)
        odd = '{ "type":"vendor.new" , "n": 1.50, "u":"\\u00e9 日本", "model":"x" }'
        await client.send(odd)
        await client.send("not json at all")
        await client.send(b"\x00\xff\x01")
        assert await asyncio.wait_for(client.recv(), 5) == b"\x00\xff\x01"
    assert upstream.raw[0] == odd


@pytest.mark.parametrize(
    ("provider", "model", "path", "header"),
    [
        ("xai", "xai/grok-voice-think-fast-1.0", "/v1/realtime?model=grok-voice-think-fast-1.0", "authorization"),
        ("azure-openai", "azure-openai/my-deployment", "/openai/v1/realtime?model=my-deployment", "api-key"),
    ],
)
async def test_other_providers_have_it_at_their_own_address(running: Running, provider: str, model: str, path: str, header: str) -> None:
    async with RealtimeUpstream() as upstream:
        await join(running, upstream, provider, data={"resource": "r", "api_version": "v"})
        async with opened(running, model=model) as client:
            await event(client)
        assert upstream.requests[0].path == path
        assert SECRET in upstream.requests[0].headers[header]


# -- who cannot have one


@pytest.mark.parametrize(
    ("model", "status", "code"),
    [
        ("", 400, "bad_request"),
        ("x" * 201, 400, "bad_request"),
        ("nobody/gpt-realtime", 404, "model_not_found"),
        ("openai/gpt-4o-mini", 400, "model_not_supported"),
        ("anthropic/claude-sonnet-4-5", 400, "model_not_supported"),
        ("groq/no-such-voice", 503, "not_configured"),
    ],
)
async def test_a_model_that_has_no_conversations_is_refused_at_the_handshake(
    running: Running, upstream: RealtimeUpstream, model: str, status: int, code: str
) -> None:
    answer = await refused(running, model=model)
    error = json.loads(answer.body)["error"]
    assert (answer.status_code, error["code"], error["param"]) == (status, code, "model")
    assert upstream.requests == []


async def test_who_may_not_gets_none(running: Running, upstream: RealtimeUpstream, caplog: pytest.LogCaptureFixture) -> None:
    """SEC-01, allow-lists of models, scopes; and a key in the address is neither taken nor logged."""
    key = await running.key()
    with caplog.at_level(logging.INFO):
        assert (await refused(running, key="hr_wrong")).status_code == 401
        assert (await refused(running, key="hr_wrong", model=f"{MODEL}&api_key={key}")).status_code == 401
    assert key not in caplog.text
    listed = await running.key("chat", allowed_models=("openai/gpt-4o*",))
    answer = await refused(running, key=listed)
    assert (answer.status_code, json.loads(answer.body)["error"]["param"]) == (403, "model")
    assert (await refused(running, key=await running.key("read:health"))).status_code == 403
    async with httpx.AsyncClient(base_url=running.url, headers={"authorization": f"Bearer {key}"}) as http:
        plain = await http.get("/v1/realtime", params={"model": MODEL})
        assert (plain.status_code, plain.headers["upgrade"]) == (426, "websocket")
    assert upstream.requests == []


async def test_a_private_address_needs_the_connection_s_switch(running: Running) -> None:
    """SEC-10, SEC-15: the one way out checks the address of a WebSocket, too."""
    async with RealtimeUpstream() as upstream:
        await join(running, upstream, allow_private=False)
        answer = await refused(running)
        assert answer.status_code == 502
        assert "private" in json.loads(answer.body)["error"]["message"]
        assert upstream.requests == []


async def test_a_connection_behind_a_proxy_is_not_gone_around(running: Running, upstream: RealtimeUpstream) -> None:
    """REL-21: no WebSocket beside the proxy; the next connection takes it, and with none it is refused."""
    async with RealtimeUpstream() as behind:
        await join(running, behind, priority=0, proxy="http://127.0.0.1:9")
        async with opened(running) as client:
            await event(client)
        assert behind.requests == []
    assert len(upstream.requests) == 1


async def test_a_refusal_goes_on_to_the_next_connection(running: Running, upstream: RealtimeUpstream) -> None:
    """Upstream refuses the handshake, is not there, or accepts and answers no HTTP: each a failed attempt, then the next."""
    upstream.refuse = (429, {"error": {"message": "slow down", "code": "rate_limit_exceeded"}})
    # Bound and not listening: nobody else can get its port meanwhile.
    dead = socket.socket()
    dead.bind(("127.0.0.1", 0))
    dead_port = dead.getsockname()[1]
    await running.hub.store.connections.create(
        provider="openai", base_url=f"http://127.0.0.1:{dead_port}/v1", name="dead", secret=SECRET, allow_private=True, priority=2
    )
    async with RealtimeUpstream() as second:
        await join(running, second)
        async with opened(running) as client:
            assert (await event(client))["type"] == "session.created"
        assert len(second.requests) == 1
        session = (await rows(running, "realtime-session"))[0]
        assert (session.fallbacks, session.outcome) == (2, "ok")
        decision = await running.hub.store.decisions.get(session.request_id)
        assert [attempt.kind for attempt in decision.attempts][-1] == "ok"
    dead.close()


async def test_nobody_left_is_a_clear_refusal(running: Running, upstream: RealtimeUpstream) -> None:
    """The provider's own status and words, its key masked (SEC-25)."""
    upstream.refuse = (403, {"error": {"message": f"key {SECRET} may not", "type": "permission_error", "code": "no"}})
    answer = await refused(running)
    assert answer.status_code == 403
    message = json.loads(answer.body)["error"]["message"]
    assert "may not" in message
    assert SECRET not in message


async def test_an_echo_of_our_key_is_masked_in_events(running: Running, upstream: RealtimeUpstream) -> None:
    """SEC-25."""

    async def talk(connection: ServerConnection) -> None:
        await upstream.say(connection, "error", error={"message": f"wrong key {SECRET}"})
        await connection.wait_closed()

    upstream.talk = talk
    async with opened(running) as client:
        said = await event(client)
    assert said["error"]["message"] == "wrong key [masked]"


# -- ends


async def test_the_provider_s_close_code_reaches_the_client(running: Running, upstream: RealtimeUpstream) -> None:
    async def talk(connection: ServerConnection) -> None:
        await upstream.say(connection, "session.created", session={})
        await connection.close(3008, "session expired")

    upstream.talk = talk
    async with opened(running) as client:
        assert await closed_with(client) == (3008, "session expired")


async def test_a_provider_that_is_cut_off_is_told_as_a_failure(running: Running, upstream: RealtimeUpstream) -> None:
    async def talk(connection: ServerConnection) -> None:
        await upstream.say(connection, "session.created", session={})
        connection.transport.abort()

    upstream.talk = talk
    async with opened(running) as client:
        assert (await closed_with(client))[0] == 1011


async def test_the_client_s_close_code_reaches_the_provider(running: Running, upstream: RealtimeUpstream) -> None:
    async with opened(running) as client:
        await event(client)
        await client.close(4001, "done")
    await asyncio.wait_for(upstream.ended.wait(), 3)
    assert upstream.closed[0][0] == 4001


async def test_a_client_that_vanishes_inside_an_answer_pays_for_what_came(running: Running, upstream: RealtimeUpstream) -> None:
    """REL-06, D22: the provider's socket ends within a second, usage is recorded once, by estimate, marked cancelled."""

    async def talk(connection: ServerConnection) -> None:
        await upstream.say(connection, "session.created", session={})
        await upstream.say(connection, "response.created", response={"id": "r"})
        for _ in range(10):
            await upstream.say(connection, "response.output_audio.delta", response_id="r", delta="A" * 6400)
        await connection.wait_closed()

    upstream.talk = talk
    async with opened(running) as client:
        for _ in range(12):
            await event(client)
        client.transport.abort()
        await asyncio.wait_for(upstream.ended.wait(), 1)
    found = await rows(running)
    assert [(row.outcome, row.usage.estimated) for row in found] == [("cancelled", True)]
    assert 15 <= found[0].usage.output <= 30
    assert found[0].cost > 0


async def test_answers_that_fail_or_are_called_off_are_rows_of_their_own(running: Running, upstream: RealtimeUpstream) -> None:
    async def talk(connection: ServerConnection) -> None:
        await upstream.answer(connection, "a", status="cancelled")
        await upstream.answer(connection, "b", status="failed", status_details={"error": {"message": "overloaded"}})
        await upstream.answer(connection, "c")
        upstream.usage = None
        await upstream.answer(connection, "d")
        await upstream.say(connection, "response.done", response={"id": "never begun", "usage": USAGE})
        await connection.wait_closed()

    upstream.talk = talk
    async with opened(running) as client:
        for _ in range(17):
            await event(client)
    found = await rows(running)
    assert sorted(row.outcome for row in found) == ["cancelled", "error", "ok", "ok"]
    assert sum(row.usage.estimated for row in found) == 1
    assert all(row.cost > 0 for row in found)


async def test_writing_down_what_was_said_is_charged_as_its_own_model(running: Running, upstream: RealtimeUpstream) -> None:
    async def talk(connection: ServerConnection) -> None:
        session = {"audio": {"input": {"transcription": {"model": "gpt-4o-mini-transcribe"}}}}
        await upstream.say(connection, "session.updated", session=session)
        used = {"type": "tokens", "input_tokens": 100, "output_tokens": 10, "input_token_details": {"text_tokens": 100, "audio_tokens": 0}}
        await upstream.say(connection, "conversation.item.input_audio_transcription.completed", transcript="hi", usage=used)
        await connection.wait_closed()

    upstream.talk = talk
    async with opened(running) as client:
        await until(client, "conversation.item.input_audio_transcription.completed")
    row = (await rows(running))[0]
    assert (row.model, row.usage.input, row.usage.output) == ("gpt-4o-mini-transcribe", 100, 10)
    assert row.cost == pytest.approx((100 * 3 + 10 * 5) / 1e6)


async def test_a_provider_that_floods_a_client_that_does_not_read_is_held_back(running: Running, upstream: RealtimeUpstream) -> None:
    """REL-07: back-pressure reaches the provider."""
    sent = 0

    async def talk(connection: ServerConnection) -> None:
        nonlocal sent
        for _ in range(1000):
            await upstream.say(connection, "vendor.noise", data="x" * 60_000)
            sent += 60_000

    upstream.talk = talk
    from tests.fakes.websocket import RawClient

    raw = await RawClient.handshake(running, await running.key(), buffer=32 * 1024, path=f"/v1/realtime?model={MODEL}")
    assert raw.status == 101
    last = -1
    while sent != last:
        last = sent
        await asyncio.sleep(0.3)
    assert sent < 30_000_000
    raw.close()
    await asyncio.wait_for(upstream.ended.wait(), 5)


# -- limits


async def test_a_budget_that_is_spent_ends_the_conversation(running: Running, upstream: RealtimeUpstream) -> None:
    """D22: each answer holds the most that it can cost; the one that the money does not cover ends the session with an event."""
    upstream.limit = 100
    key, secret = await running.hub.store.keys.create("poor", grants=("chat",))
    await running.hub.budgets.put(key.id, Budget(daily_limit_usd=0.05))
    async with opened(running, key=secret) as client:
        answers = 0
        await event(client)
        while True:
            await create(client)
            last = (await until(client, "response.done", "error"))[-1]
            if last["type"] == "error":
                break
            answers += 1
        assert (last["error"]["type"], last["error"]["code"]) == ("rate_limit_error", "budget_exceeded")
        assert (await closed_with(client))[0] == 1013
    assert 1 <= answers <= 0.05 / COST
    state = await running.hub.budgets.state(key.id)
    found = await rows(running)
    spent = sum(row.cost for row in found if row.outcome == "ok")
    assert spent <= 0.05
    assert spent == pytest.approx(answers * COST)
    assert state.held == 0
    assert [row.error_code for row in found if row.outcome == "error"] == ["budget_exceeded"]
    await asyncio.wait_for(upstream.ended.wait(), 2)


async def test_a_budget_with_nothing_left_refuses_the_handshake(running: Running, upstream: RealtimeUpstream) -> None:
    key, secret = await running.hub.store.keys.create("broke", grants=("chat",))
    await running.hub.budgets.put(key.id, Budget(daily_limit_usd=0.001))
    running.hub.budgets.charge(key.id, 0.001)
    answer = await refused(running, key=secret)
    assert (answer.status_code, json.loads(answer.body)["error"]["code"]) == (429, "budget_exceeded")
    assert upstream.requests == []


async def test_each_answer_counts_against_the_key_s_limits(running: Running, upstream: RealtimeUpstream) -> None:
    key = await running.key("chat", limits=KeyLimits(per_minute=3))
    async with opened(running, key=key) as client:
        await event(client)
        for _ in range(2):
            await create(client)
            assert (await until(client, "response.done", "error"))[-1]["type"] == "response.done"
        await create(client)
        assert (await until(client, "response.done", "error"))[-1]["error"]["code"] == "key_rate_exceeded"
        assert (await closed_with(client))[0] == 1013


async def test_a_revoked_key_ends_the_conversation(running: Running, upstream: RealtimeUpstream) -> None:
    key, secret = await running.hub.store.keys.create("short", grants=("chat",))
    async with opened(running, key=secret) as client:
        await event(client)
        await running.hub.store.keys.revoke(key.id)
        assert (await closed_with(client))[0] == 1008
    await asyncio.wait_for(upstream.ended.wait(), 2)


async def test_silence_on_both_sides_ends_it(tmp_path: Path) -> None:
    async with running_hub(tmp_path, socket_idle_seconds=0.3) as running, RealtimeUpstream() as upstream:
        await join(running, upstream)
        async with opened(running) as client:
            assert (await closed_with(client))[0] == 1000
        await asyncio.wait_for(upstream.ended.wait(), 2)


async def test_a_hub_that_stops_says_1001_to_both_sides(tmp_path: Path) -> None:
    async with RealtimeUpstream() as upstream:
        async with running_hub(tmp_path, shutdown_seconds=3.0) as running:
            await join(running, upstream)
            async with opened(running) as client:
                await event(client)
                running.hub.stop()
                assert (await closed_with(client))[0] == 1001
        assert upstream.closed[0][0] == 1001
