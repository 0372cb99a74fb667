"""What a key may use in a time: budgets of requests, moving windows, sessions, hours of the week (routing.md 1.2, 6.6).

Counters are in memory, exact within a process, and stored behind twice a second, so that a restart keeps them (a kill -9 may lose
half a second). Processes that share a PostgreSQL database read one another's counters twice a second: a limit may be passed by what
the others admit within about a second, never by more. What comes from another process or from before a restart is known to the second
(per minute) and to the minute (per day), and counts until all of it is out of the window.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from hub.access.schedule import Hours
from hub.errors import Forbidden, HubError, RateLimited
from hub.log import logger
from hub.records import NO_LIMITS, PRINCIPAL
from hub.wire import iso

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hub.clock import Clock
    from hub.records import Caller, Key, KeyLimits, Schedule
    from hub.store.state import State

log = logger("hub.limits")
KIND = "limit"
#: Most requests in a moving window, since each is remembered; clock budgets (hourly, daily) have no such limit.
MOST_IN_WINDOW = 100_000
_HOUR, _DAY, _MINUTE, _SECOND = 3_600_000, 86_400_000, 60_000, 1000
_SESSION_IDLE = 1800.0
_EVERY = 0.5
_KEPT_HOURS = 256


class Row(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The counters of one key in one process, as stored. ``at`` is the last count (epoch ms); ``seconds`` and ``minutes`` count requests by
    second and minute of the epoch; ``sessions`` are session ids with their last use in epoch seconds. ``reset`` voids what is older."""

    at: int = 0
    hour: int = 0
    hourly: int = 0
    day: int = 0
    daily: int = 0
    seconds: dict[int, int] = {}
    minutes: dict[int, int] = {}
    sessions: dict[str, int] = {}
    reset: int = 0


class _Window:
    """Requests of this process in a window that moves: each one's moment, and their number by ``bucket`` ms for the others."""

    __slots__ = ("_bucket", "_span", "buckets", "moments")

    def __init__(self, span: float, bucket: int) -> None:
        self._span = span
        self._bucket = bucket
        self.moments: deque[float] = deque()
        self.buckets: dict[int, int] = {}

    def count(self, now: float) -> int:
        """Requests in the window now."""
        moments = self.moments
        while moments and moments[0] <= now - self._span:
            moments.popleft()
        return len(moments)

    def add(self, now: float, now_ms: int) -> None:
        self.moments.append(now)
        place = now_ms // self._bucket
        buckets = self.buckets
        if place in buckets:
            buckets[place] += 1
            return
        oldest = place - round(self._span * 1000) // self._bucket - 1
        while buckets and (first := next(iter(buckets))) < oldest:
            del buckets[first]
        buckets[place] = 1

    def leaves(self, now: float) -> float:
        """Seconds until the oldest request leaves the window; where other processes made them all, a moment to look again."""
        return self.moments[0] + self._span - now if self.moments else self._bucket / 1000


class _Meter:
    """The counters of one key in this process."""

    __slots__ = ("at", "daily", "day", "day_window", "hour", "hourly", "minute_window", "sessions")

    def __init__(self) -> None:
        self.at = self.hour = self.hourly = self.day = self.daily = 0
        self.minute_window = _Window(60.0, _SECOND)
        self.day_window = _Window(86_400.0, _MINUTE)
        self.sessions: dict[str, float] = {}

    def add(self, limits: KeyLimits, now: float, now_ms: int, session: str) -> None:
        hour, day = now_ms // _HOUR, now_ms // _DAY
        self.hourly = self.hourly + 1 if self.hour == hour else 1
        self.daily = self.daily + 1 if self.day == day else 1
        self.at, self.hour, self.day = now_ms, hour, day
        if limits.per_minute:
            self.minute_window.add(now, now_ms)
        if limits.per_day:
            self.day_window.add(now, now_ms)
        if limits.sessions:
            self.sessions[session] = now

    def row(self, now: float, now_ms: int) -> Row:
        sessions = {name: round(now_ms / 1000 - (now - used)) for name, used in self.sessions.items() if now - used < _SESSION_IDLE}
        return Row(
            at=self.at,
            hour=self.hour,
            hourly=self.hourly,
            day=self.day,
            daily=self.daily,
            seconds=dict(self.minute_window.buckets),
            minutes=dict(self.day_window.buckets),
            sessions=sessions,
        )


class _Foreign:
    """What other processes, and this one before a restart, counted for a key."""

    __slots__ = ("_day", "_minute", "rows")

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self._minute = self._day = (-1, 0)

    def hourly(self, hour: int) -> int:
        return sum(row.hourly for row in self.rows.values() if row.hour == hour)

    def daily(self, day: int) -> int:
        return sum(row.daily for row in self.rows.values() if row.day == day)

    def per_minute(self, now_ms: int) -> int:
        if self._minute[0] != now_ms // _SECOND:
            self._minute = (now_ms // _SECOND, self._sum("seconds", now_ms // _SECOND - 61))
        return self._minute[1]

    def per_day(self, now_ms: int) -> int:
        if self._day[0] != now_ms // _MINUTE:
            self._day = (now_ms // _MINUTE, self._sum("minutes", now_ms // _MINUTE - 1441))
        return self._day[1]

    def sessions(self, now_ms: int) -> set[str]:
        least = now_ms / 1000 - _SESSION_IDLE
        return {name for row in self.rows.values() for name, used in row.sessions.items() if used > least}

    def forget_sums(self) -> None:
        self._minute = self._day = (-1, 0)

    def _sum(self, field: str, after: int) -> int:
        return sum(count for row in self.rows.values() for place, count in getattr(row, field).items() if place > after)


@dataclass(frozen=True, slots=True)
class Lock:
    """A key that is refused now. ``until`` in epoch milliseconds, None where nothing but a change ends it."""

    key_id: str
    name: str
    reason: str
    until: int | None


class Limits:
    """Counts what limited keys do, and refuses what goes over. Used on the event loop only.

    ``shared`` says that other processes count too, ``always`` that principals without a key are limited.
    """

    def __init__(self, state: State, clock: Clock, *, shared: bool = False, always: bool = False) -> None:
        self._always = always
        self._state = state
        self._clock = clock
        self._shared = shared
        self._process = clock.new_id("p")
        self._meters: dict[str, _Meter] = {}
        self._foreign: dict[str, _Foreign] = {}
        self._resets: dict[str, int] = {}
        self._dirty: set[str] = set()
        self._hours: dict[Schedule, Hours] = {}
        self._seen: dict[str, str] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._reader: asyncio.Task[None] | None = None
        self._limited = always

    def open(self) -> None:
        """Take over what was counted before; with several processes begin to read what the others count."""
        stored = self._state.take(KIND, Row)
        self._absorb({identity: row for identity, (row, _) in stored.items()})
        if self._shared:
            self._reader = asyncio.get_running_loop().create_task(self._read())

    async def close(self) -> None:
        """Hand what was counted to the store's queue."""
        if self._reader is not None:
            self._reader.cancel()
            with suppress(asyncio.CancelledError):
                await self._reader
            self._reader = None
        if self._timer is not None:
            self._timer.cancel()
        self._save()

    def refresh(self, keys: Iterable[Key]) -> None:
        """Keys changed: forget those that are gone."""
        found = {key.id: key for key in keys}
        self._limited = self._always or any(counted(key.limits) for key in found.values())
        for table in (self._meters, self._foreign, self._resets):
            for gone in table.keys() - found.keys():
                if not gone.startswith(PRINCIPAL):
                    del table[gone]

    def check(self, caller: Caller, session: str = "") -> None:
        """Count a request of a caller. Raises RateLimited or Forbidden when a limit of its key refuses it; it is not counted then.

        Requests that name no session are together one session.
        """
        limits = caller.limits
        if limits == NO_LIMITS:
            return
        now, now_ms = self._clock.monotonic(), self._clock.now_ms()
        error = self._refusal(caller.key_id, limits, session, now, now_ms)
        if error is not None:
            raise error
        if counted(limits):
            self._meter(caller.key_id).add(limits, now, now_ms, session)
            self._dirty.add(caller.key_id)
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(_EVERY, self._due)

    def refusal(self, caller: Caller, session: str | None = None) -> HubError | None:
        """What :meth:`check` would raise now, without counting; sessions are left out unless one is named."""
        if caller.limits == NO_LIMITS:
            return None
        return self._refusal(caller.key_id, caller.limits, session, self._clock.monotonic(), self._clock.now_ms())

    def used(self, key_id: str) -> tuple[int, int]:
        """Requests of a key in this clock hour and this day of UTC."""
        now_ms = self._clock.now_ms()
        return self._hourly(key_id, now_ms // _HOUR), self._daily(key_id, now_ms // _DAY)

    def locked(self, keys: Iterable[Key]) -> list[Lock]:
        """The usable keys that a limit or their own end refuses now."""
        now, now_ms = self._clock.monotonic(), self._clock.now_ms()
        found: list[Lock] = []
        for key in keys:
            if not key.active:
                continue
            if key.expires_at is not None and key.expires_at <= now_ms:
                found.append(Lock(key.id, key.name, "expired", None))
                continue
            error = self._refusal(key.id, key.limits, None, now, now_ms)
            if error is not None:
                until = now_ms + round((error.retry_after or 0) * 1000) if error.retry_after else None
                found.append(Lock(key.id, key.name, error.code, until))
        return found

    def reset(self, key_id: str) -> None:
        """Start the counters of a key anew, here and within a second in every other process."""
        now_ms = self._clock.now_ms()
        self._resets[key_id] = now_ms
        for process in self._foreign.pop(key_id, _Foreign()).rows:
            self._state.drop(KIND, f"{key_id}|{process}")
        self._meters.pop(key_id, None)
        self._dirty.discard(key_id)
        self._state.drop(KIND, f"{key_id}|{self._process}")
        self._state.put(KIND, f"{key_id}|", Row(reset=now_ms), until=now_ms + 2 * _DAY)

    def _refusal(self, key_id: str, limits: KeyLimits, session: str | None, now: float, now_ms: int) -> HubError | None:
        if limits.schedule is not None and limits.schedule.enabled and (error := self._closed(limits.schedule, now_ms)):
            return error
        if not counted(limits):
            return None
        for check in (self._over_budget, self._over_window):
            error = check(key_id, limits, now, now_ms)
            if error is not None:
                return error
        return None if session is None or not limits.sessions else self._over_sessions(key_id, limits, session, now, now_ms)

    def _closed(self, schedule: Schedule, now_ms: int) -> HubError | None:
        hours = self._hours.get(schedule)
        if hours is None:
            if len(self._hours) >= _KEPT_HOURS:
                self._hours.clear()
            hours = Hours(days=schedule.days, start=schedule.start, until=schedule.until, zone_name=schedule.zone)
            self._hours[schedule] = hours
        if hours.open(now_ms):
            return None
        opens = hours.next_open(now_ms)
        words = f"this key works at certain hours only (time zone {schedule.zone}); the next begin at {iso(opens)}"
        return Forbidden(words, code="key_schedule_closed", retry_after=(opens - now_ms) / 1000, data={"opensAt": iso(opens)})

    def _over_budget(self, key_id: str, limits: KeyLimits, now: float, now_ms: int) -> HubError | None:
        if limits.daily and self._daily(key_id, now_ms // _DAY) >= limits.daily:
            return _exhausted("day", limits.daily, _DAY - now_ms % _DAY)
        if limits.hourly and self._hourly(key_id, now_ms // _HOUR) >= limits.hourly:
            return _exhausted("hour", limits.hourly, _HOUR - now_ms % _HOUR)
        return None

    def _over_window(self, key_id: str, limits: KeyLimits, now: float, now_ms: int) -> HubError | None:
        if not (limits.per_day or limits.per_minute):
            return None
        meter, foreign = self._meters.get(key_id) or _Meter(), self._foreign.get(key_id) or _Foreign()
        if limits.per_day and meter.day_window.count(now) + foreign.per_day(now_ms) >= limits.per_day:
            return _too_often("day", limits.per_day, meter.day_window.leaves(now))
        if limits.per_minute and meter.minute_window.count(now) + foreign.per_minute(now_ms) >= limits.per_minute:
            return _too_often("minute", limits.per_minute, meter.minute_window.leaves(now))
        return None

    def _over_sessions(self, key_id: str, limits: KeyLimits, session: str, now: float, now_ms: int) -> HubError | None:
        meter, foreign = self._meters.get(key_id), self._foreign.get(key_id)
        mine = meter.sessions if meter else {}
        if now - mine.get(session, -_SESSION_IDLE) < _SESSION_IDLE:
            return None
        for idle in [name for name, used in mine.items() if now - used >= _SESSION_IDLE]:
            del mine[idle]
        others = foreign.sessions(now_ms) if foreign else set[str]()
        if session in others or len(others | mine.keys()) < limits.sessions:
            return None
        wait = min((used + _SESSION_IDLE - now for used in mine.values()), default=60.0)
        return RateLimited(
            f"this key may have {limits.sessions} sessions at a time, and all are in use; one ends when it is idle for 30 minutes",
            code="session_limit_exceeded",
            retry_after=max(1.0, wait),
        )

    def _hourly(self, key_id: str, hour: int) -> int:
        meter, foreign = self._meters.get(key_id), self._foreign.get(key_id)
        return (meter.hourly if meter and meter.hour == hour else 0) + (foreign.hourly(hour) if foreign else 0)

    def _daily(self, key_id: str, day: int) -> int:
        meter, foreign = self._meters.get(key_id), self._foreign.get(key_id)
        return (meter.daily if meter and meter.day == day else 0) + (foreign.daily(day) if foreign else 0)

    def _meter(self, key_id: str) -> _Meter:
        meter = self._meters.get(key_id)
        if meter is None:
            meter = self._meters[key_id] = _Meter()
        return meter

    def _due(self) -> None:
        self._timer = None
        self._save()

    def _save(self) -> None:
        now, now_ms = self._clock.monotonic(), self._clock.now_ms()
        for key_id in self._dirty:
            meter = self._meters.get(key_id)
            if meter is not None:
                self._state.put(KIND, f"{key_id}|{self._process}", meter.row(now, now_ms), until=now_ms + _DAY + _MINUTE)
        self._dirty.clear()

    async def _read(self) -> None:
        """The loop that takes over what other processes count."""
        while True:
            await asyncio.sleep(_EVERY)
            if not self._limited:
                continue
            try:
                self.absorb(await self._state.current(KIND))
            except HubError as error:
                log.warning("limits counted by other processes cannot be read", reason=error.message)

    def absorb(self, bodies: dict[str, str]) -> None:
        """Take over the stored counters of all processes; what did not change since the last time is not read again."""
        changed = {identity: body for identity, body in bodies.items() if self._seen.get(identity) != body}
        self._seen = bodies
        self._absorb({identity: msgspec.json.decode(body, type=Row) for identity, body in changed.items()})
        for key_id, foreign in list(self._foreign.items()):
            for process in [process for process in foreign.rows if f"{key_id}|{process}" not in bodies]:
                del foreign.rows[process]
                foreign.forget_sums()

    def _absorb(self, rows: dict[str, Row]) -> None:
        for identity, row in rows.items():
            key_id, _, process = identity.rpartition("|")
            if not process and row.reset > self._resets.get(key_id, 0):
                self._resets[key_id] = row.reset
                self._dirty.discard(key_id)
                self._foreign.pop(key_id, None)
                if self._meters.pop(key_id, None) is not None:
                    self._state.drop(KIND, f"{key_id}|{self._process}")
        for identity, row in rows.items():
            key_id, _, process = identity.rpartition("|")
            if process and process != self._process and row.at > self._resets.get(key_id, 0):
                foreign = self._foreign.setdefault(key_id, _Foreign())
                foreign.rows[process] = row
                foreign.forget_sums()


def counted(limits: KeyLimits) -> bool:
    """Whether these limits need counters."""
    return bool(limits.hourly or limits.daily or limits.per_minute or limits.per_day or limits.sessions)


def _too_often(period: str, most: int, wait: float) -> RateLimited:
    return RateLimited(
        f"this key may make {most} requests a {period}; the next is free in {max(1, round(wait))} s",
        code="key_rate_exceeded",
        retry_after=max(1.0, wait),
    )


def _exhausted(period: str, most: int, left_ms: int) -> RateLimited:
    at = "midnight UTC" if period == "day" else "the next full hour"
    return RateLimited(
        f"this key's budget of {most} requests a{'n' if period == 'hour' else ''} {period} is used up; it starts anew at {at}",
        code="key_budget_exceeded",
        retry_after=left_ms / 1000,
    )
