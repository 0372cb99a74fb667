"""Requests that come twice in a moment under the same request id, as from a proxy or an SDK that tried again. Memory only."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hub.caching.coalesce import Flights

if TYPE_CHECKING:
    from collections.abc import Generator

    from hub.clock import Clock
    from hub.engine.answers import StoredAnswer

_MOST = 1000
_MOST_BYTES = 16 * 1024 * 1024


class Running:
    """A request under way whose answer may be kept for its repetition."""

    __slots__ = ("answer",)

    def __init__(self) -> None:
        self.answer: StoredAnswer | None = None

    def keep(self, answer: StoredAnswer | None) -> None:
        """What it gave, if that can be given again."""
        self.answer = answer


class Repeats:
    """Answers of the last moments, by name; bounded in number and bytes."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._flights: Flights[StoredAnswer] = Flights(clock)
        self._kept: OrderedDict[str, tuple[float, str, StoredAnswer]] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._kept) + len(self._flights)

    async def find(self, name: str, check: str, seconds: float) -> StoredAnswer | None:
        """The answer of the same request: one just given, or of one under way, which is waited for; None when the caller should run."""
        until = self._clock.monotonic() + seconds
        while (flight := self._flights.of(name)) is not None:
            if flight.check != check or not await flight.landed(until - self._clock.monotonic()):
                return None
            if flight.result is not None:
                return flight.result
        kept = self._kept.get(name)
        if kept is None or kept[1] != check or kept[0] <= self._clock.monotonic():
            return None
        return kept[2]

    @contextmanager
    def running(self, name: str, check: str, window_ms: int) -> Generator[Running]:
        """While a request runs, those that repeat it wait; what it gave is kept for the window that then begins."""
        flight, running = self._flights.start(name, check), Running()
        try:
            yield running
        finally:
            flight.result = running.answer
            self._flights.end(name, flight)
            if running.answer is not None:
                self._keep(name, self._clock.monotonic() + window_ms / 1000, check, running.answer)

    def prune(self) -> None:
        """Forget what is past its time."""
        now = self._clock.monotonic()
        for name in [name for name, kept in self._kept.items() if kept[0] <= now]:
            self._drop(name)

    def _keep(self, name: str, until: float, check: str, answer: StoredAnswer) -> None:
        self._drop(name)
        self._kept[name] = (until, check, answer)
        self._bytes += answer.size
        while self._kept and (len(self._kept) > _MOST or self._bytes > _MOST_BYTES):
            self._drop(next(iter(self._kept)))

    def _drop(self, name: str) -> None:
        kept = self._kept.pop(name, None)
        if kept is not None:
            self._bytes -= kept[2].size
