"""Work on memories that no request waits for: a bounded queue, worked off one after the other, to its end when the hub stops."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from hub.errors import HubError
from hub.log import logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

log = logger("hub.memory")
#: What waits at most; what comes then is not remembered.
MOST_WAITING = 1000
#: How long the end of the work is waited for when the hub stops, in seconds.
_AT_THE_END = 5.0


class Behind:
    """Runs work behind requests. Used on the event loop only."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Callable[[], Awaitable[object]] | None] = asyncio.Queue(MOST_WAITING + 1)
        self._task: asyncio.Task[None] | None = None
        self.dropped = 0
        self.failures = 0

    @property
    def waiting(self) -> int:
        """How much waits."""
        return self._queue.qsize()

    def later(self, work: Callable[[], Awaitable[object]]) -> bool:
        """Have some work done; False where too much waits already."""
        if self._queue.qsize() >= MOST_WAITING:
            self.dropped += 1
            return False
        self._queue.put_nowait(work)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())
        return True

    async def settled(self) -> None:
        """All that waits now is done."""
        if self._task is not None:
            await self._queue.join()

    async def close(self) -> None:
        """Do what waits, within a few seconds, and end."""
        task, self._task = self._task, None
        if task is None:
            return
        self._queue.put_nowait(None)
        with suppress(TimeoutError):
            async with asyncio.timeout(_AT_THE_END):
                await asyncio.shield(task)
        if not task.done():
            log.warning("memories are lost: the hub stopped before they were written", waiting=self._queue.qsize())
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            work = await self._queue.get()
            try:
                if work is None:
                    return
                await work()
            except HubError as error:
                self.failures += 1
                log.warning("something was not remembered", reason=error.message)
            except Exception as error:  # the background loop
                self.failures += 1
                log.error("remembering failed", exc_info=error)
            finally:
                self._queue.task_done()
