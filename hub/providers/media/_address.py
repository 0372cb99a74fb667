"""Where a provider takes jobs of a service: the row's own address for it, beside its chats, or beneath a connection's own base URL."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson

from hub.errors import BadRequest, UpstreamFailed
from hub.outbound.address import parse_url
from hub.outbound.base import Payload
from hub.outbound.multipart import Multipart
from hub.providers._request import build
from hub.providers.catalog import fill_template

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hub.outbound.base import Outgoing
    from hub.providers.base import Target

_CHAT = "/chat/completions"


def request(
    target: Target,
    service: str,
    path: str,
    body: object = None,
    *,
    under: str = "",
    query: Mapping[str, Any] | None = None,
    headers: Iterable[tuple[str, str]] = (),
    method: str = "POST",
) -> Outgoing:
    """A request to a target's address for a service, with its credentials.

    ``path`` is where the format has it below a base URL; the row's own address for the service replaces it. ``under`` comes
    after either. ``body`` is sent as JSON, bytes and files as they are, a form under its own type. ``query`` leaves out what is None.
    Raises NotConfigured when the connection lacks something.
    """
    at, own = _place(target, service, path)
    asked = {name: _word(value) for name, value in query.items() if value is not None} if query else None
    data = body if isinstance(body, (bytes, Payload)) else b"" if body is None else orjson.dumps(body)
    outgoing = build(at, own + under, data, query=asked, headers=headers, method=method)
    if isinstance(body, Multipart):
        # Not among ``headers``: what is built from those is kept, and no boundary comes twice.
        kept = [pair for pair in outgoing.headers if pair[0].lower() != b"content-type"]
        outgoing.headers = [*kept, (b"content-type", body.content_type.encode())]
    return outgoing


def follow(target: Target, service: str, url: str, *, method: str = "GET") -> Outgoing:
    """A request to an address of its own that a provider names in an answer, with the credentials.

    They go to the origin of the service, and over TLS to its sister hosts, where vendors keep their regions. Raises UpstreamFailed
    for an address anywhere else.
    """
    at = _place(target, service, "")[0]
    try:
        origin, path = parse_url(url)
        own = parse_url(at.base_url)[0]
    except BadRequest as error:
        raise UpstreamFailed("the provider names an address that is none", code="malformed_answer") from error
    family = own.host.partition(".")[2]
    sister = origin.scheme == own.scheme == "https" and origin.port == own.port and "." in family and origin.host.endswith(f".{family}")
    if origin != own and not sister:
        raise UpstreamFailed("the provider names an address that is not its own", code="malformed_answer")
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    return build(replace(at, base_url=f"{origin.scheme}://{host}:{origin.port}"), path, method=method)


def _place(target: Target, service: str, path: str) -> tuple[Target, str]:
    """The target with the base URL of a service, and the path beneath it.

    An address in a row is the provider's own, so its key may go there, whichever host it names. A connection with a base URL of
    its own stands for the provider as a whole: nothing of it goes anywhere else. An address that is a path is beneath the base URL.
    """
    row = target.provider
    stated = row.endpoints.get(service, "")
    if not stated:
        return target, row.chat_path.replace(_CHAT, path) if _CHAT in row.chat_path else path
    if stated.startswith("/"):
        return target, stated
    if target.base_url == _shipped(target):
        return replace(target, base_url=stated), ""
    if row.base_url and stated.startswith(row.base_url):
        return target, stated.removeprefix(row.base_url)
    own = urlsplit(target.base_url)
    return replace(target, base_url=f"{own.scheme}://{own.netloc}"), urlsplit(stated).path


def _shipped(target: Target) -> str:
    """The provider's own base URL, with what the connection fills into it."""
    row = target.provider
    if row.base_url or not row.base_url_template:
        return row.base_url
    try:
        return fill_template(row.base_url_template, dict(target.data))
    except BadRequest:
        return ""


def _word(value: object) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)
