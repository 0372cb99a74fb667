"""The hot engine against an upstream that misbehaves: what failed, when, and what is left behind."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from typing import TYPE_CHECKING

import pytest

from hub.outbound.base import Fault, Limits, Origin, OutboundError, Timeouts
from hub.outbound.client import Outbound
from hub.outbound.exchange import Answer
from hub.outbound.http1 import Ages
from tests.fakes import upstream as fake

if TYPE_CHECKING:
    from hub.outbound.address import Resolver
    from hub.outbound.base import Outgoing
    from tests.fakes.upstream import Behaviour, FaultUpstream

pytestmark = pytest.mark.anyio

SHORT = Timeouts(connect=2.0, first_byte=0.2, idle=0.2, write=0.3)


async def fetch(outbound: Outbound, request: Outgoing) -> tuple[int, bytes]:
    incoming = await outbound.send(request)
    try:
        return incoming.status, await incoming.read()
    finally:
        await incoming.close()


async def failure(outbound: Outbound, request: Outgoing) -> OutboundError:
    with pytest.raises(OutboundError) as caught:
        await fetch(outbound, request)
    return caught.value


def pool(outbound: Outbound) -> dict[str, object]:
    return dict(outbound.stats()["pools"][0])


async def settled(outbound: Outbound) -> bool:
    """Every slot is free."""
    return pool(outbound)["active"] == 0 and pool(outbound)["waiting"] == 0


# -- answers that are right


async def test_request_as_sent(upstream: FaultUpstream, outbound: Outbound) -> None:
    status, body = await fetch(outbound, upstream.outgoing(b'{"a":1}', target="/v1/x?y=z", headers=[(b"Authorization", b"Bearer k")]))
    assert (status, json.loads(body)) == (200, {"ok": True})
    (seen,) = upstream.requests
    assert (seen.method, seen.target, seen.body) == ("POST", "/v1/x?y=z", b'{"a":1}')
    assert seen.headers == {
        "host": f"127.0.0.1:{upstream.port}",
        "authorization": "Bearer k",
        "accept-encoding": "identity",
        "content-length": "7",
    }


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 3_000_000])
async def test_bodies_of_any_size_both_ways(upstream: FaultUpstream, outbound: Outbound, size: int) -> None:
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    upstream.answer(fake.answer_bytes(body))
    for _ in range(2):
        assert await fetch(outbound, upstream.outgoing(body)) == (200, body)
    assert [request.body == body for request in upstream.requests] == [True, True]
    assert upstream.connections == 1


async def test_connection_is_reused(upstream: FaultUpstream, outbound: Outbound) -> None:
    for _ in range(5):
        await fetch(outbound, upstream.outgoing())
    assert upstream.connections == 1
    assert pool(outbound) | {"opened": 1, "reused": 4, "idle": 1, "active": 0} == pool(outbound)


async def test_header_names_are_lower_case_and_values_trimmed(upstream: FaultUpstream, outbound: Outbound) -> None:
    head = b"HTTP/1.1 200 OK\r\nX-One:  a b \t\r\nX-Empty:\r\nSet-Cookie: a\r\nset-cookie: b\r\nContent-Length: 0\r\n\r\n"
    upstream.answer(fake.raw(head))
    incoming = await outbound.send(upstream.outgoing())
    assert incoming.headers == [
        (b"x-one", b"a b"),
        (b"x-empty", b""),
        (b"set-cookie", b"a"),
        (b"set-cookie", b"b"),
        (b"content-length", b"0"),
    ]
    assert await incoming.read() == b""


@pytest.mark.parametrize(
    ("behaviour", "body", "kept"),
    [
        (fake.until_close(b"to the end"), b"to the end", False),
        (fake.after_informational(b"late"), b"late", True),
        (fake.raw(b"HTTP/1.1 204 No Content\r\n\r\n"), b"", True),
        (fake.raw(b"HTTP/1.1 304 Not Modified\r\ncontent-length: 50\r\n\r\n"), b"", True),
        (fake.raw(b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nhi"), b"hi", False),
        (fake.raw(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi", then="hold"), b"hi", False),
        (fake.raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n1;x=y\r\n!\r\n0\r\nt: x\r\n\r\n"), b"hi!", True),
        (fake.raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n", b"0\r\n\r\n", delay=0.02), b"hi", True),
        (fake.drip(b"hello", every=0.002, head=True), b"hello", True),
        (fake.raw(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi and more"), b"hi", False),
        (fake.raw(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\n"), b"hi", False),
    ],
)
async def test_framings(upstream: FaultUpstream, outbound: Outbound, behaviour: Behaviour, body: bytes, kept: bool) -> None:
    """REL-03. A connection is kept only when its next byte cannot belong to this answer."""
    upstream.answer(behaviour)
    assert (await fetch(outbound, upstream.outgoing()))[1] == body
    assert pool(outbound)["idle"] == int(kept)
    assert await settled(outbound)


async def test_head_request_has_no_body(upstream: FaultUpstream, outbound: Outbound) -> None:
    upstream.answer(fake.raw(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n"))
    assert await fetch(outbound, upstream.outgoing(b"", method="HEAD")) == (200, b"")


async def test_redirects_are_answers(upstream: FaultUpstream, outbound: Outbound) -> None:
    """SEC-12."""
    upstream.answer(fake.answer_bytes(b"", status=302, headers=[("location", "http://169.254.169.254/")]))
    incoming = await outbound.send(upstream.outgoing())
    assert incoming.status == 302
    await incoming.close()
    assert len(upstream.requests) == 1


async def test_events_arrive_as_they_are_sent(upstream: FaultUpstream, outbound: Outbound) -> None:
    upstream.answer(fake.sse(["one", "two"], delay=0.03))
    incoming = await outbound.send(upstream.outgoing())
    assert [piece async for piece in incoming] == [b"data: one\n\n", b"data: two\n\n", b"data: [DONE]\n\n"]
    assert upstream.connections == 1
    assert pool(outbound)["idle"] == 1


async def test_answer_outlives_its_connection(upstream: FaultUpstream, outbound: Outbound) -> None:
    """A whole answer nobody has read yet does not keep the connection from the next request."""
    first = await outbound.send(upstream.outgoing())
    second = await outbound.send(upstream.outgoing())
    assert (await first.read(), await second.read()) == (b'{"ok": true}', b'{"ok": true}')
    assert upstream.connections == 1


# -- faults

STARTED = [
    (fake.reset_after_head(), Fault.TRUNCATED),
    (fake.cut(b"x" * 1000, at=500), Fault.TRUNCATED),
    (fake.cut("ü".encode() * 10, at=3, then="close"), Fault.TRUNCATED),
    (fake.cut_sse(["one"], last=b'data: {"half'), Fault.TRUNCATED),
    (fake.cut_sse(["one", "[DONE]"], then="close"), Fault.TRUNCATED),
    (fake.raw(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort", then="close"), Fault.TRUNCATED),
    (fake.bad_chunks(), Fault.MALFORMED_ANSWER),
    (fake.head_then_silent(), Fault.IDLE_TIMEOUT),
    (fake.head_then_silent(body=b"some"), Fault.IDLE_TIMEOUT),
    (fake.drip(b"hello", every=1.0), Fault.IDLE_TIMEOUT),
    (fake.compressed(b"hello" * 100, keep=20), Fault.BAD_ENCODING),
    (fake.compressed(b"", data=b"not gzip"), Fault.BAD_ENCODING),
    (fake.compressed(b"hello", encoding="br"), Fault.BAD_ENCODING),
    (fake.compressed(bytes(30_000_000)), Fault.TOO_LARGE),
    (fake.answer_bytes(b"x" * 2_000_000), Fault.TOO_LARGE),
    (fake.huge_line(2_000_000), Fault.TOO_LARGE),
    (fake.raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nt: " + b"x" * 300_000, then="hold"), Fault.TOO_LARGE),
    (fake.raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2;" + b"x" * 300_000, then="hold"), Fault.TOO_LARGE),
]
BEFORE = [
    (fake.reset_before_head(), Fault.CLOSED_BEFORE_ANSWER),
    (fake.close_before_head(), Fault.CLOSED_BEFORE_ANSWER),
    (fake.raw(b"HTTP/1.1 200 OK\r\nx: y\r\n", b"", delay=0.02, then="reset"), Fault.CLOSED_BEFORE_ANSWER),
    (fake.silent(), Fault.FIRST_BYTE_TIMEOUT),
    (fake.drip(b"", every=0.05, head=True), Fault.FIRST_BYTE_TIMEOUT),
    (fake.raw(b"HTTP/1.1 100 Continue\r\n\r\n", then="hold"), Fault.FIRST_BYTE_TIMEOUT),
    (fake.raw(b"SSH-2.0-OpenSSH_9.6\r\n"), Fault.MALFORMED_ANSWER),
    (fake.raw(b"<html>"), Fault.MALFORMED_ANSWER),
    (fake.raw(b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"), Fault.MALFORMED_ANSWER),
    (fake.raw(b"HTTP/1.1 099 No\r\n\r\n"), Fault.MALFORMED_ANSWER),
    (fake.raw(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab"), Fault.MALFORMED_ANSWER),
    (fake.raw(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\na"), Fault.MALFORMED_ANSWER),
    (fake.raw(b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\na"), Fault.MALFORMED_ANSWER),
    (fake.raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n"), Fault.BAD_ENCODING),
    (fake.huge_head(70_000), Fault.TOO_LARGE),
    (fake.huge_head(3_000_000), Fault.TOO_LARGE),
    (fake.raw(b"HTTP/1.1 200 " + b"x" * 300_000, then="hold"), Fault.TOO_LARGE),
    (fake.raw(b"HTTP/1.1 200 OK\r\n" + b"a:b\r\n" * 20_000 + b"\r\n"), Fault.TOO_LARGE),
    (fake.raw(b"HTTP/1.1 103 Early\r\n\r\n" * 20_000, then="hold"), Fault.TOO_LARGE),
]


@pytest.mark.parametrize(("behaviour", "fault"), [pytest.param(*row, id=f"{row[1]}-{index}") for index, row in enumerate(STARTED)])
async def test_faults_after_the_head(upstream: FaultUpstream, outbound: Outbound, behaviour: Behaviour, fault: Fault) -> None:
    """REL-01, REL-02, REL-03, REL-08."""
    upstream.answer(behaviour)
    error = await failure(outbound, upstream.outgoing(timeouts=SHORT, limits=Limits(body=1_000_000)))
    assert (error.fault, error.started, error.reached) == (fault, True, True)
    assert await settled(outbound)
    assert pool(outbound)["idle"] == 0 or fault in (Fault.BAD_ENCODING, Fault.TOO_LARGE)
    assert len(upstream.requests) == 1


@pytest.mark.parametrize(("behaviour", "fault"), [pytest.param(*row, id=f"{row[1]}-{index}") for index, row in enumerate(BEFORE)])
async def test_faults_before_the_head(upstream: FaultUpstream, outbound: Outbound, behaviour: Behaviour, fault: Fault) -> None:
    """REL-01, REL-02, REL-03, REL-08. A fresh connection: nothing is retried."""
    upstream.answer(behaviour)
    error = await failure(outbound, upstream.outgoing(timeouts=SHORT))
    assert (error.fault, error.started, error.reached) == (fault, False, True)
    assert await settled(outbound)
    assert pool(outbound)["idle"] == 0
    assert len(upstream.requests) == 1


async def test_what_came_before_the_break_is_delivered(upstream: FaultUpstream, outbound: Outbound) -> None:
    """REL-01: events that arrived whole are not lost with the one that did not."""
    upstream.answer(fake.cut_sse(["one", "two"], last=b"data: thr"))
    incoming = await outbound.send(upstream.outgoing())
    seen: list[bytes] = []

    async def collect() -> None:
        async for piece in incoming:
            seen.append(piece)

    with pytest.raises(OutboundError) as caught:
        await collect()
    assert caught.value.fault is Fault.TRUNCATED
    assert b"".join(seen).startswith(b"data: one\n\ndata: two\n\n")


@pytest.mark.parametrize(
    ("behaviour", "times", "limit"),
    [
        (fake.silent(), Timeouts(first_byte=0.5), 0.5),
        (fake.head_then_silent(), Timeouts(idle=0.5), 0.5),
        (fake.drip(b"", every=0.1, head=True), Timeouts(first_byte=0.5), 0.5),
    ],
)
async def test_timeouts_fire_on_time(
    upstream: FaultUpstream, outbound: Outbound, behaviour: Behaviour, times: Timeouts, limit: float
) -> None:
    """REL-02: at the set time, 10 % late at most (and a little for a busy machine), on a connection whose timer was set for longer."""
    upstream.answer(fake.json_answer(1), behaviour)
    await fetch(outbound, upstream.outgoing())
    start = time.monotonic()
    await failure(outbound, upstream.outgoing(timeouts=times))
    assert limit * 0.98 <= time.monotonic() - start <= limit * 1.1 + 0.1


async def test_idle_limit_counts_silence_only(upstream: FaultUpstream, outbound: Outbound) -> None:
    """A slow stream may last far longer than its idle limit, and comments are bytes like any other."""
    upstream.answer(fake.sse([b": ping\n\n"] * 8, delay=0.05))
    status, body = await fetch(outbound, upstream.outgoing(timeouts=Timeouts(idle=0.2, first_byte=0.2)))
    assert (status, body.count(b"ping")) == (200, 8)


async def test_a_slow_reader_is_no_silence(upstream: FaultUpstream, outbound: Outbound) -> None:
    upstream.answer(fake.raw(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab", b"cd", delay=0.05))
    incoming = await outbound.send(upstream.outgoing(timeouts=Timeouts(idle=0.1)))
    await asyncio.sleep(0.3)
    assert await incoming.read() == b"abcd"


async def test_write_stall(upstream: FaultUpstream, outbound: Outbound) -> None:
    upstream.answer(fake.never_reads())
    start = time.monotonic()
    error = await failure(outbound, upstream.outgoing(b"x" * 20_000_000, timeouts=SHORT))
    assert (error.fault, error.started) == (Fault.WRITE_FAILED, False)
    assert time.monotonic() - start < 1.5
    assert await settled(outbound)


async def test_answer_before_the_body_is_sent(upstream: FaultUpstream, outbound: Outbound) -> None:
    """An upstream that refuses a large body early is heard, and the half-used connection is dropped."""
    upstream.answer(fake.answers_early())
    assert await fetch(outbound, upstream.outgoing(b"x" * 20_000_000)) == (413, b"no")
    assert pool(outbound)["idle"] == 0
    assert await settled(outbound)


async def test_reset_during_upload(upstream: FaultUpstream, outbound: Outbound) -> None:
    async def run(exchange: fake.Exchange) -> None:
        await exchange.pause(0.05)
        exchange.reset()

    upstream.answer(fake.Behaviour(run, early=True))
    error = await failure(outbound, upstream.outgoing(b"x" * 20_000_000))
    assert error.fault is Fault.WRITE_FAILED
    assert await settled(outbound)


@pytest.mark.parametrize("behaviour", [fake.malformed_json(), fake.html()])
async def test_what_the_body_says_is_not_judged_here(upstream: FaultUpstream, outbound: Outbound, behaviour: Behaviour) -> None:
    upstream.answer(behaviour)
    assert (await fetch(outbound, upstream.outgoing()))[0] == 200


# -- content-encoding


async def test_gzip_is_decoded(upstream: FaultUpstream, outbound: Outbound) -> None:
    upstream.answer(fake.compressed(b"hello" * 100_000))
    incoming = await outbound.send(upstream.outgoing(headers=[(b"accept-encoding", b"gzip")]))
    assert incoming.headers == [(b"content-type", b"application/json")]
    assert await incoming.read() == b"hello" * 100_000
    assert upstream.requests[0].headers["accept-encoding"] == "gzip"
    assert pool(outbound)["idle"] == 1


async def test_gzip_is_decoded_as_it_comes(upstream: FaultUpstream, outbound: Outbound) -> None:
    import zlib

    packer = zlib.compressobj(wbits=31)
    pieces = [packer.compress(text) + packer.flush(zlib.Z_SYNC_FLUSH) for text in (b"one", b"two")] + [packer.flush()]
    upstream.answer(fake.raw(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n", *pieces, delay=0.03, then="close"))
    incoming = await outbound.send(upstream.outgoing())
    assert [piece async for piece in incoming] == [b"one", b"two"]


# -- cancellation and slots


async def cancelled(task: asyncio.Task[object]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_cancelled_before_the_head(upstream: FaultUpstream, outbound: Outbound) -> None:
    """REL-06: the upstream sees the close within a second."""
    upstream.answer(fake.silent())
    task = asyncio.ensure_future(fetch(outbound, upstream.outgoing()))
    await upstream.received()
    await cancelled(task)  # type: ignore[arg-type]
    assert await upstream.closed_by_client(1.0)
    assert await settled(outbound)


async def test_cancelled_inside_the_body(upstream: FaultUpstream, outbound: Outbound) -> None:
    """REL-06."""
    upstream.answer(fake.comments_only(every=0.01))
    got = asyncio.Event()

    async def reader() -> None:
        async for _ in await outbound.send(upstream.outgoing()):
            got.set()

    task = asyncio.ensure_future(reader())
    await got.wait()
    await cancelled(task)  # type: ignore[arg-type]
    assert await upstream.closed_by_client(1.0)
    assert await settled(outbound)


async def test_closed_inside_the_body(upstream: FaultUpstream, outbound: Outbound) -> None:
    upstream.answer(fake.comments_only(every=0.01))
    incoming = await outbound.send(upstream.outgoing())
    await incoming.close()
    await incoming.close()
    assert await upstream.closed_by_client(1.0)
    assert await settled(outbound)


async def test_cancelled_during_upload(upstream: FaultUpstream, outbound: Outbound) -> None:
    upstream.answer(fake.never_reads())
    task = asyncio.ensure_future(fetch(outbound, upstream.outgoing(b"x" * 20_000_000)))
    await upstream.received()
    await cancelled(task)  # type: ignore[arg-type]
    assert await settled(outbound)


async def test_fifty_cancelled_slots_are_free_again(upstream: FaultUpstream, outbound: Outbound) -> None:
    """50 of 50: half before the head, half inside the body; afterwards 50 more run at once."""
    upstream.script(lambda request: fake.silent() if request.target == "/silent" else fake.comments_only(every=0.05))
    targets = ["/silent", "/comments"] * 25
    tasks = [asyncio.ensure_future(fetch(outbound, upstream.outgoing(target=target))) for target in targets]
    await upstream.received(50)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert await settled(outbound)
    upstream.answer(fake.json_answer(1))
    assert await asyncio.gather(*(fetch(outbound, upstream.outgoing()) for _ in range(50))) == [(200, b"1")] * 50


@pytest.mark.parametrize("behaviour", [fake.answer_bytes(b"x"), fake.until_close(b"x")], ids=["kept", "closed"])
async def test_cancelling_at_any_turn_loses_no_slot(upstream: FaultUpstream, behaviour: Behaviour) -> None:
    """The windows between being handed a slot, a connection or an answer and taking it."""
    outbound = Outbound(max_per_origin=2)
    upstream.answer(behaviour)
    for turns in range(60):
        tasks = [asyncio.ensure_future(fetch(outbound, upstream.outgoing())) for _ in range(6)]
        for _ in range(turns // 3):
            await asyncio.sleep(0)
        for task in tasks[turns % 3 :: 2]:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) or result == (200, b"x") for result in results)
        assert pool(outbound)["active"] == 0, turns
    await outbound.aclose()


async def test_limit_and_order(upstream: FaultUpstream) -> None:
    """Never more connections than the limit, and first come, first served."""
    outbound = Outbound(max_per_origin=3)
    upstream.answer(fake.raw(b"HTTP/1.1 200 OK\r\n", b"content-length: 2\r\n\r\nok", delay=0.005))
    done: list[int] = []

    async def one(number: int) -> None:
        await fetch(outbound, upstream.outgoing(target=f"/{number}"))
        done.append(number)

    await asyncio.gather(*(one(number) for number in range(30)))
    assert upstream.connections == 3
    served = [int(request.target[1:]) for request in upstream.requests]
    assert all(abs(place - number) <= 3 for place, number in enumerate(served))
    await outbound.aclose()


async def test_waiting_for_a_slot_is_bounded(upstream: FaultUpstream) -> None:
    outbound = Outbound(max_per_origin=1)
    upstream.answer(fake.silent())
    first = asyncio.ensure_future(fetch(outbound, upstream.outgoing()))
    await upstream.received()
    error = await failure(outbound, upstream.outgoing(timeouts=Timeouts(connect=0.1)))
    assert (error.fault, error.reached) == (Fault.POOL_BUSY, False)
    first.cancel()
    upstream.answer(fake.json_answer(1))
    assert await fetch(outbound, upstream.outgoing()) == (200, b"1")
    await outbound.aclose()


async def test_concurrency_300(upstream: FaultUpstream) -> None:
    outbound = Outbound()
    upstream.script(lambda request: fake.answer_bytes(request.body))
    bodies = [b"%d" % number for number in range(300)]
    answers = await asyncio.gather(*(fetch(outbound, upstream.outgoing(body)) for body in bodies))
    assert [body for _, body in answers] == bodies
    assert pool(outbound) | {"active": 0, "waiting": 0} == pool(outbound)
    await outbound.aclose()


# -- keep-alive


async def test_stale_connection_is_retried_once(upstream: FaultUpstream, outbound: Outbound) -> None:
    upstream.answer(fake.stale(fake.json_answer(1)))
    for _ in range(20):
        assert await fetch(outbound, upstream.outgoing()) == (200, b"1")
    # One first request; then each finds its connection dead and is sent a second time on a new one.
    assert len(upstream.requests) == 1 + 19 * 2
    assert pool(outbound)["retried"] == 19


async def test_stale_retry_is_the_only_one(upstream: FaultUpstream, outbound: Outbound) -> None:
    upstream.answer(fake.json_answer(1), fake.close_before_head())
    await fetch(outbound, upstream.outgoing())
    error = await failure(outbound, upstream.outgoing())
    assert error.fault is Fault.CLOSED_BEFORE_ANSWER
    assert len(upstream.requests) == 3


async def test_stale_retry_takes_a_new_connection(upstream: FaultUpstream, outbound: Outbound) -> None:
    """After a restart of the upstream every idle connection is dead; one retry is enough all the same."""
    upstream.answer(fake.stale(fake.raw(b"HTTP/1.1 200 OK\r\n", b"content-length: 0\r\n\r\n", delay=0.02)))
    await asyncio.gather(*(fetch(outbound, upstream.outgoing()) for _ in range(3)))
    assert pool(outbound)["idle"] == 3
    assert await fetch(outbound, upstream.outgoing()) == (200, b"")
    assert len(upstream.requests) == 5


async def test_a_freed_slot_is_passed_on_by_a_cancelled_waiter(upstream: FaultUpstream) -> None:
    """The window between a slot without a connection being handed over and taken."""
    outbound = Outbound(max_per_origin=1)
    upstream.answer(fake.silent())
    first = asyncio.ensure_future(fetch(outbound, upstream.outgoing()))
    await upstream.received()
    second = asyncio.ensure_future(fetch(outbound, upstream.outgoing()))
    await asyncio.sleep(0)
    assert pool(outbound)["waiting"] == 1
    first.cancel()
    first.add_done_callback(lambda _: second.cancel())
    await asyncio.gather(first, second, return_exceptions=True)
    assert await settled(outbound)
    await outbound.aclose()


async def test_no_retry_once_a_byte_has_come(upstream: FaultUpstream, outbound: Outbound) -> None:
    upstream.answer(fake.json_answer(1), fake.raw(b"HTTP/1.1", b"", delay=0.02, then="close"))
    await fetch(outbound, upstream.outgoing())
    assert (await failure(outbound, upstream.outgoing())).fault is Fault.CLOSED_BEFORE_ANSWER
    assert len(upstream.requests) == 2


async def test_no_retry_of_a_timeout(upstream: FaultUpstream, outbound: Outbound) -> None:
    upstream.answer(fake.json_answer(1), fake.silent())
    await fetch(outbound, upstream.outgoing())
    assert (await failure(outbound, upstream.outgoing(timeouts=SHORT))).fault is Fault.FIRST_BYTE_TIMEOUT
    assert len(upstream.requests) == 2


async def test_bytes_on_an_idle_connection_spoil_it(upstream: FaultUpstream, outbound: Outbound) -> None:
    """An answer nobody asked for never becomes the next request's answer."""
    answers = [b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\na", b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"]
    upstream.answer(fake.raw(*answers, delay=0.02))
    assert await fetch(outbound, upstream.outgoing()) == (200, b"a")
    assert await upstream.closed_by_client()
    upstream.answer(fake.json_answer(1))
    assert await fetch(outbound, upstream.outgoing()) == (200, b"1")


async def test_idle_and_old_connections_are_closed(upstream: FaultUpstream) -> None:
    outbound = Outbound(ages=Ages(idle=0.1, life=600))
    await fetch(outbound, upstream.outgoing())
    assert await upstream.closed_by_client()
    assert pool(outbound)["idle"] == 0
    await outbound.aclose()
    outbound = Outbound(ages=Ages(life=0.0))
    await fetch(outbound, upstream.outgoing())
    await fetch(outbound, upstream.outgoing())
    assert pool(outbound) | {"opened": 2, "idle": 0} == pool(outbound)
    await outbound.aclose()


async def test_close_ends_everything(upstream: FaultUpstream) -> None:
    outbound = Outbound(max_per_origin=1)
    upstream.answer(fake.silent())
    tasks = [asyncio.ensure_future(fetch(outbound, upstream.outgoing())) for _ in range(2)]
    await upstream.received()
    await outbound.aclose()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, OutboundError) for result in results)
    assert await upstream.closed_by_client()
    with pytest.raises(OutboundError):
        await outbound.send(upstream.outgoing())


# -- back-pressure


async def test_unread_answers_stay_upstream(upstream: FaultUpstream, outbound: Outbound) -> None:
    """REL-07: the hub holds about 256 KiB of an answer that nobody reads, and reads on when somebody does."""
    upstream.answer(fake.answer_bytes(b"x" * 20_000_000))
    incoming = await outbound.send(upstream.outgoing(timeouts=Timeouts(idle=2.0)))
    await asyncio.sleep(0.1)
    assert isinstance(incoming, Answer)
    assert 0 < incoming.size < 1_000_000
    assert len(await incoming.read()) == 20_000_000
    assert await settled(outbound)


async def test_a_million_tiny_chunks(upstream: FaultUpstream, outbound: Outbound) -> None:
    """REL-03: one byte each; every byte arrives and pieces are joined."""
    upstream.answer(fake.raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 200_000 + b"0\r\n\r\n"))
    incoming = await outbound.send(upstream.outgoing())
    pieces = [piece async for piece in incoming]
    assert sum(map(len, pieces)) == 200_000
    assert len(pieces) < 5_000


# -- connecting


async def test_private_address_needs_the_switch(upstream: FaultUpstream, outbound: Outbound) -> None:
    """SEC-15: refused before a socket is opened."""
    error = await failure(outbound, upstream.outgoing(private=False))
    assert (error.fault, error.reached) == (Fault.ADDRESS_REFUSED, False)
    await fetch(outbound, upstream.outgoing())
    assert (await failure(outbound, upstream.outgoing(private=False))).fault is Fault.ADDRESS_REFUSED
    assert upstream.connections == 1


def closed_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


async def test_connection_refused(upstream: FaultUpstream, outbound: Outbound) -> None:
    error = await failure(outbound, upstream.outgoing(origin=Origin("http", "127.0.0.1", closed_port())))
    assert (error.fault, error.reached) == (Fault.CONNECT_FAILED, False)
    assert await settled(outbound)


def resolver_for(*ips: str, calls: list[str] | None = None) -> Resolver:
    async def resolver(host: str, port: int) -> list[tuple[int, str]]:
        if calls is not None:
            calls.append(host)
        return [(socket.AF_INET, ip) for ip in ips]

    return resolver


async def test_nineteen_dead_of_twenty(upstream: FaultUpstream) -> None:
    """REL-21: the one address that answers is found inside the connect limit."""
    dead = [f"127.0.0.{number}" for number in range(2, 21)]
    outbound = Outbound(resolver=resolver_for(*dead, "127.0.0.1"))
    start = time.monotonic()
    request = upstream.outgoing(origin=Origin("http", "many.test", upstream.port), timeouts=Timeouts(connect=1.0))
    assert (await fetch(outbound, request))[0] == 200
    assert time.monotonic() - start < 1.0
    assert upstream.requests[0].headers["host"] == f"many.test:{upstream.port}"
    await outbound.aclose()


async def test_connect_timeout_with_silent_addresses(upstream: FaultUpstream, monkeypatch: pytest.MonkeyPatch) -> None:
    """REL-21: addresses that swallow packets, 19 of 20 and then all of them."""
    real = asyncio.get_running_loop().sock_connect

    async def swallow(_self: object, sock: socket.socket, address: tuple[str, int]) -> None:
        if address[0] != "127.0.0.1":
            await asyncio.Event().wait()
        await real(sock, address)

    class Loop:
        sock_connect = swallow

    from hub.outbound import dial

    monkeypatch.setattr(dial.asyncio, "get_running_loop", lambda: Loop())
    dead = [(int(socket.AF_INET), f"10.0.0.{number}") for number in range(1, 20)]
    start = time.monotonic()
    sock = await dial.open_socket([*dead, (int(socket.AF_INET), "127.0.0.1")], upstream.port, budget=1.0, where="x")
    sock.close()
    assert time.monotonic() - start < 0.8
    with pytest.raises(OutboundError) as caught:
        async with dial.connect_deadline(0.3, "x"):
            await dial.open_socket(dead, upstream.port, budget=0.3, where="x")
    assert caught.value.fault is Fault.CONNECT_TIMEOUT


async def test_slow_name_look_up_is_bounded(upstream: FaultUpstream) -> None:
    """REL-21."""

    async def resolver(host: str, port: int) -> list[tuple[int, str]]:
        await asyncio.sleep(0.5)
        return [(socket.AF_INET, "127.0.0.1")]

    outbound = Outbound(resolver=resolver)
    origin = Origin("http", "slow.test", upstream.port)
    error = await failure(outbound, upstream.outgoing(origin=origin, timeouts=Timeouts(connect=0.1)))
    assert (error.fault, error.reached) == (Fault.CONNECT_TIMEOUT, False)
    await outbound.aclose()


async def test_many_connections_share_a_look_up(upstream: FaultUpstream) -> None:
    calls: list[str] = []
    outbound = Outbound(resolver=resolver_for("127.0.0.1", calls=calls), ages=Ages(resolved=0.05))
    origin = Origin("http", "name.test", upstream.port)
    await asyncio.gather(*(fetch(outbound, upstream.outgoing(origin=origin)) for _ in range(20)))
    assert len(calls) == 1
    await outbound.aclose()


async def test_names_are_looked_up_again(upstream: FaultUpstream) -> None:
    """SEC-11: new connections look again, and a name that turned private is refused then."""
    calls: list[str] = []

    async def resolver(host: str, port: int) -> list[tuple[int, str]]:
        calls.append(host)
        return [(socket.AF_INET, "127.0.0.1" if len(calls) == 1 else "169.254.169.254")]

    outbound = Outbound(resolver=resolver, ages=Ages(life=0.0, resolved=0.0))
    origin = Origin("http", "rebind.test", upstream.port)
    assert (await fetch(outbound, upstream.outgoing(origin=origin)))[0] == 200
    assert (await failure(outbound, upstream.outgoing(origin=origin))).fault is Fault.ADDRESS_REFUSED
    assert len(upstream.requests) == 1
    await outbound.aclose()


async def test_unknown_name(upstream: FaultUpstream) -> None:
    outbound = Outbound(resolver=resolver_for())
    assert (await failure(outbound, upstream.outgoing(origin=Origin("http", "none.test", 80)))).fault is Fault.NAME_UNKNOWN
    await outbound.aclose()
