"""The breadth engine: proxies are never bypassed, addresses are pinned, faults are the same as the hot engine's."""

from __future__ import annotations

import asyncio
import base64
import socket
from typing import TYPE_CHECKING

import pytest

from hub.errors import BadRequest, NotConfigured
from hub.outbound import breadth
from hub.outbound.address import AddressGuard
from hub.outbound.base import Fault, Limits, Origin, OutboundError, Outgoing, Proxy, Timeouts
from hub.outbound.breadth import Breadth, parse_proxy
from hub.outbound.client import Outbound
from hub.outbound.dial import tls_context
from tests.fakes import upstream as fake
from tests.fakes.certificates import Authority
from tests.fakes.proxy import FakeProxy, FakeSocks, Mode
from tests.fakes.upstream import FaultUpstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hub.outbound.base import Engine

pytestmark = pytest.mark.anyio

SHORT = Timeouts(connect=1.0, first_byte=0.3, idle=0.3, write=0.5)


async def resolver(host: str, port: int) -> list[tuple[int, str]]:
    return [(socket.AF_INET, "127.0.0.1")]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture
async def engine() -> AsyncIterator[Breadth]:
    engine = Breadth(AddressGuard(resolver=resolver), tls=tls_context)
    yield engine
    await engine.aclose()


@pytest.fixture
async def outbound(authority: Authority) -> AsyncIterator[Outbound]:
    outbound = Outbound(resolver=resolver, tls=authority.client)
    yield outbound
    await outbound.aclose()


async def fetch(engine: Engine | Outbound, request: Outgoing) -> tuple[int, bytes]:
    incoming = await engine.send(request)
    try:
        return incoming.status, await incoming.read()
    finally:
        await incoming.close()


async def failure(engine: Engine | Outbound, request: Outgoing) -> OutboundError:
    with pytest.raises(OutboundError) as caught:
        await fetch(engine, request)
    return caught.value


# -- without a proxy


async def test_request_as_sent(upstream: FaultUpstream, engine: Breadth) -> None:
    status, body = await fetch(engine, upstream.outgoing(b"{}", target="/a?b=c", headers=[(b"authorization", b"Bearer k")]))
    assert (status, body) == (200, b'{"ok": true}')
    (seen,) = upstream.requests
    assert (seen.method, seen.target, seen.body) == ("POST", "/a?b=c", b"{}")
    assert seen.headers == {
        "host": f"127.0.0.1:{upstream.port}",
        "authorization": "Bearer k",
        "accept-encoding": "identity",
        "content-length": "2",
    }


async def test_header_injection(upstream: FaultUpstream, engine: Breadth) -> None:
    """SEC-29."""
    for headers in ([(b"a", b"b\r\nc: d")], [(b"host", b"evil")]):
        with pytest.raises(BadRequest):
            await engine.send(upstream.outgoing(headers=headers))
    assert upstream.requests == []


@pytest.mark.parametrize(
    ("behaviour", "fault", "started"),
    [
        (fake.reset_before_head(), Fault.CLOSED_BEFORE_ANSWER, False),
        (fake.close_before_head(), Fault.CLOSED_BEFORE_ANSWER, False),
        (fake.silent(), Fault.FIRST_BYTE_TIMEOUT, False),
        (fake.drip(b"", every=0.1, head=True), Fault.FIRST_BYTE_TIMEOUT, False),
        (fake.raw(b"SSH-2.0-x\r\n\r\n"), Fault.MALFORMED_ANSWER, False),
        (fake.huge_head(70_000), Fault.TOO_LARGE, True),
        (fake.head_then_silent(), Fault.IDLE_TIMEOUT, True),
        (fake.reset_after_head(), Fault.TRUNCATED, True),
        (fake.cut(b"x" * 100, at=50, then="close"), Fault.TRUNCATED, True),
        (fake.cut_sse(["one"], last=b"data: tw"), Fault.TRUNCATED, True),
        (fake.compressed(b"hello" * 100, keep=20), Fault.BAD_ENCODING, True),
        (fake.compressed(b"hello", encoding="br"), Fault.BAD_ENCODING, True),
        (fake.compressed(bytes(3_000_000)), Fault.TOO_LARGE, True),
        (fake.answer_bytes(b"x" * 2_000_000), Fault.TOO_LARGE, True),
    ],
)
async def test_faults(upstream: FaultUpstream, engine: Breadth, behaviour: fake.Behaviour, fault: Fault, started: bool) -> None:
    """REL-01, REL-02, REL-03, REL-08."""
    upstream.answer(behaviour)
    error = await failure(engine, upstream.outgoing(timeouts=SHORT, limits=Limits(body=1_000_000)))
    assert (error.fault, error.started, error.reached) == (fault, started, True)


async def test_write_stall(upstream: FaultUpstream, engine: Breadth) -> None:
    upstream.answer(fake.never_reads())
    assert not (await failure(engine, upstream.outgoing(b"x" * 20_000_000, timeouts=SHORT))).started


async def test_gzip_and_events(upstream: FaultUpstream, engine: Breadth) -> None:
    upstream.answer(fake.compressed(b"hello" * 1000), fake.sse(["one"], delay=0.03))
    incoming = await engine.send(upstream.outgoing())
    assert incoming.headers == [(b"content-type", b"application/json")]
    assert await incoming.read() == b"hello" * 1000
    incoming = await engine.send(upstream.outgoing())
    assert [piece async for piece in incoming] == [b"data: one\n\n", b"data: [DONE]\n\n"]
    await incoming.close()


async def test_address_is_checked(upstream: FaultUpstream, engine: Breadth) -> None:
    """SEC-10, SEC-15."""
    for host in ("127.0.0.1", "name.test"):
        error = await failure(engine, upstream.outgoing(origin=Origin("http", host, upstream.port), private=False))
        assert (error.fault, error.reached) == (Fault.ADDRESS_REFUSED, False)
    assert upstream.connections == 0


async def test_dead_addresses_are_passed_over(upstream: FaultUpstream) -> None:
    async def many(host: str, port: int) -> list[tuple[int, str]]:
        return [(socket.AF_INET, f"127.0.0.{number}") for number in range(20, 0, -1)]

    engine = Breadth(AddressGuard(resolver=many), tls=tls_context)
    assert (await fetch(engine, upstream.outgoing(origin=Origin("http", "many.test", upstream.port))))[0] == 200
    await engine.aclose()


async def test_refused_and_unknown(upstream: FaultUpstream) -> None:
    async def none(host: str, port: int) -> list[tuple[int, str]]:
        return []

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = int(sock.getsockname()[1])
    engine = Breadth(AddressGuard(resolver=none), tls=tls_context)
    assert (await failure(engine, upstream.outgoing(origin=Origin("http", "127.0.0.1", port)))).fault is Fault.CONNECT_FAILED
    assert (await failure(engine, upstream.outgoing(origin=Origin("http", "none.test", port)))).fault is Fault.NAME_UNKNOWN
    await engine.aclose()


async def test_cancelled_inside_the_body(upstream: FaultUpstream, engine: Breadth) -> None:
    """REL-06."""
    upstream.answer(fake.comments_only(every=0.01))
    task = asyncio.ensure_future(fetch(engine, upstream.outgoing()))
    await upstream.received()
    await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert await upstream.closed_by_client(1.0)


async def test_closed_inside_the_body(upstream: FaultUpstream, engine: Breadth) -> None:
    upstream.answer(fake.comments_only(every=0.01))
    incoming = await engine.send(upstream.outgoing())
    assert await anext(aiter(incoming)) == b": ping\n\n"
    await incoming.close()
    await incoming.close()
    assert await upstream.closed_by_client(1.0)


# -- proxies


async def test_http_target_through_a_proxy(upstream: FaultUpstream, outbound: Outbound) -> None:
    async with FakeProxy() as proxy:
        assert await fetch(outbound, upstream.outgoing(proxy=Proxy(proxy.url, private=True))) == (200, b'{"ok": true}')
        assert proxy.seen == [f"POST http://127.0.0.1:{upstream.port}/v1/chat HTTP/1.1"]


async def test_https_target_through_a_tunnel(authority: Authority, outbound: Outbound) -> None:
    async with FakeProxy() as proxy, FaultUpstream(tls=authority.server("good.test")) as upstream:
        origin = Origin("https", "good.test", upstream.port)
        for _ in range(2):
            assert await fetch(outbound, upstream.outgoing(proxy=Proxy(proxy.url, private=True), origin=origin)) == (200, b'{"ok": true}')
        assert proxy.seen == [f"CONNECT good.test:{upstream.port} HTTP/1.1"]
        wrong = await failure(
            outbound, upstream.outgoing(proxy=Proxy(proxy.url, private=True), origin=Origin("https", "other.test", upstream.port))
        )
        assert (wrong.fault, wrong.reached) == (Fault.TLS_FAILED, False)


async def test_proxy_credentials(upstream: FaultUpstream, outbound: Outbound) -> None:
    """REL-21: proxy auth right and wrong, forward and tunnel; the words never show the credentials."""
    async with FakeProxy(credentials=base64.b64encode(b"user:p:ss").decode()) as proxy:
        right = proxy.url.replace("//", "//user:p%3Ass@")
        assert (await fetch(outbound, upstream.outgoing(proxy=Proxy(right, private=True))))[0] == 200
        for url in (proxy.url, proxy.url.replace("//", "//user:wrong@")):
            for scheme in ("http", "https"):
                request = upstream.outgoing(proxy=Proxy(url, private=True), origin=Origin(scheme, "good.test", upstream.port))
                error = await failure(outbound, request)
                assert (error.fault, error.started, error.reached) == (Fault.PROXY_FAILED, False, False)
                assert "wrong" not in error.message
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("mode", ["refuse", "silent", "drop"])
async def test_tunnel_faults(upstream: FaultUpstream, outbound: Outbound, mode: Mode) -> None:
    """REL-21: a proxy that fails is never gone around."""
    async with FakeProxy(mode) as proxy:
        request = upstream.outgoing(
            proxy=Proxy(proxy.url, private=True), origin=Origin("https", "good.test", upstream.port), timeouts=SHORT
        )
        error = await failure(outbound, request)
        assert (error.fault, error.reached) == (Fault.PROXY_FAILED, False)
    assert upstream.connections == 0


async def test_tunnel_to_nowhere(upstream: FaultUpstream, outbound: Outbound) -> None:
    async with FakeProxy("dead end") as proxy:
        request = upstream.outgoing(
            proxy=Proxy(proxy.url, private=True), origin=Origin("https", "good.test", upstream.port), timeouts=SHORT
        )
        assert (await failure(outbound, request)).fault in (Fault.TLS_FAILED, Fault.PROXY_FAILED)
    assert upstream.requests == []


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
async def test_socks_proxy(upstream: FaultUpstream, outbound: Outbound, scheme: str) -> None:
    """The proxy is told the name and looks it up itself; plain and TLS targets go the same way."""
    async with FakeSocks() as proxy:
        request = upstream.outgoing(
            proxy=Proxy(proxy.url.replace("socks5", scheme), private=True), origin=Origin("http", "a.test", upstream.port)
        )
        assert await fetch(outbound, request) == (200, b'{"ok": true}')
        assert proxy.seen == [f"a.test:{upstream.port}"]


async def test_socks_credentials(upstream: FaultUpstream, outbound: Outbound) -> None:
    """REL-21: SOCKS auth right, wrong and missing; a refusal is told from a bad password."""
    async with FakeSocks(credentials=("user", "p:ss")) as proxy:
        origin = Origin("http", "a.test", upstream.port)
        right = Proxy(proxy.url.replace("//", "//user:p%3Ass@"), private=True)
        assert (await fetch(outbound, upstream.outgoing(proxy=right, origin=origin)))[0] == 200
        for url in (proxy.url, proxy.url.replace("//", "//user:wrong@")):
            error = await failure(outbound, upstream.outgoing(proxy=Proxy(url, private=True), origin=origin))
            assert (error.fault, error.reason, error.reached) == (Fault.PROXY_FAILED, "auth", False)
            assert "wrong" not in error.message
    async with FakeSocks(refuse=True) as proxy:
        error = await failure(outbound, upstream.outgoing(proxy=Proxy(proxy.url, private=True)))
        assert (error.fault, error.reason) == (Fault.PROXY_FAILED, "refused")
    assert len(upstream.requests) == 1


async def test_a_silent_socks_proxy_keeps_no_places(upstream: FaultUpstream) -> None:
    """REL-21: a handshake that ends by the deadline leaves no socket open and no place in the pool taken."""
    outbound = Outbound(max_per_origin=2)
    async with FakeSocks(silent=True) as proxy:
        for _ in range(5):
            error = await failure(outbound, upstream.outgoing(proxy=Proxy(proxy.url, private=True), timeouts=Timeouts(connect=0.05)))
            assert (error.fault, error.reason) == (Fault.PROXY_FAILED, "timeout")
        async with asyncio.timeout(2):
            while proxy.ended < 5:
                await asyncio.sleep(0.01)
    await outbound.aclose()


async def test_reasons_of_a_proxy_that_fails(upstream: FaultUpstream, outbound: Outbound) -> None:
    """REL-21: what was wrong with the proxy is told apart."""

    async def nobody(host: str, port: int) -> list[tuple[int, str]]:
        return []

    async with FakeProxy() as proxy:
        gone = Proxy(proxy.url, private=True)
    assert (await failure(outbound, upstream.outgoing(proxy=gone))).reason == "refused"
    async with FakeProxy("silent") as proxy:
        silent = upstream.outgoing(proxy=Proxy(proxy.url, private=True), origin=Origin("https", "good.test", 1), timeouts=SHORT)
        assert (await failure(outbound, silent)).reason == "timeout"
    other = Outbound(resolver=nobody)
    assert (await failure(other, upstream.outgoing(proxy=Proxy("http://proxy.test:1")))).reason == "name_unknown"
    switched_off = await failure(outbound, upstream.outgoing(proxy=Proxy("", fault="it is switched off")))
    assert (switched_off.fault, switched_off.reason, switched_off.message) == (Fault.PROXY_FAILED, "inactive", "it is switched off")
    await other.aclose()
    assert upstream.connections == 0


async def test_pools_of_proxies_that_are_gone_are_dropped(
    upstream: FaultUpstream, outbound: Outbound, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breadth, "_MOST_POOLS", 3)
    async with FakeProxy() as proxy:
        for number in range(8):
            await failure(outbound, upstream.outgoing(proxy=Proxy("http://127.0.0.1:9", private=True, id=str(number))))
        assert (await fetch(outbound, upstream.outgoing(proxy=Proxy(proxy.url, private=True))))[0] == 200
        engine = outbound._breadth
        assert engine is not None
        assert len(engine._pools) <= 3


async def test_who_is_told_of_calls_through_a_proxy(upstream: FaultUpstream, outbound: Outbound) -> None:
    told: list[tuple[str, Fault | None]] = []
    outbound.on_proxied = lambda proxy, error, seconds: told.append((proxy.id, error.fault if error else None))
    async with FakeProxy() as proxy:
        await fetch(outbound, upstream.outgoing(proxy=Proxy(proxy.url, private=True, id="prx_1")))
        await fetch(outbound, upstream.outgoing())
    await failure(outbound, upstream.outgoing(proxy=Proxy(proxy.url, private=True, id="prx_1"), origin=Origin("https", "good.test", 1)))
    assert told == [("prx_1", None), ("prx_1", Fault.PROXY_FAILED)]


async def test_dead_proxy(upstream: FaultUpstream, outbound: Outbound) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    assert (await failure(outbound, upstream.outgoing(proxy=Proxy(url, private=True)))).fault is Fault.PROXY_FAILED
    assert upstream.connections == 0


async def test_private_proxy_needs_the_switch(upstream: FaultUpstream, outbound: Outbound) -> None:
    """SEC-15: the proxy's own address is checked like any other."""
    async with FakeProxy() as proxy:
        request = upstream.outgoing(proxy=Proxy(proxy.url), origin=Origin("http", "public.test", 80))
        assert (await failure(outbound, request)).fault is Fault.ADDRESS_REFUSED
        assert proxy.seen == []


@pytest.mark.parametrize("host", ["127.0.0.1", "169.254.169.254", "localhost"])
async def test_private_target_behind_a_proxy(host: str) -> None:
    """SEC-10: a proxy is no way around the check where we can see the address."""

    async def public(host: str, port: int) -> list[tuple[int, str]]:
        pytest.fail("the target must be refused before the proxy is looked up")

    outbound = Outbound(resolver=public)
    request = Outgoing(Origin("http", host, 80), "GET", "/", [], proxy=Proxy("http://proxy.test:3128"))
    assert (await failure(outbound, request)).fault is Fault.ADDRESS_REFUSED
    await outbound.aclose()


async def test_metadata_behind_a_private_proxy(outbound: Outbound) -> None:
    async with FakeProxy() as proxy:
        request = Outgoing(Origin("http", "169.254.169.254", 80), "GET", "/", [], proxy=Proxy(proxy.url, private=True), private=True)
        assert (await failure(outbound, request)).fault is Fault.ADDRESS_REFUSED
        assert proxy.seen == []


@pytest.mark.parametrize(("fields", "package"), [({"proxy": Proxy("socks5://127.0.0.1:1080")}, "socksio"), ({"http2": True}, "h2")])
async def test_missing_packages_are_named(
    upstream: FaultUpstream, outbound: Outbound, monkeypatch: pytest.MonkeyPatch, fields: dict[str, object], package: str
) -> None:
    monkeypatch.setattr(breadth, "find_spec", lambda _: None)
    with pytest.raises(NotConfigured, match=package):
        await outbound.send(upstream.outgoing(**fields))
    assert upstream.connections == 0


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://proxy.test:3128", ("http", Origin("http", "proxy.test", 3128), None)),
        ("https://proxy.test/", ("https", Origin("https", "proxy.test", 443), None)),
        ("socks5://u:p%40@proxy.test", ("socks5", Origin("socks5", "proxy.test", 1080), (b"u", b"p@"))),
        ("SOCKS5H://proxy.test:80", ("socks5h", Origin("socks5h", "proxy.test", 80), None)),
    ],
)
def test_proxy_urls(url: str, expected: object) -> None:
    assert parse_proxy(url) == expected


@pytest.mark.parametrize("url", ["", "proxy.test:3128", "ftp://proxy.test", "http://proxy.test/path", "http://u:secret@", "http://a@b@c d"])
def test_proxy_urls_refused(url: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_proxy(url)
    assert caught.value.field == "proxy"
    assert "secret" not in caught.value.message
