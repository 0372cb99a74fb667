"""The dashboard's door: pages for people at ``/`` and below ``/dashboard``, made of the same skills as every other door.

The routes are public because they answer strangers with a way to sign in; who is signed in is looked at here, before any page.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING
from urllib.parse import quote

from hub.errors import Unauthenticated
from transports import _pages
from transports._http import Route

if TYPE_CHECKING:
    from hub.call import Hub
    from transports._dash.site import Site
    from transports._http import Exchange

DOOR = dataclasses.replace(_pages.DOOR, name="dashboard", cookies=True)
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
