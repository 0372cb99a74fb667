"""Days, weeks and months: every moment is in exactly one period, whatever the zone's clocks do (REL-12)."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.money.periods import CALENDAR, NEVER, Kind, clock_time, known_zone, period

ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Sao_Paulo",
    "Pacific/Apia",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "Africa/Cairo",
)


def at(text: str, zone: str = "UTC") -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp() * 1000)


def words(kind: Kind, zone: str, reset: str, moment: int) -> tuple[str, str]:
    start, end = (datetime.fromtimestamp(edge / 1000, UTC).isoformat(timespec="minutes")[:16] for edge in period(kind, zone, reset, moment))
    return start, end


@pytest.mark.parametrize(
    ("kind", "zone", "reset", "moment", "found"),
    [
        ("daily", "UTC", "00:00", "2026-03-05T12:00", ("2026-03-05T00:00", "2026-03-06T00:00")),
        ("daily", "UTC", "18:30", "2026-03-05T12:00", ("2026-03-04T18:30", "2026-03-05T18:30")),
        ("daily", "UTC", "12:00", "2026-03-05T12:00", ("2026-03-05T12:00", "2026-03-06T12:00")),
        ("weekly", "UTC", "00:00", "2026-03-01T23:59", ("2026-02-23T00:00", "2026-03-02T00:00")),
        ("weekly", "UTC", "06:00", "2026-03-02T05:00", ("2026-02-23T06:00", "2026-03-02T06:00")),
        ("monthly", "UTC", "00:00", "2026-12-31T23:59", ("2026-12-01T00:00", "2027-01-01T00:00")),
        ("monthly", "UTC", "09:00", "2026-01-01T08:59", ("2025-12-01T09:00", "2026-01-01T09:00")),
        # 23 and 25 hours
        ("daily", "Europe/Berlin", "00:00", "2026-03-29T12:00", ("2026-03-28T23:00", "2026-03-29T22:00")),
        ("daily", "Europe/Berlin", "00:00", "2026-10-25T12:00", ("2026-10-24T22:00", "2026-10-25T23:00")),
        # 02:30 does not exist on one day, and comes twice on another
        ("daily", "Europe/Berlin", "02:30", "2026-03-29T12:00", ("2026-03-29T01:30", "2026-03-30T00:30")),
        ("daily", "Europe/Berlin", "02:30", "2026-10-25T12:00", ("2026-10-25T00:30", "2026-10-26T01:30")),
    ],
)
def test_periods(kind: Kind, zone: str, reset: str, moment: str, found: tuple[str, str]) -> None:
    assert words(kind, zone, reset, at(moment)) == found


@given(
    kind=st.sampled_from(CALENDAR),
    zone=st.sampled_from(ZONES),
    reset=st.times().map(lambda time: f"{time:%H:%M}"),
    moment=st.integers(at("2000-01-01T00:00"), at("2060-01-01T00:00")),
)
def test_every_moment_is_in_one_period_and_periods_follow_without_a_gap(kind: Kind, zone: str, reset: str, moment: int) -> None:
    start, end = period(kind, zone, reset, moment)
    assert start <= moment < end
    assert period(kind, zone, reset, start) == period(kind, zone, reset, end - 1) == (start, end)
    assert period(kind, zone, reset, end)[0] == end
    assert period(kind, zone, reset, start - 1)[1] == start
    days = (end - start) / 86_400_000
    assert {"daily": 0.8, "weekly": 5.8, "monthly": 26.8}[kind] < days < {"daily": 2.1, "weekly": 8.1, "monthly": 32.1}[kind]


def test_a_session_never_ends() -> None:
    assert period("session", "UTC", "00:00", 5) == (0, NEVER)


def test_what_is_no_zone_or_time() -> None:
    assert [known_zone(name) for name in ("Europe/Berlin", "UTC", "Europe", "Mars/Olympus", "", "../etc/passwd")] == [True, True] + [
        False
    ] * 4
    for wrong in ("24:00", "1:00", "12:60", "noon", "", "12:0x", "-1:00"):
        with pytest.raises(ValueError, match=r".+"):
            clock_time(wrong)
