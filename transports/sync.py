"""The door of hubs that sync with this one: a sync token in place of a key, versions as entity tags (docs/sync.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hub.errors import BadRequest
from hub.sync.tokens import PREFIX
from transports._http import JSON, NO_STORE, Door, Route

if TYPE_CHECKING:
    from hub.call import Hub
    from transports._http import Exchange

DOOR = Door("sync")
_PATH = "/api/sync/bundle"
_LIMIT = 32 * 2**20


def routes(hub: Hub) -> list[Route]:
    """The one address, to read at and to write to. Public: the token is checked by the skills."""
    return [
        Route(_PATH, _read, DOOR, public=True, proves=PREFIX),
        Route(_PATH, _write, DOOR, methods=("POST",), public=True, proves=PREFIX, body_limit=_LIMIT),
    ]


async def _read(exchange: Exchange) -> None:
    _admitted(exchange)
    known = exchange.header(b"if-none-match").strip().removeprefix("W/").strip('"')
    asked = {
        "token": _token(exchange),
        "recipient": exchange.header(b"x-sync-recipient"),
        "nonce": exchange.header(b"x-sync-nonce") or exchange.request_id,
        "known": known,
    }
    told = await exchange.hub.call(exchange.hub.find("sync-bundle"), asked, exchange.ctx)
    headers = [NO_STORE, (b"etag", f'"{told.version}"'.encode())]
    if told.bundle is None:
        await exchange.answer(304, b"", headers)
        return
    await exchange.answer(200, told.model_dump_json(by_alias=True).encode(), [JSON, *headers])


async def _write(exchange: Exchange) -> None:
    _admitted(exchange)
    body: Any = await exchange.json()
    if not isinstance(body, dict):
        raise BadRequest("the body must be a JSON object", field="body")
    asked: dict[str, Any] = {**body, "token": _token(exchange)}  # pyright: ignore[reportUnknownMemberType] - JSON edge
    told = await exchange.hub.call(exchange.hub.find("sync-push"), asked, exchange.ctx)
    await exchange.answer_json(told.model_dump(mode="json", by_alias=True))


def _admitted(exchange: Exchange) -> None:
    """Before anything is read or recorded: whoever has no valid token leaves nothing behind. Raises Unauthenticated."""
    exchange.hub.sync_tokens.find(_token(exchange))


def _token(exchange: Exchange) -> str:
    return exchange.header(b"x-sync-token").strip() or exchange.head.token or ""
