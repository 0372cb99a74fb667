"""Calls as they end: for a page that watches, a terminal, or an agent that waits for trouble."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress

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
    """Calls that ended since the last of these, the oldest first; ``left_out`` came too fast to be told, ``running`` run now.

    ``others`` is how many other processes on the same database tell of theirs; null while they cannot be heard.
    """

    calls: list[CallRow]
    left_out: int
    running: int
    others: int | None


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

    def heard_elsewhere(self, rows: list[UsageRow], left_out: int) -> None:
        """Calls ended in another process; nobody knows which of those left out there would have been wanted here."""
        for row in rows:
            self.heard(row)
        self._left_out += left_out
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
    """Watch calls as they end, several together, in every process on this hub's database; what comes too fast is left out and counted."""
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
        with hub.elsewhere.watching(watcher.heard_elsewhere):
            async with aclosing(_news(ctx, watcher, until)) as every:
                async for news in every:
                    yield news
    finally:
        watchers.discard(watcher)
        hub.on_call.remove(watcher.heard)
        if watcher.end in hub.on_stop:
            hub.on_stop.remove(watcher.end)


async def _news(ctx: Context, watcher: _Watcher, until: float | None) -> AsyncGenerator[LiveCalls]:
    """What a watcher is told, until the time is over, the hub stops or the caller may no longer watch."""
    hub = ctx.hub
    yield _told(ctx, [], 0)
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
        yield _told(ctx, *watcher.taken())
        await asyncio.sleep(_PAUSE_SECONDS)


def _told(ctx: Context, rows: list[UsageRow], left_out: int) -> LiveCalls:
    hub, names = ctx.hub, accounts(ctx)
    running = len(hub.inflight) + hub.elsewhere.running
    return LiveCalls(calls=[call_row(row, names) for row in rows], left_out=left_out, running=running, others=hub.elsewhere.others)


async def _still(ctx: Context) -> bool:
    """Whether the caller's key counts, or the browser is logged in, still."""
    session = ctx.caller.session
    return await ctx.hub.login.lives(session) if session else ctx.hub.still(ctx.caller) is not None
