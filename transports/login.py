"""The way into the dashboard: log in, log out, set the first password by the owner's link; for programs in JSON, for people as pages.

The pages work without JavaScript. Public: whoever comes here has no credential yet.
"""

from __future__ import annotations

import dataclasses
import hmac
import html
import re
import secrets
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlencode

import orjson
from pydantic import Field, ValidationError

from hub.errors import BadRequest, Forbidden, HubError, InvalidInput, UnsupportedMedia, rest_body
from hub.grants.way import once
from hub.login.login import Browser
from hub.login.oidc import CALLBACK, MINUTES, START
from hub.login.passwords import LEAST, MOST
from hub.skill import details_of
from hub.wire import Body
from transports import _access, _pages, _session
from transports._http import Door, Route
from transports._pages import local, page, shown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hub.call import Hub
    from hub.login import Session
    from transports._http import Exchange

T = TypeVar("T", bound=Body)

#: The JSON addresses. Only the one that ends a session looks at the cookie by itself.
DOOR = Door("login", error=rest_body, route_class=b"PUBLIC", pages=True)
_KNOWN = dataclasses.replace(DOOR, cookies=True)
#: Pages that know the browser's session.
PAGES = dataclasses.replace(_pages.DOOR, cookies=True)

_LIMIT = 1024 * 1024
_GUARD, _LEFT = "login_csrf", "oidc_login"
_SEALED = re.compile(r"[A-Za-z0-9+/=_-]{20,4000}")
_FAILED = "The login did not work"


class LoginAsk(Body):
    """The owner's password, and the code of the second factor where there is one."""

    password: str = Field(min_length=1, max_length=MOST)
    code: str = Field(default="", max_length=40)


class SetupAsk(Body):
    """The token of the owner's link, and the password to set."""

    token: str = Field(min_length=1, max_length=MOST)
    password: str = Field(min_length=LEAST, max_length=MOST)


def routes(hub: Hub) -> list[Route]:
    """The addresses of the login."""
    return [
        Route("/api/auth/login", _login, DOOR, methods=("POST",), public=True, body_limit=_LIMIT),
        Route("/api/auth/logout", _logout, _KNOWN, methods=("POST",), public=True, body_limit=_LIMIT),
        Route("/api/auth/setup", _setup, DOOR, methods=("POST",), public=True, body_limit=_LIMIT),
        Route(START, shown(_FAILED, _to_provider), _pages.DOOR, public=True),
        Route(CALLBACK, shown(_FAILED, _from_provider), _pages.DOOR, public=True),
        Route("/login", shown(_FAILED, _login_page), PAGES, public=True),
        Route("/login", shown(_FAILED, _login_form), _pages.DOOR, methods=("POST",), public=True, body_limit=_LIMIT),
        Route("/logout", _logout_form, PAGES, methods=("POST",), public=True, body_limit=_LIMIT),
        Route("/owner", shown(_DEAD, _owner_page), _pages.DOOR, public=True),
        Route("/owner", shown(_DEAD, _owner_form), _pages.DOOR, methods=("POST",), public=True, body_limit=_LIMIT),
    ]


async def _login(exchange: Exchange) -> None:
    _session.refuse_foreign(exchange)
    ask = await _asked(exchange, LoginAsk)
    session, token = await exchange.hub.login.enter(ask.password, ask.code, _browser(exchange))
    await _entered(exchange, session, token)


async def _setup(exchange: Exchange) -> None:
    _session.refuse_foreign(exchange)
    ask = await _asked(exchange, SetupAsk)
    session, token = await exchange.hub.login.setup(ask.token, ask.password, _browser(exchange))
    await _entered(exchange, session, token)


async def _entered(exchange: Exchange, session: Session, token: str) -> None:
    await exchange.answer_json({"success": True, "csrf": session.csrf}, headers=[_cookie(exchange, token)])


async def _logout(exchange: Exchange) -> None:
    await _leave(exchange)
    await exchange.answer_json({"success": True}, headers=[_gone(exchange)])


async def _logout_form(exchange: Exchange) -> None:
    await _leave(exchange)
    await _go(exchange, "/login", [_gone(exchange)])


async def _leave(exchange: Exchange) -> None:
    if exchange.session is not None:
        await exchange.hub.login.leave(exchange.session, _browser(exchange))


async def _login_page(exchange: Exchange) -> None:
    then = _then(exchange.query)
    if exchange.session is not None:
        await _go(exchange, then)
    else:
        await _ask(exchange, 200, then)


async def _login_form(exchange: Exchange) -> None:
    _session.refuse_foreign(exchange)
    fields = await _session.form(exchange)
    guard = _guard(exchange)
    if not guard or not hmac.compare_digest(guard.encode(), fields.get("csrf", "").encode("utf-8", "replace")):
        raise Forbidden("this form is not of this browser, or too old; open the login page anew", code="csrf_refused")
    then = _then(fields)
    try:
        _, token = await exchange.hub.login.enter(fields.get("password", ""), fields.get("code", ""), _browser(exchange))
    except HubError as error:
        await _ask(exchange, error.status, then, error)
        return
    await _go(exchange, then, [_cookie(exchange, token), _session.written(exchange.hub.settings, "", seconds=0, plain=_GUARD)])


def _guard(exchange: Exchange) -> str:
    """What tells this browser's form from others' before there is a session; empty for a browser that saw none yet."""
    return _session.cookie(exchange, _session.name(exchange.hub.settings, _GUARD), _session.TOKEN)


async def _ask(exchange: Exchange, status: int, then: str, error: HubError | None = None) -> None:
    """The page that asks for the password."""
    hub, guard = exchange.hub, _guard(exchange) or secrets.token_urlsafe(32)
    owner = await hub.login.record.get()
    fault = f'<p role="alert"><strong>{html.escape(error.message)}</strong></p>' if error else ""
    provider = f'<p><a href="{START}?{html.escape(urlencode({"next": then}))}">Log in with your identity provider</a></p>'
    code = '<label>Code<input name="code" inputmode="numeric" autocomplete="one-time-code" maxlength="40"></label>'
    form = f"""<form method="post" action="/login"><input type="hidden" name="csrf" value="{guard}">
<input type="hidden" name="next" value="{html.escape(then, quote=True)}">
<label>Password<input name="password" type="password" autocomplete="current-password" maxlength="{MOST}" required autofocus></label>
{code if owner.second_factor else ""}<button>Log in</button></form>"""
    nothing = "<p>No password is set yet. Open the owner link that the hub printed when it first started; "
    nothing += "<code>hubroute owner link</code> on its machine makes a new one.</p>"
    body = (
        fault + (form if owner.password else "" if hub.login.oidc.configured else nothing) + (provider if hub.login.oidc.configured else "")
    )
    headers = [_session.written(hub.settings, guard, seconds=3600, plain=_GUARD)]
    if error is not None and error.retry_after is not None:
        headers.append((b"retry-after", str(round(error.retry_after)).encode()))
    await page(exchange, status, "Log in to HubRoute", body, forms=True, headers=headers)


_DEAD = "This link is not valid (any more)"


async def _owner_page(exchange: Exchange) -> None:
    token = exchange.query.get("token", "")
    await exchange.hub.login.record.check_link(token)
    await _choose(exchange, 200, token)


async def _owner_form(exchange: Exchange) -> None:
    _session.refuse_foreign(exchange)
    fields = await _session.form(exchange)
    link = fields.get("token", "")
    try:
        _, token = await exchange.hub.login.setup(link, fields.get("password", ""), _browser(exchange))
    except BadRequest as error:
        await _choose(exchange, error.status, link, error)
        return
    await _go(exchange, "/dashboard/start", [_cookie(exchange, token)])


async def _choose(exchange: Exchange, status: int, token: str, error: HubError | None = None) -> None:
    """The page that asks for a new password."""
    fault = f'<p role="alert"><strong>{html.escape(error.message)}</strong></p>' if error else ""
    await page(
        exchange,
        status,
        "This hub is yours",
        f"""{fault}<p>Choose the password of its owner. The link stays good until you have; then it is used up.</p>
<form method="post" action="/owner"><input type="hidden" name="token" value="{html.escape(token, quote=True)}">
<input type="text" name="username" value="owner" autocomplete="username" hidden>
<label>Password ({LEAST} characters or more)
<input name="password" type="password" autocomplete="new-password" minlength="{LEAST}" maxlength="{MOST}" required autofocus></label>
<button>Set the password and log in</button></form>""",
        forms=True,
    )


async def _to_provider(exchange: Exchange) -> None:
    hub = exchange.hub
    url, sealed = await hub.login.oidc.start(_access.base(exchange), _then(exchange.query))
    await _go(exchange, url, [_session.written(hub.settings, sealed, seconds=MINUTES * 60, plain=_LEFT)], status=302)


async def _from_provider(exchange: Exchange) -> None:
    settings = exchange.hub.settings
    answer = once(exchange.scope["query_string"].decode("latin-1"))
    sealed = _session.cookie(exchange, _session.name(settings, _LEFT), _SEALED)
    token, then = await exchange.hub.login.by_provider(answer, sealed, _browser(exchange))
    await _go(exchange, then, [_cookie(exchange, token), _session.written(settings, "", seconds=0, plain=_LEFT)])


async def _asked(exchange: Exchange, kind: type[T]) -> T:
    """The body as what an address takes. Raises BadRequest, UnsupportedMedia for what a plain form of another site could send."""
    said = exchange.head.content_type.partition(";")[0].strip().lower()
    if said and not said.endswith("json"):
        raise UnsupportedMedia("this address takes JSON; send Content-Type: application/json")
    try:
        return kind.model_validate(orjson.loads(await exchange.body()))
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the body is not valid JSON: {error}", field="body") from None
    except ValidationError as error:
        raise InvalidInput(details_of(error)) from None


def _browser(exchange: Exchange) -> Browser:
    return Browser(address=exchange.ctx.address, agent=exchange.header(b"user-agent"), token=_session.token_of(exchange))


def _cookie(exchange: Exchange, token: str) -> tuple[bytes, bytes]:
    settings = exchange.hub.settings
    return _session.written(settings, token, seconds=settings.session_days * 86_400)


def _gone(exchange: Exchange) -> tuple[bytes, bytes]:
    return _session.written(exchange.hub.settings, "", seconds=0)


def _then(fields: dict[str, str]) -> str:
    """Where the browser goes afterwards: a page of this hub and no other."""
    return local(fields.get("next", "")) or "/"


async def _go(exchange: Exchange, where: str, headers: Iterable[tuple[bytes, bytes]] = (), *, status: int = 303) -> None:
    await exchange.answer(status, b"", [(b"location", where.encode()), (b"cache-control", b"no-store"), *headers])
