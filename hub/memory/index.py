"""The full text of memories, ready when it is first needed and kept in step with them; whoever finds that it cannot be used is told so."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from hub.errors import HubError
from hub.log import logger
from hub.memory.words import terms
from hub.store.fulltext import Entry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hub.clock import Clock
    from hub.memory.record import Memory
    from hub.store.fulltext import FullText
    from hub.store.memories import MemoryRows

log = logger("hub.memory")
_GROUP = 200
#: How long the index is left alone after it failed, in seconds.
_PAUSE = 30.0


def searched(memory: Memory) -> str:
    """What of a memory is looked at by words."""
    return f"{memory.key} {memory.content}"


class Index:
    """Nothing is opened before something is looked for or remembered. Memories that are sealed are not in it."""

    def __init__(self, rows: MemoryRows, text: FullText, clock: Clock) -> None:
        self._rows = rows
        self._text = text
        self._clock = clock
        self._opening = asyncio.Lock()
        self._open = False
        self._fresh = False
        self._not_before = 0.0
        #: Why it cannot be used, empty where it can.
        self.fault = ""

    @property
    def in_use(self) -> bool:
        """Whether this process has opened it."""
        return self._open

    def stale(self) -> None:
        """What it is made of may have changed behind its back: look before it is used again."""
        self._fresh = False

    async def close(self) -> None:
        """Close it; it can be used again."""
        async with self._opening:
            await self._shut()

    async def clear(self) -> None:
        """Forget everything, on the disk too, because contents are to be sealed. Raises HubError, OSError."""
        async with self._opening:
            self._open = self._fresh = False
            await self._text.clear()

    async def put(self, memory: Memory) -> None:
        """Take a memory in whose content is new."""
        if not memory.sealed and await self._ready():
            try:
                await self._text.put([_entry(memory)])
            except (HubError, OSError) as error:
                await self._failed(error)

    async def drop(self, ids: Sequence[str]) -> None:
        """Forget memories. Where the index is not open here, its next opening finds that they are gone."""
        if ids and self._open:
            try:
                await self._text.drop(ids)
            except (HubError, OSError) as error:
                await self._failed(error)

    async def find(self, words: Sequence[str], key_id: str, limit: int) -> list[str] | None:
        """The ids of memories with any of these words, the likeliest first; None where the index cannot be used."""
        if not await self._ready():
            return None
        try:
            return await self._text.find(words, key_id, limit)
        except (HubError, OSError) as error:
            await self._failed(error)
            return None

    async def count(self) -> int | None:
        """How many memories are in it; None where it cannot be used. Opens nothing that is not open."""
        if not self._open:
            return None
        try:
            return len(await self._text.held())
        except (HubError, OSError) as error:
            await self._failed(error)
            return None

    async def renew(self) -> bool:
        """Bring it in step with what is stored; whether it can be used."""
        self.stale()
        self._not_before = 0.0
        return await self._ready()

    async def _ready(self) -> bool:
        if self._open and self._fresh:
            return True
        if self._clock.monotonic() < self._not_before:
            return False
        try:
            async with self._opening:
                await self._ensure_open()
                if not self._fresh:
                    # Before it is done: what is written meanwhile is put in by who writes it.
                    self._fresh = True
                    await self._follow()
        except (HubError, OSError) as error:
            await self._failed(error)
            return False
        self.fault = ""
        return True

    async def _ensure_open(self) -> None:
        if not self._open:
            await self._text.open()
            self._open = True

    async def _follow(self) -> None:
        # In this order: what was deleted between the two looks must not be taken in, and what came must not be thrown out.
        held = await self._text.held()
        there = await self._rows.plain()
        gone = [one for one in held if one not in there]
        late = [one for one, version in there.items() if held.get(one) != version]
        for start in range(0, len(gone), _GROUP):
            await self._text.drop(gone[start : start + _GROUP])
        for start in range(0, len(late), _GROUP):
            found = await self._rows.several(late[start : start + _GROUP])
            await self._text.put([_entry(one) for one in found if not one.sealed])

    async def _failed(self, error: HubError | OSError) -> None:
        self.fault = error.message if isinstance(error, HubError) else str(error.strerror)
        self._not_before = self._clock.monotonic() + _PAUSE
        log.warning("the full text of memories cannot be used; their words are compared one by one", reason=self.fault)
        async with self._opening:
            await self._shut()

    async def _shut(self) -> None:
        self._open = self._fresh = False
        await self._text.close()


def _entry(memory: Memory) -> Entry:
    return Entry(memory.id, memory.key_id, memory.version, terms(searched(memory)))
