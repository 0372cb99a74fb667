"""TLS: bad certificates are refused, nothing falls back to plain text, and faults look the same as without it."""

from __future__ import annotations

import asyncio
import socket
import ssl
import warnings
from typing import TYPE_CHECKING

import pytest

from hub.outbound.base import Fault, Origin, OutboundError, Outgoing, Timeouts
from hub.outbound.client import Outbound
from hub.outbound.dial import tls_context
from tests.fakes import upstream as fake
from tests.fakes.certificates import Authority
from tests.fakes.upstream import FaultUpstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio


async def resolver(host: str, port: int) -> list[tuple[int, str]]:
    return [(socket.AF_INET, "127.0.0.1")]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture
async def outbound(authority: Authority) -> AsyncIterator[Outbound]:
    outbound = Outbound(resolver=resolver, tls=authority.client)
    yield outbound
    await outbound.aclose()


@pytest.fixture
async def secure(authority: Authority) -> AsyncIterator[FaultUpstream]:
    async with FaultUpstream(tls=authority.server("good.test", "127.0.0.1")) as upstream:
        yield upstream


async def fetch(outbound: Outbound, request: Outgoing) -> tuple[int, bytes]:
    incoming = await outbound.send(request)
    try:
        return incoming.status, await incoming.read()
    finally:
        await incoming.close()


def to(upstream: FaultUpstream, host: str = "good.test", body: bytes = b"{}", **fields: object) -> Outgoing:
    return upstream.outgoing(body, origin=Origin("https", host, upstream.port), **fields)


def active(outbound: Outbound) -> int:
    return outbound.stats()["pools"][0]["active"]


@pytest.mark.parametrize("host", ["good.test", "127.0.0.1"])
async def test_good_certificate(secure: FaultUpstream, outbound: Outbound, host: str) -> None:
    for _ in range(3):
        assert await fetch(outbound, to(secure, host)) == (200, b'{"ok": true}')
    assert secure.connections == 1
    assert secure.requests[0].headers["host"] == f"{host}:{secure.port}"


@pytest.mark.parametrize("wrong", ["self-signed", "expired", "host", "system trust"])
async def test_bad_certificates(authority: Authority, outbound: Outbound, wrong: str) -> None:
    """REL-21: a clear class, no request sent, not even in plain text."""
    name = "other.test" if wrong == "host" else "good.test"
    context = authority.server(name, expired=wrong == "expired", self_signed=wrong == "self-signed")
    client = Outbound(resolver=resolver) if wrong == "system trust" else outbound
    async with FaultUpstream(tls=context) as upstream:
        with pytest.raises(OutboundError) as caught:
            await client.send(to(upstream))
        assert (caught.value.fault, caught.value.reached, caught.value.started) == (Fault.TLS_FAILED, False, False)
        assert upstream.requests == []
        assert active(client) == 0
        await client.aclose()


async def test_old_version(authority: Authority, outbound: Outbound) -> None:
    """REL-21: TLS 1.1 is not spoken."""
    context = authority.server("good.test")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    async with FaultUpstream(tls=context) as upstream:
        with pytest.raises(OutboundError) as caught:
            await outbound.send(to(upstream))
        assert caught.value.fault is Fault.TLS_FAILED


async def test_plain_server(upstream: FaultUpstream, outbound: Outbound) -> None:
    with pytest.raises(OutboundError) as caught:
        await outbound.send(to(upstream, timeouts=Timeouts(connect=1.0)))
    assert caught.value.fault in (Fault.TLS_FAILED, Fault.CONNECT_TIMEOUT)
    assert upstream.requests == []


async def test_silent_handshake_is_bounded(outbound: Outbound) -> None:
    """REL-21: a server that accepts and says nothing costs the connect limit."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        origin = Origin("https", "good.test", listening.getsockname()[1])
        with pytest.raises(OutboundError) as caught:
            await outbound.send(Outgoing(origin, "GET", "/", [], private=True, timeouts=Timeouts(connect=0.2)))
    assert caught.value.fault is Fault.CONNECT_TIMEOUT
    assert active(outbound) == 0


@pytest.mark.parametrize("size", [10, 3_000_000])
async def test_bodies(secure: FaultUpstream, outbound: Outbound, size: int) -> None:
    body = b"z" * size
    secure.answer(fake.answer_bytes(body))
    for _ in range(2):
        assert await fetch(outbound, to(secure, body=body)) == (200, body)
    assert secure.requests[0].body == body
    assert secure.connections == 1


@pytest.mark.parametrize(
    ("behaviour", "fault"),
    [
        (fake.reset_before_head(), Fault.CLOSED_BEFORE_ANSWER),
        (fake.close_before_head(), Fault.CLOSED_BEFORE_ANSWER),
        (fake.silent(), Fault.FIRST_BYTE_TIMEOUT),
        (fake.head_then_silent(), Fault.IDLE_TIMEOUT),
        (fake.cut(b"x" * 100, at=50), Fault.TRUNCATED),
        (fake.cut_sse(["one"], last=b"data: tw", then="close"), Fault.TRUNCATED),
        (fake.bad_chunks(), Fault.MALFORMED_ANSWER),
    ],
)
async def test_faults(secure: FaultUpstream, outbound: Outbound, behaviour: fake.Behaviour, fault: Fault) -> None:
    """REL-01, REL-02 through TLS."""
    secure.answer(behaviour)
    with pytest.raises(OutboundError) as caught:
        await fetch(outbound, to(secure, timeouts=Timeouts(first_byte=0.2, idle=0.2)))
    assert caught.value.fault is fault
    assert active(outbound) == 0


async def test_write_stall(secure: FaultUpstream, outbound: Outbound) -> None:
    secure.answer(fake.never_reads())
    with pytest.raises(OutboundError) as caught:
        await fetch(outbound, to(secure, body=b"x" * 20_000_000, timeouts=Timeouts(write=0.3)))
    assert caught.value.fault is Fault.WRITE_FAILED


async def test_stale_connection(secure: FaultUpstream, outbound: Outbound) -> None:
    secure.answer(fake.stale(fake.json_answer(1)))
    for _ in range(5):
        assert await fetch(outbound, to(secure)) == (200, b"1")


async def test_until_close(secure: FaultUpstream, outbound: Outbound) -> None:
    secure.answer(fake.until_close(b"to the end"))
    assert await fetch(outbound, to(secure)) == (200, b"to the end")


async def test_unread_answers_stay_upstream(secure: FaultUpstream, outbound: Outbound) -> None:
    secure.answer(fake.answer_bytes(b"x" * 20_000_000))
    incoming = await outbound.send(to(secure))
    await asyncio.sleep(0.1)
    assert getattr(incoming, "size", None) in range(1, 2_000_000)
    assert len(await incoming.read()) == 20_000_000


async def test_cancelled_inside_the_body(secure: FaultUpstream, outbound: Outbound) -> None:
    """REL-06 through TLS."""
    secure.answer(fake.comments_only(every=0.01))
    task = asyncio.ensure_future(fetch(outbound, to(secure)))
    await secure.received()
    await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert await secure.closed_by_client(1.0)
    assert active(outbound) == 0


def test_own_context_is_strict() -> None:
    context = tls_context()
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
