"""What clients read to log in: the protected resource metadata of the hub and of its parts (RFC 9728)."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import orjson

from hub.errors import NotFound
from transports import _access
from transports._http import JSON, Door, Exchange, Route

if TYPE_CHECKING:
    from hub.call import Hub

DOOR = Door("oauth", route_class=b"PUBLIC")
#: The document depends on the name by which the client knows the hub, on loopback.
_CACHING = [(b"cache-control", b"public, max-age=300"), (b"vary", b"Host")]


def routes(hub: Hub) -> list[Route]:
    """The well-known address, and the same with the path of a resource behind it."""
    return [
        Route(_access.WELL_KNOWN, metadata, DOOR, public=True),
        Route(_access.WELL_KNOWN + "/{resource:path}", metadata, DOOR, public=True),
    ]


async def metadata(exchange: Exchange) -> None:
    """Which authorization servers issue tokens for a resource here, and with which scopes."""
    oauth = exchange.hub.oauth
    if not oauth.active:
        raise NotFound("this hub takes no OAuth tokens; set HUBROUTE_OAUTH_ISSUERS to let it")
    base = _access.base(exchange)
    # A proxy may pass the public URL's own path on or cut it off.
    path = "/" + exchange.params.get("resource", "").strip("/")
    path = path.removeprefix(urlsplit(base).path).rstrip("/")
    if path not in oauth.resources:
        raise NotFound(f"no resource is at {path[:200]}; there are {', '.join(sorted(oauth.resources))}")
    await exchange.answer(200, orjson.dumps(oauth.document(base + path)), [JSON, *_CACHING])
