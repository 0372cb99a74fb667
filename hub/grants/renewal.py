"""Refreshing of logins: ahead of their time in the background, once for all who wait, on any number of processes.

A refresh token that rotates is worth its login: whoever refreshes takes a lease in the login's own row first, and the
new tokens are stored before anybody gets them. Others wait for what comes of it.
"""

from __future__ import annotations

import asyncio
import importlib
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from hub.errors import HubError, NotFound
from hub.grants.model import Grant, sealed_place
from hub.grants.way import LoginFailed
from hub.log import logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.clock import Clock
    from hub.grants.way import Way
    from hub.store.documents import Document, Documents
    from hub.store.store import Store

log = logger("hub.grants")
G = TypeVar("G", bound=Grant)

#: How long a request to a token endpoint may take, and how long a lease holds: a process that dies with one is not waited for long.
_ASK_SECONDS = 20.0
_LEASE_MS = 30_000
_POLL_SECONDS = 0.2
#: Seconds until a refresh that failed so many times in a row is tried again.
_BACK_OFF = (0.0, 5.0, 15.0, 60.0, 300.0)
#: A token is refreshed in the last fifth of its life, at most this many seconds ahead.
_AHEAD_SECONDS = 300.0
_LONGEST_WAIT = 60.0
_AT_ONCE = 4
_SAVES = (0.1, 0.5, 2.0, 5.0, 10.0)
#: OAuth errors after which no later try can help (RFC 6749, 5.2).
_FINAL = frozenset({"invalid_grant", "invalid_client", "unauthorized_client", "unsupported_grant_type", "invalid_scope"})


class Renewals(Generic[G]):
    """Use :meth:`renew`; :meth:`wake` keeps the background going.

    ``way_of`` leads to a login's authorization server, None while the login is not in use; ``secret_of`` is its client's secret.
    ``told`` hears of the first refresh that fails, with the reason, and of the one that ended the login (then with True).
    """

    def __init__(
        self,
        documents: Documents[G],
        store: Store,
        clock: Clock,
        *,
        way_of: Callable[[G], Way | None],
        secret_of: Callable[[Document[G]], str],
        told: Callable[[Document[G], str, bool], None],
    ) -> None:
        self._documents = documents
        self._store = store
        self._clock = clock
        self._way_of = way_of
        self._secret_of = secret_of
        self._told = told
        self._flights: dict[str, asyncio.Task[Document[G]]] = {}
        #: By login: the serial that could not be refreshed, how often in a row, and when it is tried again.
        self._failed: dict[str, tuple[int, int, float]] = {}
        self._jitter: dict[str, tuple[int, float]] = {}
        self._waking = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._closed = False

    def wake(self) -> None:
        """Logins may have changed: look when the next one is due."""
        if self._closed or not self._documents.all():
            return
        self._waking.set()
        if self._keeper is None or self._keeper.done():
            self._keeper = asyncio.create_task(self._keep())

    async def close(self) -> None:
        """Let refreshes under way end, so that no rotated token is lost."""
        self._closed = True
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        while self._flights:
            await asyncio.wait(list(self._flights.values()))

    def waits(self, document: Document[G]) -> float:
        """Seconds until a login whose refresh failed is tried again."""
        serial, _, again_at = self._failed.get(document.id, (0, 0, 0.0))
        return max(0.0, again_at - self._clock.monotonic()) if serial == document.body.serial else 0.0

    def forgive(self) -> None:
        """Try at once what failed: the owner says that the cause is mended."""
        self._failed.clear()

    async def renew(self, identity: str, serial: int) -> Document[G]:
        """Refresh the token that has this ``serial``; the login as it is then, which says what came of it.

        Returns at once where somebody has refreshed it already, where nothing can, and soon after a failure.
        Raises NotFound when the login is gone, and the error of a database that fails.
        """
        flight = self._flights.get(identity)
        if flight is None:
            found = self._documents.get(identity)
            if found.body.serial != serial or found.body.ended or not found.body.refresh or self.waits(found):
                return found
            flight = self._flights[identity] = asyncio.create_task(self._renewed(identity, serial))
            flight.add_done_callback(lambda _: self._flights.pop(identity, None))
        # A caller that leaves does not end it: the old token may be spent by now.
        return await asyncio.shield(flight)

    async def sweep(self) -> float:
        """Refresh every login that is due; seconds until the next one is."""
        due: list[Document[G]] = []
        wait = _LONGEST_WAIT
        for document in self._documents.all():
            left = self._left(document)
            if left is not None and left <= 0:
                due.append(document)
            elif left is not None:
                wait = min(wait, left)
        gate = asyncio.Semaphore(_AT_ONCE)

        async def one(document: Document[G]) -> None:
            async with gate:
                await self.renew(document.id, document.body.serial)

        for outcome in await asyncio.gather(*(one(document) for document in due), return_exceptions=True):
            if isinstance(outcome, Exception) and not isinstance(outcome, NotFound):
                log.warning("a login could not be refreshed", reason=str(outcome)[:300])
        return max(wait, 0.05)

    async def _keep(self) -> None:
        while True:
            self._waking.clear()
            wait = await self.sweep()
            try:
                async with asyncio.timeout(wait):
                    await self._waking.wait()
            except TimeoutError:
                continue

    def _left(self, document: Document[G]) -> float | None:
        """Seconds until a login is to be refreshed, None where it is not."""
        login = document.body
        if login.ended or not login.refresh or login.expires_at is None or self._way_of(login) is None:
            return None
        kept = self._jitter.get(document.id)
        if kept is None or kept[0] != login.serial:
            kept = self._jitter[document.id] = (login.serial, 1 + self._clock.random.random() / 2)
        ahead = min(_AHEAD_SECONDS, (login.expires_at - login.refreshed_at) / 5000) * kept[1]
        return max((login.expires_at - self._clock.now_ms()) / 1000 - ahead, self.waits(document))

    async def _renewed(self, identity: str, serial: int) -> Document[G]:
        lease = f"{self._store.replays.process}/{self._clock.new_id('')}"
        document = await self._leased(identity, serial, lease)
        if document.body.lease != lease:
            return document
        try:
            async with asyncio.timeout(_ASK_SECONDS):
                given = await self._asked(document)
        except TimeoutError:
            return await self._failing(document, lease, LoginFailed(f"the token endpoint did not answer within {_ASK_SECONDS:.0f} s"))
        except LoginFailed as error:
            return await self._failing(document, lease, error)
        except BaseException:
            await self._documents.edit(identity, lambda login: _released(login, lease))
            raise
        return await self._saved(document, given)

    async def _leased(self, identity: str, serial: int, lease: str) -> Document[G]:
        """The login with our lease on it, or without when another process has refreshed it meanwhile."""
        until = self._clock.monotonic() + _LEASE_MS / 1000

        def take(login: G) -> G | None:
            now = self._clock.now_ms()
            if login.serial != serial or login.ended or (login.lease_until > now and self._lives(login.lease)):
                return None
            return login.model_copy(update={"lease": lease, "lease_until": now + _LEASE_MS})

        while True:
            document = await self._documents.edit(identity, take)
            kept = document.body
            over = kept.serial != serial or kept.ended or self._clock.monotonic() > until
            if kept.lease == lease or over:
                return document
            await asyncio.sleep(_POLL_SECONDS)

    def _lives(self, lease: str) -> bool:
        """Whether whoever took a lease may still be at work: a process of its own database is the only one there (D24)."""
        replays = self._store.replays
        return bool(lease) and (replays.shared or lease.startswith(f"{replays.process}/"))

    async def _asked(self, document: Document[G]) -> Any:
        login, way = document.body, self._way_of(document.body)
        if way is None:
            raise LoginFailed("what the login is for is gone or switched off")
        tokens = await asyncio.to_thread(importlib.import_module, "hub.grants.tokens")
        known = tokens.Secrets(login.client, self._secret_of(document))
        refresh = self._store.unseal(login.refresh, sealed_place(document.id, "login", "refresh")).reveal()
        return await tokens.renew(way, login.token_endpoint, known, refresh=refresh, resource=login.resource)

    async def _saved(self, document: Document[G], given: Any) -> Document[G]:
        """Store new tokens, and try again where the database fails for a moment: the old refresh token may be spent."""
        update = sealed_tokens(self._store, document.id, given, self._clock.now_ms())
        serial = document.body.serial

        def change(login: G) -> G | None:
            if login.serial != serial:
                return None  # a new login has come meanwhile; its tokens are the ones to keep
            rest = {"serial": serial + 1, "failing_since": None, "failure": "", "lease": "", "lease_until": 0}
            return login.model_copy(update={**update, **rest})

        self._failed.pop(document.id, None)
        for pause in _SAVES:
            try:
                return await self._documents.edit(document.id, change)
            except NotFound:
                raise
            except HubError as error:
                log.error("new tokens of a login could not be stored yet", login=document.id, reason=error.message)
            await asyncio.sleep(pause)
        return await self._documents.edit(document.id, change)

    async def _failing(self, document: Document[G], lease: str, error: LoginFailed) -> Document[G]:
        """Note a failure, for good where the server says so."""
        way = self._way_of(document.body)
        final = error.reason in _FINAL or (way is not None and error.reason in way.final)
        serial, before, _ = self._failed.get(document.id, (0, 0, 0.0))
        tries = before + 1 if serial == document.body.serial else 1
        pause = _BACK_OFF[min(tries, len(_BACK_OFF) - 1)]
        self._failed[document.id] = (document.body.serial, tries, self._clock.monotonic() + pause)
        now, words = self._clock.now_ms(), error.message[:500]

        def change(login: G) -> G | None:
            if login.lease != lease:
                return None
            since = login.failing_since or now
            return login.model_copy(update={"failing_since": since, "failure": words, "ended": final, "lease": "", "lease_until": 0})

        kept = await self._documents.edit(document.id, change)
        if document.body.failing_since is None or final:
            self._told(kept, words, final)
        return kept


def sealed_tokens(store: Store, identity: str, given: Any, now: int) -> dict[str, Any]:
    """The fields of a login that new tokens set. A server that gives no new refresh token or scopes leaves the old ones valid."""
    fields: dict[str, Any] = {
        "access": store.seal(given.access, sealed_place(identity, "login", "access")),
        "refreshed_at": now,
        "expires_at": None if given.seconds is None else now + given.seconds * 1000,
    }
    if given.refresh:
        fields["refresh"] = store.seal(given.refresh, sealed_place(identity, "login", "refresh"))
    if given.scopes:
        fields["scopes"] = given.scopes
    return fields


def _released(login: G, lease: str) -> G | None:
    return login.model_copy(update={"lease": "", "lease_until": 0}) if login.lease == lease else None
