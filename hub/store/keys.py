"""Hub keys: made, shown once, kept as keyed digests, found in about two microseconds (performance.md 4, rule 12).

A token is ``hr_<12 public>_<32 secret><6 checksum>``, base62: 190 random bits, and a checksum by which
secret scanners and typing mistakes are told apart.
"""

from __future__ import annotations

import secrets
import zlib
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import msgspec

from hub.access import scopes
from hub.errors import BadRequest, Conflict, NotFound
from hub.records import NO_LIMITS
from hub.store import columns, deferred
from hub.store.inputs import known, lines, moment, words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sqlmodel import Session

    from hub.clock import Clock
    from hub.records import Key, KeyLimits, Registration
    from hub.store.changes import Changes
    from hub.store.database import Link
    from hub.store.queue import WriteBehind

_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
#: How ids of keys begin; those of other principals do not.
ID_PREFIX = "key_"
_LONGEST = 512
#: How often the last use of a key is noted.
_USED_EVERY_MS = 60_000
_MARK_USED = "UPDATE api_keys SET last_used_at = ? WHERE id = ? AND (last_used_at IS NULL OR last_used_at < ?)"


class Keys:
    """Every key, in memory after the load. All but :meth:`find` are for management."""

    def __init__(self, changes: Changes, queue: WriteBehind, clock: Clock) -> None:
        self._changes = changes
        self._queue = queue
        self._clock = clock
        self._pepper = b""
        self._keys: dict[str, Key] = {}
        self._digests: dict[str, bytes] = {}
        self._by_digest: dict[bytes, Key] = {}
        queue.register("api_keys", _save_used)

    def load(self, rows: Iterable[dict[str, Any]], *, pepper: bytes) -> None:
        """Take over the stored keys; a later use that is not yet stored is kept."""
        self._pepper = pepper
        before, self._keys, self._digests, self._by_digest = self._keys, {}, {}, {}
        for row in rows:
            key = columns.key_of(row)
            used = before[key.id].last_used_at if key.id in before else None
            if used is not None and used > (key.last_used_at or 0):
                key = msgspec.structs.replace(key, last_used_at=used)
            self._hold(key, bytes.fromhex(row["digest"]))

    def find(self, token: str) -> Key | None:
        """The key of a token, None when it is unknown, revoked or expired."""
        if len(token) > _LONGEST:
            return None
        key = self._by_digest.get(self._digest(token))
        if key is None or not key.active:
            return None
        now = self._clock.now_ms()
        if key.expires_at is not None and key.expires_at <= now:
            return None
        if now - (key.last_used_at or 0) >= _USED_EVERY_MS:
            key = msgspec.structs.replace(key, last_used_at=now)
            self._hold(key, self._digests[key.id])
            self._queue.replace("api_keys", key.id, (key.id, now))
        return key

    def all(self) -> list[Key]:
        """Every key, oldest first."""
        return sorted(self._keys.values(), key=lambda key: (key.created_at, key.id))

    def get(self, key_id: str) -> Key:
        """One key. Raises NotFound."""
        key = self._keys.get(key_id)
        if key is None:
            raise NotFound(f"there is no key {key_id!r}")
        return key

    def valid(self, key_id: str) -> Key | None:
        """The key of this id, None when it is gone, revoked or expired."""
        key = self._keys.get(key_id)
        if key is None or not key.active or (key.expires_at is not None and key.expires_at <= self._clock.now_ms()):
            return None
        return key

    async def create(
        self,
        name: str,
        *,
        grants: Sequence[str],
        expires_at: int | None = None,
        allowed_models: Sequence[str] = (),
        no_log: bool = False,
        token: str = "",
        prefix: str = "",
        check: Callable[[list[Key]], None] | None = None,
        limits: KeyLimits | None = None,
        registration: Registration | None = None,
    ) -> tuple[Key, str]:
        """Make a key; the key and its token, which is nowhere else. ``token`` brings in one that exists already,
        ``prefix`` its public part.

        ``check`` is given every stored key and may raise to refuse; no other process issues one with a check meanwhile.
        Raises BadRequest naming what is wrong, Conflict when the brought-in token is there already.
        """
        public, made = _token()
        token = _brought(token) if token else made
        row: dict[str, Any] = {
            "id": f"{ID_PREFIX}{public}",
            "name": words("name", name, limit=200),
            "prefix": f"hr_{public}" if token is made else prefix or f"{token[:4]}…",
            "digest": self._digest(token).hex(),
            "grants": columns.encoded(_granted(grants)),
            "allowed_models": columns.encoded(lines("allowed_models", allowed_models, limit=500)),
            "active": True,
            "no_log": no_log,
            "created_at": self._clock.now_ms(),
            "expires_at": moment("expires_at", expires_at),
            "revoked_at": None,
            "last_used_at": None,
            "limits": columns.encoded(limits or NO_LIMITS),
            "registration": columns.encoded(registration) if registration else "",
        }
        if self._digest(token) in self._by_digest:
            raise Conflict("this token is a key already")

        def work(session: Session) -> dict[str, Any]:
            management = deferred.management()
            if check is not None:
                management.alone(session)
                check([columns.key_of(one) for one in management.every(session, "api_keys")])
            return management.insert(session, "api_keys", row)

        stored = await self._changes.make(work, self._apply)
        return columns.key_of(stored), token

    async def update(self, key_id: str, **changes: Any) -> Key:
        """Change name, grants, expires_at, allowed_models, no_log, limits or active. Raises BadRequest, NotFound, Conflict."""
        checked = {name: _CHECKS[name](value) for name, value in changes.items() if name in _CHECKS}
        known(changes, _CHECKS)

        def edit(row: dict[str, Any]) -> dict[str, Any]:
            if checked.get("active") and row["revoked_at"] is not None:
                raise Conflict("a revoked key cannot be used again; create a new one")
            return checked

        return await self._edit(key_id, edit)

    async def revoke(self, key_id: str) -> Key:
        """End a key for good; its row stays for the record. Raises NotFound."""
        now = self._clock.now_ms()
        return await self._edit(key_id, lambda row: {"active": False, "revoked_at": row["revoked_at"] or now})

    async def delete(self, key_id: str) -> None:
        """Remove a key and its row. Raises NotFound."""

        def work(session: Session) -> None:
            if not deferred.management().remove(session, "api_keys", key_id):
                raise NotFound(f"there is no key {key_id!r}")

        await self._changes.make(work, lambda _: self._drop(key_id))

    async def _edit(self, key_id: str, edit: Callable[[dict[str, Any]], dict[str, Any]]) -> Key:
        row = await self._changes.make(lambda session: deferred.management().change(session, "api_keys", key_id, edit), self._apply)
        return columns.key_of(row)

    def _digest(self, token: str) -> bytes:
        return blake2b(token.encode("utf-8", "surrogatepass"), digest_size=32, key=self._pepper).digest()

    def _apply(self, row: dict[str, Any]) -> None:
        self._hold(columns.key_of(row), bytes.fromhex(row["digest"]))

    def _hold(self, key: Key, digest: bytes) -> None:
        self._keys[key.id] = key
        self._digests[key.id] = digest
        self._by_digest[digest] = key

    def _drop(self, key_id: str) -> None:
        self._keys.pop(key_id, None)
        digest = self._digests.pop(key_id, None)
        if digest is not None:
            del self._by_digest[digest]


def checksum(text: str) -> str:
    """The six base62 digits that end a token, over all before them."""
    value = zlib.crc32(text.encode())
    digits = ""
    for _ in range(6):
        value, digit = divmod(value, 62)
        digits = _BASE62[digit] + digits
    return digits


def _token() -> tuple[str, str]:
    public = "".join(secrets.choice(_BASE62) for _ in range(12))
    body = f"hr_{public}_" + "".join(secrets.choice(_BASE62) for _ in range(32))
    return public, body + checksum(body)


def _brought(token: str) -> str:
    words("token", token, limit=_LONGEST)
    if len(token) < 16:
        raise BadRequest("the token is too short to be a secret; give at least 16 characters", field="token")
    if token.startswith("hr_") and checksum(token[:-6]) != token[-6:]:
        raise BadRequest("the token's checksum is wrong: it was cut or mistyped", field="token")
    return token


def _granted(grants: Sequence[str]) -> list[str]:
    if not grants:
        raise BadRequest("a key needs at least one grant", field="scopes")
    wrong = scopes.unknown(grants)
    if wrong:
        names = ", ".join([*scopes.BUNDLES, *scopes.SCOPES])
        raise BadRequest(f"unknown grants: {', '.join(map(repr, wrong))}; known are *, a prefix such as read:*, {names}", field="scopes")
    return list(dict.fromkeys(grants))


#: How each field that may change is checked and stored.
_CHECKS: dict[str, Callable[[Any], object]] = {
    "name": lambda value: words("name", value, limit=200),
    "grants": lambda value: columns.encoded(_granted(value)),
    "allowed_models": lambda value: columns.encoded(lines("allowed_models", value, limit=500)),
    "expires_at": lambda value: moment("expires_at", value),
    "no_log": bool,
    "active": bool,
    "limits": columns.encoded,
}


def _save_used(link: Link, rows: list[tuple[str, int]], again: bool) -> None:
    link.many(_MARK_USED, [(used, key_id, used) for key_id, used in rows])
