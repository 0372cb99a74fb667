"""Days, weeks and months in a time zone, as the periods of a budget: where one starts and the next begins."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import Literal
from zoneinfo import ZoneInfo

Kind = Literal["daily", "weekly", "monthly", "session"]
#: The kinds that a calendar ends. ``session`` runs from when it was set until somebody sets it anew.
CALENDAR: tuple[Kind, ...] = ("daily", "weekly", "monthly")
#: End of what never ends; a number that every JSON reader can hold.
NEVER = 2**53


def known_zone(name: str) -> bool:
    """Whether this machine knows a time zone of this name."""
    try:
        _zone(name)
    except (ValueError, OSError, KeyError):  # ZoneInfoNotFoundError is a KeyError; a folder's name is an OSError
        return False
    return True


def clock_time(text: str) -> time:
    """``HH:MM`` as a time of day. Raises ValueError."""
    hours, _, minutes = text.partition(":")
    if len(hours) != 2 or len(minutes) != 2 or not (hours + minutes).isdecimal():
        raise ValueError("write HH:MM, such as 06:30")
    return time(int(hours), int(minutes))


def period(kind: Kind, zone: str, reset_time: str, at_ms: int) -> tuple[int, int]:
    """The period ``start <= at_ms < end`` in epoch milliseconds.

    Days begin at ``reset_time`` on the zone's own clock, weeks on Monday, months on day 1. A reset time that a
    clock change skips comes when the clock has gone on; one that comes twice counts the first time. Raises
    ValueError or KeyError for a time or a zone that is none.
    """
    if kind == "session":
        return 0, NEVER
    here, reset = _zone(zone), clock_time(reset_time)
    first = _first_day(kind, datetime.fromtimestamp(at_ms / 1000, here).date())
    start, end = _moment(first, reset, here), _moment(_step(kind, first, 1), reset, here)
    # Reset times and clock changes put a moment into a neighbour of the period that its date names.
    while at_ms < start:
        first = _step(kind, first, -1)
        start, end = _moment(first, reset, here), start
    while at_ms >= end:
        first = _step(kind, first, 1)
        start, end = end, _moment(_step(kind, first, 1), reset, here)
    return start, end


@lru_cache(64)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def _moment(day: date, reset: time, zone: ZoneInfo) -> int:
    return round(datetime.combine(day, reset, zone).timestamp() * 1000)


def _first_day(kind: Kind, day: date) -> date:
    if kind == "weekly":
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if kind == "monthly" else day


def _step(kind: Kind, first: date, steps: int) -> date:
    if kind != "monthly":
        return first + timedelta(days=steps * (7 if kind == "weekly" else 1))
    months = first.year * 12 + first.month - 1 + steps
    return date(months // 12, months % 12 + 1, 1)
