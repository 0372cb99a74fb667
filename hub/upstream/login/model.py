"""What is stored of logins: how a server wants them, the logins themselves, and the clients that were registered for them.

Access tokens, refresh tokens and client secrets are sealed; whose they are is part of the seal's place (SEC-23).
"""

from __future__ import annotations

from typing import Literal

import msgspec
from pydantic import Field

from hub.grants.model import Client, Grant, digest
from hub.wire import Body

#: The principal of a login that all callers share.
SHARED = "shared"


class OAuth(Body):
    """How callers log in to a server. Empty ``client_id``: a client is found or registered for the authorization server."""

    share: Literal["shared", "per-user"] = Field(default="per-user", description="One login for everybody, or each caller its own.")
    client_id: str = Field(default="", max_length=2000, description="Id of a client that was registered by hand.")
    client_secret: str = Field(default="", description="Its sealed secret.")
    issuer: str = Field(default="", max_length=2000, description="The authorization server to use, where the server names several.")
    scopes: tuple[str, ...] = Field(default=(), description="Scopes to ask for; empty for those that the server names.")
    lister: str = Field(default="", description="The principal over whose session the server's list is read.")


class Registration(Body):
    """A client that was registered dynamically (RFC 7591), for one issuer and one redirect address."""

    issuer: str
    redirect_uri: str
    client: Client
    secret_expires_at: int | None = None


class Login(Grant):
    """One principal's login at one server.

    ``login`` is another at each new login. ``wanted`` are scopes that the server asked for and the login lacks.
    """

    server: str
    principal: str
    name: str = ""
    login: str
    wanted: tuple[str, ...] = ()


class Ticket(msgspec.Struct, frozen=True, kw_only=True):
    """The right to start a login for a principal, sealed into an address until ``until`` (epoch ms)."""

    id: str
    server: str
    principal: str
    name: str
    until: int
    manages: bool = False


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """A login that waits for the browser to come back. ``state`` and ``browser`` are digests."""

    ticket: Ticket
    state: str
    browser: str
    verifier: str
    redirect_uri: str
    issuer: str
    answers_issuer: bool
    resource: str
    token_endpoint: str
    revocation_endpoint: str
    client: dict[str, str]
    scopes: tuple[str, ...] = ()


def login_id(server: str, principal: str) -> str:
    """The id, and name, of a login's document: one for each server and principal, known without asking the database."""
    return f"login_{digest(f'{server} {principal}')[:40]}"


def registration_id(issuer: str, redirect_uri: str) -> str:
    """The id, and name, of a registration's document."""
    return f"client_{digest(f'{issuer} {redirect_uri}')[:40]}"
