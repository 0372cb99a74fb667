"""Work that is done again and again while a hub runs."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from hub.errors import HubError
from hub.log import logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

log = logger("hub.background")


class Regularly:
    """Does some work every so many seconds on the event loop, the first time after ``first`` of them. A fault is logged and outlived.

    ``what`` names the work in the log.
    """

    def __init__(self, what: str, work: Callable[[], Awaitable[object]], *, every: float, first: float | None = None) -> None:
        self._what = what
        self._work = work
        self._every = every
        self._first = every if first is None else first
        self._task: asyncio.Task[None] | None = None

    def start(self) -> bool:
        """Begin; False where that was done already. On the event loop."""
        if self._task is not None:
            return False
        self._task = asyncio.get_running_loop().create_task(self._run())
        return True

    async def close(self) -> bool:
        """End; work under way is cancelled. False where nothing ran."""
        task, self._task = self._task, None
        if task is None:
            return False
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        return True

    async def _run(self) -> None:
        pause = self._first
        while True:
            await asyncio.sleep(pause)
            pause = self._every
            try:
                await self._work()
            except (HubError, OSError) as error:
                log.warning(f"{self._what} failed; tried again later", reason=str(error))
            except Exception as error:  # the background loop must outlive a fault
                log.error(f"{self._what} failed", exc_info=error)
