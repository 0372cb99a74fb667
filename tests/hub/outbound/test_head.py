"""Request heads: exact bytes, and nothing that adds a line (SEC-14, SEC-29)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.errors import BadRequest
from hub.outbound.base import Origin, Outgoing
from hub.outbound.head import Heads


def head(origin: Origin | None = None, **fields: object) -> bytes:
    origin = origin or Origin("https", "api.test", 443)
    values: dict[str, object] = {"method": "POST", "target": "/v1", "headers": [], "body": b"{}", **fields}
    return Heads(origin).build(Outgoing(origin=origin, **values))  # type: ignore[arg-type]


def test_exact_bytes() -> None:
    assert head(headers=[(b"Authorization", b"Bearer k"), (b"X-Y", b"")]) == (
        b"POST /v1 HTTP/1.1\r\nhost: api.test\r\nAuthorization: Bearer k\r\nX-Y: \r\naccept-encoding: identity\r\ncontent-length: 2\r\n\r\n"
    )


def test_no_body() -> None:
    assert head(method="GET", body=b"") == b"GET /v1 HTTP/1.1\r\nhost: api.test\r\naccept-encoding: identity\r\n\r\n"
    assert b"content-length: 0\r\n" in head(body=b"")


def test_callers_accept_encoding_stays() -> None:
    assert head(headers=[(b"Accept-Encoding", b"gzip")]).count(b"ncoding:") == 1


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        (Origin("http", "a.test", 80), b"a.test"),
        (Origin("https", "a.test", 80), b"a.test:80"),
        (Origin("http", "::1", 8080), b"[::1]:8080"),
    ],
)
def test_host(origin: Origin, host: bytes) -> None:
    assert b"\r\nhost: " + host + b"\r\n" in head(origin)


@pytest.mark.parametrize(
    "name", ["Host", "content-length", "Transfer-Encoding", "connection", "TE", "Upgrade", "expect", "proxy-authorization"]
)
def test_framing_headers_are_ours(name: str) -> None:
    with pytest.raises(BadRequest):
        head(headers=[(name.encode(), b"x")])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"x", b"a\r\nEvil: 1"),
        (b"x", b"a\nEvil: 1"),
        (b"x", b"a\rb"),
        (b"x", b"a\0b"),
        (b"x", b"a\x7fb"),
        (b"x\r\nEvil: 1\r\ny", b"a"),
        (b"x y", b"a"),
        (b"x:", b"a"),
        (b"", b"a"),
        ("ü".encode(), b"a"),
    ],
)
def test_injection(name: bytes, value: bytes) -> None:
    """SEC-29."""
    with pytest.raises(BadRequest) as caught:
        head(headers=[(b"a", b"b"), (name, value)])
    assert "Evil" not in caught.value.message


@pytest.mark.parametrize("target", ["", "v1", "/a b", "/a\r\nEvil: 1", "/\x00", "/ü", "http://x/", "*"])
def test_targets(target: str) -> None:
    with pytest.raises(BadRequest):
        head(target=target)


@pytest.mark.parametrize("method", ["", "get", "G T", "CONNECT", "GET\r\n"])
def test_methods(method: str) -> None:
    with pytest.raises(BadRequest):
        head(method=method)


def test_template_cache_is_bounded() -> None:
    origin = Origin("http", "a.test", 80)
    heads = Heads(origin)
    for number in range(1000):
        assert heads.build(Outgoing(origin, "GET", f"/{number}", [])).startswith(f"GET /{number} ".encode())


@given(st.lists(st.tuples(st.binary(max_size=12), st.binary(max_size=20)), max_size=4))
def test_lines_are_as_many_as_headers(headers: list[tuple[bytes, bytes]]) -> None:
    """SEC-29: whatever goes in, it is refused or comes out as exactly one line each."""
    try:
        built = head(headers=headers)
    except BadRequest:
        return
    lines = built.split(b"\r\n")
    plain = not any(name.lower() == b"accept-encoding" for name, _ in headers)
    assert len(lines) == 2 + len(headers) + plain + 1 + 2
    assert b"\n" not in built.replace(b"\r\n", b"")
