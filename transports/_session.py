"""The session cookie at the doors that take it, and what proves that a change comes from a page of this hub (SEC-06, SEC-08).

A request with the cookie that changes something must bring the session's CSRF token: a form in its field ``csrf``, others in
``X-CSRF-Token``. Others may do without it where the browser itself says that a page of this very origin sends them
(``Sec-Fetch-Site``, or ``Origin`` where there is none): scripts of other sites can forge neither. The model doors, MCP and A2A take the
cookie only together with the token in the header, which no page of another site can send: so the playground speaks every dialect.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

from hub.errors import BadRequest, Forbidden
from hub.grants.way import single
from hub.login import check_csrf
from hub.records import Caller
from hub.settings import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from typing import Any

    from hub.login import Session
    from hub.settings import Settings
    from transports._http import Exchange

_SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
#: The session's cookie, and what the random value of a cookie looks like.
SESSION = "auth_token"
TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")
_FORM = "application/x-www-form-urlencoded"
#: Headers of a proxy, which speaks for somebody who is not on this machine.
_FORWARDED = (b"forwarded", b"x-forwarded-for", b"x-real-ip", b"via")


async def caller_of(exchange: Exchange) -> Caller | None:
    """The owner behind a session's cookie; nobody where there is no session (any more).

    Sets ``exchange.session``. Raises Forbidden for a change that no page of this hub asks for.
    """
    token = token_of(exchange)
    login = exchange.hub.login
    session = await login.sessions.find(token) if token else None
    if session is None and login.optional and _at_home(exchange):
        session = login.sessions.anonymous()
    if session is None:
        return None
    exchange.session = session
    if exchange.method not in _SAFE or not exchange.route.door.cookies:
        await _check(exchange, session)
    return Caller.owner(session.id, ends_ms=session.expires_at)


async def _check(exchange: Exchange, session: Session) -> None:
    if exchange.head.csrf:
        check_csrf(session, exchange.head.csrf)
    elif is_form(exchange):
        check_csrf(session, (await form(exchange)).get("csrf", ""))
    elif not same_origin(exchange):
        check_csrf(session, "")


def _at_home(exchange: Exchange) -> bool:
    """Whether this is a browser of this machine at one of its names, and no page of elsewhere sent it here for what it answers."""
    client = exchange.scope.get("client")
    if client is None or client[0] not in LOOPBACK or any(exchange.header(one) for one in _FORWARDED):
        return False
    try:
        host = urlsplit(f"//{exchange.head.host}").hostname
    except ValueError:
        return False
    foreign = exchange.header(b"sec-fetch-site") in ("cross-site", "same-site")
    return host in LOOPBACK and not (foreign and exchange.header(b"sec-fetch-mode") != "navigate")


def same_origin(exchange: Exchange) -> bool:
    """Whether the browser says that a page of this very origin sends the request."""
    site = exchange.header(b"sec-fetch-site")
    if site:
        return site == "same-origin"
    return exchange.head.origin is not None and exchange.head.origin.lower() in _origins(exchange)


def _origins(exchange: Exchange) -> tuple[str, ...]:
    """How a browser writes the origin of the page that it got from here: by the Host it asked, or by the public URL."""
    base = urlsplit(exchange.hub.base_url.lower())
    return f"{base.scheme}://{exchange.head.host.lower()}", f"{base.scheme}://{base.netloc}"


def is_form(exchange: Exchange) -> bool:
    """Whether the body is what a plain HTML form sends."""
    return exchange.head.content_type[: len(_FORM)].lower() == _FORM


async def form(exchange: Exchange) -> dict[str, str]:
    """The fields of a form; it may be read again. Raises BadRequest for what cannot be read, and for a field that is there twice."""
    raw = await exchange.body()

    async def again() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": raw, "more_body": False}

    exchange.receive = again
    try:
        pairs = parse_qsl(raw.decode(), keep_blank_values=True, errors="strict", max_num_fields=200)
    except ValueError:
        raise BadRequest("the form cannot be read: it is not UTF-8, or has too many fields") from None
    return single(pairs)


def secure(settings: Settings) -> bool:
    """Whether browsers reach this hub over TLS."""
    return settings.base_url.lower().startswith("https://")


def name(settings: Settings, plain: str = SESSION) -> str:
    """The name of a cookie. Over TLS browsers hold what begins with ``__Host-`` to this very host."""
    return f"__Host-{plain}" if secure(settings) else plain


def written(settings: Settings, value: str, *, seconds: int, plain: str = SESSION) -> tuple[bytes, bytes]:
    """The header that sets a cookie; 0 seconds take it away."""
    text = f"{name(settings, plain)}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{'; Secure' if secure(settings) else ''}"
    return b"set-cookie", text.encode()


def token_of(exchange: Exchange) -> str:
    """The token of the browser's session, empty where it has none."""
    return cookie(exchange, name(exchange.hub.settings), TOKEN)


def refuse_foreign(exchange: Exchange) -> None:
    """Raise Forbidden for a request that a page of elsewhere sends, as far as the browser says so."""
    said = exchange.header(b"sec-fetch-site") or exchange.head.origin
    if said and said != "none" and not same_origin(exchange):
        raise Forbidden("this must come from a page of this hub: open it there", code="origin_refused")


def cookie(exchange: Exchange, named: str, pattern: re.Pattern[str]) -> str:
    """A cookie of the request, empty where there is none of this form."""
    for part in exchange.head.cookie.split(";"):
        key, _, value = part.strip().partition("=")
        if key == named and pattern.fullmatch(value):
            return value
    return ""
