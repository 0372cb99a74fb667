"""What providers say of their limits, in every form they say it in, and whatever else they send."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.records import Connection, ConnectionRules
from hub.resilience.quota import Quotas, Window, window_name
from hub.secret import Secret
from hub.store import Store
from hub.wire import iso
from tests.fakes.clock import Still
from tests.fakes.database import make_settings

if TYPE_CHECKING:
    from pathlib import Path

NOW = 1_800_000_000_000


def seen(headers: dict[str, str], *, now: int = NOW) -> Quotas:
    quotas = Quotas()
    quotas.observe("con", [(name.encode(), value.encode("latin-1")) for name, value in headers.items()], now)
    return quotas


def window(headers: dict[str, str]) -> Window:
    found = seen(headers).tightest("con", NOW)
    assert found is not None
    return found


def reset(text: str) -> int | None:
    """The moment that a reset header of this text means."""
    quotas = seen({"x-ratelimit-limit-requests": "10", "x-ratelimit-remaining-requests": "5", "x-ratelimit-reset-requests": text})
    found = quotas._kept["con"].windows["requests", ""]
    return found.reset_at


@pytest.mark.parametrize(
    ("headers", "name", "limit", "remaining"),
    [
        ({"x-ratelimit-limit-requests": "60", "x-ratelimit-remaining-requests": "59"}, "requests", 60, 59),
        ({"x-ratelimit-limit-tokens": "150000", "x-ratelimit-remaining-tokens": "149984"}, "tokens", 150_000, 149_984),
        ({"x-ratelimit-limit": "60", "x-ratelimit-remaining": "59"}, "requests", 60, 59),
        ({"ratelimit-limit": "100", "ratelimit-remaining": "42"}, "requests", 100, 42),
        ({"anthropic-ratelimit-requests-limit": "50", "anthropic-ratelimit-requests-remaining": "49"}, "requests", 50, 49),
        (
            {"anthropic-ratelimit-input-tokens-limit": "40000", "anthropic-ratelimit-input-tokens-remaining": "39000"},
            "input-tokens", 40_000, 39_000,
        ),
        ({"x-ratelimit-limit-req-minute": "30", "x-ratelimit-remaining-req-minute": "29"}, "req-minute", 30, 29),
        ({"x-rate_ratelimit_limit_day": "5.0", "x-rate_ratelimit_remaining_day": "1e0"}, "day", 5, 1),
        ({"x-ratelimit-limit": " 60 ", "x-ratelimit-remaining": "-3"}, "requests", 60, -3),
    ],
)  # fmt: skip
def test_every_family_is_read(headers: dict[str, str], name: str, limit: int, remaining: int) -> None:
    found = window(headers)
    assert (found.name, found.limit, found.remaining, found.seen_at) == (name, limit, remaining, NOW)


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("60", NOW + 60_000),
        ("0.5", NOW + 500),
        ("0", NOW),
        ("6ms", NOW + 6),
        ("1s", NOW + 1000),
        ("1m30s", NOW + 90_000),
        ("6m0s", NOW + 360_000),
        ("2m59.56s", NOW + 179_560),
        ("1d 2h", NOW + 93_600_000),
        (str(NOW + 5000), NOW + 5000),
        (str((NOW + 5000) // 1000), NOW + 5000),
        ("2027-01-15T08:00:05Z", NOW + 5000),
        ("2027-01-15T09:00:05.250+01:00", NOW + 5250),
        ("2027-01-15T08:00:05", NOW + 5000),
    ],
)
def test_every_form_of_a_reset(text: str, want: int) -> None:
    assert reset(text) == want


@pytest.mark.parametrize(
    "text", ["", "soon", "nan", "inf", "-inf", "1e400", "1e300", "-1e13", "9" * 400 + "d", "5x", "s", "Tuesday", "wait 5s"]
)
def test_a_reset_that_says_nothing(text: str) -> None:
    """REL-04: garbage is no moment, and no fault of the request either."""
    assert reset(text) is None


def test_no_local_time() -> None:
    assert reset("2027-01-15T08:00:00") == round(datetime(2027, 1, 15, 8, tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    "headers",
    [
        {"x-ratelimit-limit-requests": "10"},
        {"x-ratelimit-remaining-requests": "10"},
        {"x-ratelimit-limit-requests": "ten", "x-ratelimit-remaining-requests": "9"},
        {"x-ratelimit-limit-requests": "10", "x-ratelimit-remaining-requests": ""},
        {"x-ratelimit-limit-requests": "nan", "x-ratelimit-remaining-requests": "9"},
        {"x-ratelimit-limit-requests": "inf", "x-ratelimit-remaining-requests": "9"},
        {"x-ratelimit-limit-requests": "1e300", "x-ratelimit-remaining-requests": "9"},
        {"x-ratelimit-limit-requests": "9", "x-ratelimit-remaining-requests": "1e300"},
        {"x-ratelimit-limit-requests": "-5", "x-ratelimit-remaining-requests": "-5"},
        {"ratelimit": "limit=10, remaining=9"},
        {"x-ratelimit-limit-tokens": "10", "x-ratelimit-remaining-requests": "9"},
        {"retry-after": "5", "content-type": "x"},
    ],
)
def test_what_states_no_limit_is_passed_over(headers: dict[str, str]) -> None:
    assert seen(headers).tightest("con", NOW) is None


def test_the_tightest_window_is_shown() -> None:
    quotas = seen(
        {
            "x-ratelimit-limit-requests": "100", "x-ratelimit-remaining-requests": "50", "x-ratelimit-reset-requests": "1s",
            "x-ratelimit-limit-tokens": "1000", "x-ratelimit-remaining-tokens": "10", "x-ratelimit-reset-tokens": "60s",
        }
    )  # fmt: skip
    tightest = quotas.tightest("con", NOW)
    assert tightest is not None
    assert (tightest.name, tightest.percent) == ("tokens", 1.0)
    assert quotas.tightest("con", NOW + 60_000) is None


def test_a_window_that_has_passed_is_full_again() -> None:
    quotas = seen({"x-ratelimit-limit": "10", "x-ratelimit-remaining": "0", "x-ratelimit-reset": "5"})
    assert quotas.tightest("con", NOW + 4999) is not None
    assert quotas.tightest("con", NOW + 5000) is None


def test_a_later_answer_replaces_an_earlier_one_and_forgetting_drops_all() -> None:
    quotas = seen({"x-ratelimit-limit": "10", "x-ratelimit-remaining": "3"})
    quotas.observe("con", [(b"x-ratelimit-limit", b"10"), (b"x-ratelimit-remaining", b"2")], NOW + 1)
    quotas.observe("other", [(b"x-ratelimit-limit", b"10"), (b"x-ratelimit-remaining", b"9")], NOW)
    found = quotas.tightest("con", NOW)
    assert found is not None
    assert (found.remaining, found.seen_at) == (2, NOW + 1)
    quotas.forget("con")
    quotas.forget("con")
    assert quotas.tightest("con", NOW) is None
    assert quotas.tightest("other", NOW) is not None


@pytest.mark.parametrize(
    ("limit", "remaining", "percent"), [(10, 10, 100.0), (10, 0, 0.0), (10, -4, 0.0), (10, 40, 100.0), (0, 0, 0.0), (3, 1, 100 / 3)]
)
def test_percent_is_within_bounds(limit: int, remaining: int, percent: float) -> None:
    assert Window(name="r", limit=limit, remaining=remaining, reset_at=None, seen_at=0).percent == pytest.approx(percent)


PIECES = st.sampled_from(["limit", "remaining", "reset", "requests", "tokens", "", "input", "policy"])
NAMES = st.lists(PIECES, max_size=4).map(lambda parts: "x-ratelimit-" + "-".join(parts))
VALUES = (
    st.text(st.characters(max_codepoint=255), max_size=12)
    | st.floats().map(str)
    | st.integers().map(str)
    | st.from_regex(r"[0-9]{1,400}[smhd]", fullmatch=True)
)


@given(st.dictionaries(NAMES, VALUES, max_size=8))
def test_no_header_breaks_a_request_or_a_report(headers: dict[str, str]) -> None:
    """REL-04: what a provider sends can always be shown."""
    quotas = seen(headers)
    found = quotas.tightest("con", NOW)
    if found is not None:
        assert 0 <= found.percent <= 100
        assert iso(found.reset_at) is None or found.reset_at is not None


PLAN = {
    "x-vendor-primary-used-percent": "85.5",
    "x-vendor-primary-window-minutes": "300",
    "x-vendor-primary-reset-after-seconds": "7200",
    "x-vendor-secondary-used-percent": "12",
    "x-vendor-secondary-window-minutes": "10080",
    "x-vendor-secondary-reset-at": str(NOW // 1000 + 86_400),
}


def account(**rules: Any) -> Connection:
    return Connection(id="con", provider="north", name="a", secret=Secret("k"), rules=ConnectionRules(**rules))


@pytest.mark.parametrize(
    ("headers", "want"),
    [
        (PLAN, {"session": (14.5, NOW + 7_200_000), "weekly": (88.0, NOW + 86_400_000)}),
        (
            {"any-ratelimit-unified-5h-utilization": "0.25", "any-ratelimit-unified-5h-reset": str(NOW // 1000 + 60)},
            {"session": (75.0, NOW + 60_000)},
        ),
        ({"any-ratelimit-unified-7d-utilization": "1.2"}, {"weekly": (0.0, None)}),
        ({"x-daily-used-percent": "40"}, {"daily": (60.0, None)}),
        ({"x-ratelimit-limit": "10", "x-ratelimit-used": "4"}, {"requests": (60.0, None)}),
        ({"x-vendor-primary-used-percent": "nan"}, {}),
        ({"x-vendor-primary-used-percent": "much"}, {}),
        ({"x-vendor-primary-reset-after-seconds": "5"}, {}),
        ({"-used-percent": "5"}, {}),
    ],
)
def test_shares_of_plans_are_read_by_pattern(headers: dict[str, str], want: dict[str, tuple[float, int | None]]) -> None:
    found = seen(headers).windows("con", NOW)
    assert {window.name: (window.percent, window.reset_at) for window in found} == want


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("5h", "session"), ("five_hour", "session"), ("session (5h)", "session"), ("Session", "session"), ("7d", "weekly"),
        ("seven_day", "weekly"), ("weekly", "weekly"), ("input-tokens", "input-tokens"),
    ],
)  # fmt: skip
def test_one_name_for_a_window(text: str, want: str) -> None:
    assert window_name(text) == want


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({}, ""),
        ({"limit_percent": 85}, "session is used to 86 %, and the owner's limit is 85 %"),
        ({"limit_percent": 86}, ""),
        ({"limit_percent": 80, "limit_windows": ("weekly",)}, ""),
        ({"limit_percent": 10, "limit_windows": ("weekly",)}, "weekly is used to 12 %"),
        ({"preflight": True}, ""),
    ],
)
def test_an_owners_limit(rules: dict[str, Any], words: str) -> None:
    reason = seen(PLAN).preflight(account(**rules), "m", NOW)
    assert words in reason
    assert bool(reason) == bool(words)


def test_preflight_and_exhaustion_end_with_the_window() -> None:
    quotas = seen({**PLAN, "x-vendor-primary-used-percent": "98"})
    assert quotas.preflight(account(), "m", NOW) == ""
    assert "98 %" in quotas.preflight(account(preflight=True), "m", NOW)
    assert quotas.preflight(account(preflight=True), "m", NOW + 7_200_000) == ""
    spent = seen({"x-ratelimit-limit": "5", "x-ratelimit-remaining": "0"})
    assert spent.exhausted(account(), NOW)
    assert "nothing is left" in spent.preflight(account(), "m", NOW)
    assert not spent.exhausted(account(), NOW + 60_000)  # without a reset it is believed for a minute
    nothing = seen({"x-ratelimit-limit": "0", "x-ratelimit-remaining": "0"})
    assert not nothing.exhausted(account(), NOW)


def test_counts_are_a_models_own_and_shares_the_accounts() -> None:
    quotas = Quotas()
    for model, remaining in (("big", b"0"), ("small", b"9")):
        quotas.observe("con", [(b"x-ratelimit-limit", b"10"), (b"x-ratelimit-remaining", remaining)], NOW, model)
    assert quotas.exhausted(account(), NOW, model="big")
    assert not quotas.exhausted(account(), NOW, model="small")
    assert (quotas.left("con", NOW, model="small"), quotas.left("con", NOW), quotas.left("none", NOW)) == (90.0, 0.0, None)
    quotas.observe("con", [(name.encode(), value.encode()) for name, value in PLAN.items()], NOW, "big")
    assert (quotas.left("con", NOW, model="small"), quotas.resets_in("con", NOW, model="small")) == (14.5, 7200.0)
    assert quotas.resets_in("none") is None
    for number in range(200):
        quotas.observe("con", [(b"x-ratelimit-limit", b"10"), (b"x-ratelimit-remaining", b"1")], NOW, f"m{number}")
    assert len(quotas.windows("con", NOW)) == 64


def test_a_warning_comes_once_a_window() -> None:
    told: list[tuple[str, dict[str, Any]]] = []
    quotas = Quotas(emit=lambda kind, **data: told.append((kind, data)))

    def state(percent: str, now: int, reset: int) -> None:
        facts = {"x-v-primary-used-percent": percent, "x-v-primary-reset-at": str(reset), "x-v-primary-window-minutes": "300"}
        quotas.observe("con", [(name.encode(), value.encode()) for name, value in facts.items()], now)
        quotas.preflight(account(preflight=True), "m", now)

    end, hours = NOW + 7_200_000, 18_000_000
    for moment, percent in ((0, "79"), (1, "81"), (2, "90")):
        state(percent, NOW + moment, end)
    quotas.preflight(account(), "m", NOW)
    assert [(kind, data["window"], data["used_percent"]) for kind, data in told] == [("quota.warning", "session", 81.0)]
    state("82", end + 1, end + hours)
    assert len(told) == 2


def test_a_window_that_is_used_up_is_told_once() -> None:
    told: list[tuple[str, Any]] = []
    quotas = Quotas(emit=lambda kind, **data: told.append((kind, data["used_percent"])))

    def state(percent: str, now: int, reset: int) -> None:
        facts = {"x-v-primary-used-percent": percent, "x-v-primary-reset-at": str(reset), "x-v-primary-window-minutes": "300"}
        quotas.observe("con", [(name.encode(), value.encode()) for name, value in facts.items()], now)
        quotas.preflight(account(limit_percent=60), "m", now)

    end, hours = NOW + 7_200_000, 18_000_000
    for moment, percent in ((0, "50"), (1, "61"), (2, "60"), (3, "100")):
        state(percent, NOW + moment, end)
    assert told == [("quota.exceeded", 61.0)]
    state("100", end + 1, end + hours)
    assert told[1:] == [("quota.exceeded", 100.0)]


@pytest.mark.anyio
async def test_windows_survive_a_restart_and_are_stored_when_they_move(tmp_path: Path) -> None:
    clock = Still(NOW)
    store = Store(make_settings(tmp_path), clock)
    await store.open()
    quotas = Quotas(clock, state=store.state)
    headers = [(name.encode(), value.encode()) for name, value in PLAN.items()]
    for step in range(10):
        quotas.observe("con", headers, NOW + step * 10_000)
    # The reset after seconds moves with the time of the answer, the others stay.
    assert 1 <= store.queue._added <= 10
    added = store.queue._added
    fixed = [(name, value) for name, value in headers if b"secondary" in name]
    for step in range(10):
        quotas.observe("other", fixed, NOW + step * 10_000)
    assert store.queue._added == added + 1
    for moment, percent, stored in ((90_001, b"13.5", 2), (92_000, b"15.5", 2)):
        moved = [(name, percent if b"percent" in name else value) for name, value in fixed]
        quotas.observe("other", moved, NOW + moment)
        assert store.queue._added == added + stored
    quotas.flush()
    assert store.queue._added == added + 3
    await store.close()
    store = Store(make_settings(tmp_path), clock)
    await store.open()
    again = Quotas(clock, state=store.state)
    again.open()
    assert (again.left("con", NOW + 1000), again.left("other", NOW + 1000)) == (14.5, 84.5)
    again.keep_only({"con"})
    assert again.left("other", NOW) is None
    await store.close()
