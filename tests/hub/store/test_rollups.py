"""Sums agree with the rows they sum up, whatever happens to a transaction, and pages find their rows."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.chat import Usage
from hub.errors import BadRequest, Unavailable
from hub.store import rollups, usage
from tests.hub.store.rows import usage_row

if TYPE_CHECKING:
    from hub.store import Store
    from tests.hub.store.conftest import HeldClock

pytestmark = pytest.mark.anyio
HOUR, DAY = rollups.HOUR_MS, rollups.DAY_MS
_ROWS = (
    "SELECT COUNT(*) AS requests, SUM(CASE WHEN outcome = 'error' THEN 1 ELSE 0 END) AS errors, SUM(cost) AS cost, SUM(input) AS input "
    "FROM usage WHERE at >= ? AND at < ?"
)


@given(st.integers(-5, 3 * DAY), st.one_of(st.none(), st.integers(0, 4 * DAY)))
def test_pieces_cover_a_window_once(since: int, until: int | None) -> None:
    size = {"day": DAY, "hour": HOUR, "at": 1}
    found = rollups.pieces(since, until)
    spans = sorted((piece.low * size[piece.unit], None if piece.high is None else piece.high * size[piece.unit]) for piece in found)
    if until is not None and max(0, since) >= until:
        assert spans == []
        return
    assert spans[0][0] == max(0, since)
    assert spans[-1][1] == until
    assert all(one[1] == two[0] for one, two in pairwise(spans))
    assert sum(piece.unit == "at" for piece in found) <= 2
    assert all(piece.high is None or piece.high - piece.low < 2 * HOUR for piece in found if piece.unit == "at")


async def fill(store: Store, count: int = 120) -> None:
    for number in range(count):
        store.usage.add(
            usage_row(
                number,
                at=number * DAY // 40 + number * 977,
                provider=("north", "east")[number % 2],
                model=f"m{number % 3}",
                key_id=f"key_{number % 5}",
                combo="nightly" if number % 7 == 0 else "",
                session="s1" if number % 30 == 0 else "",
                outcome=("ok", "ok", "ok", "error", "cancelled")[number % 5],
                status=(200, 200, 200, 502, 499)[number % 5],
                cost=None if number % 4 == 0 else 0.25,
            )
        )
    await store.flush()


@pytest.mark.parametrize(
    ("since", "until"),
    [(0, None), (0, 3 * DAY), (HOUR, 2 * HOUR), (1, DAY), (DAY - 1, DAY + 1), (5, HOUR - 5), (DAY + HOUR + 7, 2 * DAY + 3 * HOUR + 9)],
)
async def test_sums_agree_with_rows(store: Store, since: int, until: int | None) -> None:
    await fill(store)
    want = (await store._database.read(lambda link: link.run(_ROWS, since, until or 2**60)))[0]
    found = await store.usage.totals(since=since, until=until)
    assert [found[name] for name in ("requests", "errors", "input")] == [int(want[name] or 0) for name in ("requests", "errors", "input")]
    assert (found["cost"] or 0.0) == pytest.approx(want["cost"] or 0.0)
    for by in ("provider", "model", "key_id", "combo", "source"):
        assert sum(row["requests"] for row in await store.usage.grouped(by, since=since, until=until)) == found["requests"]
    pairs = await store.usage.breakdown(("provider", "model"), since=since, until=until)
    assert sum(row["tokens"] for row in pairs) == found["tokens"]
    east = await store.usage.totals(since=since, until=until, provider="east")
    assert east["requests"] == sum(row["requests"] for row in pairs if row["provider"] == "east")


async def test_rows_that_are_stored_again_are_summed_once(store: Store) -> None:
    """A commit that went through although it looked lost: the rows come again, the sums must not."""
    rows = [(f"u{number}", usage_row(number, at=number * HOUR)) for number in range(5)]
    write = store._database.write
    await write(lambda link: usage.save(link, rows[:3], False))
    await write(lambda link: usage.save(link, rows, True))
    await write(lambda link: usage.save(link, rows, True))
    assert (await store.usage.totals(since=0))["requests"] == 5
    assert (await store.usage.find()).total == 5


async def test_a_failed_transaction_leaves_neither_rows_nor_sums(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_args: object) -> None:
        raise Unavailable("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(rollups, "add", fails)
        store.usage.add(usage_row(1))
        with pytest.raises(Unavailable):
            await store.flush()
    assert await store._database.read(lambda link: link.run("SELECT id FROM usage")) == []
    await store.flush()
    assert (await store.usage.totals(since=0))["requests"] == (await store.usage.find()).total == 1


async def test_absurd_amounts_do_not_break_sums(store: Store) -> None:
    """A provider may claim any number of tokens; a sum that does not fit would lose every row of its hour."""
    for number in range(3):
        store.usage.add(usage_row(number, usage=Usage(input=2**62, output=-5), latency_ms=2**62))
    found = await store.usage.totals(since=0)
    assert (found["requests"], found["input"], found["output"]) == (3, 3 * 2**40, 0)
    assert store.queue.dropped == 0


FILTERS: list[dict[str, Any]] = [
    {}, {"provider": "east"}, {"key_id": "key_1", "model": "m2"}, {"combo": "nightly"}, {"session": "s1"}, {"outcome": "error"},
    {"status": 502}, {"status": 200, "provider": "north"}, {"outcome": "ok", "model": "m1"}, {"model": "none"}, {"door": "openai"},
]  # fmt: skip


@pytest.mark.parametrize("where", FILTERS, ids=str)
async def test_pages_hold_every_row_once(store: Store, where: dict[str, Any]) -> None:
    await fill(store)
    everything = [row async for rows in store.usage.batches() for row in rows]
    assert [row.at for row in everything] == sorted((row.at for row in everything), reverse=True)
    want = [row for row in everything if all(getattr(row, name) == value for name, value in where.items())]
    found: list[Any] = []
    before: tuple[int, str] | None = None
    for _ in range(100):
        page = await store.usage.find(limit=7, before=before, **where)
        assert (page.total, page.capped) == (len(want), False)
        found += page.rows
        before = page.next
        if before is None:
            break
    assert found == want
    assert (await store.usage.page(limit=5, offset=3, **where))[0] == want[3:8]
    assert [row async for rows in store.usage.batches(**where) for row in rows] == want
    window = [row for row in want if DAY + 5 <= row.at < 2 * DAY + 99]
    page = await store.usage.find(limit=1000, since=DAY + 5, until=2 * DAY + 99, **where)
    assert (page.rows, page.total) == (window, len(window))


async def test_rows_of_one_moment_are_paged_by_id(store: Store) -> None:
    for number in range(10):
        store.usage.add(usage_row(number, at=5_000))
    first = await store.usage.find(limit=6)
    second = await store.usage.find(limit=6, before=first.next)
    assert sorted(row.request_id for row in first.rows + second.rows) == [f"req_{number}" for number in range(10)]
    assert second.next is None


async def test_counting_is_given_up_where_only_rows_can_tell(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "COUNTED", 10)
    await fill(store)
    capped, exact = await store.usage.find(status=200), await store.usage.find(provider="north")
    assert (capped.total, capped.capped) == (10, True)
    assert (exact.total, exact.capped) == (60, False)


async def test_what_is_pruned_leaves_its_sums_and_no_count(store: Store) -> None:
    await fill(store)
    await store._database.write(lambda link: link.run("DELETE FROM usage WHERE at < ?", DAY + 12_345))
    left = [row async for rows in store.usage.batches() for row in rows]
    page = await store.usage.find(limit=1000)
    assert (page.rows, page.total) == (left, len(left))
    assert (await store.usage.totals(since=0))["requests"] == 120


async def test_the_last_minutes(store: Store, clock: HeldClock) -> None:
    for minutes in (0, 0, 3, 9, 10):
        store.usage.add(usage_row(at=clock.now - minutes * 60_000))
    assert [row["requests"] for row in await store.usage.minutes()] == [1, 0, 0, 0, 0, 0, 1, 0, 0, 2]


async def test_sums_are_listed_in_order(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    await fill(store)
    monkeypatch.setattr(usage, "_MOST", 7)
    days = [row async for rows in store.usage.sums("days") for row in rows]
    assert sum(row["requests"] for row in days) == 120
    assert days[0]["time"] == "1970-01-01T00:00:00Z"
    hours = [row async for rows in store.usage.sums("hours", since=HOUR, until=DAY, provider="east") for row in rows]
    assert {row["provider"] for row in hours} == {"east"}
    assert min(row["time"] for row in hours) >= "1970-01-01T01:00:00Z"
    with pytest.raises(BadRequest, match="cannot filter by status"):
        [rows async for rows in store.usage.sums("days", status=200)]


async def test_rows_from_before_the_sums_are_summed_by_the_migration(store: Store) -> None:
    from alembic import command

    from hub.store.migration import config
    from hub.store.session import engine

    store.usage.add(usage_row(1, at=DAY + 5, usage=Usage(input=7)))
    store.usage.add(usage_row(2, at=DAY + HOUR, cost=None))
    await store.flush()
    before = await store.usage.breakdown(("provider", "source"), since=0)

    def down_and_up(link: Any) -> None:
        for act, target in ((command.downgrade, "0001"), (command.upgrade, "head")):
            with engine(link).begin() as connection:
                act(config(connection), target)

    await store._database.write(down_and_up)
    assert await store.usage.breakdown(("provider", "source"), since=0) == before
    assert (await store.usage.totals(since=DAY + HOUR))["requests"] == 1
