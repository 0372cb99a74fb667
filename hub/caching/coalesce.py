"""Requests that are the same and under way at the same time: one is sent, the others share what comes of it.

This is about the moment only; what is kept afterwards is the cache's, and what a client names by a key is
:mod:`hub.caching.idempotency`'s.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hub.clock import Clock

T = TypeVar("T")


class Flight(Generic[T]):
    """One request under way. ``result`` is None until it succeeded; ``check`` tells it from another with the same name."""

    __slots__ = ("_landed", "check", "result")

    def __init__(self, check: str) -> None:
        self.check = check
        self.result: T | None = None
        self._landed = asyncio.Event()

    def land(self) -> None:
        """It is over, well or not."""
        self._landed.set()

    async def landed(self, seconds: float) -> bool:
        """Wait for its end; False when that takes longer than ``seconds``."""
        if not self._landed.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, seconds)):
                    await self._landed.wait()
        return self._landed.is_set()


class Flights(Generic[T]):
    """The requests under way, by name. As many as there are calls; used on the event loop only."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._running: dict[str, Flight[T]] = {}

    def __len__(self) -> int:
        return len(self._running)

    def of(self, name: str) -> Flight[T] | None:
        """The request under way that has this name."""
        return self._running.get(name)

    def start(self, name: str, check: str = "") -> Flight[T]:
        """A request of this name begins; it replaces none that runs."""
        flight = self._running[name] = Flight[T](check)
        return flight

    def end(self, name: str, flight: Flight[T]) -> None:
        """A request is over: who waits for it wakes, in order."""
        if self._running.get(name) is flight:
            del self._running[name]
        flight.land()

    async def share(self, name: str, check: str, run: Callable[[], Awaitable[T]], *, seconds: float) -> tuple[T, bool]:
        """What ``run`` gives, or what the same request under way gives; and whether it was shared.

        When the first fails, or its caller leaves, the next in line runs itself while the others wait for that one. Who has
        waited ``seconds`` runs alone. A caller that leaves takes no other along. Raises what ``run`` raises.
        """
        until = self._clock.monotonic() + seconds
        while (flight := self._running.get(name)) is not None:
            left = until - self._clock.monotonic()
            if flight.check != check or not await flight.landed(left):
                return await run(), False
            if flight.result is not None:
                return flight.result, True
        flight = self.start(name, check)
        try:
            flight.result = await run()
            return flight.result, False
        finally:
            self.end(name, flight)
