"""Which addresses the hub may connect to, and the strict reading of a base URL (SEC-10 to 13, 15).

The check runs on the addresses a name resolved to, and the connection then goes to exactly those
addresses, so a second look-up can never answer something else (rebinding, SEC-11).
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from typing import TYPE_CHECKING, NoReturn

from hub.errors import BadRequest
from hub.outbound.base import Fault, Origin, OutboundError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    Address = ipaddress.IPv4Address | ipaddress.IPv6Address
    Network = ipaddress.IPv4Network | ipaddress.IPv6Network
    Resolver = Callable[[str, int], Awaitable[list[tuple[int, str]]]]

#: Names and addresses of this machine itself, as people write them.
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})

# The library's `is_global` lets several of these through (libraries.md, trap 5), hence tables by name.
# Allowed only where a connection or the operator switched private networks on.
_PRIVATE = tuple(
    ipaddress.ip_network(text)
    for text in (
        "10.0.0.0/8",
        "127.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",  # carrier-grade NAT
        "::1/128",
        "fc00::/7",
    )
)
# Never allowed. Metadata services first: some of them live in ranges that are otherwise private or public.
_NEVER = tuple(
    ipaddress.ip_network(text)
    for text in (
        "169.254.0.0/16",  # link-local
        "100.100.100.200/32",  # metadata
        "168.63.129.16/32",  # metadata
        "fd00:ec2::254/128",  # metadata
        "fd20:ce::254/128",  # metadata
        "0.0.0.0/8",
        "192.0.0.0/24",  # IETF protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relay
        "198.18.0.0/15",  # benchmark
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved and broadcast
        "64:ff9b:1::/48",  # NAT64 of a local network: where the IPv4 part sits is not knowable
        "2001::/23",  # IETF protocol assignments (Teredo is unwrapped before this)
        "2001:db8::/32",  # documentation
        "3fff::/20",  # documentation
    )
)
_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")  # all that is assigned as global unicast
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_COMPATIBLE = ipaddress.IPv6Network("::/96")

_URL = re.compile(r"(https?)://([^/?#]*)([^#]*)", re.IGNORECASE)
_AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[^:\[\]@%]+)(?::([0-9]{1,5}))?", re.IGNORECASE)
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMERIC = re.compile(r"[0-9]+|0x[0-9a-f]*")
_TARGET = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/?\[\]]|%[0-9A-Fa-f]{2})*")
_PORTS = {"http": 80, "https": 443}


def network(text: str, field: str) -> Network:
    """An address, or a network in CIDR notation, as a network. Raises BadRequest naming ``field``."""
    try:
        return ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        raise BadRequest(
            f"{field}: {text[:60]!r} is no IP address and no network; write 203.0.113.7, 203.0.113.0/24 or 2001:db8::/32", field=field
        ) from None


def forms(text: str) -> list[Address]:
    """The addresses that one stands for: an IPv4 address for a mapped one, else itself, then those embedded in it; none for no address."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return []
    mapped = isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None
    return [*embedded(address)] if mapped else [address, *embedded(address)]


async def system_resolver(host: str, port: int) -> list[tuple[int, str]]:
    """Every address the operating system knows for a name, as ``(family, ip)`` in its order of preference."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(int(family), str(address[0])) for family, _, _, _, address in found]


class AddressGuard:
    """Checks addresses, and resolves names to addresses that passed. ``resolver`` is for tests."""

    def __init__(self, allow_private: bool = False, *, resolver: Resolver | None = None) -> None:
        self.allow_private = allow_private
        self._resolver = resolver or system_resolver

    def check(self, ip: str, *, private: bool = False) -> None:
        """Raise OutboundError(ADDRESS_REFUSED) unless the hub may connect to ``ip``.

        ``private`` also allows loopback and private ranges; link-local, metadata, multicast and reserved
        addresses are refused always. IPv4 addresses embedded in IPv6 ones are judged by themselves.
        """
        try:
            # A zone index only ever belongs to a link-local address, which is refused below.
            address = ipaddress.ip_address(ip.partition("%")[0])
        except ValueError:
            _refuse("is not an IP address")
        self._judge(address, private or self.allow_private)

    def check_literal(self, host: str, *, private: bool = False) -> None:
        """Check a host that is an IP address already; names pass, since somebody else resolves them (a proxy)."""
        if ":" in host or _ends_in_number(host):
            self.check(host, private=private)
        elif host == "localhost" or host.endswith(".localhost"):
            self.check("127.0.0.1", private=private)

    async def resolve(self, origin: Origin, *, private: bool = False) -> list[tuple[int, str]]:
        """The addresses to connect to, ``(family, ip)``. One look-up; one bad answer among them refuses all."""
        host = origin.host
        if ":" in host:
            found = [(int(socket.AF_INET6), host)]
        elif _ends_in_number(host):
            if not _canonical_v4(host):
                _refuse("is written in a form that is not allowed")
            found = [(int(socket.AF_INET), host)]
        else:
            found = await self._look_up(host, origin.port)
        for _, ip in found:
            self.check(ip, private=private)
        return list(dict.fromkeys(found))

    async def _look_up(self, host: str, port: int) -> list[tuple[int, str]]:
        try:
            found = await self._resolver(host, port)
        except (OSError, UnicodeError) as error:
            raise OutboundError(Fault.NAME_UNKNOWN, f"no address is known for {host}") from error
        if not found:
            raise OutboundError(Fault.NAME_UNKNOWN, f"no address is known for {host}")
        return found

    def _judge(self, address: Address, private: bool) -> None:
        inner = embedded(address)
        if inner:
            for each in inner:
                self._judge(each, private)
            return
        if _within(address, _NEVER):
            _refuse("is link-local, reserved or a metadata address, which is never allowed")
        if _within(address, _PRIVATE):
            if not private:
                _refuse("is private; allow private networks for this connection if that is meant")
        elif address.version == 6 and address not in _GLOBAL_V6:
            _refuse("is not a public address")


def parse_url(url: str, *, field: str = "base_url") -> tuple[Origin, str]:
    """An ``http`` or ``https`` URL as its origin and its target (path and query, at least ``/``).

    Raises BadRequest naming ``field`` for anything that two parsers could read in two ways. The message
    never repeats the URL, which may hold a credential.
    """
    match = _URL.fullmatch(url)
    if match is None:
        _bad(field, "write http:// or https://, a host and a path, without a fragment")
    scheme, authority, target = match[1].lower(), match[2], match[3]
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None:
        _bad(field, "write the host as name, IPv4 or [IPv6] address with an optional port, and no user name")
    if _TARGET.fullmatch(target) is None:
        _bad(field, "percent-encode every character of the path that is not plain ASCII")
    port = int(parts[2]) if parts[2] is not None else _PORTS[scheme]
    if not 0 < port < 65536:
        _bad(field, "the port must be between 1 and 65535")
    return Origin(scheme, _host(parts[1], field), port), target if target.startswith("/") else f"/{target}"


def _host(text: str, field: str) -> str:
    if text.startswith("["):
        try:
            return str(ipaddress.IPv6Address(text[1:-1]))
        except ValueError:
            _bad(field, "the IPv6 address is not valid")
    host = text.lower() if text.isascii() else _idna(text, field)
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in host.split(".")):
        _bad(field, "the host name is not valid; it must not end in a dot")
    if _ends_in_number(host) and not _canonical_v4(host):
        _bad(field, "write an IPv4 address as four decimal numbers")
    return host


def _idna(text: str, field: str) -> str:
    import idna  # noqa: PLC0415 - deferred: international names are rare and its tables are large

    try:
        return idna.encode(text.lower(), strict=True, std3_rules=True).decode("ascii")
    except (idna.IDNAError, UnicodeError):
        _bad(field, "the international host name is not valid")


def _ends_in_number(host: str) -> bool:
    """Whether C libraries would read the host as an IPv4 address in some notation (decimal, octal, hex, short)."""
    return _NUMERIC.fullmatch(host.rstrip(".").rpartition(".")[2].lower()) is not None


def _canonical_v4(host: str) -> bool:
    try:
        return str(ipaddress.IPv4Address(host)) == host
    except ValueError:
        return False


def embedded(address: Address) -> list[ipaddress.IPv4Address]:
    """The IPv4 addresses that packets to an IPv6 address end up at."""
    if isinstance(address, ipaddress.IPv4Address):
        return []
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    if address.sixtofour is not None:
        return [address.sixtofour]
    if address.teredo is not None:
        return list(address.teredo)
    if address in _NAT64 or (address in _COMPATIBLE and int(address) > 1):
        return [ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)]
    return []


def _within(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks)


def _refuse(why: str) -> NoReturn:
    raise OutboundError(Fault.ADDRESS_REFUSED, f"the address of this host {why}")


def _bad(field: str, what: str) -> NoReturn:
    raise BadRequest(f"{field} is not usable: {what}", field=field)
