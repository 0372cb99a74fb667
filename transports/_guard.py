"""Keeps web pages of elsewhere away from a hub on loopback (SEC-07)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from hub.errors import Forbidden
from hub.settings import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Container

    from hub.call import Hub
    from transports._head import Head
    from transports._http import Exchange


@dataclass(slots=True)
class Guard:
    """The check of Host and Origin that keeps web pages away from a hub on loopback (SEC-07).

    On loopback only loopback names, the public URL's host and ``allowed_hosts`` are accepted. A
    request with an Origin must come from one of our own or an allowed origin.
    """

    hosts: frozenset[str]
    origins: frozenset[str]
    strict: bool
    #: Names for a time, of the tunnels that are open.
    passing: Container[str] = ()
    _passed: set[str] = field(default_factory=set[str])

    @classmethod
    def of(cls, hub: Hub) -> Guard:
        """The guard that the settings ask for."""
        settings = hub.settings
        named = {name.strip().lower() for name in settings.allowed_hosts.split(",") if name.strip()}
        public = urlsplit(settings.public_url).hostname if settings.public_url else None
        hosts = {*LOOPBACK, settings.host.lower(), *named, *([public] if public else [])}
        origins = {origin.strip().rstrip("/").lower() for origin in settings.allowed_origins.split(",") if origin.strip()}
        if public:
            parts = urlsplit(settings.public_url.lower())
            origins.add(f"{parts.scheme}://{parts.netloc}")
        return cls(frozenset(hosts), frozenset(origins), strict=settings.loopback or bool(named), passing=hub.tunnels.hosts)

    def check(self, head: Head, *, pages: bool = False) -> None:
        """Raises Forbidden for a foreign Host or Origin. ``pages`` lets those of the address itself call, whatever name it has."""
        if self.strict and head.host not in self._passed:
            self._check_host(head.host)
        if head.origin is not None and not self.allows_origin(head.origin) and not (pages and same_address(head)):
            raise Forbidden(
                "requests from this web origin are not allowed; name it in HUBROUTE_ALLOWED_ORIGINS if it is yours", code="origin_refused"
            )

    def _check_host(self, host: str) -> None:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            name = ""
        if name in self.passing:
            return
        if name not in self.hosts:
            raise Forbidden("this Host is not one of the hub's names; add it to HUBROUTE_ALLOWED_HOSTS if it is", code="host_refused")
        if len(self._passed) < 64:
            self._passed.add(host)

    def allows_origin(self, origin: str) -> bool:
        """Whether a web origin may call: one that was allowed by name, or a page of this hub itself."""
        value = origin.rstrip("/").lower()
        if value in self.origins:
            return True
        try:
            parts = urlsplit(value)
        except ValueError:
            return False
        name = parts.hostname or ""
        return parts.scheme in ("http", "https") and (name in self.passing or (name in self.hosts and self.strict))


def same_address(head: Head) -> bool:
    """Whether a plain web page of the very address that is asked sends a request."""
    return head.origin is not None and bool(head.host) and head.origin.lower() == f"http://{head.host.lower()}"


def came_from(exchange: Exchange) -> str:
    """The client's IP address: that of the connection, or what a trusted proxy says in its stead. Raises Forbidden for one shut out."""
    hub, client = exchange.hub, exchange.scope.get("client")
    address: str = client[0] if client else ""
    through = bool(hub.tunnels.hosts) and hub.tunnels.carries(address, exchange.head.host)
    if through or hub.addresses.trusting:
        address = hub.addresses.client(address, lambda: _forwarded(exchange), believed=through)
    if hub.addresses.active:
        hub.addresses.check(address)
    return address


def _forwarded(exchange: Exchange) -> str:
    """Every X-Forwarded-For header as one: proxies may add a line of their own."""
    return ",".join(value.decode("latin-1") for name, value in exchange.scope["headers"] if name == b"x-forwarded-for")
