"""The keys of one issuer, fetched when needed and kept: one fetch at a time, rarely for keys that may not exist, old keys over none."""

from __future__ import annotations

import asyncio
import importlib
import re
from contextlib import suppress
from typing import TYPE_CHECKING

from hub.errors import HubError, Unavailable, UpstreamFailed
from hub.fetch import exchange
from hub.log import logger
from hub.oauth.discovery import QUICK, discover
from hub.outbound.address import LOOPBACK, parse_url

if TYPE_CHECKING:
    from hub.clock import Clock
    from hub.fetch import Answer
    from hub.oauth.discovery import ServerMetadata
    from hub.oauth.issuer import Issuer
    from hub.oauth.keyset import KeySet
    from hub.outbound.client import Outbound

log = logger("hub.oauth")

_LARGEST = 256 * 1024
#: Seconds that keys count as fresh: what the issuer says within these bounds, else the middle one.
_LEAST_FRESH, _FRESH, _MOST_FRESH = 60, 600, 86_400
#: Seconds for which keys are used when no others can be had.
_OLDEST = 86_400
#: Seconds between fetches for unknown keys, which anybody can ask for; and after a failed fetch.
_UNKNOWN_PAUSE, _FAILED_PAUSE = 30, 10
#: Seconds for all of one fetch, so that an issuer that drips does not hold callers up.
_WHOLE = 12
_MAX_AGE = re.compile(r"(?:^|[\s,])max-age=(\d{1,9})(?:$|[\s,])")


class KeyCache:
    """Where the keys of an issuer come from. Times are on ``clock.monotonic()``."""

    def __init__(self, issuer: Issuer, outbound: Outbound, clock: Clock) -> None:
        self.issuer = issuer
        #: What the issuer says of itself, once it was asked, and why the last fetch failed, empty when it did not.
        self.metadata: ServerMetadata | None = None
        self.fault = ""
        self._outbound = outbound
        self._clock = clock
        self._held: KeySet | None = None
        self._document = b""
        self._etag = ""
        self._stale_at = self._ends_at = self._next_try = self._next_unknown = 0.0
        self._task: asyncio.Task[None] | None = None

    def holds(self, keys: KeySet) -> bool:
        """Whether these are still the issuer's keys; has them looked at anew in the background when it is time."""
        now = self._clock.monotonic()
        if now >= self._stale_at:
            self._begin(now)
        return keys is self._held and now < self._ends_at

    async def current(self) -> KeySet:
        """The keys. Raises Unavailable while there are none to be had."""
        now = self._clock.monotonic()
        if self._held is None or now >= self._ends_at:
            await self._renewed(now)
        elif now >= self._stale_at:
            self._begin(now)
        if self._held is None or self._clock.monotonic() >= self._ends_at:
            raise Unavailable(
                f"the authorization server {self.issuer} cannot be reached now; try again in a moment", retry_after=_FAILED_PAUSE
            )
        return self._held

    async def other(self, than: KeySet) -> KeySet:
        """The keys once more, for a token whose key is not among ``than``: fetched now unless that was done lately."""
        now = self._clock.monotonic()
        if self._held is than and now >= self._next_unknown:
            self._next_unknown = now + _UNKNOWN_PAUSE
            await self._renewed(now)
        return await self.current()

    async def close(self) -> None:
        """End a fetch under way."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _renewed(self, now: float) -> None:
        """Fetch, or wait for the fetch under way. One that failed a moment ago is not repeated."""
        self._begin(now)
        if self._task is not None:
            await asyncio.shield(self._task)

    def _begin(self, now: float) -> None:
        if self._task is None and now >= self._next_try:
            self._task = asyncio.create_task(self._renew())

    async def _renew(self) -> None:
        try:
            async with asyncio.timeout(_WHOLE):
                answer = await self._fetched()
            await self._take(answer)
            self.fault = ""
        except TimeoutError:
            self._failed(f"it did not answer within {_WHOLE} s")
        except HubError as error:
            self._failed(error.message)
        except Exception as error:  # a background task: callers are told that there are no keys
            log.error("the keys of an issuer could not be read", issuer=self.issuer.issuer, exc_info=error)
            self._failed("the hub failed; the log has the cause")
        finally:
            self._task = None

    def _failed(self, why: str) -> None:
        self.fault = why
        # Keys may have moved: the next fetch asks the metadata again.
        self.metadata = None
        self._next_try = self._clock.monotonic() + _FAILED_PAUSE
        log.warning("the keys of an issuer cannot be had", issuer=self.issuer.issuer, reason=why, kept=self._held is not None)

    async def _fetched(self) -> Answer:
        url = self.issuer.jwks_url or await self._announced()
        headers = {"accept": "application/jwk-set+json, application/json"}
        if self._etag and self._held is not None:
            headers["if-none-match"] = self._etag
        return await exchange(self._outbound, "GET", url, headers=headers, most=_LARGEST, private=self.private(url), timeouts=QUICK)

    async def _announced(self) -> str:
        """Where the issuer's metadata says that its keys are."""
        if self.metadata is None:
            self.metadata = await discover(self._outbound, self.issuer.issuer, private=self.private(self.issuer.issuer))
        url = self.metadata.jwks_uri
        if not url:
            raise UpstreamFailed(f"{self.metadata.found_at} has no jwks_uri; set jwks_url for this issuer")
        if parse_url(url, field="jwks_uri")[0].scheme != "https" and not self.private(url):
            raise UpstreamFailed("jwks_uri is not https")
        return url

    def private(self, url: str) -> bool:
        """Whether an address may be private: only the one that the operator wrote down, if it is loopback or marked so (SEC-10)."""
        origin, _ = parse_url(url)
        written = {parse_url(one)[0] for one in (self.issuer.issuer, self.issuer.jwks_url) if one}
        return origin in written and (self.issuer.allow_private or origin.host in LOOPBACK)

    async def _take(self, answer: Answer) -> None:
        """Hold what was fetched. Raises UpstreamFailed; what was held stays then."""
        if answer.status not in (200, 304) or (answer.status == 304 and self._held is None):
            raise UpstreamFailed(f"the address of the keys answers {answer.status}; redirects are not followed")
        if answer.status == 200 and (self._held is None or answer.body != self._document):
            keyset = await asyncio.to_thread(importlib.import_module, "hub.oauth.keyset")
            self._held, self._document = keyset.KeySet(answer.body), answer.body
        self._etag = answer.header("etag") or (self._etag if answer.status == 304 else "")
        now = self._clock.monotonic()
        self._stale_at, self._ends_at, self._next_try = now + _fresh(answer), now + _OLDEST + _LEAST_FRESH, 0.0


def _fresh(answer: Answer) -> float:
    stated = _MAX_AGE.search(answer.header("cache-control").lower())
    return min(max(int(stated[1]), _LEAST_FRESH), _MOST_FRESH) if stated else _FRESH
