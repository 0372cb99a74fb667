"""Tokens by which another hub may read this one's set-up, and change it where a token says so. Shown once; a digest is kept."""

from __future__ import annotations

import hashlib
import secrets
from typing import TYPE_CHECKING

from hub.errors import Forbidden, NotFound, Unauthenticated
from hub.wire import Body

if TYPE_CHECKING:
    from hub.clock import Clock
    from hub.store import Store
    from hub.store.documents import Document

PREFIX = "osync_"
_DAY_MS = 86_400_000


class SyncToken(Body):
    """A token as it is stored. ``recipient`` is the one hub whose key bundles are sealed to: the first that uses it, or the one named."""

    digest: str
    prefix: str
    secrets: bool = False
    write: bool = False
    recipient: str = ""
    expires_at: int | None = None


class Tokens:
    """Every token."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._clock = clock
        self._stored = store.collection("sync-token", what="sync token", prefix="syt_", body=SyncToken)

    def all(self) -> list[Document[SyncToken]]:
        """Every token, the oldest first."""
        return self._stored.all()

    async def create(
        self, name: str, *, with_secrets: bool, write: bool, recipient: str, days: int | None
    ) -> tuple[str, Document[SyncToken]]:
        """A new token and what is kept of it. Raises BadRequest, Conflict for a name that is taken."""
        token = PREFIX + secrets.token_urlsafe(32)
        body = SyncToken(
            digest=_digest(token),
            prefix=token[: len(PREFIX) + 4],
            secrets=with_secrets,
            write=write,
            recipient=recipient,
            expires_at=None if days is None else self._clock.now_ms() + days * _DAY_MS,
        )
        return token, await self._stored.create(name, body)

    async def revoke(self, token_id: str) -> Document[SyncToken]:
        """Shut a token out for good. Raises NotFound."""
        found = self._stored.peek(token_id)
        if found is None:
            raise NotFound(f"there is no sync token {token_id[:80]!r}", field="id")
        await self._stored.delete(token_id)
        return found

    def find(self, token: str) -> Document[SyncToken]:
        """What is kept of a token. Raises Unauthenticated, in the same words whether it is unknown, revoked or expired."""
        digest = _digest(token) if token.startswith(PREFIX) and len(token) <= 100 else ""
        now = self._clock.now_ms()
        for one in self.all():
            if secrets.compare_digest(one.body.digest, digest) and (one.body.expires_at is None or one.body.expires_at > now):
                return one
        raise Unauthenticated("a valid sync token is needed: send it as X-Sync-Token; the hub's owner makes one at POST /api/sync/tokens")

    async def bind(self, found: Document[SyncToken], recipient: str) -> None:
        """Hold a token to the hub that uses it. Raises Forbidden for another than the first."""
        if found.body.recipient != recipient:

            def first(body: SyncToken) -> SyncToken | None:
                return None if body.recipient else body.model_copy(update={"recipient": recipient})

            kept = await self._stored.edit(found.id, first)
            if kept.body.recipient != recipient:
                raise Forbidden("this sync token belongs to another hub; each hub needs one of its own")


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
