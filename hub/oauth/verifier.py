"""The check of an access token from end to end. Imported when the first token comes: PyJWT takes a tenth of a second to load."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hub.errors import BadRequest
from hub.oauth import tokens
from hub.oauth.claims import audiences_of, caller_of
from hub.oauth.refused import TokenRefused

if TYPE_CHECKING:
    from collections.abc import Mapping

    import jwt

    from hub.clock import Clock
    from hub.oauth.keycache import KeyCache
    from hub.oauth.keyset import KeySet
    from hub.records import Caller

#: Characters of a token that is looked at.
_LONGEST = 16 * 1024


@dataclass(frozen=True, slots=True)
class Checked:
    """A valid token: its caller until ``caller.ends_ms``, whom it is for, and the keys with which that was found."""

    caller: Caller
    audiences: frozenset[str]
    cache: KeyCache
    keys: KeySet


class Verifier:
    """Checks tokens of these issuers."""

    def __init__(self, caches: Mapping[str, KeyCache], clock: Clock) -> None:
        self._caches = caches
        self._clock = clock

    async def check(self, token: str) -> Checked:
        """What a token stands for. Whom it is for is not looked at. Raises TokenRefused, Unavailable while its issuer has no keys."""
        if len(token) > _LONGEST:
            raise TokenRefused("it is too long")
        head = tokens.peek(token)
        cache = self._caches.get(head.issuer)
        if cache is None:
            raise TokenRefused("its issuer is none of ours")
        keys, key = await self._key(cache, head)
        claims = tokens.claims_of(token, head, key, now=self._clock.now_ms() / 1000)
        ends_ms = round((tokens.moment(claims, "exp", 0) + tokens.LEEWAY) * 1000)
        try:
            caller = caller_of(cache.issuer, claims, ends_ms=ends_ms)
        except BadRequest as error:
            raise TokenRefused(error.message, trusted=True) from None
        return Checked(caller, audiences_of(claims), cache, keys)

    async def _key(self, cache: KeyCache, head: tokens.Head) -> tuple[KeySet, jwt.PyJWK]:
        """The key that a token says it is signed with, and the set that it is from."""
        keys = await cache.current()
        key = keys.find(head.algorithm, head.kid)
        if key is None:
            keys = await cache.other(keys)
            key = keys.find(head.algorithm, head.kid)
        if key is None:
            raise TokenRefused("its key is none of its issuer's")
        return keys, key
