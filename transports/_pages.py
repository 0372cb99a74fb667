"""The hub's few pages: no scripts, nothing from elsewhere, and a policy that lets a browser load only what is written here."""

from __future__ import annotations

import base64
import hashlib
import html
from typing import TYPE_CHECKING

from hub.errors import HubError
from transports._http import Door

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from transports._http import Exchange

_STYLE = (
    "body{max-width:44rem;margin:3rem auto;padding:0 1rem;font:1rem/1.5 system-ui,sans-serif}code,dd{overflow-wrap:anywhere}"
    "dt{font-weight:600}dd{margin:0 0 .6rem}button{font:inherit;padding:.5rem 1.2rem}"
)
_POLICY = (
    f"default-src 'none'; style-src 'sha256-{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'; "
    "base-uri 'none'; form-action {form}; frame-ancestors 'none'"
)
_PLAIN = (
    (b"content-type", b"text/html; charset=utf-8"),
    (b"content-security-policy", _POLICY.replace("{form}", "'none'").encode()),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)
#: A form's Origin has to arrive, and no address with a secret may leave for another site.
_FORM = (
    _PLAIN[0],
    (b"content-security-policy", _POLICY.replace("{form}", "'self'").encode()),
    (b"referrer-policy", b"same-origin"),
    _PLAIN[3],
)


def _error(error: HubError) -> dict[str, object]:
    return {"error": {"message": error.message, "code": error.code}}


DOOR = Door("page", error=_error, route_class=b"PUBLIC")


async def page(
    exchange: Exchange,
    status: int,
    title: str,
    body: str,
    *,
    head: str = "",
    forms: bool = False,
    headers: Iterable[tuple[bytes, bytes]] = (),
) -> None:
    """Answer with a page. ``title`` is plain text; ``body`` and ``head`` are HTML, in which the caller has escaped what others wrote.

    ``forms`` is for pages with a form, or on the way to or from one, which may be sent to the hub itself.
    """
    name = html.escape(title)
    text = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">{head}<title>{name}</title>
<style>{_STYLE}</style></head><body><h1>{name}</h1>
{body}
</body></html>
"""
    await exchange.answer(status, text.encode(), [*(_FORM if forms else _PLAIN), *headers])


def shown(work: Callable[[Exchange], Awaitable[None]]) -> Callable[[Exchange], Awaitable[None]]:
    """A page of a login whose errors are a page, too."""

    async def handle(exchange: Exchange) -> None:
        try:
            await work(exchange)
        except HubError as error:
            await page(exchange, error.status, "The login did not work", f"<p>{html.escape(error.message)}</p>", forms=True)

    return handle
