"""Sessions of the owner's browsers: kept in the database, found by the digest of a random token, ended one by one or all at once.

Every request with a cookie reads its row, so that a session that was ended in one process is over in all of them at once.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hub.errors import Forbidden, NotFound

if TYPE_CHECKING:
    from hub.clock import Clock
    from hub.settings import Settings
    from hub.store.store import Store

#: Length of the text of a token of 32 random bytes.
TOKEN_LENGTH = 43
#: What a browser has where the hub wants no login; it has no row.
OPEN = "open"
_PURPOSE = "login-csrf"
_HOUR_MS, _DAY_MS = 3_600_000, 86_400_000
#: How often the last use of a session is written down.
_SEEN_EVERY_MS = 60_000
_LONGEST = 200
#: Browsers that may be logged in.
_MOST = 100


@dataclass(frozen=True, slots=True)
class Session:
    """One browser that is logged in. Times in epoch milliseconds; ``agent`` is what it calls itself.

    ``csrf`` comes back with every form, or in the header ``X-CSRF-Token``: :func:`check_csrf`.
    """

    id: str
    csrf: str
    created_at: int
    last_seen: int
    expires_at: int
    address: str
    agent: str


def check_csrf(session: Session, token: str) -> None:
    """Raise Forbidden unless the token is the session's own (SEC-08)."""
    if not hmac.compare_digest(token.encode("utf-8", "replace"), session.csrf.encode()):
        raise Forbidden(
            "a change with a session's cookie needs the session's CSRF token: send it as X-CSRF-Token, or in the form's field csrf",
            code="csrf_refused",
            data={"header": "X-CSRF-Token", "field": "csrf"},
        )


class Sessions:
    """Begins, finds, lists and ends sessions."""

    def __init__(self, store: Store, clock: Clock, settings: Settings) -> None:
        self._store = store
        self._rows = store.logins
        self._clock = clock
        self._idle_ms = settings.session_idle_hours * _HOUR_MS
        self._life_ms = settings.session_days * _DAY_MS

    async def begin(self, *, address: str, agent: str) -> tuple[Session, str]:
        """A new session, and its token, which is nowhere else. Never the one that the browser had before (SEC-06)."""
        token, now = secrets.token_urlsafe(32), self._clock.now_ms()
        row: dict[str, Any] = {
            "id": self._clock.new_id("ses_"),
            "digest": _digest(token),
            "created_at": now,
            "last_seen": now,
            "expires_at": now + self._life_ms,
            "address": address[:_LONGEST],
            "agent": agent[:_LONGEST],
        }
        await self._rows.add(row, most=_MOST)
        return self._session(row), token

    async def find(self, token: str) -> Session | None:
        """The session of a token, None when there is none, or none any more; its use is noted."""
        if len(token) != TOKEN_LENGTH:
            return None
        row = await self._rows.find(_digest(token))
        if row is None or not self._lives(row):
            return None
        now = self._clock.now_ms()
        if now - row["last_seen"] >= _SEEN_EVERY_MS:
            row["last_seen"] = now
            await self._rows.seen(row["id"], now)
        return self._session(row)

    async def list(self) -> list[Session]:
        """Every session that lives, the newest first."""
        return [self._session(row) for row in await self._rows.all() if self._lives(row)]

    async def end(self, session_id: str) -> None:
        """End a session, in every process. Raises NotFound."""
        if not await self._rows.remove(session_id):
            raise NotFound(f"there is no session {session_id!r} (any more)", field="id")

    async def end_all(self, *, but: str = "") -> int:
        """End every session, ``but`` one where it is named; how many that were."""
        return await self._rows.remove_all(but)

    def anonymous(self) -> Session:
        """What a browser of this machine has while the hub wants no login: a token against other sites, and no end."""
        return Session(OPEN, self._csrf(OPEN), 0, self._clock.now_ms(), 0, "", "")

    def _lives(self, row: dict[str, Any]) -> bool:
        now = self._clock.now_ms()
        return now < row["expires_at"] and now - row["last_seen"] < self._idle_ms

    def _session(self, row: dict[str, Any]) -> Session:
        fields = {name: row[name] for name in ("id", "created_at", "last_seen", "expires_at", "address", "agent")}
        return Session(csrf=self._csrf(row["digest"]), **fields)

    def _csrf(self, of: str) -> str:
        made = hmac.digest(self._store.derive(_PURPOSE), of.encode(), "sha256")
        return base64.urlsafe_b64encode(made).decode().rstrip("=")


def _digest(token: str) -> str:
    """A token is random enough for a plain digest."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
