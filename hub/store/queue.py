"""The write-behind queue: usage, decisions, audit rows and health marks, stored in one transaction per window.

Adding is an append. A ``kill -9`` loses at most the window (``settings.flush_ms``) and the transaction
under way; an orderly stop loses nothing. A database that fails keeps rows waiting, never drops them (SEC-82).
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from hub.errors import HubError
from hub.log import logger
from hub.store.database import RowRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hub.store.database import Database, Link

    #: Stores rows of one kind; ``again`` says that some of them may be there already.
    Save = Callable[[Link, list[Any], bool], None]

log = logger("hub.store")
#: What one bad row raises, in encoding or in the database.
_SPOILT = (RowRefused, TypeError, ValueError, AttributeError)
_FULL = 500
_MOST = 2000
_LONGEST_PAUSE = 10.0
_CLOSE_TRIES = 3


class WriteBehind:
    """Used on the event loop only. Kinds are stored in the order in which they were registered."""

    def __init__(self, database: Database, *, window: float, limit: int) -> None:
        self._database = database
        self._window = window
        self._limit = limit
        self._saves: dict[str, Save] = {}
        self._rows: dict[str, list[Any]] = {}
        self._latest: dict[str, dict[str, Any]] = {}
        self._flying: dict[str, list[Any]] = {}
        self._space = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._drain: asyncio.Task[None] | None = None
        self._again = False
        self._closed = False
        self._added = self._stored = 0
        self._fault: HubError | None = None
        self.depth = 0
        self.failures = 0
        self.dropped = 0

    def register(self, kind: str, save: Save) -> None:
        """Say how rows of a kind are stored. Every process registers in the same order, so that none waits for another in a ring."""
        self._saves[kind] = save
        self._rows[kind] = []
        self._latest[kind] = {}

    def add(self, kind: str, row: object) -> None:
        """Queue a row. It must not change afterwards."""
        self._rows[kind].append(row)
        self.depth += 1
        self._added += 1
        if self._timer is None:
            self._schedule(self._window)
        elif self.depth == _FULL:
            self._start()

    def replace(self, kind: str, identity: str, row: object) -> None:
        """Queue the newest state of one thing; an older one that still waits is forgotten."""
        waiting = self._latest[kind]
        self.depth += identity not in waiting
        self._added += 1
        waiting[identity] = row
        if self._timer is None:
            self._schedule(self._window)

    def forget(self, kind: str, identity: str) -> None:
        """The thing is gone; its waiting state with it."""
        self.depth -= self._latest[kind].pop(identity, None) is not None
        if not self.depth:
            self._stored = self._added  # nothing waits any more, so that a flush has nothing to wait for

    def pending(self, kind: str) -> Iterator[Any]:
        """Rows of a kind that are not known to be stored, newest first."""
        yield from reversed(self._rows[kind])
        yield from reversed(self._flying.get(kind, []))

    @property
    def full(self) -> bool:
        """Whether work that adds rows must wait for :meth:`room`."""
        return self.depth >= self._limit

    @property
    def failing(self) -> bool:
        """Whether the last attempt to store rows failed; they wait."""
        return self._fault is not None

    async def room(self) -> None:
        """Wait while the queue is full; called before work that will add rows."""
        while self.full:
            self._space.clear()
            await self._space.wait()

    async def flush(self) -> None:
        """Store everything that was added before this call. Raises the HubError of the database; the rows then still wait."""
        target = self._added
        while self._stored < target:
            task = self._start()
            await asyncio.shield(task)
            if self._fault is not None:
                raise self._fault

    async def settle(self) -> None:
        """Flush before a report; while the database fails, the report does without the rows that wait."""
        if self.depth:
            with suppress(HubError):
                await self.flush()

    async def close(self) -> None:
        """Store what waits; say how many rows are lost when the database stays away."""
        self._closed = True
        for attempt in range(_CLOSE_TRIES):
            with suppress(HubError):
                await self.flush()
                break
            await asyncio.sleep(0.1 * 2**attempt)
        if self._timer is not None:
            self._timer.cancel()
        if self.depth:
            self.dropped += self.depth
            log.error("rows lost: the database was away at the stop", rows=self.depth)

    def _schedule(self, delay: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(delay, self._start)

    def _start(self) -> asyncio.Task[None]:
        if self._drain is None or self._drain.done():
            if self._timer is not None:
                self._timer.cancel()
            self._drain = asyncio.get_running_loop().create_task(self._run())
        return self._drain

    async def _run(self) -> None:
        """Store one transaction's worth, and go on at once only while another is full."""
        while self.depth:
            batch, mark = self._take()
            self._flying = batch
            count = sum(map(len, batch.values()))
            try:
                await self._store(batch)
            except HubError as error:
                self._back(batch, error)
                return
            self._flying = {}
            self._fault, self._again, self.failures = None, False, 0
            self._stored = mark
            self.depth -= count
            self._space.set()
            if self.depth < _FULL:
                break
        self._timer = None
        if self.depth:
            self._schedule(self._window)

    def _take(self) -> tuple[dict[str, list[Any]], int]:
        """At most one transaction's worth of rows, and how many additions are stored after it."""
        batch: dict[str, list[Any]] = {}
        left = _MOST
        for kind, rows in self._rows.items():
            batch[kind], self._rows[kind] = rows[:left], rows[left:]
            left -= len(batch[kind])
        for kind, waiting in self._latest.items():
            batch[kind] += [waiting[identity] for identity in sorted(waiting)]
            waiting.clear()
        return batch, self._stored if any(self._rows.values()) else self._added

    async def _store(self, batch: dict[str, list[Any]]) -> None:
        again = self._again
        try:
            await self._database.write(lambda link: self._save(link, batch, again))
        except _SPOILT:
            await self._singly(batch)

    def _save(self, link: Link, batch: dict[str, list[Any]], again: bool) -> None:
        for kind, rows in batch.items():
            if rows:
                self._saves[kind](link, rows, again)

    async def _singly(self, batch: dict[str, list[Any]]) -> None:
        """One row spoils the transaction: store the rows one by one and count those that the database refuses."""
        for kind, rows in batch.items():
            for row in rows:
                try:
                    await self._database.write(lambda link, kind=kind, row=row: self._saves[kind](link, [row], True))
                except _SPOILT as error:
                    self.dropped += 1
                    log.error("row refused by the database", kind=kind, reason=str(error))

    def _back(self, batch: dict[str, list[Any]], error: HubError) -> None:
        """Keep the rows, in order, and try again after a pause that grows."""
        self._flying = {}
        for kind, rows in batch.items():
            self._rows[kind] = rows + self._rows[kind]
        self._fault, self._again = error, True
        self.failures += 1
        log.error("rows wait: the database failed", rows=self.depth, failures=self.failures, reason=error.message)
        if not self._closed:
            self._schedule(min(_LONGEST_PAUSE, 0.1 * 2 ** min(self.failures, 10)))
