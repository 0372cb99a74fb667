"""The way to a server's authorization servers: which addresses may be asked, and how answers are read (SEC-10 to 12, SEC-52).

An authorization server is named by a stranger's document, so it must use TLS and be public. Where the owner allowed
the MCP server to be on a private address, that holds for its own host and for the issuer that the owner named, and
for nothing else that its documents name.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import orjson

from hub.errors import BadRequest, UpstreamFailed
from hub.fetch import Answer, exchange
from hub.outbound.address import parse_url
from hub.outbound.base import OutboundError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hub.outbound.client import Outbound
    from hub.upstream.model import Server

#: No document of an authorization server is larger (SEC-57).
MOST_BYTES = 64 * 1024
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]+")
_MOST_WORDS = 200


class LoginFailed(UpstreamFailed):
    """An authorization server refused, or is not to be trusted. ``reason`` is its OAuth error code where it gave one."""

    def __init__(self, message: str, *, reason: str = "", **kwargs: Any) -> None:
        kwargs.setdefault("code", "login_failed")
        super().__init__(message, **kwargs)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Way:
    """Sends requests about one MCP server's logins. ``hosts`` may be on private addresses."""

    outbound: Outbound
    server: str
    hosts: frozenset[str]

    @classmethod
    def of(cls, outbound: Outbound, name: str, server: Server) -> Way:
        """The way for a server that wants logins."""
        named = (server.url, server.oauth.issuer if server.oauth else "")
        allowed = frozenset(parse_url(url)[0].host for url in named if url) if server.allow_private else frozenset[str]()
        return cls(outbound, name, allowed)

    def private(self, url: str) -> bool:
        """Whether the host of a URL may be on a private address."""
        return parse_url(url)[0].host in self.hosts

    def check(self, url: str, what: str) -> str:
        """The URL, where it may be used: https, or http on this machine for a server that may be here. Raises LoginFailed."""
        try:
            origin, _ = parse_url(url, field=what)
        except BadRequest as error:
            self.fail(error.message)
        here = _loopback(origin.host) and (origin.host in self.hosts or self.outbound.guard.allow_private)
        if origin.scheme != "https" and not here:
            self.fail(f"{what} of the authorization server is not https")
        return url

    async def get(self, url: str, what: str) -> Answer:
        """A document. Redirects are not followed. Raises LoginFailed."""
        return await self._sent("GET", url, what)

    async def post(
        self,
        url: str,
        what: str,
        *,
        form: Mapping[str, str] | None = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """The answer to a form or a JSON body. Raises LoginFailed."""
        return await self._sent("POST", url, what, form=form, body=body, headers=headers)

    async def _sent(
        self,
        method: str,
        url: str,
        what: str,
        *,
        form: Mapping[str, str] | None = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        self.check(url, what)
        private = self.private(url)
        try:
            return await exchange(self.outbound, method, url, headers=headers, body=body, form=form, most=MOST_BYTES, private=private)
        except OutboundError as error:
            raise LoginFailed(f"{what} of {self.server} cannot be reached: {error.message}") from error

    def fail(self, words: str) -> NoReturn:
        """Raise LoginFailed with the server's name in front."""
        raise LoginFailed(f"the login at {self.server} is not possible: {words}")

    def refused(self, answer: Answer, what: str, secrets: Iterable[str] = ()) -> LoginFailed:
        """The error for an answer that is none of success: its OAuth code and words, without the secrets that were sent (SEC-25)."""
        try:
            read = orjson.loads(answer.body)
        except orjson.JSONDecodeError:
            read = None
        said: dict[str, object] = read if isinstance(read, dict) else {}  # pyright: ignore[reportUnknownVariableType] - JSON edge
        code, words = (plain(said.get(name), secrets) for name in ("error", "error_description"))
        tail = f": {code}{f' ({words})' if words else ''}" if code else ""
        return LoginFailed(f"{what} of {self.server} answered {answer.status}{tail}", reason=code, upstream_status=answer.status)


def plain(text: object, secrets: Iterable[str] = ()) -> str:
    """A stranger's words as one short line of ASCII, with secrets taken out."""
    if not isinstance(text, str):
        return ""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "…")
    return _UNPRINTABLE.sub(" ", text)[:_MOST_WORDS].strip()


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
