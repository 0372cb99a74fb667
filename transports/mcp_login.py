"""The pages of a login at an upstream MCP server: consent, the way on, and the way back. Public: their addresses prove themselves.

No scripts, no secrets; what others wrote is escaped and stands behind our own words (SEC-27, SEC-53).
"""

from __future__ import annotations

import html
import re
import secrets
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from hub.errors import BadRequest, NotFound
from hub.grants.way import once
from hub.upstream.login.flow import CALLBACK, DOCUMENT, START
from hub.upstream.login.model import SHARED
from transports import _session
from transports._http import Route
from transports._pages import DOOR, page, shown

if TYPE_CHECKING:
    from hub.call import Hub
    from hub.upstream.login.flow import Consent
    from transports._http import Exchange

_FAILED = "The login did not work"
_COOKIE = "hubroute_login"
_COOKIE_VALUE = re.compile(r"[A-Za-z0-9_-]{43}")
_FORM_BYTES = 64 * 1024


def routes(hub: Hub) -> list[Route]:
    """The pages, and the document by which authorization servers may know this hub."""
    return [
        Route(START, shown(_FAILED, _consent), DOOR, public=True),
        Route(START, shown(_FAILED, _start), DOOR, methods=("POST",), public=True, body_limit=_FORM_BYTES),
        Route(CALLBACK, shown(_FAILED, _back), DOOR, public=True),
        Route(f"{CALLBACK}/{{tag}}", shown(_FAILED, _back), DOOR, public=True),
        Route(f"{DOCUMENT}/{{tag}}", _document, DOOR, public=True),
    ]


async def _consent(exchange: Exchange) -> None:
    ticket, browser = exchange.query.get("ticket", ""), _browser(exchange) or secrets.token_urlsafe(32)
    consent = await exchange.hub.upstreams.flow.consent(ticket, browser)
    cookie = (b"set-cookie", _cookie(exchange.hub, browser).encode())
    await page(exchange, 200, f"Log in to {consent.server.name}?", _question(consent, ticket), forms=True, headers=[cookie])


async def _start(exchange: Exchange) -> None:
    fields = await _session.form(exchange)
    browser = _browser(exchange)
    if not browser:
        raise BadRequest("this page needs its cookie to know your browser again; allow it and open the address anew")
    url = await exchange.hub.upstreams.flow.start(fields.get("ticket", ""), fields.get("shown", ""), browser)
    # A page, not a redirect: browsers hold the whole chain of redirects after a form against form-action.
    safe, host = html.escape(url, quote=True), html.escape(urlsplit(url).hostname or "")
    refresh = f'<meta http-equiv="refresh" content="0;url={safe}">'
    await page(
        exchange, 200, "On to the login", f'<p><a href="{safe}" rel="noreferrer">Continue to {host}</a></p>', head=refresh, forms=True
    )


async def _back(exchange: Exchange) -> None:
    answer = once(exchange.scope["query_string"].decode("latin-1"))
    attempt = await exchange.hub.upstreams.flow.finish(answer, _browser(exchange), exchange.params.get("tag", ""))
    who = html.escape(attempt.ticket.name)
    await page(exchange, 200, "You are logged in", f"<p>{who} is connected now. You can close this page.</p>", forms=True)


async def _document(exchange: Exchange) -> None:
    found = exchange.hub.upstreams.flow.document(exchange.params["tag"])
    if found is None:
        raise NotFound("nothing is served at this address")
    await exchange.answer_json(found)


def _question(consent: Consent, ticket: str) -> str:
    ask = consent.ticket
    who = "everybody who may use this hub's tools" if ask.principal == SHARED else f"the hub's user {ask.name}"
    scopes = ", ".join(consent.scopes) or "what the server gives by itself"
    facts = {
        "Server": f"{consent.server.name} ({consent.server.body.url})",
        "Acts with your account from now on": who,
        "May do": scopes,
        "You log in at": f"{consent.host} (issuer {consent.issuer})",
    }
    rows = "".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>" for name, value in facts.items())
    warning = (
        "<p><strong>The login comes back to a program on this computer.</strong> Go on only if that is your own hub.</p>"
        if consent.local
        else ""
    )
    return f"""<dl>{rows}</dl>
<p>Go on only if you asked for this yourself: if somebody sent you the link, they would get access to your account.</p>{warning}
<form method="post" action="{START}"><input type="hidden" name="ticket" value="{html.escape(ticket, quote=True)}">
<input type="hidden" name="shown" value="{html.escape(consent.shown, quote=True)}"><button>Go on to the login</button></form>"""


def _browser(exchange: Exchange) -> str:
    """The random value that tells this browser from others; empty when it has none of ours."""
    return _session.cookie(exchange, _COOKIE, _COOKIE_VALUE)


def _cookie(hub: Hub, value: str) -> str:
    secure = "; Secure" if _session.secure(hub.settings) else ""
    return f"{_COOKIE}={value}; Path=/api/mcp/oauth; Max-Age=600; HttpOnly; SameSite=Lax{secure}"
