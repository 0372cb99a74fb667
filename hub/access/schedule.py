"""Hours of the week in a time zone: when a key works, when a policy holds."""

from __future__ import annotations

import re
from datetime import datetime, time, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from collections.abc import Collection

_CLOCK = re.compile(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]\Z")
_DAY = 24 * 60


@lru_cache(maxsize=256)
def zone(name: str) -> ZoneInfo:
    """The IANA time zone of this name. Raises ValueError saying what to write."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError("is no known time zone; write an IANA name such as Europe/Berlin or UTC") from None


def clock_time(value: str) -> str:
    """``value`` when it is a time of day as HH:MM, or empty. Raises ValueError."""
    if value and not _CLOCK.match(value):
        raise ValueError("must be a time of day as HH:MM, from 00:00 to 23:59")
    return value


class Hours:
    """Weekdays (0 Sunday; none means all) from ``start`` until ``until`` in a time zone.

    Over midnight when ``until`` is earlier than ``start``: the weekday is the one on which the hours begin. Equal times, or none, are
    the whole day. Raises ValueError for a time or zone that is none.
    """

    __slots__ = ("_days", "_minute", "_open", "_start", "_until", "_zone")

    def __init__(self, *, days: Collection[int] = (), start: str = "", until: str = "", zone_name: str = "UTC") -> None:
        self._zone = zone(zone_name)
        self._days = frozenset(days) or frozenset(range(7))
        self._start = _minutes(start, 0)
        self._until = _minutes(until, _DAY)
        self._minute = -1
        self._open = False

    def open(self, now_ms: int) -> bool:
        """Whether this moment (epoch ms) is within the hours. Worked out once a minute."""
        minute = now_ms // 60_000
        if minute != self._minute:
            self._open = self._at(now_ms)
            self._minute = minute
        return self._open

    def next_open(self, now_ms: int) -> int:
        """The first moment after this one at which the hours begin, in epoch ms."""
        begin = datetime.fromtimestamp(now_ms / 1000, self._zone)
        start = time(0) if self._start == self._until else time(*divmod(self._start, 60))
        for ahead in range(9):  # a week, the day over midnight, and a day that a change of the clock may take
            day = begin.date() + timedelta(days=ahead)
            moment = round(datetime.combine(day, start, self._zone).timestamp() * 1000)
            if moment > now_ms and _weekday(day.weekday()) in self._days:
                return moment
        raise AssertionError("a week has no day")

    def _at(self, now_ms: int) -> bool:
        local = datetime.fromtimestamp(now_ms / 1000, self._zone)
        day, minute = _weekday(local.weekday()), local.hour * 60 + local.minute
        if self._start == self._until:
            return day in self._days
        if self._start < self._until:
            return day in self._days and self._start <= minute < self._until
        return (minute >= self._start and day in self._days) or (minute < self._until and (day - 1) % 7 in self._days)


def _weekday(python: int) -> int:
    """Python's Monday 0 as the wire's Sunday 0."""
    return (python + 1) % 7


def _minutes(value: str, default: int) -> int:
    if not clock_time(value):
        return default
    return int(value[:2]) * 60 + int(value[3:])
