"""The hub's few pages: no scripts, nothing from elsewhere, and a policy that lets a browser load only what is written here."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from typing import TYPE_CHECKING

from hub.errors import HubError
from transports._http import Door

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from transports._http import Exchange

#: The dashboard's colours, in what a page of a few lines needs.
_STYLE = (
    ":root{color-scheme:light dark}"
    "body{max-width:34rem;margin:10vh auto;padding:1.5rem 2rem;font:1rem/1.5 system-ui,sans-serif;border-radius:.5rem;"
    "background:light-dark(#fff,#171a21);color:light-dark(#1a1d24,#e7e9ee);border:1px solid light-dark(#dfe2e8,#2c313c)}"
    "html{background:light-dark(#f6f7f9,#0f1115)}h1{font-size:1.4rem;margin:0 0 1rem}a{color:light-dark(#3350c8,#93a8ff)}"
    "code,dd{overflow-wrap:anywhere}dt{font-weight:600}dd{margin:0 0 .6rem}label{display:block;margin:.8rem 0;font-weight:550}"
    "input{display:block;font:inherit;padding:.45rem .6rem;width:100%;box-sizing:border-box;margin-top:.2rem;border-radius:.375rem;"
    "border:1px solid light-dark(#8a91a0,#6b7383);background:light-dark(#fff,#0f1115);color:inherit}"
    "button{font:inherit;font-weight:550;padding:.5rem 1.2rem;border:0;border-radius:.375rem;cursor:pointer;"
    "background:light-dark(#3350c8,#93a8ff);color:light-dark(#fff,#10131c)}[role=alert]{color:light-dark(#ad211a,#ff8f86)}"
)
_POLICY = (
    f"default-src 'none'; style-src 'sha256-{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'; "
    "base-uri 'none'; form-action {form}; frame-ancestors 'none'"
)
#: The headers of a page without a form.
PLAIN = (
    (b"content-type", b"text/html; charset=utf-8"),
    (b"content-security-policy", _POLICY.replace("{form}", "'none'").encode()),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)
#: A form's Origin has to arrive, and no address with a secret may leave for another site.
_FORM = (
    PLAIN[0],
    (b"content-security-policy", _POLICY.replace("{form}", "'self'").encode()),
    (b"referrer-policy", b"same-origin"),
    PLAIN[3],
)


_LOCAL = re.compile(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]{0,500}")


def local(address: str) -> str:
    """An address of this hub itself, empty for any other: nobody is sent elsewhere by a link to us."""
    return address if _LOCAL.fullmatch(address) else ""


def _error(error: HubError) -> dict[str, object]:
    return {"error": {"message": error.message, "code": error.code}}


DOOR = Door("page", error=_error, route_class=b"PUBLIC", pages=True)


def shown(title: str, work: Callable[[Exchange], Awaitable[None]]) -> Callable[[Exchange], Awaitable[None]]:
    """A page whose errors are a page of this title, too."""

    async def handle(exchange: Exchange) -> None:
        try:
            await work(exchange)
        except HubError as error:
            await page(exchange, error.status, title, f"<p>{html.escape(error.message)}</p>", forms=True)

    return handle


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
    await exchange.answer(status, text(title, body, head=head), [*(_FORM if forms else PLAIN), *headers])


def text(title: str, body: str, *, head: str = "") -> bytes:
    """Such a page itself."""
    name = html.escape(title)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">{head}<title>{name}</title>
<style>{_STYLE}</style></head><body><h1>{name}</h1>
{body}
</body></html>
""".encode()
