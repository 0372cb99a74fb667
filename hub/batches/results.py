"""Stores what came of items, many in a transaction; a database that fails is asked again and nothing is lost."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from hub.errors import HubError
from hub.log import logger

if TYPE_CHECKING:
    from hub.store.batches import Back, BatchRows, Result

log = logger("hub.batches")

#: How long results wait for others, in seconds.
_WINDOW = 0.02
_MOST = 1000
_LONGEST_PAUSE = 5.0
_CLOSE_TRIES = 5


class Results:
    """Used on the event loop only."""

    def __init__(self, rows: BatchRows) -> None:
        self._rows = rows
        self._waiting: list[Result | Back] = []
        self._task: asyncio.Task[None] | None = None
        self._closing = False

    def add(self, result: Result | Back) -> None:
        """Store this soon."""
        self._waiting.append(result)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def settle(self) -> None:
        """Wait until everything that was added is stored."""
        while self._task is not None and not self._task.done():
            await asyncio.wait([self._task])

    async def close(self) -> None:
        """Store what waits. What a database that stays away does not take is done again after the next start."""
        self._closing = True
        await self.settle()

    async def _run(self) -> None:
        failures = 0
        while self._waiting:
            await asyncio.sleep(_WINDOW)
            group = self._waiting[:_MOST]
            try:
                await self._rows.store(group)
            except HubError as error:
                failures += 1
                log.warning(
                    "what came of a batch's requests cannot be stored; tried again", waiting=len(self._waiting), reason=error.message
                )
                if self._closing and failures >= _CLOSE_TRIES:
                    return
                await asyncio.sleep(min(_LONGEST_PAUSE, 0.1 * 2 ** min(failures, 10)))
                continue
            failures = 0
            del self._waiting[: len(group)]
