"""The dashboard's door: pages for people at ``/`` and below ``/dashboard``, made of the same skills as every other door.

The routes are public because they answer strangers with a way to sign in; who is signed in is looked at here, before any page.
"""

from __future__ import annotations

import dataclasses
import html
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import quote

from hub.errors import Unauthenticated
from transports import _pages
from transports._http import Route

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hub.call import Hub
    from hub.errors import HubError
    from transports._dash.site import Site
    from transports._http import Exchange


def _failed(exchange: Exchange, error: HubError) -> tuple[bytes, Iterable[tuple[bytes, bytes]]]:
    """An error as a page: with the navigation for who is signed in, else, or where that itself is broken, a plain one."""
    if exchange.session is not None:
        # Templates are not needed to start.
        from jinja2 import TemplateError  # noqa: PLC0415 - see above

        from transports._dash.view import View  # noqa: PLC0415 - see above

        with suppress(TemplateError):
            return _site(exchange.hub).failure(View(exchange, {}), error)
    return _pages.text("This did not work", _PLAIN.format(html.escape(error.message), error.request_id)), _pages.PLAIN


_PLAIN = '<p>{}</p><p>Request <code>{}</code></p><p><a href="/login">Sign in</a></p>'
DOOR = dataclasses.replace(_pages.DOOR, name="dashboard", cookies=True, page=_failed)
_FORM_BYTES = 1024 * 1024


def routes(hub: Hub) -> list[Route]:
    """The overview, every page below it by one address, and the files that pages load."""
    methods = ("GET", "POST")
    return [
        Route("/", _overview, DOOR, methods=methods, public=True, body_limit=_FORM_BYTES),
        Route("/dashboard", _home, DOOR, public=True),
        Route("/dashboard/static/{name}", _file, _pages.DOOR, public=True),
        Route("/dashboard/{page:path}", _page, DOOR, methods=methods, public=True, body_limit=_FORM_BYTES),
    ]


def _site(hub: Hub) -> Site:
    # Templates and pages are not needed to start.
    from transports._dash.site import site_of  # noqa: PLC0415 - see above

    return site_of(hub)


async def _overview(exchange: Exchange) -> None:
    await _shown(exchange, "")


async def _page(exchange: Exchange) -> None:
    await _shown(exchange, exchange.params["page"].rstrip("/"))


async def _home(exchange: Exchange) -> None:
    await exchange.answer(308, b"", [(b"location", b"/")])


async def _file(exchange: Exchange) -> None:
    await _site(exchange.hub).assets.answer(exchange, exchange.params["name"])


async def _shown(exchange: Exchange, path: str) -> None:
    if exchange.session is not None:
        await _site(exchange.hub).answer(exchange, path)
        return
    if exchange.method not in ("GET", "HEAD"):
        raise Unauthenticated("sign in first: what this form was to do was not done")
    back = f"?next={quote(exchange.scope['path'], safe='/')}" if path else ""
    await exchange.answer(303, b"", [(b"location", f"/login{back}".encode()), (b"cache-control", b"no-store")])
