"""Access tokens at the doors: whom one stands for, and what a refused client is told of how to get in (RFC 6750, 3; RFC 9728, 5).

A token is made for an address. Which one that is stands in the metadata that the challenge points to.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from hub.errors import Forbidden, Unauthenticated, Unavailable
from hub.records import Caller

if TYPE_CHECKING:
    from hub.errors import HubError
    from hub.settings import Settings
    from transports._http import Exchange

WELL_KNOWN = "/.well-known/oauth-protected-resource"
_LOCAL = ("127.0.0.1", "localhost", "[::1]")


def base(exchange: Exchange) -> str:
    """The address of the hub by which this client came, without a path; one of its own names, whatever the client sent as Host."""
    found = _bases(exchange)
    host = exchange.head.host.lower()
    return next((one for one in found if one.partition("://")[2] == host), found[0])


def _bases(exchange: Exchange) -> tuple[str, ...]:
    """Every address of the hub. A public URL is the only one; on loopback each name of this machine counts."""
    hub = exchange.hub
    own = addresses(hub.settings, exchange.scope["server"][1])
    return own if hub.base_url == hub.settings.base_url else (*own, hub.base_url)


def addresses(settings: Settings, port: int) -> tuple[str, ...]:
    """Every address of a hub that listens on a port, where the settings name none."""
    if settings.public_url:
        return (settings.base_url,)
    return tuple([f"http://{name}:{settings.port or port}" for name in _LOCAL])


async def caller_of(exchange: Exchange, token: str) -> Caller:
    """The caller behind a credential with the form of an access token. Raises Unauthenticated, Unavailable.

    At a public address one that does not count is none: a client whose token has ended must find out there where to get the next.
    """
    try:
        return await exchange.hub.identify(token, audiences(exchange))
    except (Unauthenticated, Unavailable):
        if exchange.route.public:
            return Caller.anonymous()
        raise


def audiences(exchange: Exchange) -> frozenset[str]:
    """Whom a token must be for at this address: the hub, or the part of it that is a resource of its own."""
    return names(_bases(exchange), exchange.route.door.resource)


@lru_cache(maxsize=64)
def names(found: tuple[str, ...], resource: str) -> frozenset[str]:
    return frozenset(one + path for one in found for path in ("", "/", resource))


def headers(exchange: Exchange, error: HubError) -> list[tuple[bytes, bytes]]:
    """The challenge that goes with an error, none with most."""
    if isinstance(error, Unauthenticated):
        return [(b"www-authenticate", _of_stranger(exchange))]
    if isinstance(error, Forbidden) and error.data.get("missing"):
        return [(b"www-authenticate", _of_known(exchange, error.data["missing"]))]
    return []


def _of_stranger(exchange: Exchange) -> bytes:
    door = exchange.route.door
    oauth = exchange.hub.oauth
    if not oauth.active:
        return door.challenge
    fields = {"error": "invalid_token"} if exchange.head.token else {}
    wanted = oauth.wanted([door.opens] if door.opens else [])
    if wanted:
        fields["scope"] = " ".join(wanted)
    return _written(door.challenge, {**fields, "resource_metadata": metadata_url(exchange)})


def _of_known(exchange: Exchange, missing: list[str]) -> bytes:
    """Only what is missing is asked for (SEC-54): clients add it to what they have."""
    door, issuer = exchange.route.door, exchange.caller.issuer
    if not issuer:
        return _written(door.challenge, {"error": "insufficient_scope", "scope": " ".join(missing)})
    wanted = exchange.hub.oauth.wanted(missing, issuer)
    scope = {"scope": " ".join(wanted)} if wanted else {}
    return _written(door.challenge, {"error": "insufficient_scope", **scope, "resource_metadata": metadata_url(exchange)})


def _written(challenge: bytes, fields: dict[str, str]) -> bytes:
    return challenge + "".join(f', {name}="{value}"' for name, value in fields.items()).encode("latin-1", "replace")


def metadata_url(exchange: Exchange) -> str:
    """Where the metadata of this address is: the well-known part stands before the resource's own path (RFC 9728, 3.1)."""
    parts = urlsplit(base(exchange))
    return f"{parts.scheme}://{parts.netloc}{WELL_KNOWN}{parts.path}{exchange.route.door.resource}"
