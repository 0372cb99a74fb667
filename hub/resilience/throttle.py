"""The request queue of a connection: calls wait their turn in line rather than run into a limit (routing.md 3.6).

First come, first served. The longest wait limits the waiting alone, never the call. What a provider says of its
limit makes the line slower or faster; a refused call never empties it.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hub.errors import RateLimited

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from hub.clock import Clock
    from hub.preferences import Profile, RequestQueue
    from hub.records import ConnectionRules

_MINUTE = 60.0
#: Connections that have a line; beyond, idle lines go, the longest unused first.
_MOST_LINES = 5000
#: Calls that may wait in one line; more are refused at once.
MOST_WAITING = 1000
#: Above this rate single starts are not remembered: the time between two calls keeps the rate.
_MOST_STARTS = 10_000
_LOW, _HIGH = 0.1, 0.5


@dataclass(frozen=True, slots=True)
class Limits:
    """Calls at once, calls in any minute, seconds between two starts; 0 is no limit. ``max_wait`` is in seconds."""

    concurrent: int = 0
    per_minute: int = 0
    spacing: float = 0.0
    max_wait: float = 15.0


def limits_for(rules: ConnectionRules, queue: RequestQueue, profile: Profile) -> Limits | None:
    """The limits of a connection by its own rules and the owner's settings; None where nothing limits it."""
    paced = rules.rate_limit or (queue.auto_enable_api_key_providers and profile == "apikey")
    if paced:
        concurrent = min(queue.concurrent_requests, rules.max_concurrent or queue.concurrent_requests)
        spacing = queue.min_time_between_requests_ms / 1000
        return Limits(concurrent, queue.requests_per_minute, spacing, queue.max_wait_ms / 1000)
    if rules.max_concurrent:
        return Limits(concurrent=rules.max_concurrent, max_wait=queue.max_wait_ms / 1000)
    return None


class Pace:
    """When the next call may start. Pure state with the time given; moments are monotonic seconds."""

    __slots__ = ("_free_until", "_gap", "_last", "_learned_until", "_starts", "running")

    def __init__(self) -> None:
        self.running = 0
        self._starts: deque[float] = deque()
        self._last = -math.inf
        self._gap = 0.0
        self._learned_until = -math.inf
        self._free_until = -math.inf

    def ready_at(self, limits: Limits, now: float) -> float:
        """The earliest moment for the next call; infinity while as many run as may."""
        if limits.concurrent and self.running >= limits.concurrent:
            return math.inf
        if self._free_until > now:
            return now
        ready = now
        if self._learned_until > now:
            ready = max(ready, min(self._last_or(now) + self._gap, self._learned_until))
        if limits.spacing:
            ready = max(ready, self._last + limits.spacing)
        return max(ready, self._by_minute(limits.per_minute, now)) if limits.per_minute else ready

    def start(self, limits: Limits, now: float) -> None:
        """A call starts."""
        self.running += 1
        self._last = now
        if limits.per_minute:
            self._starts.append(now)
            while len(self._starts) > min(limits.per_minute, _MOST_STARTS):
                self._starts.popleft()

    def finish(self) -> None:
        """A call has ended."""
        self.running -= 1

    def learn(self, limit: int, remaining: int, left: float, now: float) -> None:
        """The provider said how many calls are left for the next ``left`` seconds."""
        self._learned_until = self._free_until = -math.inf
        if limit <= 0 or left <= 0:
            return
        share = remaining / limit
        if share < _LOW:
            self._gap = left / max(1, remaining) if remaining > 0 else math.inf
            self._learned_until = now + left
        elif share > _HIGH:
            # Good for a minute at most: what is known grows old.
            self._free_until = now + min(left, _MINUTE)

    def _last_or(self, now: float) -> float:
        return self._last if self._last > -math.inf else now

    def _by_minute(self, per_minute: int, now: float) -> float:
        if per_minute > _MOST_STARTS:
            return self._last + _MINUTE / per_minute
        while self._starts and self._starts[0] <= now - _MINUTE:
            self._starts.popleft()
        excess = len(self._starts) - per_minute
        return self._starts[excess] + _MINUTE if excess >= 0 else now


class Ticket:
    """A call's place. Give it back with :meth:`release`, once or more; or use it in a ``with``."""

    __slots__ = ("_line",)

    def __init__(self, line: Line) -> None:
        self._line: Line | None = line

    def release(self) -> None:
        """The call is over."""
        line, self._line = self._line, None
        if line is not None:
            line.finished()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()


@dataclass(frozen=True, slots=True)
class LineStatus:
    """How many calls wait, run, and have ended."""

    queued: int
    running: int
    done: int


class Line:
    """One line of calls, first come, first served."""

    __slots__ = ("_clock", "_name", "_timer", "_waiting", "done", "limits", "pace")

    def __init__(self, clock: Clock, name: str, limits: Limits) -> None:
        self._clock = clock
        self._name = name
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self.limits = limits
        self.pace = Pace()
        self.done = 0

    @property
    def idle(self) -> bool:
        """Whether nobody waits and nothing runs."""
        return not self._waiting and not self.pace.running

    @property
    def status(self) -> LineStatus:
        """How it stands."""
        return LineStatus(sum(not one.done() for one in self._waiting), self.pace.running, self.done)

    async def enter(self, limits: Limits) -> Ticket:
        """Wait for a place. Raises RateLimited (``queue_timeout``, ``queue_full``) with ``retry_after`` when none comes free in time."""
        self.limits = limits
        now = self._clock.monotonic()
        ready = self.pace.ready_at(limits, now)
        if not self._waiting and ready <= now:
            self.pace.start(limits, now)
            return Ticket(self)
        if ready > now + limits.max_wait and ready < math.inf:
            raise self._refused("queue_timeout", f"the next call of {self._name} may start in {ready - now:.0f} s", ready - now)
        if len(self._waiting) >= MOST_WAITING:
            raise self._refused("queue_full", f"{MOST_WAITING} calls wait for {self._name} already", 1.0)
        return await self._wait(limits.max_wait)

    def finished(self) -> None:
        """A call of this line has ended."""
        self.pace.finish()
        self.done += 1
        self.pump()

    def pump(self) -> None:
        """Let in whoever may start now, and set the alarm for who may start next."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting:
            head = self._waiting[0]
            if not head.done():
                now = self._clock.monotonic()
                ready = self.pace.ready_at(self.limits, now)
                if ready > now:
                    if ready < math.inf:
                        self._timer = asyncio.get_running_loop().call_later(ready - now, self.pump)
                    return
                self.pace.start(self.limits, now)
                head.set_result(None)
            self._waiting.popleft()

    async def _wait(self, seconds: float) -> Ticket:
        place = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        self.pump()
        try:
            await asyncio.wait((place,), timeout=seconds)
        except asyncio.CancelledError:
            self._leave(place)
            raise
        if not place.done():
            self._leave(place)
            raise self._refused("queue_timeout", f"no call of {self._name} could start within {seconds:g} s", 1.0)
        return Ticket(self)

    def _leave(self, place: asyncio.Future[None]) -> None:
        """A waiter goes: its place is free for the next, whether it had been let in at that very moment or not."""
        if place.done():
            self.pace.finish()
        else:
            place.cancel()
            self._waiting.remove(place)
        self.pump()

    def _refused(self, code: str, words: str, seconds: float) -> RateLimited:
        now = self._clock.monotonic()
        ready = self.pace.ready_at(self.limits, now)
        wait = max(seconds, ready - now) if ready < math.inf else seconds
        return RateLimited(f"{words}; try again later, or use another connection", code=code, retry_after=max(1.0, wait))


class Throttle:
    """The lines of all connections that have limits. A connection without limits has none and costs nothing."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lines: dict[str, Line] = {}

    async def slot(self, connection_id: str, limits: Limits) -> Ticket:
        """Wait until a call of this connection may start. Raises RateLimited, see :meth:`Line.enter`.

        Give the ticket back when the call is over, to the end of its stream: ``with await throttle.slot(...)``, or ``release()``.
        """
        line = self._lines.get(connection_id)
        if line is None:
            line = self._made(connection_id, limits)
        return await line.enter(limits)

    def learn(self, connection_id: str, limit: int, remaining: int, reset_at: int | None) -> None:
        """A provider said how many *requests* are left of how many until when (epoch ms); nothing happens without a line.

        Under a tenth: what is left is spread until the reset. Over a half: only the number of calls at once is limited.
        """
        line = self._lines.get(connection_id)
        if line is not None and reset_at is not None:
            line.pace.learn(limit, remaining, (reset_at - self._clock.now_ms()) / 1000, self._clock.monotonic())
            line.pump()

    def status(self) -> dict[str, LineStatus]:
        """How the line of each connection stands that has one."""
        return {name: line.status for name, line in self._lines.items()}

    def _made(self, connection_id: str, limits: Limits) -> Line:
        if len(self._lines) >= _MOST_LINES:
            for name in [name for name, line in self._lines.items() if line.idle][: _MOST_LINES // 10]:
                del self._lines[name]
        line = self._lines[connection_id] = Line(self._clock, f"connection {connection_id}", limits)
        return line


class Gate:
    """Places for calls at once, for example at one target of a combo; who waits longest comes first."""

    def __init__(self, clock: Clock, places: int, *, name: str = "this target") -> None:
        self._limits = Limits(concurrent=places)
        self._line = Line(clock, name, self._limits)

    async def enter(self, max_wait: float) -> Ticket:
        """Wait for a place, ``max_wait`` seconds at most. Raises RateLimited (``queue_timeout``)."""
        return await self._line.enter(Limits(self._limits.concurrent, max_wait=max_wait))

    @property
    def status(self) -> LineStatus:
        """How it stands."""
        return self._line.status
