"""The WebSocket door over real sockets: the websockets library as client, and bytes by hand where no library would send them."""

from __future__ import annotations

import asyncio
import json
import logging
import resource
import struct
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from tests.fakes import upstream as faults
from tests.fakes import vendor
from tests.fakes.hub import Running, running_hub
from tests.fakes.upstream import FaultUpstream
from tests.fakes.vendor import chunk, completion, good, stream
from tests.fakes.websocket import RawClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.anyio

PAYLOAD = {"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": "Hi"}]}


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    async with running_hub(tmp_path, socket_requests=8) as hub:
        yield hub


@pytest.fixture
async def upstream(running: Running) -> AsyncIterator[FaultUpstream]:
    async with FaultUpstream() as server:
        server.answer(good())
        await vendor.connect(running, server, data={"format": "openai"})
        yield server


@asynccontextmanager
async def opened(running: Running, *, key: str | None = None, **options: Any) -> AsyncIterator[ClientConnection]:
    """A socket with a key of its own in its headers."""
    headers = {"authorization": f"Bearer {key or await running.key()}", **options.pop("headers", {})}
    async with connect(f"ws{running.url.removeprefix('http')}/v1/ws", additional_headers=headers, proxy=None, **options) as made:
        yield made


def request(name: str, **payload: Any) -> str:
    return json.dumps({"type": "request", "id": name, "payload": {**PAYLOAD, **payload}})


async def frame(client: ClientConnection) -> dict[str, Any]:
    return json.loads(await asyncio.wait_for(client.recv(), 10))


async def until(client: ClientConnection, *kinds: str) -> list[dict[str, Any]]:
    """Frames up to the first of these kinds."""
    found = [await frame(client)]
    while found[-1]["type"] not in kinds:
        found.append(await frame(client))
    return found


async def _asked(client: ClientConnection, name: str) -> dict[str, Any]:
    await client.send(request(name))
    return await frame(client)


async def rows(running: Running) -> list[Any]:
    await running.hub.store.flush()
    found, _ = await running.hub.store.usage.page(limit=50, offset=0)
    return found


async def test_a_plain_get_says_how_to_use_it(running: Running) -> None:
    async with httpx.AsyncClient(base_url=running.url, headers=await running.headers()) as client:
        told = await client.get("/v1/ws", params={"handshake": "1"})
        assert told.status_code == 200
        body = told.json()
        assert (body["ok"], body["path"], body["wsAuth"], body["authenticated"], body["authType"]) == (
            True,
            "/v1/ws",
            True,
            True,
            "api_key",
        )
        assert set(body["protocol"]["request"]) >= {"type", "id", "payload"}
        assert body["protocol"]["cancel"] == {"type": "cancel", "id": body["protocol"]["request"]["id"]}
        refused = await client.get("/v1/ws")
        assert (refused.status_code, refused.headers["upgrade"]) == (426, "websocket")
        assert refused.json()["error"]["code"] == "upgrade_required"
        assert refused.json()["protocol"] == body["protocol"]


async def test_the_example_of_the_handshake_document_works(running: Running) -> None:
    """What the document shows is sent as it stands, and the demo provider answers."""
    async with httpx.AsyncClient(base_url=running.url, headers=await running.headers()) as http:
        example = (await http.get("/v1/ws?handshake=1")).json()["protocol"]["request"]
    async with opened(running) as client:
        await client.send(json.dumps(example))
        frames = await until(client, "done", "error")
    assert [one["type"] for one in (frames[0], frames[1], frames[-1])] == ["start", "delta", "done"]


async def test_a_whole_answer_passes_as_it_came(running: Running, upstream: FaultUpstream) -> None:
    """D20: the provider's bytes, and after them what they cost."""
    async with opened(running) as client:
        await client.send(request("a", vendor_extra={"kept": [1, 2.50]}))
        answer, done = await until(client, "done")
    assert (answer["type"], answer["id"], answer["data"]) == ("response", "a", completion())
    assert upstream.requests[0].json() == {**PAYLOAD, "model": "gpt-4o-mini", "vendor_extra": {"kept": [1, 2.50]}}
    row = (await rows(running))[0]
    assert (row.door, row.outcome, row.request_id) == ("ws", "ok", done["request_id"])
    assert done["usage"]["prompt_tokens"] == 100
    assert done["usage"]["prompt_tokens_details"] == {"cached_tokens": 40}
    assert done["cost"] == pytest.approx(row.cost)
    assert (done["provider"], done["model"]) == ("openai", "gpt-4o-mini")


async def test_a_stream_is_deltas_and_a_done_with_usage(running: Running, upstream: FaultUpstream) -> None:
    upstream.answer(stream("Hel", "lo 日本"))
    async with opened(running) as client:
        await client.send(request("s", stream=True))
        frames = await until(client, "done", "error")
    assert frames[0]["type"] == "start"
    assert (frames[0]["provider"], frames[0]["model"]) == ("openai", "gpt-4o-mini")
    text = "".join(one["data"]["choices"][0]["delta"].get("content", "") for one in frames[1:-1])
    assert text == "Hello 日本"
    assert frames[-1]["usage"]["total_tokens"] == 120
    assert {one["id"] for one in frames} == {"s"}


async def test_requests_in_other_dialects(running: Running, upstream: FaultUpstream) -> None:
    """An address in the frame: the payload is that of the door there, and so is the answer."""
    async with opened(running) as client:
        body = {"model": "openai/gpt-4o-mini", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
        await client.send(json.dumps({"type": "request", "id": "m", "path": "/v1/messages", "payload": body}))
        answer, _ = await until(client, "done", "error")
        assert answer["data"]["content"][0]["text"] == "Hello from upstream"
        upstream.answer(stream("Hi"))
        asked = {"model": "openai/gpt-4o-mini", "input": "Hi", "stream": True}
        await client.send(json.dumps({"type": "request", "id": "r", "path": "/v1/responses", "payload": asked}))
        frames = await until(client, "done", "error")
        assert frames[1]["event"] == frames[1]["data"]["type"] == "response.created"
        assert frames[-2]["event"] == "response.completed"
        assert frames[-1]["usage"]["total_tokens"] == 120
        await client.send(json.dumps({"type": "request", "id": "k", "path": "/api/keys", "payload": {"name": "more"}}))
        assert (await frame(client))["error"]["param"] == "path"


async def test_errors_are_openai_s_and_end_only_their_request(running: Running, upstream: FaultUpstream) -> None:
    upstream.answer(faults.json_answer({"error": {"message": "no such thing", "code": "bad"}}, status=400), good())
    async with opened(running) as client:
        await client.send(request("x"))
        failed = await frame(client)
        assert (failed["type"], failed["id"], failed["status"]) == ("error", "x", 400)
        assert failed["error"]["message"].endswith("no such thing")
        await client.send(json.dumps({"type": "request", "id": "y", "payload": {"messages": []}}))
        assert (await frame(client))["error"]["type"] == "invalid_request_error"
        await client.send(request("z"))
        assert (await until(client, "done", "error"))[-1]["type"] == "done"


@pytest.mark.parametrize(
    ("sent", "name", "words"),
    [
        ("not json", None, "frame"),
        ("[]", None, "frame"),
        ('{"type": "request"}', None, "frame"),
        ('{"type": "request", "id": 7, "payload": {}}', None, "frame"),
        ('{"type": "request", "id": "", "payload": {}}', None, "id"),
        ('{"type": "hello", "id": "a"}', "a", "type"),
        ('{"type": "request", "id": "a", "payload": {}, "headers": {"Authorization": "Bearer x"}}', "a", "headers"),
        ('{"type": "cancel", "id": "never begun"}', "never begun", "id"),
    ],
)
async def test_a_frame_that_is_none_is_told_so_and_the_socket_stands(running: Running, sent: str, name: str | None, words: str) -> None:
    """REL-20: cancel for an unknown id, among others."""
    async with opened(running) as client:
        await client.send(sent)
        answer = await frame(client)
        assert (answer["type"], answer["id"], answer["error"]["param"]) == ("error", name, words)
        await client.send(json.dumps({"type": "request", "id": "after", "payload": {**PAYLOAD, "model": "demo"}}))
        assert (await until(client, "done", "error"))[-1]["type"] == "done"


async def test_cancel_ends_the_upstream_call_within_a_second(running: Running, upstream: FaultUpstream) -> None:
    """REL-06 over a socket: usage recorded once, marked cancelled; another request of the same socket goes on."""
    upstream.answer(faults.sse([chunk({"content": "first"})], end=b"", then="open"), good())
    async with opened(running) as client:
        await client.send(request("long", stream=True))
        await until(client, "delta")
        upstream.closed.clear()
        await client.send(json.dumps({"type": "cancel", "id": "long"}))
        assert (await until(client, "cancelled"))[-1]["id"] == "long"
        assert await upstream.closed_by_client(1)
        await client.send(json.dumps({"type": "cancel", "id": "long"}))
        assert (await frame(client))["error"]["code"] == "unknown_request"
        await client.send(request("next"))
        assert (await until(client, "done", "error"))[-1]["type"] == "done"
    found = await rows(running)
    assert sorted(row.outcome for row in found) == ["cancelled", "ok"]
    assert next(row for row in found if row.outcome == "cancelled").usage.estimated


async def test_a_client_that_leaves_ends_all_its_calls(running: Running, upstream: FaultUpstream) -> None:
    """REL-06."""
    upstream.answer(faults.silent())
    async with opened(running) as client:
        await client.send(request("a"))
        await client.send(request("b"))
        await upstream.received(2)
        client.transport.abort()
    async with asyncio.timeout(2):
        while upstream.open:
            await asyncio.sleep(0.01)
    assert [row.outcome for row in await rows(running)] == ["cancelled", "cancelled"]


async def test_many_requests_share_a_socket_up_to_its_bound(running: Running, upstream: FaultUpstream) -> None:
    upstream.answer(faults.silent())
    async with opened(running) as client:
        for number in range(8):
            await client.send(request(f"r{number}"))
        await upstream.received(8)
        await client.send(request("r0"))
        again = await frame(client)
        assert (again["id"], again["status"]) == ("r0", 409)
        await client.send(request("more"))
        refused = await frame(client)
        assert (refused["id"], refused["status"], refused["retry_after"]) == ("more", 429, 1)
        await client.send(json.dumps({"type": "cancel", "id": "r0"}))
        assert (await frame(client))["type"] == "cancelled"
        upstream.answer(good())
        await client.send(request("more"))
        assert (await until(client, "done", "error"))[-1]["type"] == "done"


async def test_ten_thousand_requests_on_one_socket(running: Running, upstream: FaultUpstream) -> None:
    """REL-20: answers keep their ids, nothing is left behind."""
    total, done = 10_000, 0
    async with opened(running, max_queue=64) as client:
        for number in range(8):
            await client.send(request(str(number)))
        sent, seen = 8, set[str]()
        async with asyncio.timeout(120):
            while done < total:
                answer = json.loads(await client.recv())
                assert answer["type"] in ("response", "done"), answer
                if answer["type"] == "done":
                    done += 1
                    seen.add(answer["id"])
                    if sent < total:
                        await client.send(request(str(sent)))
                        sent += 1
        async with opened(running) as other:
            await other.send(request("other"))
            assert (await until(other, "done", "error"))[-1]["type"] == "done"
    assert len(seen) == total
    assert running.hub.kept["ws.rows"].wanted == {}


async def test_a_stream_that_breaks_off_ends_in_an_error(running: Running, upstream: FaultUpstream) -> None:
    """REL-01: never a silent end."""
    upstream.answer(faults.cut_sse([chunk({"content": "part"})]))
    async with opened(running) as client:
        await client.send(request("b", stream=True))
        frames = await until(client, "done", "error")
    assert frames[-1]["type"] == "error"
    assert frames[-1]["error"]["code"]
    assert (await rows(running))[0].outcome == "error"


async def test_a_reader_that_is_slow_holds_back_the_upstream_and_nobody_else(running: Running, upstream: FaultUpstream) -> None:
    """REL-07 over a socket: a stream of 64 MB that nobody reads does not come into the hub."""
    word, sent = "x" * 60_000, 0

    async def flood(exchange: faults.Exchange) -> None:
        nonlocal sent
        await exchange.head(headers=[("content-type", "text/event-stream")])
        for _ in range(1100):
            await exchange.chunk(f"data: {chunk({'content': word})}\n\n".encode())
            sent += len(word)
        await exchange.chunk(b"data: [DONE]\n\n")
        await exchange.chunk(b"")

    upstream.answer(faults.Behaviour(flood), good())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    reader = await RawClient.open(running, buffer=32 * 1024)
    await reader.text(request("slow", stream=True))
    await upstream.received(1)
    last = -1
    while sent != last:
        last = sent
        await asyncio.sleep(0.3)
    assert sent < 20_000_000, "the upstream was read without an end"
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < 50
    async with opened(running) as client:
        await client.send(request("quick"))
        assert (await until(client, "done", "error"))[-1]["type"] == "done"
    reader.close()
    async with asyncio.timeout(5):
        while (await rows(running))[-1].outcome != "cancelled":
            await asyncio.sleep(0.05)


# -- who may


async def test_no_key_or_a_wrong_one_is_refused_before_the_socket_opens(running: Running, caplog: pytest.LogCaptureFixture) -> None:
    """SEC-01; a key in the query is not taken, and not logged either (SEC-22)."""
    key = await running.key()
    address = f"ws{running.url.removeprefix('http')}/v1/ws"
    with caplog.at_level(logging.DEBUG, "hub"), caplog.at_level(logging.DEBUG, "transports"), caplog.at_level(logging.DEBUG, "uvicorn"):
        logging.getLogger("websockets").setLevel(logging.CRITICAL)  # the client in this process logs what it sends
        for url, headers in (
            (address, {}),
            (address, {"authorization": "Bearer hr_wrong"}),
            (f"{address}?api_key={key}", {}),
            (f"{address}?key={key}&access_token={key}", {"x-api-key": "hr_wrong"}),
        ):
            with pytest.raises(InvalidStatus) as refused:
                await connect(url, additional_headers=headers, proxy=None)
            answer = refused.value.response
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert json.loads(answer.body or b"")["error"]["code"] == "invalid_api_key"
        async with opened(running, key=key) as client:
            await client.send(json.dumps({"type": "request", "id": "a", "payload": {**PAYLOAD, "model": "demo"}}))
            await until(client, "done")
    logged = "\n".join(f"{record.getMessage()} {record.__dict__}" for record in caplog.records)
    assert key not in logged
    assert key[4:] not in logged


@pytest.mark.parametrize(
    "headers",
    [{"origin": "https://evil.example"}, {"origin": "null"}, {"origin": "http://127.0.0.1.evil.example"}, {"host": "evil.example"}],
)
async def test_foreign_pages_get_no_socket_even_with_a_key(running: Running, headers: dict[str, str]) -> None:
    """SEC-07: the handshake checks Origin and Host."""
    raw = await RawClient.handshake(running, await running.key(), headers)
    assert raw.status == 403
    raw.close()


async def test_a_page_of_the_hub_brings_its_key_as_a_subprotocol(running: Running) -> None:
    """Browsers cannot send headers here; the key is never chosen, and so never sent back."""
    key = await running.key()
    offered = [Subprotocol("hubroute.v1"), Subprotocol(f"openai-insecure-api-key.{key}")]
    address = f"ws{running.url.removeprefix('http')}/v1/ws"
    async with connect(address, subprotocols=offered, origin=running.url, proxy=None) as client:  # type: ignore[arg-type]
        assert client.subprotocol == "hubroute.v1"
        assert client.response is not None
        assert key not in str(client.response.headers)
        await client.send(json.dumps({"type": "request", "id": "a", "payload": {**PAYLOAD, "model": "demo"}}))
        assert (await until(client, "done", "error"))[-1]["type"] == "done"
    with pytest.raises(InvalidStatus):
        await connect(address, subprotocols=[Subprotocol("openai-insecure-api-key.hr_wrong")], proxy=None)


async def test_a_key_without_the_scope_gets_no_socket(running: Running) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with opened(running, key=await running.key("read:health")):
            pass
    assert refused.value.response.status_code == 403


async def test_a_key_that_is_revoked_ends_its_socket(running: Running, upstream: FaultUpstream) -> None:
    """What is at work is finished, nothing new is taken."""
    key, secret = await running.hub.store.keys.create("short", grants=("chat",))
    async with opened(running, key=secret) as client, opened(running) as other:
        await client.send(request("a"))
        await until(client, "done")
        await running.hub.store.keys.revoke(key.id)
        with pytest.raises(ConnectionClosed) as closed:
            await _asked(client, "b")
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1008
        await other.send(request("c"))
        assert (await until(other, "done", "error"))[-1]["type"] == "done"
    assert len(upstream.requests) == 2


async def test_limits_of_the_key_count_each_request(running: Running, upstream: FaultUpstream) -> None:
    from hub.records import KeyLimits

    key = await running.key("chat", limits=KeyLimits(per_minute=2))
    async with opened(running, key=key) as client:
        for name in ("a", "b", "c"):
            await client.send(request(name))
            last = (await until(client, "done", "error"))[-1]
        assert (last["type"], last["status"]) == ("error", 429)
        assert last["retry_after"] > 0
    assert len(upstream.requests) == 2


async def test_there_is_a_most_of_sockets(tmp_path: Path) -> None:
    async with running_hub(tmp_path, max_sockets=1) as running, opened(running):
        with pytest.raises(InvalidStatus) as refused:
            async with opened(running):
                pass
        assert (refused.value.response.status_code, refused.value.response.headers["retry-after"]) == (503, "10")


# -- frames by hand


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([(0x09, b"part")], 1002),
        ([(0x81 | 0x40, b"reserved bit")], 1002),
        ([(0x83, b"opcode")], 1002),
        ([(0x80, b"continues nothing")], 1002),
        ([(0x01, b"begun"), (0x81, b"another inside")], 1002),
        ([(0x89, b"x" * 126)], 1002),
        ([(0x81, b"\xff\xfe")], 1007),
        ([(0x82, b"binary")], 1003),
        ([(0x88, b"\x03")], 1002),
    ],
    ids=[
        "fragmented-control",
        "reserved-bit",
        "opcode",
        "stray-continuation",
        "nested",
        "long-control",
        "utf-8",
        "binary",
        "close-of-one-byte",
    ],
)
async def test_what_breaks_the_protocol_is_closed_with_its_code(running: Running, frames: list[tuple[int, bytes]], code: int) -> None:
    """REL-20, RFC 6455 sections 5 and 7.4; other sockets are fine."""
    async with opened(running) as other:
        raw = await RawClient.open(running)
        for first, payload in frames:
            await raw.send(first, payload)
        assert await raw.close_code() == code
        await raw.send(0x88, struct.pack("!H", code))
        assert await raw.gone(3)
        raw.close()
        await other.send(json.dumps({"type": "request", "id": "a", "payload": {**PAYLOAD, "model": "demo"}}))
        assert (await until(other, "done", "error"))[-1]["type"] == "done"


async def test_a_message_in_fragments_with_a_ping_between_them_is_one(running: Running) -> None:
    """RFC 6455, 5.4: control frames may come inside a fragmented message."""
    raw = await RawClient.open(running)
    words = json.dumps({"type": "cancel", "id": "none"}).encode()
    await raw.send(0x01, words[:10])
    await raw.send(0x89, b"are you there")
    await raw.send(0x80, words[10:])
    assert await raw.frame() == (10, b"are you there")
    opcode, answer = await raw.frame()
    assert (opcode, json.loads(answer)["error"]["code"]) == (1, "unknown_request")
    raw.close()


async def test_a_frame_of_100_mb_is_refused_by_its_length(running: Running) -> None:
    """REL-08: 1009 before its bytes are taken."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    raw = await RawClient.open(running)
    await raw.send(0x81, b"{", length=100 * 1024 * 1024)
    assert await raw.close_code() == 1009
    raw.close()
    again = await RawClient.open(running)
    piece = b"x" * 1024 * 1024
    await again.send(0x01, piece)
    assert await again.refused(0x00, piece, times=99)
    again.close()
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < 50


async def test_a_client_that_answers_no_ping_is_dropped(tmp_path: Path) -> None:
    """REL-20, half-open: the calls of a client that is not there any more end with its socket, those of others go on."""
    async with running_hub(tmp_path, socket_ping_seconds=0.2) as running, FaultUpstream() as upstream:
        upstream.answer(faults.silent())
        await vendor.connect(running, upstream)
        raw = await RawClient.open(running)
        await raw.text(request("lost"))
        await upstream.received(1)
        async with opened(running) as other:
            opcode, _ = await raw.frame()
            assert opcode == 9
            assert await raw.close_code() == 1011
            async with asyncio.timeout(3):
                while upstream.open:
                    await asyncio.sleep(0.02)
            await asyncio.sleep(0.5)
            await other.send(json.dumps({"type": "request", "id": "a", "payload": {**PAYLOAD, "model": "demo"}}))
            assert (await until(other, "done", "error"))[-1]["type"] == "done"
        raw.close()


async def test_pings_whose_answers_are_not_read_end_the_socket(running: Running) -> None:
    """Nothing unbounded (SEC B8): answers to pings are not piled up."""
    raw = await RawClient.open(running, buffer=16 * 1024)
    assert await raw.refused(0x89, b"x" * 125, times=1_000_000)
    raw.close()


async def test_a_socket_on_which_nothing_happens_is_closed(tmp_path: Path) -> None:
    async with running_hub(tmp_path, socket_idle_seconds=0.2) as running, opened(running) as client:
        with pytest.raises(ConnectionClosed) as closed:
            await frame(client)
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1000, "nothing happened here for too long")


async def test_a_hub_that_stops_finishes_what_it_can_and_says_1001(tmp_path: Path) -> None:
    """REL-16: a running answer may be finished, an idle socket closes at once."""
    async with FaultUpstream() as upstream:
        upstream.answer(faults.sse(vendor.chunks("a", "b", "c"), delay=0.05))
        async with running_hub(tmp_path, shutdown_seconds=5.0) as running:
            await vendor.connect(running, upstream)
            async with opened(running) as busy, opened(running) as idle:
                await busy.send(request("a", stream=True))
                await until(busy, "delta")
                running.hub.stop()
                assert (await until(busy, "done", "error"))[-1]["type"] == "done"
                for client in (busy, idle):
                    with pytest.raises(ConnectionClosed) as closed:
                        await frame(client)
                    assert closed.value.rcvd is not None
                    assert closed.value.rcvd.code == 1001


async def test_plain_requests_that_ask_for_a_socket_elsewhere_are_served(running: Running) -> None:
    """RFC 9110, 7.8: an upgrade that is not offered is no reason to refuse."""
    async with httpx.AsyncClient(base_url=running.url, headers=await running.headers()) as client:
        asks = {
            "upgrade": "websocket",
            "connection": "Upgrade",
            "sec-websocket-version": "13",
            "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA==",
        }
        assert (await client.get("/health", headers=asks)).status_code == 200
        assert (await client.post("/v1/ws", headers=asks)).status_code == 405
        assert (await client.get("/v1/ws", headers={"upgrade": "h2c", "connection": "Upgrade"})).status_code == 426
