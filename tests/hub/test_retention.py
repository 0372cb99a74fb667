"""Retention deletes what is past its time in small steps, keeps sums, and lets the file shrink (REL-24)."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

from hub.clock import Clock
from hub.preferences import Retention as Kept
from hub.process import checkup
from hub.retention import Retention
from hub.store import Store, pruning
from tests.fakes.clock import START_MS, Still
from tests.fakes.database import make_settings, postgres_database
from tests.hub.store.rows import decision, usage_row

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from hub.store.database import Link

pytestmark = pytest.mark.anyio
DAY = 86_400_000


@pytest.fixture(params=["sqlite", "postgresql"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    if request.param == "sqlite":
        made = Store(make_settings(tmp_path), Still())
        await made.open()
        yield made
        await made.close()
        return
    with postgres_database() as url:
        made = Store(make_settings(tmp_path, url), Still())
        await made.open()
        yield made
        await made.close()


def retention(store: Store, **kept: int) -> Retention:
    return Retention(store, Still(), lambda: Kept(**kept))


async def count(store: Store, table: str) -> int:
    return (await store._database.read(lambda link: link.run(f"SELECT COUNT(*) AS found FROM {table}")))[0]["found"]


async def test_each_table_keeps_its_time(store: Store) -> None:
    now = START_MS
    for days in (1, 89, 91, 729, 731):
        store.usage.add(usage_row(days, at=now - days * DAY))
        store.decisions.add(decision(days, at=now - days * DAY))
    for name, until in (("old", now - 1), ("new", now + 1), ("always", None)):
        store.state.put("kind", name, 1, until=until)
    store.latency.put({"hour": (now - 731 * DAY) // 3_600_000, "provider": "p", "model": "m", "requests": 1, "errors": 0, "output": 0,
                       "busy_ms": 0, "latency": "", "ttft": ""})  # fmt: skip
    await store.flush()

    def answers(link: Link) -> None:
        for name, until in (("old", now - 1), ("new", now + 1)):
            link.run("INSERT INTO replays VALUES (?, '', 'done', '', 'p', 0, ?)", name, until)
            link.run("INSERT INTO responses VALUES (?, 'k', 'm', '', '', 0, 0, ?)", name, until)

    await store._database.write(answers)
    gone = await retention(store).sweep()
    assert gone == {
        "usage": 3, "decisions": 4, "replays": 1, "responses": 1, "state": 1, "usage_hours": 1, "usage_days": 1, "latency_hours": 1,
    }  # fmt: skip
    assert (await store.usage.totals(since=0))["requests"] == 4
    assert (await store.usage.find()).total == 2
    assert await retention(store).sweep() == {}
    assert await retention(store, usage_days=1000, sum_days=1).sweep() == {"usage_hours": 3, "usage_days": 3}


async def test_no_transaction_is_long(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """REL-24: at most 500 rows each, and rows that come in meanwhile are stored."""
    monkeypatch.setattr(pruning, "BATCH", 20)
    for number in range(205):
        store.usage.add(usage_row(number, at=number))
    await store.flush()
    taken: list[int] = []
    batch = store.pruning.batch

    async def watched(*args: Any) -> int | None:
        found = await batch(*args)
        taken.append(found or 0)
        store.usage.add(usage_row(1_000 + len(taken), at=START_MS))
        await store.flush()
        return found

    monkeypatch.setattr(store.pruning, "batch", watched)
    assert (await retention(store).sweep())["usage"] == 205
    assert max(taken) == 20
    assert (await store.usage.find()).total == len(taken)


async def test_one_process_prunes_at_a_time(tmp_path: Path) -> None:
    with postgres_database() as url:
        first, second = (Store(make_settings(tmp_path / name, url, master_key="A" * 43 + "="), Still()) for name in "ab")
        await first.open()
        await second.open()
        first.usage.add(usage_row(1))
        await first.flush()
        stale = pruning.STALE["usage"][0]
        reader = second._database.driver.connect(writer=True)
        reader.run("SELECT pg_try_advisory_xact_lock(?)", pruning._LOCK)
        assert await first.pruning.batch(stale, START_MS) is None
        assert await retention(first).sweep() == {}
        reader.raw.rollback()
        reader.raw.close()
        assert await first.pruning.batch(stale, START_MS) == 1
        await first.close()
        await second.close()


async def test_the_file_shrinks(tmp_path: Path) -> None:
    """REL-24: file size returns."""
    store = Store(make_settings(tmp_path), Still())
    await store.open()
    for number in range(6000):
        store.usage.add(usage_row(number, at=number, requested_model="x" * 400))
    await store.flush()
    path = tmp_path / "data" / "hubroute.db"
    await store.close()
    large = path.stat().st_size
    store = Store(make_settings(tmp_path), Still())
    await store.open()
    assert (await retention(store).sweep())["usage"] == 6000
    assert await store.shrinks()
    await store.close()
    assert path.stat().st_size < large / 2


async def test_an_older_file_is_told_of_and_left_alone(tmp_path: Path) -> None:
    """No silent rewrite of a whole file: doctor says what to do."""
    settings = make_settings(tmp_path)
    store = Store(settings, Clock())
    await store.open()
    await store.close()
    assert "file size" not in {one.check for one in await checkup.store(settings)}
    path = tmp_path / "data" / "hubroute.db"
    link = sqlite3.connect(path, isolation_level=None)
    link.execute("PRAGMA journal_mode=DELETE")
    link.execute("PRAGMA auto_vacuum=NONE")
    link.execute("VACUUM")
    link.close()
    found = {one.check: one for one in await checkup.store(settings)}["file size"]
    assert (found.state, "VACUUM" in found.words) == ("warn", True)
    store = Store(settings, Still())
    await store.open()
    assert await store.pruning.free_pages() == 0
    await store.close()
