"""The cache of answers to the very same request: in memory, and on disk behind it so that it outlives a restart.

An answer is found by the request's fingerprint and given only when the second digest and the owner agree as
well. A miss costs no database trip: which answers the disk has is known in memory.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING

import msgspec

from hub.engine.answers import StoredAnswer
from hub.errors import HubError
from hub.log import logger
from hub.store.responses import CachedRow

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.caching.fingerprint import Fingerprint
    from hub.clock import Clock
    from hub.preferences import ResponseCache
    from hub.store.responses import Responses
    from hub.store.state import State

log = logger("hub.cache")
#: Answers on disk at most, and so the size of what is known of them in memory.
MOST_ON_DISK = 100_000
#: How often other processes' answers are looked for, and the counters stored, in seconds.
_EVERY = 1.0
_COUNTERS = "cache"
_FLUSHES = "cache-flush"
_FLUSH_KEPT_MS = 60_000
_COUNTERS_KEPT_MS = 90 * 86_400_000


class Counters(msgspec.Struct):
    """What the cache did. ``tokens_saved`` are those of the answers that it gave."""

    hits: int = 0
    misses: int = 0
    tokens_saved: int = 0
    evictions: int = 0


class Flush(msgspec.Struct, frozen=True):
    """What was thrown away: by signature or model, or all; stored before ``before`` (epoch ms)."""

    signature: str = ""
    model: str = ""
    before: int = 0

    def covers(self, signature: str, model: str, stored_at: int) -> bool:
        """Whether an answer goes."""
        if stored_at >= self.before:
            return False
        return self.signature in ("", signature) and self.model in ("", model)


class _Entry:
    """An answer in memory; ``until`` is on the monotonic clock."""

    __slots__ = ("answer", "check", "model", "owner", "size", "stored_at", "until")

    def __init__(self, answer: StoredAnswer, key: tuple[str, str, str], size: int, until: float, stored_at: int) -> None:
        self.answer = answer
        self.owner, self.check, self.model = key
        self.size = size
        self.until = until
        self.stored_at = stored_at


class ResponseStore:
    """The two tiers. ``limits`` gives the preferences in force; ``process`` tells this process's counters from others'."""

    def __init__(self, disk: Responses, state: State, clock: Clock, limits: Callable[[], ResponseCache], process: str) -> None:
        self._disk = disk
        self._state = state
        self._clock = clock
        self._limits = limits
        self._counter_id = process if disk.shared else "hub"
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._on_disk: dict[str, int] = {}
        self._looked = self._counted = -_EVERY
        self._newest = 0
        self._look: asyncio.Task[None] | None = None
        self._flush_listeners: list[Callable[[Flush], None]] = []
        self.bytes = 0
        self.counters = Counters()
        state.follow(_FLUSHES)

    async def open(self) -> None:
        """Learn what the disk has, and go on counting where this hub stopped."""
        self._on_disk = await self._disk.ids(limit=MOST_ON_DISK)
        self._newest = max(self._on_disk.values(), default=0)
        kept = self._state.take(_COUNTERS, Counters).get(self._counter_id)
        if kept is not None:
            self.counters = kept[0]

    async def close(self) -> None:
        """Store the counters."""
        if self._look is not None:
            await asyncio.wait([self._look])  # a read that is cancelled would go on in its thread
        self._store_counters()

    def __len__(self) -> int:
        return len(self._entries)

    def on_flush(self, listener: Callable[[Flush], None]) -> None:
        """Tell ``listener`` what is thrown away, here or by another process."""
        self._flush_listeners.append(listener)

    async def find(self, key: Fingerprint) -> StoredAnswer | None:
        """The answer to this very request. Does not count; see :meth:`hit` and :meth:`miss`."""
        entry = self._entries.get(key.id)
        if entry is not None:
            if entry.until <= self._clock.monotonic():
                self._drop(key.id)
                return None
            if (entry.owner, entry.check) != (key.owner, key.check):
                return None
            self._entries.move_to_end(key.id)
            return entry.answer
        if self._disk.shared and self._limits().disk:
            self._look_around()
        return await self._from_disk(key) if key.id in self._on_disk and self._limits().disk else None

    def put(self, key: Fingerprint, answer: StoredAnswer, *, disk: bool = True) -> None:
        """Keep an answer; ``disk`` False in memory only."""
        limits = self._limits()
        now_ms = self._clock.now_ms()
        self._remember(key, answer, self._clock.monotonic() + limits.ttl_ms / 1000, now_ms)
        if not (disk and limits.disk) or (len(self._on_disk) >= MOST_ON_DISK and key.id not in self._on_disk):
            return
        try:
            reply = msgspec.json.encode(answer).decode()
        except (UnicodeEncodeError, TypeError):  # halves of characters, which JSON readers let pass and no database holds
            return
        row = CachedRow(
            id=key.id, owner=key.owner, model=key.model, request=key.check, reply=reply, tokens=answer.usage.total,
            created_at=now_ms, expires_at=now_ms + limits.ttl_ms,
        )  # fmt: skip
        if self._disk.put(row):
            self._on_disk[key.id] = now_ms

    def hit(self, answer: StoredAnswer) -> None:
        """An answer was given."""
        self.counters.hits += 1
        self.counters.tokens_saved += answer.usage.total
        self._count()

    def miss(self) -> None:
        """A request that could have been answered was not."""
        self.counters.misses += 1
        self._count()

    async def flush(self, *, signature: str = "", model: str = "", older_than_ms: int | None = None) -> int:
        """Throw answers away, by signature or of a model, of an age, or all; how many went. Other processes follow within a second."""
        now = self._clock.now_ms()
        order = Flush(signature, model, now - older_than_ms if older_than_ms is not None else now + 1)
        gone = self._apply(order)
        gone.update(await self._disk.delete(signature=signature, model=model, before=order.before))
        for name in gone:
            self._on_disk.pop(name, None)
        if self._disk.shared:
            self._state.put(_FLUSHES, self._clock.new_id("f_"), order, until=now + _FLUSH_KEPT_MS)
        return len(gone)

    def follow(self) -> None:
        """Take over what other processes threw away; called after changes."""
        for order, _ in self._state.take(_FLUSHES, Flush).values():
            for name in self._apply(order):
                self._on_disk.pop(name, None)

    async def sizes(self) -> tuple[int, int]:
        """Answers and bytes on disk."""
        return await self._disk.count()

    async def totals(self) -> Counters:
        """The counters of all processes."""
        total = Counters(**msgspec.structs.asdict(self.counters))
        if self._disk.shared:
            for process, kept in (await self._disk.counters(_COUNTERS)).items():
                if process != self._counter_id:
                    for name, value in kept.items():
                        setattr(total, name, getattr(total, name, 0) + value)
        return total

    async def prune(self) -> None:
        """Forget what is past its time."""
        now = self._clock.monotonic()
        for name in [name for name, entry in self._entries.items() if entry.until <= now]:
            self._drop(name)
        full = len(self._on_disk) >= MOST_ON_DISK
        for name in await self._disk.prune(most=MOST_ON_DISK * 9 // 10 if full else None):
            self._on_disk.pop(name, None)

    def _apply(self, order: Flush) -> set[str]:
        gone = {name for name, entry in self._entries.items() if order.covers(name, entry.model, entry.stored_at)}
        for name in gone:
            self._drop(name)
        for listener in self._flush_listeners:
            listener(order)
        return gone

    async def _from_disk(self, key: Fingerprint) -> StoredAnswer | None:
        try:
            row = await self._disk.find(key.id)
        except HubError as error:
            log.warning("the cache cannot be read; the request goes to the provider", reason=error.message)
            return None
        if row is None:
            # Written behind and not there yet is in memory; what is neither is gone.
            self._on_disk.pop(key.id, None)
            return None
        if (row["owner"], row["request"]) != (key.owner, key.check):
            return None
        try:
            answer = msgspec.json.decode(row["reply"], type=StoredAnswer)
        except (msgspec.DecodeError, ValueError):
            return None
        left = (row["expires_at"] - self._clock.now_ms()) / 1000
        self._remember(key, answer, self._clock.monotonic() + left, self._on_disk.get(key.id, 0))
        return answer

    def _remember(self, key: Fingerprint, answer: StoredAnswer, until: float, stored_at: int) -> None:
        limits = self._limits()
        self._drop(key.id)
        entry = _Entry(answer, (key.owner, key.check, key.model), answer.size, until, stored_at)
        self._entries[key.id] = entry
        self.bytes += entry.size
        while self._entries and (len(self._entries) > limits.memory_entries or self.bytes > limits.memory_bytes):
            self._drop(next(iter(self._entries)))
            self.counters.evictions += 1

    def _drop(self, name: str) -> None:
        entry = self._entries.pop(name, None)
        if entry is not None:
            self.bytes -= entry.size

    def _look_around(self) -> None:
        """Learn of other processes' answers, beside the requests and at most once a second."""
        now = self._clock.monotonic()
        if now - self._looked >= _EVERY and (self._look is None or self._look.done()):
            self._looked = now
            self._look = asyncio.get_running_loop().create_task(self._learn())

    async def _learn(self) -> None:
        try:
            # Rows are written a moment after their time, so the last seconds are read again.
            found = await self._disk.ids(since=self._newest - 10_000, limit=MOST_ON_DISK - min(len(self._on_disk), MOST_ON_DISK - 1))
        except HubError as error:
            log.warning("other processes' answers cannot be read", reason=error.message)
            return
        self._on_disk.update(found)
        self._newest = max(self._newest, *found.values()) if found else self._newest

    def _count(self) -> None:
        now = self._clock.monotonic()
        if now - self._counted >= _EVERY:
            self._counted = now
            self._store_counters()

    def _store_counters(self) -> None:
        until = self._clock.now_ms() + _COUNTERS_KEPT_MS if self._disk.shared else None
        self._state.put(_COUNTERS, self._counter_id, self.counters, until=until)
