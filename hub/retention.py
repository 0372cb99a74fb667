"""Retention: what is past its time goes, in small steps while the hub serves, and the file shrinks with it (REL-24)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

import orjson

from hub.log import logger
from hub.process.background import Regularly
from hub.records import AuditRow
from hub.store.pruning import STALE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hub.clock import Clock
    from hub.preferences import Retention as Kept
    from hub.store import Store

log = logger("hub.retention")
T = TypeVar("T")

_FIRST_SECONDS = 60.0
_EVERY_SECONDS = 900.0
#: After each step the writer is left to others for this many times as long as the step took.
_REST = 4.0
_LEAST_PAUSE = 0.01
#: So many rows in the queue say that the writer is busy with traffic, which comes first.
_BUSY_ROWS = 1000
_BUSY_PAUSE = 0.25
#: Then a step is made all the same: a hub that is always busy must not grow for ever.
_BUSY_PAUSES = 40
#: Fewer free pages than these will be used again soon.
_FREE_PAGES = 256
_DAY_MS = 86_400_000


class Retention:
    """Prunes while the hub runs. ``kept`` gives the owner's limits, which may change meanwhile."""

    def __init__(self, store: Store, clock: Clock, kept: Callable[[], Kept]) -> None:
        self._store = store
        self._clock = clock
        self._kept = kept
        self._sweeps = Regularly("deleting old rows", self.sweep, every=_EVERY_SECONDS, first=_FIRST_SECONDS)
        #: What else looks for things past their time with each sweep; each says how many went.
        self.also: list[Callable[[], Awaitable[int]]] = []

    def start(self) -> None:
        """Begin the background loop; on the event loop."""
        self._sweeps.start()

    async def close(self) -> None:
        """End the loop; a step under way is finished by the store. May be called twice."""
        await self._sweeps.close()

    async def sweep(self) -> dict[str, int]:
        """Delete everything that is past its time now; how many rows of each table went. Raises the HubError of the database."""
        gone: dict[str, int] = {}
        for name, limit in self._limits().items():
            for stale in STALE[name]:
                count = 0
                while deleted := await self._step(lambda stale=stale, limit=limit: self._store.pruning.batch(stale, limit)):
                    count += deleted
                if count:
                    gone[stale.table] = count
        for other in self.also:
            await other()
        if gone:
            log.info("rows past their time are deleted", **gone)
            self._record(gone)
        await self._shrink()
        return gone

    def _record(self, gone: dict[str, int]) -> None:
        """That something was deleted is in the audit log (SEC-80)."""
        self._store.audit.add(
            AuditRow(
                at=self._clock.now_ms(),
                request_id=self._clock.new_id("req_"),
                door="system",
                caller="system",
                key_id="",
                skill="retention-sweep",
                outcome="ok",
                detail=orjson.dumps(gone).decode(),
            )
        )

    def _limits(self) -> dict[str, int]:
        kept, now = self._kept(), self._clock.now_ms()
        oldest_day = now // _DAY_MS - kept.sum_days
        return {
            "usage": now - kept.usage_days * _DAY_MS,
            "decisions": now - kept.decision_days * _DAY_MS,
            "now": now,
            "hours": oldest_day * 24,
            "days": oldest_day,
        }

    async def _shrink(self) -> None:
        """Give the room of what was deleted back to the disk."""
        free = await self._store.pruning.free_pages()
        while free > _FREE_PAGES:
            await self._step(self._store.pruning.give_back)
            left = await self._store.pruning.free_pages()
            if left >= free:
                return
            free = left

    async def _step(self, work: Callable[[], Awaitable[T]]) -> T:
        """One small transaction, when the writer has time for it, and a rest after it."""
        for _ in range(_BUSY_PAUSES):
            if self._store.queue.depth <= _BUSY_ROWS:
                break
            await asyncio.sleep(_BUSY_PAUSE)
        began = self._clock.monotonic()
        result = await work()
        await asyncio.sleep(max(_LEAST_PAUSE, _REST * (self._clock.monotonic() - began)))
        return result
