"""What is stored of a login: its tokens, the client that asked for them, and how it stands.

Access tokens, refresh tokens and client secrets are sealed; whose they are is part of the seal's place (SEC-23).
"""

from __future__ import annotations

import hashlib
import re
from enum import StrEnum
from typing import TYPE_CHECKING, Literal

from hub.wire import Body

if TYPE_CHECKING:
    from collections.abc import Iterable

#: A scope as RFC 6749 writes it.
SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,200}")
_MOST_SCOPES = 100

Method = Literal["none", "client_secret_basic", "client_secret_post"]


class Client(Body):
    """A client at an authorization server. ``method`` is how it authenticates at the token endpoint."""

    id: str
    secret: str = ""
    method: Method = "none"


class Grant(Body):
    """What an authorization server gave. Times in epoch milliseconds.

    ``serial`` is another at each new token. ``failing_since`` is set while refreshing fails, ``ended`` once only a new login helps.
    ``lease`` names who refreshes until ``lease_until``.
    """

    serial: int = 1
    issuer: str
    resource: str = ""
    token_endpoint: str
    revocation_endpoint: str = ""
    client: Client
    access: str
    refresh: str = ""
    scopes: tuple[str, ...] = ()
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


def state_of(grant: Grant, now: int) -> State:
    """How a login stands at ``now``."""
    over = grant.expires_at is not None and grant.expires_at <= now
    if grant.ended or (over and not grant.refresh):
        return State.ENDED
    if grant.failing_since is not None:
        return State.FAILING
    return State.EXPIRED if over else State.CONNECTED


def usable(grant: Grant, now: int) -> bool:
    """Whether the access token can still be sent: not in its last seconds."""
    if grant.ended or grant.expires_at is None:
        return not grant.ended
    return now < grant.expires_at - min(5_000, (grant.expires_at - grant.refreshed_at) // 10)


def digest(text: str) -> str:
    """SHA-256 as hex, for what is compared and not shown."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def sealed_place(identity: str, part: str, name: str) -> str:
    """Where a sealed value of a document stands (SEC-23)."""
    return f"documents/{identity}/{part}/{name}"


def scopes_of(text: str | None) -> tuple[str, ...]:
    """The scopes in a challenge or a token answer; what is none is left out."""
    return clean((text or "").split())


def clean(scopes: Iterable[str]) -> tuple[str, ...]:
    """Scopes, each once; what is none is left out."""
    return tuple(dict.fromkeys(one for one in scopes if SCOPE.fullmatch(one)))[:_MOST_SCOPES]
