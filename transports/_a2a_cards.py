"""The agent cards over HTTP: public ones with what caches need, and the caller's own."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import TYPE_CHECKING, Any, TypeAlias

import orjson

from agents.card import Place, card_both, card_v03, card_v1, visible
from transports._http import JSON, Exchange

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.call import Hub
    from hub.oauth.resource import Login

    Form: TypeAlias = Callable[..., dict[str, Any]]


class Cards:
    """The public cards as bytes, made once."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._made: dict[tuple[str, str, tuple[Login, ...]], tuple[bytes, str]] = {}
        self._modified = datetime.fromtimestamp(hub.started_ms // 1000, UTC)

    async def v1(self, exchange: Exchange) -> None:
        """``GET /.well-known/agent-card.json``: the card of the version that is asked for; without one a card that both can read."""
        asked = exchange.header(b"a2a-version").strip()
        await self._answer(exchange, card_v03 if asked.startswith("0.3") else card_v1 if asked.startswith("1.") else card_both)

    async def v03(self, exchange: Exchange) -> None:
        """``GET /.well-known/agent.json``: A2A 0.3 with the seed's fields."""
        await self._answer(exchange, card_v03)

    async def _answer(self, exchange: Exchange, form: Form) -> None:
        logins = self._hub.oauth.logins
        place = _place(exchange)
        name = form.__name__, place.base, logins
        if name not in self._made:
            # What other servers brought is for those with a key: the extended card shows it.
            own = [made for made in self._hub.skills.by_a2a.values() if not made.source]
            data = orjson.dumps(form(place, own))
            self._made[name] = data, f'"{hashlib.sha256(data).hexdigest()[:32]}"'
        data, tag = self._made[name]
        stamp = format_datetime(self._modified, usegmt=True).encode()
        caching = [(b"cache-control", b"public, max-age=3600"), (b"vary", b"A2A-Version")]
        headers = [*caching, (b"etag", tag.encode()), (b"last-modified", stamp)]
        if self._known(exchange, tag):
            await exchange.start(304, headers)
            await exchange.finish()
        else:
            await exchange.answer(200, data, [JSON, *headers])

    def _known(self, exchange: Exchange, tag: str) -> bool:
        """Whether the client has this card already; the tag decides where both conditions are sent (RFC 9110, 13.2.2)."""
        tags = exchange.header(b"if-none-match")
        if tags:
            return tags.strip() == "*" or tag in [one.strip().removeprefix("W/") for one in tags.split(",")]
        try:
            return parsedate_to_datetime(exchange.header(b"if-modified-since")) >= self._modified
        except (ValueError, TypeError):
            return False


def own_card(exchange: Exchange, form: Form) -> dict[str, Any]:
    """The extended card: the skills that this caller's key may use."""
    return form(_place(exchange), visible(exchange.hub.skills, exchange.caller))


def _place(exchange: Exchange) -> Place:
    """How clients reach this hub; with port 0 the port that was really taken."""
    hub = exchange.hub
    settings, more = hub.settings, (hub.listening.get("GRPC", ""), hub.oauth.logins)
    if settings.port or hub.base_url != settings.base_url or settings.public_url:
        return Place(hub.base_url, *more)
    return Place(f"{settings.base_url.removesuffix(':0')}:{exchange.scope['server'][1]}", *more)
