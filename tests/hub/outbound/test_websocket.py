"""WebSockets to upstreams: address check and pinning, TLS, refusals and faults by name, nothing left open."""

from __future__ import annotations

import asyncio
import base64
import logging
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from hub.errors import BadRequest
from hub.outbound.base import Fault, HandshakeRefused, Origin, OutboundError, Outgoing, Proxy, SocketClosed, Timeouts
from hub.outbound.client import Outbound
from tests.fakes import upstream as fake
from tests.fakes.certificates import Authority
from tests.fakes.proxy import FakeProxy, Mode

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.fakes.upstream import FaultUpstream

pytestmark = pytest.mark.anyio

HEADERS = [(b"authorization", b"Bearer sk-secret-0001"), (b"content-type", b"application/json"), (b"user-agent", b"hubroute")]


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


@asynccontextmanager
async def listening(talk: Callable[[ServerConnection], Awaitable[None]] = echo, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    async with serve(talk, "127.0.0.1", 0, ssl=tls, max_size=None, close_timeout=1) as server:
        yield next(iter(server.sockets)).getsockname()[1]


def request(port: int, host: str = "127.0.0.1", scheme: str = "http", **fields: Any) -> Outgoing:
    fields.setdefault("private", True)
    fields.setdefault("headers", list(HEADERS))
    return Outgoing(Origin(scheme, host, port), "GET", "/v1/realtime?model=m", **fields)


async def test_messages_go_both_ways_and_keep_their_kind(outbound: Outbound, caplog: pytest.LogCaptureFixture) -> None:
    """Texts and bytes; nothing of either, nor the key, is logged (SEC-22)."""
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("websockets.server").setLevel(logging.CRITICAL)  # the test's own upstream
        async with listening() as port:
            upstream = await outbound.websocket(request(port))
            for message in ("words 日本", b"\x00\xff", "x" * 200_000):
                await upstream.send(message)
                assert await upstream.receive() == message
            await upstream.close(4001, "done")
            with pytest.raises(SocketClosed):
                await upstream.send("late")
    assert "sk-secret" not in caplog.text
    assert "words" not in caplog.text


async def test_what_the_handshake_says(outbound: Outbound, upstream: FaultUpstream) -> None:
    """The credential and the target as they are, the headers of a body left out; an answer that is no socket comes back whole."""
    upstream.answer(fake.json_answer({"error": {"message": "no"}}, status=403, headers=[("retry-after", "7")]))
    with pytest.raises(HandshakeRefused) as refused:
        await outbound.websocket(request(upstream.port))
    assert (refused.value.status, refused.value.body) == (403, b'{"error": {"message": "no"}}')
    assert (b"retry-after", b"7") in refused.value.headers
    sent = upstream.requests[0]
    assert (sent.method, sent.target, sent.headers["host"]) == ("GET", "/v1/realtime?model=m", f"127.0.0.1:{upstream.port}")
    assert (sent.headers["authorization"], sent.headers["upgrade"]) == ("Bearer sk-secret-0001", "websocket")
    assert "content-type" not in sent.headers
    assert await upstream.closed_by_client(1)


@pytest.mark.parametrize(
    ("behaviour", "fault"),
    [
        (fake.reset_before_head(), Fault.CLOSED_BEFORE_ANSWER),
        (fake.close_before_head(), Fault.CLOSED_BEFORE_ANSWER),
        (fake.silent(), Fault.FIRST_BYTE_TIMEOUT),
        (fake.raw(b"SSH-2.0-nonsense\r\n\r\n", then="close"), Fault.CLOSED_BEFORE_ANSWER),
        (fake.raw(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n"), Fault.MALFORMED_ANSWER),
    ],
    ids=["reset", "closed", "silent", "nonsense", "no-accept-key"],
)
async def test_what_goes_wrong_has_its_name_and_leaves_nothing_open(
    outbound: Outbound, upstream: FaultUpstream, behaviour: fake.Behaviour, fault: Fault
) -> None:
    upstream.answer(behaviour)
    with pytest.raises(OutboundError) as failed:
        await outbound.websocket(request(upstream.port, timeouts=Timeouts(connect=0.5)))
    assert failed.value.fault is fault
    async with asyncio.timeout(2):
        while upstream.open:
            await asyncio.sleep(0.01)


async def test_a_redirect_is_not_followed(outbound: Outbound, upstream: FaultUpstream) -> None:
    """SEC-12."""
    upstream.answer(fake.json_answer({}, status=302, headers=[("location", "http://169.254.169.254/")]))
    with pytest.raises(HandshakeRefused) as refused:
        await outbound.websocket(request(upstream.port))
    assert refused.value.status == 302
    assert len(upstream.requests) == 1


async def test_addresses_are_checked_and_pinned() -> None:
    """SEC-10, SEC-11: one look-up, the connection goes to what it said; private only by the connection's switch."""
    asked: list[str] = []

    async def resolver(host: str, port: int) -> list[tuple[int, str]]:
        asked.append(host)
        return [(socket.AF_INET, "127.0.0.1")] if len(asked) == 1 else [(socket.AF_INET, "169.254.169.254")]

    outbound = Outbound(resolver=resolver)
    async with listening() as port:
        upstream = await outbound.websocket(request(port, "good.test"))
        await upstream.close()
        assert asked == ["good.test"]
        for host, private in (("good.test", True), ("127.0.0.1", False), ("169.254.169.254", True)):
            with pytest.raises(OutboundError) as refused:
                await outbound.websocket(request(port, host, private=private))
            assert refused.value.fault is Fault.ADDRESS_REFUSED
        with pytest.raises(BadRequest):
            await outbound.websocket(request(port, headers=[(b"x-a", b"b\r\nx-c: d")]))
    await outbound.aclose()


async def test_tls_is_for_the_name(tmp_path_factory: pytest.TempPathFactory) -> None:
    authority = Authority(tmp_path_factory.mktemp("tls"))

    async def resolver(host: str, port: int) -> list[tuple[int, str]]:
        return [(socket.AF_INET, "127.0.0.1")]

    outbound = Outbound(resolver=resolver, tls=authority.client)
    async with listening(tls=authority.server("good.test")) as port:
        upstream = await outbound.websocket(request(port, "good.test", "https"))
        await upstream.send("over TLS")
        assert await upstream.receive() == "over TLS"
        await upstream.close()
        with pytest.raises(OutboundError) as refused:
            await outbound.websocket(request(port, "other.test", "https"))
        assert refused.value.fault is Fault.TLS_FAILED
    await outbound.aclose()


async def test_through_a_proxy(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Plain and TLS, with credentials; a certificate for another name is refused as without a proxy."""
    authority = Authority(tmp_path_factory.mktemp("tls"))
    outbound, told = Outbound(tls=authority.client), list[str]()
    outbound.on_proxied = lambda proxy, error, seconds: told.append(error.fault if error else "")
    async with FakeProxy(credentials=base64.b64encode(b"u:p:ss").decode()) as proxy:
        way = Proxy(proxy.url.replace("//", "//u:p%3Ass@"), private=True)
        async with listening() as plain, listening(tls=authority.server("good.test")) as secure:
            for port, scheme in ((plain, "http"), (secure, "https")):
                upstream = await outbound.websocket(request(port, "good.test", scheme, proxy=way))
                await upstream.send("by way of it")
                assert await upstream.receive() == "by way of it"
                await upstream.close()
            with pytest.raises(OutboundError) as refused:
                await outbound.websocket(request(secure, "other.test", "https", proxy=way))
            assert refused.value.fault is Fault.TLS_FAILED
        assert proxy.seen == [
            f"CONNECT good.test:{plain} HTTP/1.1",
            f"CONNECT good.test:{secure} HTTP/1.1",
            f"CONNECT other.test:{secure} HTTP/1.1",
        ]
    assert told == ["", "", Fault.TLS_FAILED]
    await outbound.aclose()


async def test_a_proxy_that_fails_is_not_gone_around(outbound: Outbound) -> None:
    """REL-21, SEC-10, SEC-15: dead, silent, refusing, another password, SOCKS, switched off; private ones and private targets."""
    short = Timeouts(connect=0.3)

    async def failing(url: str, host: str = "good.test", **fields: Any) -> tuple[str, str]:
        way = Proxy(url, private=fields.pop("allowed", True), fault=fields.pop("fault", ""))
        with pytest.raises(OutboundError) as caught:
            await outbound.websocket(request(port, host, proxy=way, timeouts=short, **fields))
        assert "secret" not in caught.value.message
        return caught.value.fault, caught.value.reason

    async with listening() as port:
        assert await failing("http://127.0.0.1:9") == (Fault.PROXY_FAILED, "refused")
        assert await failing("socks5://127.0.0.1:9") == (Fault.PROXY_FAILED, "protocol")
        assert await failing("", fault="it is switched off") == (Fault.PROXY_FAILED, "inactive")
        assert (await failing("http://127.0.0.1:9", allowed=False))[0] == Fault.ADDRESS_REFUSED
        assert (await failing("http://127.0.0.1:9", host="127.0.0.1", private=False))[0] == Fault.ADDRESS_REFUSED
        expected: list[tuple[Mode, str]] = [("silent", "timeout"), ("refuse", "refused"), ("drop", "protocol")]
        for mode, reason in expected:
            async with FakeProxy(mode) as proxy:
                assert await failing(proxy.url) == (Fault.PROXY_FAILED, reason)
        async with FakeProxy(credentials="eDp5") as proxy:
            assert await failing(proxy.url.replace("//", "//u:secret@")) == (Fault.PROXY_FAILED, "auth")


async def test_ends_are_told_with_their_code(outbound: Outbound) -> None:
    async def say_bye(connection: ServerConnection) -> None:
        await connection.close(4321, "bye")

    async def vanish(connection: ServerConnection) -> None:
        connection.transport.abort()

    async def shout(connection: ServerConnection) -> None:
        await connection.send("x" * 5000)
        await connection.wait_closed()

    for talk, code in ((say_bye, 4321), (vanish, 1006), (shout, 1006)):
        async with listening(talk) as port:
            upstream = await outbound.websocket(request(port), most=1000)
            with pytest.raises(SocketClosed) as closed:
                async with asyncio.timeout(5):
                    await upstream.receive()
            assert closed.value.code == code
            await upstream.close()


async def test_cancelling_the_handshake_closes_the_connection(outbound: Outbound, upstream: FaultUpstream) -> None:
    upstream.answer(fake.silent())
    task = asyncio.create_task(outbound.websocket(request(upstream.port)))
    await upstream.received(1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert await upstream.closed_by_client(1)
