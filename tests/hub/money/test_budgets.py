"""Budgets as callers use them, on both databases: holds, settlements, events, what survives a restart."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from hub.errors import BudgetExceeded, BudgetSpent, NotFound, Unavailable
from hub.money.budgets import HUB, Budget
from tests.fakes.clock import Still
from tests.fakes.database import make_settings, postgres_database
from tests.fakes.till import till
from tests.hub.store.rows import usage_row

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hub.settings import Settings
    from tests.fakes.till import Till

pytestmark = pytest.mark.anyio


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[Settings]:
    with postgres_database() as url:
        yield make_settings(tmp_path, url)


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    return request.getfixturevalue("postgres") if request.param == "postgresql" else make_settings(tmp_path)


async def spend(made: Till, cost: float, key: str = "key_a") -> None:
    """A call that costs just what it was estimated at, of a group that is known to cost no more."""
    made.budgets._calibration.learn("p/m", 1.0, 0.5)
    hold = await made.budgets.hold(key, cost, group="p/m")
    assert hold.granted == cost
    made.budgets.settle(hold, cost, complete=False)


async def spent(made: Till, name: str = "key_a", kind: str = "daily") -> float:
    return (await made.budgets.state(name)).windows[kind].spent / 1e9  # type: ignore[index]


async def held(made: Till, name: str = "key_a") -> float:
    return (await made.budgets.state(name)).held / 1e9


async def waiting(made: Till, number: int) -> None:
    ledger: Any = made.budgets._ledger
    async with asyncio.timeout(5):
        while ledger._line.length != number:
            await asyncio.sleep(0.001)


async def test_what_is_not_needed_comes_back(settings: Settings) -> None:
    async with till(settings) as made:
        await made.budgets.put("key_a", Budget(daily_limit_usd=1.0, monthly_limit_usd=10.0))
        assert made.budgets.limited("key_a")
        assert not made.budgets.limited("key_b")
        hold = await made.budgets.hold("key_a", 0.2, group="p/m", least=0.1)
        assert hold.granted == 0.2
        assert await held(made) >= 0.2
        made.budgets.settle(hold, 0.05)
        made.budgets.settle(hold, 0.5)  # only the first counts
        made.budgets.release(hold)
        assert (await held(made), await spent(made), await spent(made, kind="monthly")) == (0, 0.05, 0.05)
        second = await made.budgets.hold("key_a", 0.2, group="p/m")
        assert await held(made) == 0.2  # known now
        made.budgets.release(second)
        made.budgets.charge("key_a", 0.25)
        made.budgets.charge("key_b", 0.25)
        assert (await held(made), await spent(made)) == (0, 0.3)


async def test_a_spent_budget_says_so(settings: Settings) -> None:
    clock = Still()
    async with till(settings, clock) as made:
        await made.budgets.put("key_a", Budget(daily_limit_usd=1.0, weekly_limit_usd=3.0))
        await spend(made, 0.7)
        hold = await made.budgets.hold("key_a", 0.5, group="p/m", least=0.1)
        assert hold.granted == 0.3  # alone: what is left
        made.budgets.settle(hold, None)  # unknown: all that was granted counts
        with pytest.raises(BudgetSpent, match=r"daily budget of key key_a.*\$1\.000000 of \$1\.000000") as refused:
            await made.budgets.hold("key_a", 0.5, group="p/m")
        error = refused.value
        assert (error.status, error.code) == (429, "budget_exceeded")
        midnight = (clock.now_ms() // 86_400_000 + 1) * 86_400_000
        assert error.retry_after == pytest.approx((midnight - clock.now_ms()) / 1000)
        assert error.data == {"budget": "key_a", "period": "daily", "spent": 1.0, "limit": 1.0, "resetsAt": midnight}
        clock.advance(error.retry_after + 1)
        await spend(made, 0.5)
        assert (await spent(made), await spent(made, kind="weekly")) == (0.5, 1.5)


async def test_events_come_once_even_over_a_restart(settings: Settings) -> None:
    async with till(settings) as made:
        await made.budgets.put("key_a", Budget(daily_limit_usd=1.0, warning_threshold=0.5))
        await spend(made, 0.6)
        await spent(made)
        assert [data["period"] for data in made.heard("budget.warning")] == ["daily"]
    async with till(settings) as made:
        assert await spent(made) == 0.6
        await spend(made, 0.1)
        await spend(made, 0.3)
        await spent(made)
        assert made.heard("budget.warning") == []
        assert [data["spent"] for data in made.heard("budget.exceeded")] == [1.0]


async def test_what_was_spent_before_the_budget_counts(settings: Settings) -> None:
    clock = Still()
    async with till(settings, clock) as made:
        day = 86_400_000
        for number, (ago, key) in enumerate([(0, "key_a"), (day, "key_a"), (40 * day, "key_a"), (0, "key_b")]):
            made.store.usage.add(usage_row(number, at=clock.now_ms() - ago, key_id=key, cost=0.25))
        await made.budgets.put("key_a", Budget(daily_limit_usd=1.0))
        assert (await spent(made), await spent(made, kind="monthly")) == (0.25, 0.5)
        await spend(made, 0.5)
        await made.budgets.put("key_a", Budget(daily_limit_usd=2.0, reset_time="01:00"))  # changed: nothing is given away
        assert await spent(made) == 0.75
        await made.budgets.delete("key_a")
        assert not made.budgets.limited("key_a")
        with pytest.raises(NotFound):
            await made.budgets.state("key_a")
        with pytest.raises(NotFound):
            await made.budgets.delete("key_a")
        await made.budgets.drop("key_a")
        await made.budgets.put("key_a", Budget(daily_limit_usd=1.0))
        assert await spent(made) == 0.25


async def test_the_hub_s_guard_and_the_key_s_budget_hold_together(settings: Settings) -> None:
    async with till(settings) as made:
        await made.budgets.put("key_a", Budget(daily_limit_usd=1.0))
        await made.budgets.put(HUB, Budget(session_limit_usd=0.5))
        assert made.budgets.limited("key_b")
        await spend(made, 0.1)
        await spend(made, 0.3, key="key_b")
        hold = await made.budgets.hold("key_a", 0.5, group="p/m")
        assert hold.granted == pytest.approx(0.1)
        made.budgets.settle(hold, 0.1)
        with pytest.raises(BudgetSpent, match="session budget of this hub") as refused:
            await made.budgets.hold("key_b", 0.5, group="p/m")
        assert refused.value.retry_after is None
        assert (await spent(made), await spent(made, HUB, "session")) == (pytest.approx(0.2), 0.5)
    async with till(settings) as made:
        assert await spent(made, HUB, "session") == 0.5
        await made.budgets.put(HUB, Budget(session_limit_usd=0.5))
        assert await spent(made, HUB, "session") == 0


async def test_alert_and_degrade_let_calls_through(settings: Settings) -> None:
    async with till(settings) as made:
        await made.budgets.put(HUB, Budget(session_limit_usd=0.5, action="degrade", degrade_to_tier="free"))
        await made.budgets.put("key_a", Budget(daily_limit_usd=0.1, action="alert"))
        await spend(made, 0.6)
        hold = await made.budgets.hold("key_a", None, group="p/unpriced")
        assert (hold.degrade, made.budgets.tier("key_a"), made.budgets.tier("key_b")) == ("free", "free", "free")
        made.budgets.settle(hold, None)
        assert {data["budget"] for data in made.heard("budget.exceeded")} == {HUB, "key_a"}


async def test_unknown_prices_are_refused_by_budgets_that_block(settings: Settings) -> None:
    async with till(settings) as made:
        await made.budgets.put("key_a", Budget(daily_limit_usd=1.0))
        with pytest.raises(BudgetExceeded, match="/api/pricing") as refused:
            await made.budgets.hold("key_a", None, group="p/m")
        assert refused.value.code == "price_unknown"
        with pytest.raises(BudgetExceeded):
            await made.budgets.hold("key_a", float("nan"), group="p/m")
        assert await held(made) == 0


async def test_who_waits_gets_what_comes_back_and_who_leaves_keeps_nothing(settings: Settings) -> None:
    async with till(settings) as made:
        await made.budgets.put("key_a", Budget(daily_limit_usd=1.0))
        await spend(made, 0.1)
        first = await made.budgets.hold("key_a", 0.8, group="p/m")
        second = asyncio.ensure_future(made.budgets.hold("key_a", 0.5, group="p/m"))
        third = asyncio.ensure_future(made.budgets.hold("key_a", 0.4, group="p/m"))
        await waiting(made, 2)
        second.cancel()
        await waiting(made, 1)
        assert not third.done()
        made.budgets.settle(first, 0.2)
        hold = await third
        assert (hold.granted, await held(made)) == (0.4, 0.4)
        fourth = asyncio.ensure_future(made.budgets.hold("key_a", 0.5, group="p/m"))
        await waiting(made, 1)
        made.budgets.release(hold)
        fourth.cancel()  # in the very moment in which it gets its money
        with pytest.raises(asyncio.CancelledError):
            await fourth
        await asyncio.sleep(0)
        async with asyncio.timeout(5):
            while await held(made):
                await asyncio.sleep(0.001)


async def test_waiting_has_an_end(settings: Settings) -> None:
    async with till(settings) as made:
        await made.preferences.change({"budgetWaitMs": 30})
        await made.budgets.put("key_a", Budget(daily_limit_usd=1.0))
        first = await made.budgets.hold("key_a", 0.25, group="p/m")
        with pytest.raises(BudgetSpent, match="calls under way hold"):
            await made.budgets.hold("key_a", 0.5, group="p/m")
        with pytest.raises(BudgetSpent, match="does not cover"):
            await made.budgets.hold("key_a", 2.0, group="p/m", least=1.5)  # waiting would not help
        made.budgets.settle(first, 0.25)
        await spend(made, 0.5)


async def test_estimates_that_fall_short_are_learned_from(settings: Settings) -> None:
    async with till(settings) as made:
        await made.budgets.put("key_a", Budget(daily_limit_usd=10.0))
        hold = await made.budgets.hold("key_a", 0.1, group="p/m")
        made.budgets.settle(hold, 0.01, full=0.2)  # short answer, but the prompt was twice as long as estimated
        hold = await made.budgets.hold("key_a", 0.1, group="p/m")
        assert (hold.granted, await held(made)) == (0.1, 0.25)
        made.budgets.settle(hold, 0.05, complete=False)
        hold = await made.budgets.hold("key_a", 20.0, group="p/m", least=1.0)
        assert hold.granted == pytest.approx((10 - 0.06) / 2.5, rel=0.01)
        made.budgets.release(hold)


async def test_a_journal_that_cannot_be_written_lets_no_call_through_and_recovers(tmp_path: Path) -> None:
    """REL-10."""
    async with till(make_settings(tmp_path)) as made:
        await made.budgets.put("key_a", Budget(daily_limit_usd=1.0))
        first = await made.budgets.hold("key_a", 0.1, group="p/m")
        purse = made.budgets._purse
        assert purse is not None
        file = purse._journal._file
        assert file is not None
        full = os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, file)  # every write fails as on a full disk
        os.close(full)
        path = purse._journal.path
        purse._journal.path = tmp_path / "missing" / "money.journal"
        made.budgets.settle(first, 0.05)
        with pytest.raises(Unavailable, match="journal"):
            await made.budgets.hold("key_a", 0.1, group="p/m")
        assert (await held(made), await spent(made)) == (0, 0.05)
        purse._journal.path = path
        await spend(made, 0.1)
        purse._dirty.clear()
    async with till(make_settings(tmp_path)) as made:
        assert await spent(made) == pytest.approx(0.15)


async def test_the_journal_stays_small_and_keeps_what_is_open(tmp_path: Path) -> None:
    async with till(make_settings(tmp_path)) as made:
        await made.budgets.put("key_a", Budget(daily_limit_usd=100.0))
        purse = made.budgets._purse
        assert purse is not None
        purse._journal._rotate = 2000
        await spend(made, 0.1)
        await made.budgets.hold("key_a", 0.5, group="p/m")
        for _ in range(200):
            await spend(made, 0.1)
        assert purse._journal.path.stat().st_size < 4000
        purse._dirty.clear()
    async with till(make_settings(tmp_path)) as made:
        assert await spent(made) == pytest.approx(20.1 + 0.5)
        assert [data["calls"] for data in made.heard("budget.unsettled")] == [1]


async def test_two_processes_share_a_budget(postgres: Settings) -> None:
    """D24: what one holds the other cannot have; what it gives back wakes who waits in the other."""
    async with till(postgres) as one, till(postgres) as two:
        await one.budgets.put("key_a", Budget(daily_limit_usd=1.0, warning_threshold=0.5))
        async with asyncio.timeout(5):
            while not two.budgets.limited("key_a"):
                await asyncio.sleep(0.01)
        await spend(one, 0.1)
        await spend(two, 0.1)
        hold = await one.budgets.hold("key_a", 0.7, group="p/m")
        waits = asyncio.ensure_future(two.budgets.hold("key_a", 0.3, group="p/m"))
        await waiting(two, 1)
        await asyncio.sleep(0.02)
        assert not waits.done()
        one.budgets.settle(hold, 0.5)
        second = await waits
        assert second.granted == pytest.approx(0.3)
        two.budgets.settle(second, 0.3)
        assert await spent(two) == 1.0
        for made in (one, two):
            with pytest.raises(BudgetSpent):
                await made.budgets.hold("key_a", 0.3, group="p/m")
        for kind in ("budget.warning", "budget.exceeded"):
            assert len(one.heard(kind)) + len(two.heard(kind)) == 1


async def test_a_process_that_is_taken_for_dead_is_counted_once(postgres: Settings) -> None:
    async with till(postgres) as one, till(postgres) as two:
        await one.budgets.put("key_a", Budget(daily_limit_usd=1.0))
        await spend(one, 0.1)
        hold = await one.budgets.hold("key_a", 0.3, group="p/m")
        async with asyncio.timeout(5):
            while not two.budgets.limited("key_a"):
                await asyncio.sleep(0.01)
        pool = two.budgets._pool
        assert pool is not None
        await pool.reap()
        assert await held(two) == 0.3  # alive
        await two.store._database.write(lambda link: link.run("UPDATE processes SET seen_at = 0 WHERE id <> ?", pool._process))
        await asyncio.gather(pool.reap(), pool.reap())
        assert (await held(two), await spent(two)) == (0, 0.4)
        assert [data["counted"] for data in two.heard("budget.unsettled")] == [0.3]
        one.budgets.settle(hold, 0.35)  # it only slept: what was more than counted is added
        assert (await held(one), await spent(one)) == (0, 0.45)


class Wire:
    """A line to the database that can be cut."""

    def __init__(self, host: str, port: int) -> None:
        self._to = (host, port)
        self._carried: set[asyncio.Task[None]] = set()
        self.server: asyncio.Server | None = None
        self.port = 0

    async def up(self) -> None:
        self.server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self.server.sockets[0].getsockname()[1]

    async def down(self) -> None:
        assert self.server is not None
        self.server.close()
        for task in self._carried:
            task.cancel()
        await asyncio.gather(*self._carried, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._carry(reader, writer))
        self._carried.add(task)
        task.add_done_callback(self._carried.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(*self._to)

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
            sink.close()

        try:
            await asyncio.gather(pump(reader, back), pump(there, writer), return_exceptions=True)
        finally:
            writer.transport.abort()
            back.transport.abort()


async def test_without_the_database_strict_budgets_fail_closed_and_come_back(postgres: Settings) -> None:
    """REL-17: refused while it is away, nothing is leaked, and calls go on within seconds."""
    address, name = postgres.database_url.rsplit("/", 1)
    host, _, port = address.rsplit("@", 1)[1].partition(":")
    wire = Wire(host, int(port or 5432))
    await wire.up()
    through = f"{address.rsplit('@', 1)[0]}@127.0.0.1:{wire.port}/{name}"
    async with till(postgres.model_copy(update={"database_url": through})) as made:
        await made.budgets.put("key_a", Budget(daily_limit_usd=1.0))
        await spend(made, 0.1)
        hold = await made.budgets.hold("key_a", 0.3, group="p/m")
        await wire.down()
        for _ in range(3):
            with pytest.raises(Unavailable, match="budgets cannot be checked"):
                await made.budgets.hold("key_a", 0.1, group="p/m")
        made.budgets.settle(hold, 0.2)
        made.budgets.charge("key_a", 0.05)
        await wire.up()
        async with asyncio.timeout(10):
            while True:
                try:
                    await spend(made, 0.1)
                    break
                except Unavailable:
                    await asyncio.sleep(0.05)
        assert (await held(made), await spent(made)) == (0, 0.45)
    await wire.down()


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({}, ""),
        ({"dailyLimitUsd": 0}, "dailyLimitUsd"),
        ({"dailyLimitUsd": -1}, "dailyLimitUsd"),
        ({"dailyLimitUsd": 1, "resetTime": "24:00"}, "resetTime"),
        ({"dailyLimitUsd": 1, "resetTime": "1:00"}, "resetTime"),
        ({"dailyLimitUsd": 1, "timeZone": "Mars/Olympus"}, "timeZone"),
        ({"dailyLimitUsd": 1, "warningThreshold": 1.1}, "warningThreshold"),
        ({"dailyLimitUsd": 1, "limit": 1}, "limit"),
    ],
)
def test_bad_budgets_are_refused(wrong: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Budget.model_validate(wrong)
    assert field in str(refused.value.errors()[0]["loc"])
