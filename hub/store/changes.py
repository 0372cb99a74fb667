"""Management changes: commit first, then replace what is in memory, then tell who listens.

With several processes on one database the revision counter says when another one changed something.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from hub.store import deferred

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlmodel import Session

    from hub.store.database import Database

T = TypeVar("T")


class Changes:
    """The one way to write management state. ``version`` is the revision that memory holds.

    ``newest`` is the highest revision that this process wrote itself: an older snapshot must not replace memory.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._listeners: list[Callable[[], None]] = []
        self._running: set[asyncio.Task[object]] = set()
        self.version = 0
        self.newest = 0

    def listen(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` on the event loop after each change, here or in another process."""
        self._listeners.append(listener)

    def announce(self) -> None:
        """Tell every listener."""
        for listener in self._listeners:
            listener()

    async def make(self, work: Callable[[Session], T], apply: Callable[[T], None]) -> T:
        """Run ``work`` in one durable transaction, then ``apply`` its result to memory.

        A caller that is cancelled meanwhile does not leave memory behind the database.
        """
        task = asyncio.get_running_loop().create_task(self._make(work, apply))
        self._running.add(task)
        task.add_done_callback(self._finished)
        return await asyncio.shield(task)

    async def settle(self) -> None:
        """Wait for changes under way; they have been asked for, so they are made."""
        if self._running:
            await asyncio.wait(self._running)

    async def _make(self, work: Callable[[Session], T], apply: Callable[[T], None]) -> T:
        def run(session: Session) -> tuple[T, int]:
            result = work(session)
            return result, deferred.management().bump(session)

        result, version = await self._database.change(run)
        self.newest = max(self.newest, version)
        if version == self.version + 1:
            self.version = version
        apply(result)
        self.announce()
        return result

    def _finished(self, task: asyncio.Task[object]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # mark it as seen: a cancelled caller does not fetch it
