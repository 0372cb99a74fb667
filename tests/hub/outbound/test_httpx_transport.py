"""Ordinary httpx on our connections."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from hub.outbound.base import Fault, OutboundError
from tests.fakes import upstream as fake

if TYPE_CHECKING:
    from hub.outbound.client import Outbound
    from tests.fakes.upstream import FaultUpstream

pytestmark = pytest.mark.anyio


async def test_json_round_trip(upstream: FaultUpstream, outbound: Outbound) -> None:
    async with httpx.AsyncClient(transport=outbound.transport(private=True), base_url=upstream.url) as client:
        for _ in range(2):
            answer = await client.post("/a?b=ü", json={"x": 1}, headers={"x-one": "1"})
            assert (answer.status_code, answer.json()) == (200, {"ok": True})
    seen = upstream.requests[0]
    assert (seen.target, seen.json(), seen.headers["x-one"]) == ("/a?b=%C3%BC", {"x": 1}, "1")
    assert seen.headers["accept-encoding"] == "identity"
    assert upstream.connections == 1


async def test_streaming_and_closing_early(upstream: FaultUpstream, outbound: Outbound) -> None:
    upstream.answer(fake.comments_only(every=0.01))
    async with (
        httpx.AsyncClient(transport=outbound.transport(True)) as client,
        client.stream("GET", upstream.url) as answer,
    ):
        async for piece in answer.aiter_bytes():
            assert piece.startswith(b": ping")
            break
    assert await upstream.closed_by_client(1.0)


async def test_private_is_refused(upstream: FaultUpstream, outbound: Outbound) -> None:
    async with httpx.AsyncClient(transport=outbound.transport()) as client:
        with pytest.raises(httpx.ConnectError) as caught:
            await client.get(upstream.url)
    cause = caught.value.__cause__
    assert isinstance(cause, OutboundError)
    assert cause.fault is Fault.ADDRESS_REFUSED


async def test_redirects_pass_the_check_again(upstream: FaultUpstream, outbound: Outbound) -> None:
    """SEC-12: even a client that follows redirects cannot be led to a forbidden address, nor round in circles."""
    upstream.answer(
        fake.answer_bytes(b"", status=302, headers=[("location", "http://169.254.169.254/latest")]),
        fake.answer_bytes(b"", status=302, headers=[("location", "/")]),
    )
    async with httpx.AsyncClient(transport=outbound.transport(True), follow_redirects=True, max_redirects=5) as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(upstream.url)
        with pytest.raises(httpx.TooManyRedirects):
            await client.get(upstream.url)


@pytest.mark.parametrize(
    ("behaviour", "error"),
    [
        (fake.reset_before_head(), httpx.RemoteProtocolError),
        (fake.silent(), httpx.ReadTimeout),
        (fake.head_then_silent(), httpx.ReadTimeout),
        (fake.cut(b"hello", at=2), httpx.RemoteProtocolError),
        (fake.compressed(b"x", data=b"no"), httpx.RemoteProtocolError),
    ],
)
async def test_faults_are_httpx_errors(
    upstream: FaultUpstream, outbound: Outbound, behaviour: fake.Behaviour, error: type[httpx.TransportError]
) -> None:
    upstream.answer(behaviour)
    async with httpx.AsyncClient(transport=outbound.transport(True), timeout=httpx.Timeout(5.0, read=0.2)) as client:
        with pytest.raises(error):
            await client.get(upstream.url)


async def test_gzip(upstream: FaultUpstream, outbound: Outbound) -> None:
    upstream.answer(fake.compressed(b'{"a": 1}'))
    async with httpx.AsyncClient(transport=outbound.transport(True)) as client:
        assert (await client.get(upstream.url)).json() == {"a": 1}


async def test_other_schemes(outbound: Outbound) -> None:
    async with httpx.AsyncClient(transport=outbound.transport(True)) as client:
        with pytest.raises(httpx.UnsupportedProtocol):
            await client.get("ftp://a.test/")
