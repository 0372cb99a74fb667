"""The way to an authorization server: which addresses may be asked, and how answers are read (SEC-10 to 12, SEC-52).

It must use TLS and be public, since it may be named by a stranger's document. Where the owner allowed the server that a login is for
to be on a private address, that holds for the hosts that the owner named and for nothing else.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import parse_qsl

import orjson

from hub.errors import BadRequest, NotConfigured, UpstreamFailed
from hub.fetch import Answer, exchange
from hub.outbound.address import parse_url
from hub.outbound.base import OutboundError
from hub.settings import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hub.outbound.client import Outbound
    from hub.settings import Settings

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
    """Sends requests about the logins at ``server``, its name for people. ``hosts`` may be on private addresses.

    ``final`` are OAuth errors of this server's own after which no later try can help.
    """

    outbound: Outbound
    server: str
    hosts: frozenset[str] = frozenset()
    final: frozenset[str] = frozenset()

    @classmethod
    def of(cls, outbound: Outbound, name: str, *named: str, private: bool = False) -> Way:
        """The way for a server with these addresses of the owner's own, which may be private ones where the owner said so."""
        return cls(outbound, name, frozenset(parse_url(url)[0].host for url in named if url) if private else frozenset())

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

    def says_error(self, answer: Answer) -> bool:
        """Whether an answer names an OAuth error, which some servers do with status 200."""
        return "error" in read(answer)

    def refused(self, answer: Answer, what: str, secrets: Iterable[str] = ()) -> LoginFailed:
        """The error for an answer that is none of success: its OAuth code and words, without the secrets that were sent (SEC-25)."""
        said = read(answer)
        code, words = (plain(said.get(name), secrets) for name in ("error", "error_description"))
        tail = f": {code}{f' ({words})' if words else ''}" if code else ""
        return LoginFailed(f"{what} of {self.server} answered {answer.status}{tail}", reason=code, upstream_status=answer.status)


def home(settings: Settings) -> str:
    """How browsers reach this hub. Raises NotConfigured where codes would travel in the clear, or nobody knows the port."""
    if not settings.port and not settings.public_url:
        raise NotConfigured("logins come back to a fixed address: set HUBROUTE_PORT, or HUBROUTE_PUBLIC_URL", field="port")
    base = settings.base_url
    origin, _ = parse_url(base, field="public_url")
    if origin.scheme != "https" and origin.host not in LOOPBACK:
        raise NotConfigured("logins come back over https only: set HUBROUTE_PUBLIC_URL to this hub's https address", field="public_url")
    return base


def once(query: str) -> dict[str, str]:
    """The fields of an answer's query. Raises BadRequest for one that is there twice (RFC 6749, 3.1)."""
    return single(parse_qsl(query, keep_blank_values=True))


def single(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """Fields by name. Raises BadRequest for one that is there twice."""
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise BadRequest("a parameter is there twice")
    return fields


def read(answer: Answer) -> dict[str, object]:
    """The JSON object in an answer; empty where there is none."""
    try:
        found = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}  # pyright: ignore[reportUnknownVariableType] - JSON edge


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
