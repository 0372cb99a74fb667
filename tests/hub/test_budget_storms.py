"""REL-13: 200 calls at once on a budget that covers 10 never spend more than it has, in 1,000 runs on each database."""

from __future__ import annotations

import asyncio
import json
import random
import sys
from typing import TYPE_CHECKING, Any

import pytest

from hub.clock import Clock
from hub.money.budgets import Budget
from hub.store import Store
from tests.fakes.command import ROOT
from tests.fakes.database import make_settings, postgres_database
from tests.fakes.till import Billed, call, till

if TYPE_CHECKING:
    from pathlib import Path

    from hub.settings import Settings

pytestmark = pytest.mark.anyio
RUNS, CALLS, COVERED, LIMIT = 1000, 200, 10, 1.0
#: Rounding up to nano-dollars may count each call a nano-dollar dearer, never cheaper.
TINY = CALLS * 2e-9
#: How far what is billed goes beyond the estimate, by group: from well below it to three times as much.
OVER = (0.4, 0.7, 1.0, 1.3, 2.0, 3.0)


def fair(billed: Billed, over: float, where: object) -> None:
    """Nothing beyond the limit, and the money was there to be spent: about as many calls as it covers."""
    assert billed.spent <= LIMIT + TINY, (where, over, billed)
    # Where nearly all was asked for, what is left is less than one useful call with the margin for what is not known.
    assert billed.spent >= LIMIT * 0.8, (where, over, billed)
    assert billed.ok + billed.cancelled >= COVERED * 0.8 / max(over, 1.0), (where, over, billed)


async def prepared(settings: Settings, names: list[str]) -> None:
    """Budgets for many keys, written at once."""
    body = Budget(daily_limit_usd=LIMIT, weekly_limit_usd=LIMIT * 3, time_zone="UTC").model_dump_json(by_alias=True, exclude_defaults=True)
    store = Store(settings, Clock())
    await store.open()
    rows = [(f"bud_{name}", "budget", name, body, 0, 0) for name in names]
    insert = "INSERT INTO documents (id, kind, name, body, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?)"
    await store._database.write(lambda link: link.many(insert, rows))
    await store.close()


async def test_two_hundred_calls_at_once_in_one_process(tmp_path: Path) -> None:
    """On SQLite; each run meets a provider that the hub has never settled a call with."""
    settings = make_settings(tmp_path)
    names = [f"key_{run}" for run in range(RUNS)]
    await prepared(settings, names)
    chance = random.Random(13)
    async with till(settings) as made:
        for run, name in enumerate(names):
            billed, over = Billed(), OVER[run % len(OVER)]
            calls = [call(made.budgets, name, f"p/{run}", billed, chance, bound=LIMIT / COVERED, over=over) for _ in range(CALLS)]
            await asyncio.gather(*calls)
            assert billed.ok + billed.failed + billed.cancelled + billed.refused == CALLS
            fair(billed, over, run)
            state = await made.budgets.state(name)
            assert state.held == 0
            assert abs(state.windows["daily"].spent / 1e9 - billed.spent) <= TINY
        assert len(made.heard("budget.exceeded")) <= RUNS


CHILD = """
import asyncio, json, random, sys
from pathlib import Path
from dataclasses import asdict
from hub.settings import Settings
from tests.fakes.till import Billed, call, till

async def main():
    folder, url, runs, calls, chunk, bound, over, seed = json.loads(sys.argv[1])
    chance = random.Random(seed)
    loop = asyncio.get_running_loop()
    def say(fact):
        sys.stdout.write(json.dumps(fact) + "\\n")
        sys.stdout.flush()
    async with till(Settings(data_dir=Path(folder), database_url=url, log_level="error")) as made:
        for number, times in enumerate(over):  # once every process has settled a call of a group, it knows what it costs
            hold = await made.budgets.hold("key_warm", 0.001, group=f"p/{number}")
            made.budgets.settle(hold, 0.001 * times)
        for first in range(0, runs, chunk):
            say("ready")
            if not await loop.run_in_executor(None, sys.stdin.readline):
                return
            async def one(run):
                billed, group = Billed(), run % len(over)
                asks = [call(made.budgets, f"key_{run}", f"p/{group}", billed, chance, bound=bound, over=over[group]) for _ in range(calls)]
                await asyncio.gather(*asks)
                return run, asdict(billed)
            for at in range(first, first + chunk, 10):
                say(await asyncio.gather(*(one(run) for run in range(at, at + 10))))
asyncio.run(main())
"""


class Child:
    """A process with budgets of its own on a database that others use."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    @classmethod
    async def start(cls, code: str, *asked: Any) -> Child:
        return cls(
            await asyncio.create_subprocess_exec(
                sys.executable,
                "-c",
                code,
                json.dumps(asked),
                cwd=ROOT,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=2**20,
            )
        )

    async def hear(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(await asyncio.wait_for(self.process.stdout.readline(), 60))

    def tell(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"go\n")


async def test_two_hundred_calls_at_once_in_four_processes(tmp_path: Path) -> None:
    """On PostgreSQL: 50 calls in each of four processes, on the same budgets at the same moment."""
    processes, chunk = 4, 50
    with postgres_database() as url:
        settings = make_settings(tmp_path, url)
        await prepared(settings, [*(f"key_{run}" for run in range(RUNS)), "key_warm"])
        asked = (str(tmp_path / "data"), url, RUNS, CALLS // processes, chunk, LIMIT / COVERED, OVER)
        children = [await Child.start(CHILD, *asked, seed) for seed in range(processes)]
        total = [Billed() for _ in range(RUNS)]
        for _ in range(0, RUNS, chunk):
            for child in children:
                assert await child.hear() == "ready"
            for child in children:
                child.tell()
            for child in children:
                for _ in range(chunk // 10):
                    add(total, await child.hear())
        for child in children:
            await child.process.wait()
        for run, billed in enumerate(total):
            assert billed.ok + billed.failed + billed.cancelled + billed.refused == CALLS
            fair(billed, OVER[run % len(OVER)], run)
        await settled(settings, total)


def add(total: list[Billed], found: list[Any]) -> None:
    """Add what one process counted of some runs."""
    for run, billed in found:
        for name in ("spent", "ok", "failed", "cancelled", "refused"):
            setattr(total[run], name, getattr(total[run], name) + billed[name])


async def settled(settings: Settings, total: list[Billed]) -> None:
    """What the database says was spent is what was billed, and nothing is held any more."""
    store = Store(settings, Clock())
    await store.open()
    assert await store._database.read(lambda link: link.run("SELECT id FROM holds")) == []
    assert await store._database.read(lambda link: link.run("SELECT budget_id FROM spend WHERE held <> 0")) == []
    assert await store._database.read(lambda link: link.run("SELECT id FROM processes")) == []
    rows = await store._database.read(lambda link: link.run("SELECT budget_id, spent FROM spend WHERE period = 'daily'"))
    spent = {row["budget_id"]: row["spent"] / 1e9 for row in rows}
    await store.close()
    for run, billed in enumerate(total):
        assert abs(spent[f"key_{run}"] - billed.spent) <= TINY
