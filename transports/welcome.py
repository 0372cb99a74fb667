"""The page at the root until there is a dashboard: what runs here. Public, without scripts and without secrets."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from transports._http import Route
from transports._pages import DOOR, page

if TYPE_CHECKING:
    from hub.call import Hub
    from transports._http import Exchange


def routes(hub: Hub) -> list[Route]:
    """The page."""
    return [Route("/", _status, DOOR, public=True)]


async def _status(exchange: Exchange) -> None:
    base = html.escape(exchange.hub.settings.base_url)
    await page(
        exchange,
        200,
        "HubRoute is running",
        f"""<p>Every door needs a key; the hub's owner makes one with <code>hubroute keys create NAME</code>,
or <a href="/login">logs in</a>.</p>
<ul>
<li>OpenAI and Anthropic clients: <code>{base}/v1</code> (Anthropic's SDK: <code>{base}</code>)</li>
<li>Gemini and Ollama clients: <code>{base}</code></li>
<li>MCP over HTTP: <code>{base}/api/mcp/stream</code>, over stdio: <code>hubroute mcp</code></li>
<li>A2A agent card: <code>{base}/.well-known/agent-card.json</code></li>
</ul>""",
    )
