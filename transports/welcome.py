"""Two small pages until there is a dashboard: what runs here, and what the owner link opens.

Public, without scripts and without secrets. The owner link works once and shows how to go on.
"""

from __future__ import annotations

import asyncio
import hmac
import html
from typing import TYPE_CHECKING

from hub.welcome import OWNER_LINK, digest
from transports._http import Route
from transports._pages import DOOR, page

if TYPE_CHECKING:
    from hub.call import Hub
    from transports._http import Exchange


def routes(hub: Hub) -> list[Route]:
    """The pages."""
    turn = asyncio.Lock()

    async def owner(exchange: Exchange) -> None:
        async with turn:  # of two that come with one link, one gets in
            opened = await _redeemed(hub, exchange.query.get("token", ""), consume=exchange.method == "GET")
        await _owner(exchange, opened)

    return [Route("/owner", owner, DOOR, public=True)]


async def _status(exchange: Exchange) -> None:
    base = html.escape(exchange.hub.settings.base_url)
    await page(
        exchange,
        200,
        "HubRoute is running",
        f"""<p>Every door needs a key; the hub's owner makes one with <code>hubroute keys create NAME</code>.</p>
<ul>
<li>OpenAI and Anthropic clients: <code>{base}/v1</code> (Anthropic's SDK: <code>{base}</code>)</li>
<li>Gemini and Ollama clients: <code>{base}</code></li>
<li>MCP over HTTP: <code>{base}/api/mcp/stream</code>, over stdio: <code>hubroute mcp</code></li>
<li>A2A agent card: <code>{base}/.well-known/agent-card.json</code></li>
</ul>""",
    )


async def _owner(exchange: Exchange, opened: bool) -> None:
    if not opened:
        await page(
            exchange,
            404,
            "This link is not valid (any more)",
            "<p>It opens once, within 24 hours of the first start. Nothing is lost: on the hub's machine the"
            " <code>hubroute</code> command has the owner's authority without it.</p>",
        )
        return
    await page(
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
