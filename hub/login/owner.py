"""What is kept of the owner: the password's hash, the second factor, the link that sets a password. One row, changed in one transaction."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import TYPE_CHECKING, TypeVar

import msgspec

from hub.errors import Conflict, NotFound

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.clock import Clock
    from hub.store.store import Store

T = TypeVar("T")
LINK_HOURS = 24
_DEAD_LINK = "this link is not valid (any more); `hubroute owner link` on the hub's machine makes a new one"


class Totp(msgspec.Struct, frozen=True, omit_defaults=True):
    """A second factor: the sealed secret, the last time step that was used, digests of the recovery codes that are left.

    It counts once ``confirmed``.
    """

    secret: str
    confirmed: bool = False
    step: int = 0
    recovery: tuple[str, ...] = ()


class Link(msgspec.Struct, frozen=True):
    """The digest of the owner link's token, and when it ends (epoch milliseconds)."""

    digest: str
    expires_at: int


class Owner(msgspec.Struct, frozen=True, omit_defaults=True):
    """The row. ``password`` is a hash, empty while there is none."""

    password: str = ""
    totp: Totp | None = None
    link: Link | None = None

    @property
    def second_factor(self) -> bool:
        """Whether a login needs a code, too."""
        return self.totp is not None and self.totp.confirmed


class OwnerRecord:
    """Reads and changes the row as it is in the database, whichever process wrote it last."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._rows = store.logins
        self._clock = clock

    async def get(self) -> Owner:
        """The owner as stored now."""
        return _read(await self._rows.owner())

    async def change(self, change: Callable[[Owner], tuple[Owner, T]]) -> T:
        """Replace the row by the first of what ``change`` makes of it, alone with it; the second is returned.

        ``change`` runs in a thread of the store; what it raises is raised here, and nothing is stored.
        """

        def work(body: str) -> tuple[str, T]:
            changed, result = change(_read(body))
            return msgspec.json.encode(changed).decode(), result

        return await self._rows.change_owner(work)

    async def new_link(self) -> str:
        """The token of a new link; an older one ends."""
        token = secrets.token_urlsafe(32)
        link = Link(_digest(token), self._clock.now_ms() + LINK_HOURS * 3_600_000)
        await self.change(lambda owner: (msgspec.structs.replace(owner, link=link), None))
        return token

    async def check_link(self, token: str) -> None:
        """Raise NotFound unless the link is good; it stays so."""
        self._check(await self.get(), token)

    async def redeem(self, token: str, password: str) -> None:
        """Set the hash of a password by the link, which is used up. Raises NotFound."""

        def changed(owner: Owner) -> tuple[Owner, None]:
            self._check(owner, token)
            return msgspec.structs.replace(owner, password=password, link=None), None

        await self.change(changed)

    async def set_password(self, password: str, *, first: bool = False) -> None:
        """Set the hash of a password; with ``first`` only where there is none. Raises Conflict."""

        def changed(owner: Owner) -> tuple[Owner, None]:
            if first and owner.password:
                raise Conflict("there is a password already")
            return msgspec.structs.replace(owner, password=password, link=None), None

        await self.change(changed)

    def _check(self, owner: Owner, token: str) -> None:
        link = owner.link
        if link is None or link.expires_at <= self._clock.now_ms() or not hmac.compare_digest(_digest(token), link.digest):
            raise NotFound(_DEAD_LINK, code="link_not_valid")


def _read(body: str) -> Owner:
    return msgspec.json.decode(body, type=Owner) if body else Owner()


def _digest(token: str) -> str:
    """A token is random enough for a plain digest."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
