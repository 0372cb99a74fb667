"""REL-09, REL-13: a hub that is killed at any moment of a call has never spent more than its budget, on either database."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hub.money.budgets import Budget
from hub.store.journal import Journal
from tests.fakes.command import ROOT
from tests.fakes.database import make_settings, postgres_database
from tests.fakes.till import till

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hub.settings import Settings

pytestmark = pytest.mark.anyio
KILLS, LIMIT = 30, 12.0
#: Forks a process with a hub's budgets again and again and kills it a moment later, in the middle of its calls.
NURSERY = """
import asyncio, json, os, random, signal, sys, time
from pathlib import Path
import psycopg
from hub.errors import HubError
from hub.settings import Settings
from tests.fakes.till import till

folder, url, kills = json.loads(sys.argv[1])
bills = os.open(Path(folder) / "billed", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

async def main(ready):
    async with till(Settings(data_dir=Path(folder), database_url=url, log_level="error", flush_ms=5)) as made:
        if made.budgets._pool is not None:
            made.budgets._pool._silent_ms = 200
        async def caller():
            while True:
                try:
                    hold = await made.budgets.hold("key_a", 0.002, group="p/m", least=0.001)
                except HubError:
                    await asyncio.sleep(0.005)
                    continue
                await asyncio.sleep(random.random() * 0.002)
                cost = hold.granted * random.uniform(0.5, 1)
                os.write(bills, f"{cost!r}\\n".encode())
                await asyncio.sleep(random.random() * 0.001)
                made.budgets.settle(hold, cost)
        os.write(ready, b"r")
        await asyncio.gather(*(caller() for _ in range(8)))

for number in range(kills):
    heard, ready = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            asyncio.run(main(ready))
        finally:
            os._exit(1)
    os.close(ready)
    assert os.read(heard, 1) == b"r", "the child died by itself"
    os.close(heard)
    time.sleep(random.uniform(0.005, 0.08))
    os.kill(pid, signal.SIGKILL)
    assert os.WIFSIGNALED(os.waitpid(pid, 0)[1])
print("killed", kills)
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Settings]:
    if request.param == "sqlite":
        yield make_settings(tmp_path)
        return
    with postgres_database() as url:
        yield make_settings(tmp_path, url)


async def test_killed_at_thirty_random_moments(settings: Settings) -> None:
    async with till(settings) as made:
        await made.budgets.put("key_a", Budget(daily_limit_usd=LIMIT * 2, weekly_limit_usd=LIMIT))
    asked = json.dumps([str(settings.data_dir), settings.database_url, KILLS])
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", NURSERY, asked, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    said, _ = await asyncio.wait_for(child.communicate(), 100)
    assert said == f"killed {KILLS}\n".encode()
    billed = [float(line) for line in (settings.data_dir / "billed").read_text().split()]
    assert len(billed) > KILLS
    async with till(settings) as made:
        if made.budgets._pool is not None:
            await asyncio.sleep(0.25)  # the time after which the dead are taken for dead; nothing tells of it
            made.budgets._pool._silent_ms = 200
            await made.budgets._pool.reap()
        else:
            assert made.heard("budget.unsettled")  # of the last child
        state = await made.budgets.state("key_a")
        spent = state.windows["weekly"].spent / 1e9
        assert state.held == 0
        assert sum(billed) <= spent + 1e-6
        assert sum(billed) <= LIMIT + 1e-6
        assert spent <= LIMIT + 1e-6
    async with till(settings) as made:  # nothing is counted again
        assert (await made.budgets.state("key_a")).windows["weekly"].spent / 1e9 == spent
        assert not made.heard("budget.unsettled")


async def test_a_journal_that_is_cut_anywhere_counts_what_it_still_says(tmp_path: Path) -> None:
    """Every prefix of the file is what a kill may leave behind: spent and maybe spent are never less than what was settled in it."""
    settings = make_settings(tmp_path)
    path = settings.data_dir / "money.journal"
    async with till(settings) as made:
        await made.budgets.put("key_a", Budget(daily_limit_usd=1.0))
        purse = made.budgets._purse
        assert purse is not None
        start = path.stat().st_size
        for cost in (0.01, 0.02, 0.03):
            hold = await made.budgets.hold("key_a", 0.05, group="g")
            made.budgets.settle(hold, cost)
        await made.budgets.hold("key_a", 0.05, group="g")
        data = path.read_bytes()
        purse._dirty.clear()  # the sums never reach the database: the hub is killed
    ends = [at for at in range(start, len(data) + 1) if data[at - 1 : at] == b"\n"]
    assert len(ends) == 8
    for number, cut in enumerate([*ends, start + 5, len(data) - 5]):
        folder = tmp_path / f"cut{number}"
        shutil.copytree(settings.data_dir, folder)
        (folder / path.name).write_bytes(data[:cut])
        found = Journal(folder / path.name, lambda: ()).read()
        paid = {record[2]: record[4] for record in found.records if record[0] == "d"}
        held = {record[1]: record[3] for record in found.records if record[0] == "h"}
        assert (found.damaged, found.torn) == (0, cut not in ends)
        async with till(settings.model_copy(update={"data_dir": folder})) as made:
            spent = (await made.budgets.state("key_a")).windows["daily"].spent
            assert spent == sum(paid.get(one, amount) for one, amount in held.items())
            assert bool(made.heard("budget.unsettled")) == (len(held) > len(paid))


async def test_a_damaged_line_is_told_and_costs_no_other(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    path = settings.data_dir / "money.journal"
    async with till(settings) as made:
        await made.budgets.put("key_a", Budget(daily_limit_usd=1.0))
        for cost in (0.01, 0.02, 0.04):
            made.budgets.settle(await made.budgets.hold("key_a", 0.05, group="g"), cost)
        data = path.read_bytes()
        assert made.budgets._purse is not None
        made.budgets._purse._dirty.clear()
    lines = data.splitlines(keepends=True)
    place = next(number for number, line in enumerate(lines) if b'"h"' in line and number > 3)
    lines[place] = lines[place].replace(b'"h"', b'"x"')
    path.write_bytes(b"".join(lines))
    async with till(settings) as made:
        assert (await made.budgets.state("key_a")).windows["daily"].spent == 70_000_000
        assert made.heard("budget.journal_damaged") == [{"lines": 1}]
    assert path.stat().st_mode & 0o777 == 0o600
