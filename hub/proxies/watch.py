"""Looks after the proxies that are switched on: each is tried now and then, by one process for all, less often while it fails."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from hub.log import logger
from hub.process.background import Regularly
from hub.proxies.probe import probe
from hub.proxies.record import Record

if TYPE_CHECKING:
    from hub.clock import Clock
    from hub.outbound.client import Outbound
    from hub.proxies.model import Entry
    from hub.proxies.pool import Proxies
    from hub.settings import Settings
    from hub.store import Store
    from hub.store.documents import Document

log = logger("hub.proxies")
_KIND = "proxy-check"
_LEASE = "proxy-checks"
#: A proxy that fails is tried after twice the time, and so on, so many times and at most so long apart.
_DOUBLINGS, _LONGEST_MS = 6, 3_600_000
_AT_ONCE = 4
_TICK_SECONDS = 15.0
_KEPT_MS = 7 * 86_400_000


class Check(msgspec.Struct):
    """The last try of a proxy, and when the next one is due (epoch milliseconds)."""

    at: int
    ok: bool
    latency_ms: int
    kind: str = ""
    error: str = ""
    seen_as: str = ""
    failures: int = 0
    due_at: int = 0


class Watch:
    """One per process. ``record`` counts its calls; the proxies are tried by the one that has the lease."""

    def __init__(self, proxies: Proxies, store: Store, outbound: Outbound, clock: Clock, settings: Settings) -> None:
        self._proxies = proxies
        self.record = Record(store.state, clock)
        outbound.on_proxied = self.record.note
        self._state = store.state
        self._outbound = outbound
        self._clock = clock
        self._every_ms = round(settings.proxy_check_seconds * 1000)
        self._url = settings.proxy_probe_url
        self._me = clock.new_id("p")
        self._mine: dict[str, Check] = {}
        self._looks = Regularly("checking proxies", self._look, every=min(_TICK_SECONDS, self._every_ms / 1000))

    def open(self) -> None:
        """Begin, unless the settings say never."""
        if self._every_ms and self._url:
            self._looks.start()

    async def close(self) -> None:
        """Stop."""
        await self._looks.close()

    async def last(self) -> dict[str, Check]:
        """The last try of each proxy, by whichever process."""
        found = dict(self._mine)
        for identity, body in (await self._state.current(_KIND)).items():
            with suppress(msgspec.DecodeError):
                check = msgspec.json.decode(body, type=Check)
                if identity not in found or check.at > found[identity].at:
                    found[identity] = check
        return found

    async def _look(self) -> None:
        active = [one for one in self._proxies.entries.all() if one.body.active]
        if active:
            await self.round(active)

    async def round(self, active: list[Document[Entry]]) -> int:
        """Try those of the proxies that are due; how many were. None where another process has the lease."""
        now = self._clock.now_ms()
        if not await self._state.lease(_LEASE, self._me, now=now, until=now + 4 * self._every_ms):
            return 0
        last = await self.last()
        due = [one for one in active if self._due(one, last.get(one.id), now)]
        gate = asyncio.Semaphore(_AT_ONCE)

        async def tried(entry: Document[Entry]) -> None:
            async with gate:
                await self._check(entry, last.get(entry.id))

        async with asyncio.TaskGroup() as group:
            for one in due:
                group.create_task(tried(one))
        return len(due)

    def _due(self, entry: Document[Entry], last: Check | None, now: int) -> bool:
        if self.record.seen_at(entry.id) > now - self._every_ms:
            return False  # calls have just shown that it works
        return last is None or last.due_at <= now or entry.updated_at > last.at

    async def _check(self, entry: Document[Entry], last: Check | None) -> None:
        found = await probe(self._outbound, self._clock, self._proxies.proxy(entry), self._url, private=True)
        now, ok = self._clock.now_ms(), not found.kind
        failures = 0 if ok else (last.failures if last is not None else 0) + 1
        pause = min(self._every_ms * 2 ** min(failures, _DOUBLINGS), max(_LONGEST_MS, self._every_ms))
        check = Check(now, ok, found.latency_ms, found.kind, found.error, found.seen_as, failures, now + pause)
        if not ok and failures == 1:
            log.warning("a proxy does not work", proxy_id=entry.id, kind=found.kind, reason=found.error)
        self._mine[entry.id] = check
        self._state.put(_KIND, entry.id, check, until=now + _KEPT_MS)
