"""Whether requests are recorded now and whose, how much of them is in memory, and what becomes of what was recorded."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from hub.content.model import Content
from hub.content.tape import Came, Tape, encoded
from hub.errors import BadRequest, NotFound
from hub.log import logger
from hub.store.pruning import Stale
from hub.vault import Unreadable

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.clock import Clock
    from hub.content.settings import RequestContent
    from hub.context import Context
    from hub.engine.ask import ChatAsk
    from hub.records import Caller
    from hub.store import Store

log = logger("hub.content")

#: Bytes that recordings may hold in memory, beside what requests hold there anyway: of answers under way, and of what waits to be stored.
MOST_HELD = 32 * 1024 * 1024
MOST_WAITING = 32 * 1024 * 1024
_DAY_MS = 86_400_000
_WITHIN = Came("", {})
_STALE = Stale("request_contents", "request_id", "at")


class Contents:
    """The recordings of one process. ``on`` is the one thing that is looked at while nothing is recorded.

    ``left_out`` counts requests that ended and were not kept because too much waited, or the database failed.
    """

    def __init__(self, store: Store, clock: Clock, preferred: Callable[[], RequestContent]) -> None:
        self._store = store
        self._clock = clock
        self._preferred = preferred
        self._settings = preferred()
        self._keys: frozenset[str] = frozenset()
        #: Bytes of answers under way that are in memory.
        self.held = 0
        self.on = False
        self.left_out = 0

    def refresh(self) -> None:
        """What the owner set may have changed, here or in another process."""
        settings = self._settings = self._preferred()
        self._keys = frozenset(settings.keys)
        self._store.contents.most = settings.total_mb * 1024 * 1024
        self.on = settings.enabled

    def wants(self, caller: Caller) -> bool:
        """Whether a caller's requests are recorded now."""
        return self.on and not caller.no_log and (not self._keys or caller.key_id in self._keys or caller.name in self._keys)

    def begin(self, ask: ChatAsk, ctx: Context) -> Tape | None:
        """Record a request from now on; None for one that is not to be, or cannot be read."""
        if not self.wants(ctx.caller):
            return None
        raw = ask.raw
        try:
            body = raw.body if raw is not None else encoded(ask)
        except BadRequest:
            return None
        return Tape(self, raw.dialect if raw is not None else "", ask.came or _WITHIN, body, self._settings.request_kb * 1024)

    def hold(self, size: int) -> bool:
        """Whether so many bytes more may be in memory; they count until :meth:`release`."""
        if self.held + size > MOST_HELD:
            return False
        self.held += size
        return True

    def release(self, size: int) -> None:
        """So many bytes were handed on, or are forgotten."""
        self.held -= size

    def keep(self, content: Content) -> None:
        """A request is over. Cheap: it is encoded, compressed and sealed by who stores it."""
        rows = self._store.contents
        if self._store.queue.failing or rows.waiting > MOST_WAITING or not self.on:
            self.left_out += 1
            if self.left_out == 1:
                log.warning("content of a request is not stored", reason="too much of it waits for the database")
            return
        rows.add(content)

    async def get(self, request_id: str) -> Content:
        """What is kept of a request. Raises NotFound where nothing is, or nothing that can be opened."""
        sealed = await self._store.contents.get(request_id)
        if sealed is None:
            raise NotFound(f"nothing is stored of what was said in {request_id[:80]!r}", field="requestId")
        try:
            return await asyncio.to_thread(self._store.contents.opened, request_id, sealed)
        except (Unreadable, msgspec.DecodeError) as error:
            raise NotFound(
                f"what is stored of {request_id[:80]!r} was sealed by another vault and cannot be opened", field="requestId"
            ) from error

    async def sweep(self) -> int:
        """Delete what is past its time, then the oldest until the rest fits; how many requests that were."""
        limit = self._clock.now_ms() - self._settings.days * _DAY_MS
        gone = 0
        while deleted := await self._store.pruning.batch(_STALE, limit):
            gone += deleted
        return gone + await self._store.contents.trim()

    def expires(self, at: int) -> int:
        """When what is kept of a request of this moment will be deleted, epoch ms."""
        return at + self._settings.days * _DAY_MS
