"""Calls as they end: for a page that watches, a terminal, or an agent that waits for trouble."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress

from pydantic import Field

from hub.context import Context
from hub.errors import Unavailable
from hub.records import UsageRow
from hub.skill import Audit, CostClass, Rest, skill
from hub.wire import Wire
from skills._calls import CallFilter, CallRow, accounts, call_row, where_of

#: Calls that wait for a watcher that is slow; older ones are left out and counted.
_WAITING = 500
#: Calls are told together, so often at most.
_PAUSE_SECONDS = 0.25
#: Without calls something is said all the same, so that both ends know that the other is there.
_BEAT_SECONDS = 10.0
_MOST_WATCHERS = 100
#: How often it is looked whether the watcher may still watch.
_CHECK_SECONDS = 5.0


class LiveCalls(Wire):
    """Calls that ended since the last of these, the oldest first; ``left_out`` came too fast to be told, ``running`` run now."""

    calls: list[CallRow]
    left_out: int
    running: int


class LiveAsk(CallFilter):
    """Which calls to tell of."""

    seconds: float | None = Field(default=None, gt=0, le=86_400, description="How long to watch; none: until you leave.")


class _Watcher:
    """What one caller has not been told yet. Its queue does not grow beyond its bound, whoever is slow."""

    def __init__(self, where: dict[str, str | int | None]) -> None:
        self._where = [(name, value) for name, value in where.items() if value is not None]
        self._waiting: deque[UsageRow] = deque(maxlen=_WAITING)
        self._left_out = 0
        self.news = asyncio.Event()
        self.over = False

    def heard(self, row: UsageRow) -> None:
        """A call ended."""
        if any(getattr(row, name) != value for name, value in self._where):
            return
        self._left_out += len(self._waiting) == _WAITING
        self._waiting.append(row)
        self.news.set()

    def end(self) -> None:
        """The hub stops."""
        self.over = True
        self.news.set()

    def taken(self) -> tuple[list[UsageRow], int]:
        """What is to be told now."""
        rows, left_out = list(self._waiting), self._left_out
        self._waiting.clear()
        self._left_out = 0
        self.news.clear()
        return rows, left_out


@skill("usage-live", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("GET", "/api/usage/live")], read_only=True, audit=Audit.NONE)
async def live(ctx: Context, ask: LiveAsk) -> AsyncIterator[LiveCalls]:
    """Watch calls as they end in this process, several together; one that is watched too slowly is left out and counted."""
    hub = ctx.hub
    watchers: set[_Watcher] = hub.kept.setdefault("usage-live", set())
    if len(watchers) >= _MOST_WATCHERS:
        raise Unavailable(f"{_MOST_WATCHERS} watch already; close one first")
    watcher = _Watcher(where_of(ctx, ask))
    until = None if ask.seconds is None else hub.clock.monotonic() + ask.seconds
    watchers.add(watcher)
    hub.on_call.append(watcher.heard)
    hub.on_stop.append(watcher.end)
    try:
        yield LiveCalls(calls=[], left_out=0, running=len(hub.inflight))
        checked = hub.clock.monotonic()
        while not watcher.over:
            if hub.clock.monotonic() - checked >= _CHECK_SECONDS:
                checked = hub.clock.monotonic()
                if not await _still(ctx):
                    return
            left = _BEAT_SECONDS if until is None else min(_BEAT_SECONDS, until - hub.clock.monotonic())
            if left <= 0:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await watcher.news.wait()
            rows, left_out = watcher.taken()
            names = accounts(ctx)
            yield LiveCalls(calls=[call_row(row, names) for row in rows], left_out=left_out, running=len(hub.inflight))
            await asyncio.sleep(_PAUSE_SECONDS)
    finally:
        watchers.discard(watcher)
        hub.on_call.remove(watcher.heard)
        if watcher.end in hub.on_stop:
            hub.on_stop.remove(watcher.end)


async def _still(ctx: Context) -> bool:
    """Whether the caller's key counts, or the browser is logged in, still."""
    session = ctx.caller.session
    return await ctx.hub.login.lives(session) if session else ctx.hub.still(ctx.caller) is not None
