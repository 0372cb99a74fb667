"""What is stored of logins at providers: the owner's clients, the accounts, and logins that wait for an answer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import msgspec
from pydantic import Field

from hub.errors import BadRequest
from hub.grants.model import Grant, Method, digest
from hub.outbound.address import parse_url
from hub.providers.catalog import fill_template
from hub.wire import Body

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hub.providers.catalog import SignIn

_ORIGIN = "{origin}"


class ProviderClient(Body):
    """The owner's client at a provider; the document's name is the provider's id.

    ``scopes`` replace those of the catalogue where there are any. ``data``, ``base_url`` and ``allow_private`` are what connections of its
    logins are made with.
    """

    client_id: str
    client_secret: str = ""
    scopes: tuple[str, ...] = ()
    data: dict[str, str] = Field(default_factory=dict[str, str])
    base_url: str = ""
    allow_private: bool = False


class Account(Grant):
    """The login behind a connection. ``hosts`` may be on private addresses."""

    connection: str
    provider: str
    hosts: tuple[str, ...] = ()


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What the connection of a login is to be like. ``connection`` is the one to renew, empty for a new one."""

    connection: str = ""
    name: str = ""
    base_url: str = ""
    data: dict[str, str] = {}
    private: bool = False


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """A login on its way. ``state`` is a digest; ``principal`` is who began it and alone may end it.

    ``code``, ``error`` and ``iss`` are what came back with the browser; ``device_code``, ``interval`` and ``next_at`` are a device login's.
    """

    provider: str
    principal: str
    until: int
    facts: Facts
    hosts: tuple[str, ...]
    token_endpoint: str
    revocation_endpoint: str
    issuer: str
    client: str
    secret: str
    method: Method
    scopes: tuple[str, ...]
    state: str = ""
    verifier: str = ""
    redirect_uri: str = ""
    code: str = ""
    error: str = ""
    description: str = ""
    iss: str | None = None
    device_code: str = ""
    interval: float = 0.0
    next_at: int = 0


@dataclass(frozen=True, slots=True)
class Places:
    """Where a provider's authorization server is, for one connection. What it does not have is empty."""

    authorize: str
    token: str
    device: str
    revoke: str
    issuer: str


Kind = Literal["code", "device"]


def places(sign_in: SignIn, base_url: str, data: Mapping[str, str]) -> Places:
    """The addresses of a login. Raises BadRequest naming a field of the connection's data that is missing."""
    origin = re.match(r"[a-z]+://[^/?#]+", base_url)

    def filled(text: str) -> str:
        if _ORIGIN in text and origin is not None:
            parse_url(base_url, field="baseUrl")
            text = text.replace(_ORIGIN, origin[0])
        return fill_template(text, dict(data))

    return Places(
        filled(sign_in.authorize_url), filled(sign_in.token_url), filled(sign_in.device_url), filled(sign_in.revoke_url),
        filled(sign_in.issuer),
    )  # fmt: skip


def second_header(sign_in: SignIn, data: Mapping[str, str]) -> tuple[tuple[bytes, bytes], ...]:
    """The header that goes with the token. Raises BadRequest naming a field of the connection's data that is missing."""
    if not sign_in.extra:
        return ()
    name, _, value = sign_in.extra.partition(":")
    return ((name.strip().lower().encode(), fill_template(value.strip(), dict(data)).encode()),)


def account_id(connection: str) -> str:
    """The id, and name, of an account's document, known without asking the database."""
    return f"account_{digest(connection)[:40]}"


def need(sign_in: SignIn, kind: Kind, name: str) -> None:
    """Raise BadRequest where a provider has no flow of this kind."""
    if kind not in sign_in.ways:
        other = {"code": "log in with a device code (device-code)", "device": "log in with the browser (authorize)"}[kind]
        raise BadRequest(f"{name} has no such login; {other}", field="action")
