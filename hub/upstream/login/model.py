"""What is stored of logins: how a server wants them, the logins themselves, and the clients that were registered for them.

Access tokens, refresh tokens and client secrets are sealed; whose they are is part of the seal's place (SEC-23).
"""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import Literal

import msgspec
from pydantic import Field

from hub.wire import Body

#: The principal of a login that all callers share.
SHARED = "shared"


Method = Literal["none", "client_secret_basic", "client_secret_post"]


class OAuth(Body):
    """How callers log in to a server. Empty ``client_id``: a client is found or registered for the authorization server."""

    share: Literal["shared", "per-user"] = Field(default="per-user", description="One login for everybody, or each caller its own.")
    client_id: str = Field(default="", max_length=2000, description="Id of a client that was registered by hand.")
    client_secret: str = Field(default="", description="Its sealed secret.")
    issuer: str = Field(default="", max_length=2000, description="The authorization server to use, where the server names several.")
    scopes: tuple[str, ...] = Field(default=(), description="Scopes to ask for; empty for those that the server names.")
    lister: str = Field(default="", description="The principal over whose session the server's list is read.")


class Client(Body):
    """A client at an authorization server. ``method`` is how it authenticates at the token endpoint."""

    id: str
    secret: str = ""
    method: Method = "none"


class Registration(Body):
    """A client that was registered dynamically (RFC 7591), for one issuer and one redirect address."""

    issuer: str
    redirect_uri: str
    client: Client
    secret_expires_at: int | None = None


class Login(Body):
    """One principal's login at one server. Times in epoch milliseconds.

    ``login`` is another at each new login, ``serial`` at each new token. ``wanted`` are scopes that the server asked for
    and the login lacks. ``failing_since`` is set while refreshing fails, ``ended`` once only a new login helps.
    ``lease`` names who refreshes until ``lease_until``.
    """

    server: str
    principal: str
    name: str = ""
    login: str
    serial: int = 1
    issuer: str
    resource: str
    token_endpoint: str
    revocation_endpoint: str = ""
    client: Client
    access: str
    refresh: str = ""
    scopes: tuple[str, ...] = ()
    wanted: tuple[str, ...] = ()
    obtained_at: int
    refreshed_at: int
    expires_at: int | None = None
    failing_since: int | None = None
    failure: str = ""
    ended: bool = False
    lease: str = ""
    lease_until: int = 0


class State(StrEnum):
    """How a login stands."""

    CONNECTED = "connected"
    EXPIRED = "expired"  # the access token is past its time and the next call refreshes it
    FAILING = "failing"  # refreshing fails for now and is tried again
    ENDED = "ended"  # the server refuses it, or it ran out: a new login is needed


def state_of(login: Login, now: int) -> State:
    """How a login stands at ``now``."""
    over = login.expires_at is not None and login.expires_at <= now
    if login.ended or (over and not login.refresh):
        return State.ENDED
    if login.failing_since is not None:
        return State.FAILING
    return State.EXPIRED if over else State.CONNECTED


def usable(login: Login, now: int) -> bool:
    """Whether the access token can still be sent: not in its last seconds."""
    if login.ended or login.expires_at is None:
        return not login.ended
    return now < login.expires_at - min(5_000, (login.expires_at - login.refreshed_at) // 10)


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


def digest(text: str) -> str:
    """SHA-256 as hex, for what is compared and not shown."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def login_id(server: str, principal: str) -> str:
    """The id, and name, of a login's document: one for each server and principal, known without asking the database."""
    return f"login_{digest(f'{server} {principal}')[:40]}"


def registration_id(issuer: str, redirect_uri: str) -> str:
    """The id, and name, of a registration's document."""
    return f"client_{digest(f'{issuer} {redirect_uri}')[:40]}"


def sealed_place(identity: str, part: str, name: str) -> str:
    """Where a sealed value of a document stands (SEC-23)."""
    return f"documents/{identity}/{part}/{name}"
