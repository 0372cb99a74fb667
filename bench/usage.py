"""``python -m bench.usage``: the usage page over ten million rows, and pruning them while inserts go on (REL-24)."""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from hub.call import Hub
from hub.chat import Usage
from hub.records import Caller, UsageRow
from hub.settings import Settings
from hub.store import columns

ROWS = 10_000_000
DAYS = 120
PAGE_LIMIT_MS = 300.0
PRUNE_SECONDS = 20.0
_HOUR = 3_600_000

_FILL = """
WITH RECURSIVE n(i) AS (SELECT ? UNION ALL SELECT i + 1 FROM n WHERE i < ?)
INSERT INTO usage ({names})
SELECT printf('u%012x', i), printf('req_%012x', i), ? + i * ?, 'openai', 'chat', 'key_' || (i * 7 % 20), 'key ' || (i * 7 % 20),
  CASE i % 3 WHEN 0 THEN 'openai' WHEN 1 THEN 'anthropic' ELSE 'groq' END,
  CASE WHEN i % 100003 = 0 THEN 'rare' ELSE 'model-' || (i % 4) END, 'auto', 'con_' || (i % 6),
  100 + i % 900, 0, 0, 0, 50 + i % 300, 0, 0, 0.001, 'catalog', CASE WHEN i % 97 = 0 THEN 502 ELSE 200 END,
  CASE WHEN i % 97 = 0 THEN 'error' ELSE 'ok' END, 200 + i % 3000, 20, 1, 0, '', '', '', 'upstream', '', 0
FROM n
"""
_DIMENSIONS = "key_id, provider, model, connection_id, combo, source"
_SUM = """
INSERT INTO {table} SELECT at / {size}, {dimensions}, MAX(key_name), COUNT(*), SUM(outcome = 'error'), SUM(outcome = 'cancelled'),
  SUM(fallbacks), SUM(cost IS NULL), SUM(COALESCE(cost, 0)), SUM(input), SUM(cache_read), SUM(cache_write), SUM(output), SUM(reasoning),
  SUM(latency_ms), MAX(at) FROM usage GROUP BY 1, {dimensions}
"""
_SUM_DAYS = """
INSERT INTO usage_days SELECT hour / 24, {dimensions}, MAX(key_name), SUM(requests), SUM(errors), SUM(cancelled), SUM(fallbacks),
  SUM(unpriced), SUM(cost), SUM(input), SUM(cache_read), SUM(cache_write), SUM(output), SUM(reasoning), SUM(latency_ms), MAX(last_at)
  FROM usage_hours GROUP BY 1, {dimensions}
"""


def build(path: Path, rows: int, now_ms: int) -> None:
    """Fill an existing, closed database with usage spread evenly over the last :data:`DAYS` days."""
    step = DAYS * 24 * _HOUR // rows
    link = sqlite3.connect(path, isolation_level=None)
    for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-400000", "temp_store=MEMORY", "locking_mode=EXCLUSIVE"):
        link.execute(f"PRAGMA {pragma}")
    indexes = link.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'usage' AND sql IS NOT NULL").fetchall()
    for name, _ in indexes:
        link.execute(f"DROP INDEX {name}")
    link.execute("BEGIN")
    link.execute(_FILL.format(names=", ".join(columns.USAGE)), (0, rows - 1, now_ms - rows * step, step))
    link.execute(_SUM.format(table="usage_hours", size=_HOUR, dimensions=_DIMENSIONS))
    link.execute(_SUM_DAYS.format(dimensions=_DIMENSIONS))
    for _, sql in indexes:
        link.execute(sql)
    link.execute("COMMIT")
    link.close()


async def pages(hub: Hub, rounds: int) -> dict[str, float]:
    """Milliseconds of the usage page and of filtered lists, the lowest and the highest round of each."""
    asks = {
        "usage page (history + first logs)": (("usage-history", {}), ("usage-logs", {"format": "json"})),
        "history alone": (("usage-history", {}),),
        "logs of one key": (("usage-logs", {"format": "json", "key": "key_3"}),),
        "logs of a rare model": (("usage-logs", {"format": "json", "model": "rare"}),),
        "logs of errors": (("usage-logs", {"format": "json", "outcome": "error"}),),
        "logs of a status": (("usage-logs", {"format": "json", "status": 502, "provider": "groq"}),),
        "cost report of a year": (("cost-report", {"period": "year"}),),
    }
    taken: dict[str, float] = {}
    for name, calls in asks.items():
        found: list[float] = []
        for _ in range(rounds):
            began = time.perf_counter()
            for skill, data in calls:
                await hub.call(hub.find(skill), data, hub.context(Caller.owner(), "bench"))
            found.append((time.perf_counter() - began) * 1000)
        taken[f"{name}, first"], taken[f"{name}, again"] = found[0], min(found[1:])
    return taken


def _row(number: int, now_ms: int) -> UsageRow:
    return UsageRow(
        request_id=f"req_new{number}", at=now_ms, door="openai", skill="chat", key_id="key_1", key_name="key 1", provider="openai",
        model="model-1", requested_model="auto", connection_id="con_1", usage=Usage(input=100, output=50), cost=0.001,
        price_source="catalog", status=200, outcome="ok", latency_ms=500,
    )  # fmt: skip


async def prune(hub: Hub, seconds: float) -> dict[str, float]:
    """Prune while rows come in: rows deleted a second, and the longest that one flush of new rows took."""
    store = hub.store
    began = time.perf_counter()
    task = asyncio.create_task(hub.retention.sweep())
    stalls: list[float] = []
    number = 0
    first = await _oldest(hub)
    before = (await store.usage.find(limit=1)).total
    while time.perf_counter() - began < seconds and not task.done():
        for _ in range(20):
            store.usage.add(_row(number, hub.clock.now_ms()))
            number += 1
        at = time.perf_counter()
        await store.flush()
        stalls.append((time.perf_counter() - at) * 1000)
        await asyncio.sleep(0.02)
    taken = time.perf_counter() - began
    task.cancel()
    await asyncio.wait([task])
    gone = before + number - (await store.usage.find(limit=1)).total
    stalls.sort()
    return {
        "rows pruned a second": gone / taken,
        "rows inserted a second meanwhile": number / taken,
        "write stall, median ms": stalls[len(stalls) // 2],
        "write stall, p99 ms": stalls[int(0.99 * (len(stalls) - 1))],
        "write stall, longest ms": stalls[-1],
        "days the oldest row moved": (await _oldest(hub) - first) / 86_400_000,
    }


async def _oldest(hub: Hub) -> int:
    return (await hub.store._database.read(lambda link: link.run("SELECT MIN(at) AS at FROM usage")))[0]["at"]


async def measure(rows: int = ROWS, rounds: int = 3) -> list[str]:
    """Build, measure, and return the printed lines."""
    lines: list[str] = []
    with TemporaryDirectory() as folder:
        settings = Settings(data_dir=Path(folder))
        await _open_and_close(settings)
        path = Path(folder) / "hubroute.db"
        began = time.perf_counter()
        await asyncio.to_thread(build, path, rows, time.time_ns() // 1_000_000)
        lines.append(_line(f"build {rows:,} rows, s", time.perf_counter() - began))
        lines.append(_line("file, MiB", path.stat().st_size / 2**20))
        began = time.perf_counter()
        hub = Hub(settings)
        await hub.open()
        lines.append(_line("open, s", time.perf_counter() - began))
        try:
            for name, value in (await pages(hub, rounds)).items():
                lines.append(_line(f"{name}, ms", value, PAGE_LIMIT_MS))
            for name, value in (await prune(hub, PRUNE_SECONDS)).items():
                lines.append(_line(name, value))
        finally:
            await hub.close()
    return lines


async def _open_and_close(settings: Settings) -> None:
    hub = Hub(settings)
    await hub.open()
    await hub.close()


def _line(name: str, value: float, limit: float | None = None) -> str:
    aim = f"{limit:>8.0f}{'  over' if value > limit else ''}" if limit else ""
    return f"{name:44}{value:10.1f}{aim}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.usage", description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS, help="rows of the usage table")
    print("\n".join(asyncio.run(measure(parser.parse_args().rows))))


if __name__ == "__main__":
    main()
