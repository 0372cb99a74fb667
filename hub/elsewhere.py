"""Calls that end in other processes on the same database, for who watches calls here: told only while somebody watches, and bounded.

Each process that has watchers says so every few seconds; the others then tell what ends with them. What is too much, or comes while the
database cannot be reached, is left out and counted.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import zlib
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from hub.errors import HubError
from hub.log import logger
from hub.records import UsageRow
from hub.store.notices import LONGEST

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from hub.clock import Clock
    from hub.engine.inflight import InFlight
    from hub.store.notices import Notices

log = logger("hub.elsewhere")

#: Calls are told together, so often and so many at a time at most: 200 a second of each process.
_PAUSE_SECONDS = 0.25
_MOST_AT_ONCE = 50
#: Calls that wait to be told; older ones are left out.
_WAITING = 200
#: How often a process says that it watches, or is there; who has not been heard for three times as long is gone.
_BEAT_SECONDS = 3.0
_GONE_SECONDS = 3 * _BEAT_SECONDS
_MOST_PROCESSES = 256
#: Largest message once it is unpacked.
_UNPACKED = 1024 * 1024


class Told(msgspec.Struct, frozen=True, array_like=True):
    """What one process tells. ``watches`` asks the others to tell, too; ``running`` are its calls under way."""

    process: str
    watches: bool = False
    running: int = 0
    left_out: int = 0
    calls: list[UsageRow] = []


class _Process:
    """Another process: when it was heard, and how many calls ran there then."""

    __slots__ = ("heard", "running")

    def __init__(self) -> None:
        self.heard = 0.0
        self.running = 0


class Elsewhere:
    """The other processes, as this one hears them. ``on_call`` and ``inflight`` are this one's own calls, which it tells."""

    def __init__(
        self, notices: Notices, clock: Clock, *, process: str, on_call: list[Callable[[UsageRow], None]], inflight: InFlight
    ) -> None:
        self._notices = notices
        self._clock = clock
        self._name = process
        self._on_call = on_call
        self._inflight = inflight
        self._listeners: list[Callable[[list[UsageRow], int], None]] = []
        self._processes: dict[str, _Process] = {}
        self._waiting: deque[UsageRow] = deque(maxlen=_WAITING)
        self._left_out = 0
        self._watched_until = 0.0
        self._echo = 0.0
        self._beat = 0.0
        self._task: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Begin to listen, where there may be other processes; on the event loop."""
        if self._notices.shared:
            self._notices.listen(self._heard)

    async def close(self) -> None:
        """End. May be called twice."""
        await self._notices.close()
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    @contextmanager
    def watching(self, listener: Callable[[list[UsageRow], int], None]) -> Generator[None]:
        """Hear of calls elsewhere: ``listener`` is given some, the oldest first, and how many were left out."""
        self._listeners.append(listener)
        if self._notices.shared:
            self._beat = 0.0
            if len(self._listeners) == 1:
                self._echo = self._clock.monotonic()  # it will be seen soon whether one hears oneself
            self._start()
        try:
            yield
        finally:
            self._listeners.remove(listener)

    @property
    def others(self) -> int | None:
        """How many other processes tell of their calls; None while they cannot be heard, which is known where somebody watches."""
        if not self._notices.shared:
            return 0
        now = self._clock.monotonic()
        if not self._notices.hearing or now - self._echo > _GONE_SECONDS:
            return None
        return len(self._known(now))

    @property
    def running(self) -> int:
        """Calls under way elsewhere, as last heard."""
        return sum(one.running for one in self._known(self._clock.monotonic()))

    def _known(self, now: float) -> list[_Process]:
        return [one for one in self._processes.values() if now - one.heard <= _GONE_SECONDS]

    def _heard(self, message: str) -> None:
        told = unpacked(message)
        if told is None:
            return
        now = self._clock.monotonic()
        if told.process == self._name:
            self._echo = now
            return
        known = self._processes.get(told.process)
        if known is None:
            known = self._processes[told.process] = _Process()
            self._forget(now)
        known.heard, known.running = now, told.running
        if told.watches:
            self._watched(now)
        if told.calls or told.left_out:
            for listener in list(self._listeners):
                listener(told.calls, told.left_out)

    def _forget(self, now: float) -> None:
        """Processes that are gone, and the oldest of too many."""
        gone = [name for name, one in self._processes.items() if now - one.heard > _GONE_SECONDS and one.heard]
        for name in [*gone, *self._processes][: max(len(gone), len(self._processes) - _MOST_PROCESSES)]:
            self._processes.pop(name, None)

    def _watched(self, now: float) -> None:
        """Somebody elsewhere watches: calls that end here are told from now on."""
        if now > self._watched_until:
            self._beat = 0.0
        self._watched_until = now + _GONE_SECONDS
        if self._ended not in self._on_call:
            self._on_call.append(self._ended)
        self._start()

    def _ended(self, row: UsageRow) -> None:
        self._left_out += len(self._waiting) == _WAITING
        self._waiting.append(row)

    def _start(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._tell())

    async def _tell(self) -> None:
        """Say what there is to say while somebody watches, here or elsewhere."""
        while self._listeners or self._clock.monotonic() <= self._watched_until:
            now = self._clock.monotonic()
            rows = [self._waiting.popleft() for _ in range(min(_MOST_AT_ONCE, len(self._waiting)))]
            if rows or self._left_out or now - self._beat >= _BEAT_SECONDS:
                await self._say(rows, now)
            await asyncio.sleep(_PAUSE_SECONDS)
        if self._ended in self._on_call:
            self._on_call.remove(self._ended)
        self._waiting.clear()
        self._left_out = 0

    async def _say(self, rows: list[UsageRow], now: float) -> None:
        told = Told(self._name, bool(self._listeners), len(self._inflight), self._left_out)
        self._left_out = 0
        try:
            await self._notices.tell(packed(told, rows))
        except HubError as error:
            self._left_out += told.left_out + len(rows)
            log.warning("other processes cannot be told", reason=error.message)
        else:
            self._beat = now


def packed(told: Told, calls: Sequence[UsageRow]) -> list[str]:
    """Messages that fit; a call that alone does not is counted as left out."""
    text = base64.b64encode(zlib.compress(msgspec.json.encode(msgspec.structs.replace(told, calls=list(calls))), 3)).decode()
    if len(text) <= LONGEST:
        return [text]
    if len(calls) < 2:
        return packed(msgspec.structs.replace(told, left_out=told.left_out + len(calls)), ())
    half = len(calls) // 2
    return packed(told, calls[:half]) + packed(msgspec.structs.replace(told, left_out=0), calls[half:])


def unpacked(message: str) -> Told | None:
    """What a message says; None for one that is not of this version."""
    try:
        plain = zlib.decompressobj().decompress(base64.b64decode(message, validate=True), _UNPACKED)
        return _DECODER.decode(plain)
    except (binascii.Error, ValueError, zlib.error, msgspec.DecodeError):
        return None


_DECODER = msgspec.json.Decoder(Told)
