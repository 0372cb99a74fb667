"""Hours of the week: over midnight, over a change of the clock, and the moment at which they begin again."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.access.schedule import Hours, clock_time, zone


def at(text: str, name: str = "UTC") -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(name)).timestamp() * 1000)


WORK = Hours(days=(1, 2, 3, 4, 5), start="09:00", until="17:30", zone_name="Europe/Berlin")
NIGHT = Hours(days=(5,), start="22:00", until="06:00")  # Friday night


@pytest.mark.parametrize(
    ("moment", "is_open"),
    [
        ("2026-11-23T09:00", True),  # a Monday
        ("2026-11-23T08:59", False),
        ("2026-11-23T17:29", True),
        ("2026-11-23T17:30", False),
        ("2026-11-22T12:00", False),  # Sunday
    ],
)
def test_working_hours(moment: str, is_open: bool) -> None:
    assert WORK.open(at(moment, "Europe/Berlin")) is is_open


@pytest.mark.parametrize(
    ("moment", "is_open"),
    [
        ("2026-11-27T21:59", False),  # Friday
        ("2026-11-27T22:00", True),
        ("2026-11-28T05:59", True),  # Saturday morning belongs to Friday night
        ("2026-11-28T06:00", False),
        ("2026-11-27T05:59", False),  # Friday morning belongs to Thursday night
    ],
)
def test_over_midnight_the_day_is_the_one_on_which_it_begins(moment: str, is_open: bool) -> None:
    assert NIGHT.open(at(moment)) is is_open


def test_equal_times_are_the_whole_day_and_no_days_are_all() -> None:
    sunday = Hours(days=(0,), start="08:00", until="08:00")
    assert sunday.open(at("2026-11-22T00:00"))
    assert not sunday.open(at("2026-11-23T00:00"))
    assert Hours().open(0)
    assert Hours(until="12:00").open(at("2026-11-22T00:00"))
    assert not Hours(until="12:00").open(at("2026-11-22T12:00"))


def test_the_next_opening() -> None:
    assert WORK.next_open(at("2026-11-27T18:00", "Europe/Berlin")) == at("2026-11-30T09:00", "Europe/Berlin")
    assert WORK.next_open(at("2026-11-23T08:00", "Europe/Berlin")) == at("2026-11-23T09:00", "Europe/Berlin")
    # The clock goes forward on 2027-03-28: Monday's nine is an hour nearer.
    assert WORK.next_open(at("2027-03-26T18:00", "Europe/Berlin")) == at("2027-03-29T09:00", "Europe/Berlin")


@given(
    st.sets(st.integers(0, 6)),
    st.tuples(*[st.integers(0, 1439)] * 2),
    st.sampled_from(["UTC", "Europe/Berlin", "Pacific/Auckland", "America/St_Johns"]),
    st.integers(1_700_000_000_000, 1_900_000_000_000),
)
def test_it_is_open_when_it_is_said_to_open(days: set[int], times: tuple[int, int], name: str, now: int) -> None:
    start, until = (f"{minute // 60:02}:{minute % 60:02}" for minute in times)
    hours = Hours(days=days, start=start, until=until, zone_name=name)
    opens = hours.next_open(now)
    assert opens > now
    assert opens - now < 9 * 86_400_000
    local = datetime.fromtimestamp(opens / 1000, ZoneInfo(name))
    if not 1 <= local.hour <= 3:  # an hour that a change of the clock skips or repeats
        assert Hours(days=days, start=start, until=until, zone_name=name).open(opens)


@pytest.mark.parametrize("name", ["Mars/Olympus", "", "../../etc/passwd", "/etc/passwd", "a" * 300, "Europe", "Europe\x00Berlin"])
def test_a_bad_zone_says_what_to_write(name: str) -> None:
    with pytest.raises(ValueError, match="IANA"):
        zone(name)


@pytest.mark.parametrize("value", ["24:00", "9:00", "09:60", "0900", "09:00 ", "09:00\n", "x"])
def test_a_bad_time_is_refused(value: str) -> None:
    bad: Any = value
    with pytest.raises(ValueError, match="HH:MM"):
        clock_time(bad)
