"""Two small pages until there is a dashboard: what runs here, and what the owner link opens.

Public, without scripts and without secrets. The owner link works once and shows how to go on.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import html
from typing import TYPE_CHECKING

from hub.errors import HubError
from hub.welcome import OWNER_LINK, digest
from transports._http import Door, Exchange, Route

if TYPE_CHECKING:
    from hub.call import Hub

_STYLE = "body{max-width:44rem;margin:3rem auto;padding:0 1rem;font:1rem/1.5 system-ui,sans-serif}code{overflow-wrap:anywhere}"
_CSP = (
    f"default-src 'none'; style-src 'sha256-{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = [
    (b"content-type", b"text/html; charset=utf-8"),
    (b"content-security-policy", _CSP.encode()),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
]


def _error(error: HubError) -> dict[str, object]:
    return {"error": {"message": error.message, "code": error.code}}


_DOOR = Door("page", error=_error, route_class=b"PUBLIC")


def routes(hub: Hub) -> list[Route]:
    """The pages."""
    turn = asyncio.Lock()

    async def owner(exchange: Exchange) -> None:
        async with turn:  # of two that come with one link, one gets in
            opened = await _redeemed(hub, exchange.query.get("token", ""), consume=exchange.method == "GET")
        await _owner(exchange, opened)

    return [Route("/", _status, _DOOR, public=True), Route("/owner", owner, _DOOR, public=True)]


async def _status(exchange: Exchange) -> None:
    base = html.escape(exchange.hub.settings.base_url)
    await _page(
        exchange,
        200,
        "HubRoute is running",
        f"""<p>Every door needs a key; the hub's owner makes one with <code>hubroute keys create NAME</code>.</p>
<ul>
<li>OpenAI-compatible: <code>{base}/v1</code></li>
<li>MCP over HTTP: <code>{base}/api/mcp/stream</code>, over stdio: <code>hubroute mcp</code></li>
<li>A2A agent card: <code>{base}/.well-known/agent-card.json</code></li>
</ul>""",
    )


async def _owner(exchange: Exchange, opened: bool) -> None:
    if not opened:
        await _page(
            exchange,
            404,
            "This link is not valid (any more)",
            "<p>It opens once, within 24 hours of the first start. Nothing is lost: on the hub's machine the"
            " <code>hubroute</code> command has the owner's authority without it.</p>",
        )
        return
    await _page(
        exchange,
        200,
        "This hub is yours",
        """<p>The dashboard that this link will open is not part of this version. The command line does all it will do:</p>
<ul>
<li><code>hubroute providers catalog</code> lists providers, <code>hubroute providers add</code> connects one</li>
<li><code>hubroute keys create NAME</code> makes a key for each program that connects</li>
<li><code>hubroute doctor</code> looks at the hub's health</li>
</ul>""",
    )


async def _redeemed(hub: Hub, token: str, *, consume: bool) -> bool:
    """Whether this is the owner link's token; it is used up then."""
    kept = hub.store.values.get(OWNER_LINK)
    if kept is None or not hmac.compare_digest(digest(token), kept["digest"]) or kept["expiresAt"] < hub.clock.now_ms():
        return False
    if consume:
        await hub.store.values.delete(OWNER_LINK)
    return True


async def _page(exchange: Exchange, status: int, title: str, body: str) -> None:
    text = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>
<style>{_STYLE}</style></head><body><h1>{title}</h1>
{body}
</body></html>
"""
    await exchange.answer(status, text.encode(), _HEADERS)
