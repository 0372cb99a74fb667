"""The page that browsers come back to from a login at a provider. Public: its state proves that the hub asked.

Whoever began the login ends it. No scripts and no secrets; the code waits, sealed, for the caller who began the login (SEC-52, SEC-55).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hub.grants.way import once
from hub.provider_login.clients import callback_path
from transports._http import Route
from transports._pages import DOOR, page, shown

if TYPE_CHECKING:
    from hub.call import Hub
    from transports._http import Exchange

_FAILED = "The login did not work"


def routes(hub: Hub) -> list[Route]:
    """One address, which differs by provider."""
    return [Route(callback_path("{provider}"), shown(_FAILED, _back), DOOR, public=True)]


async def _back(exchange: Exchange) -> None:
    answer = once(exchange.scope["query_string"].decode("latin-1"))
    logins = exchange.hub.logins
    row, _ = logins.clients.sign_in(exchange.params["provider"])
    await logins.flow.arrived(row.id, answer, logins.clients.redirect_uri(row))
    if "error" in answer:
        await page(exchange, 400, _FAILED, "<p>The provider did not agree. You can close this page.</p>")
        return
    await page(exchange, 200, "You are logged in", "<p>You can close this page and go back to where you began.</p>")
