"""The OpenAPI document of this hub's REST door, for whoever may call it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from transports import rest
from transports._http import JSON, NO_STORE, Route

if TYPE_CHECKING:
    from hub.call import Hub
    from transports._http import Exchange


def routes(hub: Hub) -> list[Route]:
    """One address. It needs a credential like all others: what a hub can do is nobody else's business (D4)."""
    return [Route("/openapi.json", _document, rest.DOOR)]


async def _document(exchange: Exchange) -> None:
    # Its making is not needed to start.
    from transports._openapi import document  # noqa: PLC0415 - see above

    hub = exchange.hub
    kept: tuple[int, bytes] | None = hub.kept.get("openapi")
    if kept is None or kept[0] != hub.skills.version:
        kept = hub.kept["openapi"] = (hub.skills.version, orjson.dumps(document(hub.skills, hub.base_url)))
    await exchange.answer(200, kept[1], [JSON, NO_STORE])
