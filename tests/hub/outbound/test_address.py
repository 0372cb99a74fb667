"""Which addresses are refused, in every notation (SEC-10, 11, 13, 15)."""

from __future__ import annotations

import socket

import pytest

from hub.errors import BadRequest
from hub.outbound.address import AddressGuard, parse_url
from hub.outbound.base import Fault, Origin, OutboundError

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


PRIVATE = [
    "127.0.0.1",
    "127.255.255.254",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "::1",
    "fc00::1",
    "fd12:3456::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::127.0.0.1",
    "64:ff9b::127.0.0.1",
    "64:ff9b::a00:1",
    "2002:7f00:1::",
    "2002:c0a8:101::1",
    # Teredo: server 10.0.0.1, and a client 127.0.0.1 (inverted) behind a public server
    "2001:0:a00:1::f7f7:f7f7",
    "2001:0:808:808::80ff:fffe",
]
NEVER = [
    "169.254.169.254",
    "169.254.0.1",
    "fe80::1",
    "fe80::1%eth0",
    "fd00:ec2::254",
    "fd20:ce::254",
    "100.100.100.200",
    "168.63.129.16",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::",
    "64:ff9b:1::7f00:1",
    "0.0.0.0",
    "0.1.2.3",
    "::",
    "224.0.0.1",
    "239.255.255.250",
    "ff02::1",
    "240.0.0.1",
    "255.255.255.255",
    "192.0.0.8",
    "192.0.0.192",
    "192.0.2.1",
    "198.18.0.1",
    "198.51.100.7",
    "203.0.113.9",
    "192.88.99.1",
    "fec0::1",
    "2001:db8::1",
    "2001:2::1",
    "3fff::1",
    "100::1",
    "4000::1",
    "not an address",
]
PUBLIC = ["8.8.8.8", "1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "64:ff9b::808:808", "::ffff:8.8.8.8", "2002:808:808::1"]


def refused(guard: AddressGuard, ip: str, *, private: bool = False) -> bool:
    try:
        guard.check(ip, private=private)
    except OutboundError as error:
        return error.fault is Fault.ADDRESS_REFUSED and not error.reached and not error.started
    return False


@pytest.mark.parametrize("ip", PRIVATE)
def test_private_needs_the_switch(ip: str) -> None:
    """SEC-10, SEC-15."""
    assert refused(AddressGuard(), ip)
    assert not refused(AddressGuard(), ip, private=True)
    assert not refused(AddressGuard(allow_private=True), ip)


@pytest.mark.parametrize("ip", NEVER)
def test_never_even_with_the_switch(ip: str) -> None:
    """SEC-10."""
    assert refused(AddressGuard(), ip)
    assert refused(AddressGuard(allow_private=True), ip, private=True)


@pytest.mark.parametrize("ip", PUBLIC)
def test_public(ip: str) -> None:
    assert not refused(AddressGuard(), ip)


def stub(*answers: list[str]) -> tuple[AddressGuard, list[str]]:
    asked: list[str] = []

    async def resolver(host: str, port: int) -> list[tuple[int, str]]:
        answer = answers[min(len(asked), len(answers) - 1)]
        asked.append(host)
        return [(socket.AF_INET6 if ":" in ip else socket.AF_INET, ip) for ip in answer]

    return AddressGuard(resolver=resolver), asked


def origin(host: str) -> Origin:
    return Origin("https", host, 443)


async def test_mixed_answers_fail() -> None:
    """SEC-11: one private address among public ones refuses the name."""
    guard, _ = stub(["8.8.8.8", "10.0.0.1"])
    with pytest.raises(OutboundError) as caught:
        await guard.resolve(origin("mixed.test"))
    assert caught.value.fault is Fault.ADDRESS_REFUSED


async def test_rebinding_is_seen_at_the_second_look_up() -> None:
    """SEC-11: the first answer is what is connected to; a later private answer is refused."""
    guard, asked = stub(["8.8.8.8"], ["127.0.0.1"])
    assert await guard.resolve(origin("rebind.test")) == [(socket.AF_INET, "8.8.8.8")]
    assert asked == ["rebind.test"]
    with pytest.raises(OutboundError):
        await guard.resolve(origin("rebind.test"))


async def test_order_and_duplicates() -> None:
    guard, _ = stub(["2606:4700::1111", "8.8.8.8", "8.8.8.8"])
    assert await guard.resolve(origin("two.test")) == [(socket.AF_INET6, "2606:4700::1111"), (socket.AF_INET, "8.8.8.8")]


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0x8.8.8.8", "134744072", "8.8.8.010", "1.2.3.4."])
async def test_odd_notations_are_never_resolved(host: str) -> None:
    """SEC-10: forms that only the C library reads as an address, public ones too."""
    guard, asked = stub(["8.8.8.8"])
    with pytest.raises(OutboundError) as caught:
        await guard.resolve(origin(host))
    assert caught.value.fault is Fault.ADDRESS_REFUSED
    assert asked == []


async def test_literals_are_not_looked_up() -> None:
    guard, asked = stub(["127.0.0.1"])
    assert await guard.resolve(origin("8.8.8.8")) == [(socket.AF_INET, "8.8.8.8")]
    assert await guard.resolve(origin("2606:4700::1111")) == [(socket.AF_INET6, "2606:4700::1111")]
    assert asked == []


@pytest.mark.parametrize("failure", [socket.gaierror(8, "no"), UnicodeError("label"), None])
async def test_unknown_name(failure: Exception | None) -> None:
    async def resolver(host: str, port: int) -> list[tuple[int, str]]:
        if failure is not None:
            raise failure
        return []

    with pytest.raises(OutboundError) as caught:
        await AddressGuard(resolver=resolver).resolve(origin("none.test"))
    assert caught.value.fault is Fault.NAME_UNKNOWN


async def test_system_resolver_knows_localhost() -> None:
    found = await AddressGuard(allow_private=True).resolve(Origin("http", "localhost", 80))
    assert {ip for _, ip in found} <= {"127.0.0.1", "::1"}


@pytest.mark.parametrize(
    ("host", "bad"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("a.localhost", True), ("a.test", False)]
)
def test_literal_behind_a_proxy(host: str, bad: bool) -> None:
    if bad:
        with pytest.raises(OutboundError):
            AddressGuard().check_literal(host)
    AddressGuard().check_literal(host, private=bad)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://api.test/v1", ("https", "api.test", 443, "/v1")),
        ("HTTPS://API.Test", ("https", "api.test", 443, "/")),
        ("http://api.test:8080/a?b=c%20d", ("http", "api.test", 8080, "/a?b=c%20d")),
        ("http://api.test?x=1", ("http", "api.test", 80, "/?x=1")),
        ("http://127.0.0.1:1/", ("http", "127.0.0.1", 1, "/")),
        ("http://[::1]:11434/v1", ("http", "::1", 11434, "/v1")),
        ("http://[2606:4700:0:0::1111]/", ("http", "2606:4700::1111", 80, "/")),
        ("https://bücher.test/", ("https", "xn--bcher-kva.test", 443, "/")),
        ("http://my_host-1/", ("http", "my_host-1", 80, "/")),
    ],
)
def test_urls(url: str, expected: tuple[str, str, int, str]) -> None:
    origin, target = parse_url(url)
    assert (origin.scheme, origin.host, origin.port, target) == expected


BAD_URLS = [
    "",
    "api.test/v1",
    "//api.test",
    "ftp://api.test",
    "file:///etc/passwd",
    "gopher://api.test",
    "javascript:alert(1)",
    "http://",
    "http:///v1",
    "http:api.test",
    "http://user@api.test",
    "http://user:pass@api.test",
    "http://api.test@evil.test",
    "http://api.test%40evil.test",
    "http://api.test:0/",
    "http://api.test:/",
    "http://api.test:65536/",
    "http://api.test:+80/",
    "http://api.test:8 0/",
    "http://api.test:٨٠/",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0x7f.1/",
    "http://0177.0.0.1/",
    "http://127.1/",
    "http://127.0.1/",
    "http://127.0.0.01/",
    "http://127.0.0.1.5/",
    "http://127.0.0.256/",
    "http://１２７.０.０.１/",
    "http://①②⑦.⓪.⓪.①/",
    "http://127。0。0。1/",
    "http://exa\u00admple.test/",
    "http://api.test./",
    "http://api.test../",
    "http://.api.test/",
    "http://a..b/",
    "http://-a.test/",
    f"http://{'a' * 64}.test/",
    f"http://{'a.' * 130}test/",
    "http://api.test#",
    "http://api.test/#evil",
    "http://evil.com#.api.test/",
    "http://x.evil.com/.api.test\\",
    "http://api.test\\@evil.test/",
    "http://api.test/a b",
    " http://api.test/",
    "http://api.test/\n",
    "http://api.test/\r\nHost: evil",
    "http://api.\ttest/",
    "http://api.test/\x00",
    "http://api.test/ü",
    "http://api.test/%zz",
    "http://[::1/",
    "http://::1/",
    "http://[::1%25eth0]/",
    "http://[fe80::1%eth0]/",
    "http://[::ffff:127.0.0.1].test/",
    "http://[gggg::]/",
    "http://[::1]x/",
]


@pytest.mark.parametrize("url", BAD_URLS)
def test_urls_refused(url: str) -> None:
    """SEC-10, SEC-13: whatever two parsers could read in two ways; the message repeats nothing of it."""
    with pytest.raises(BadRequest) as caught:
        parse_url(url)
    assert caught.value.field == "base_url"
    assert "pass" not in caught.value.message
    assert "evil" not in caught.value.message


def test_field_is_the_callers() -> None:
    with pytest.raises(BadRequest) as caught:
        parse_url("nonsense", field="webhook")
    assert caught.value.field == "webhook"
