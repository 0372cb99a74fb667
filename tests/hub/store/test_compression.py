"""Rows of compression on both databases: sums by everything, outputs that are kept in bounds and for a time, retention."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hub.preferences import Retention as Kept
from hub.retention import Retention
from hub.store.compression import MOST_OUTPUTS, CompressionRow

if TYPE_CHECKING:
    from hub.store import Store
    from tests.hub.store.conftest import HeldClock

pytestmark = pytest.mark.anyio

_HOUR_MS, _DAY_MS = 3_600_000, 86_400_000


def row(at: int, **fields: Any) -> CompressionRow:
    plain: dict[str, Any] = {
        "at": at, "request_id": "r", "key_id": "k1", "key_name": "one", "provider": "p", "model": "m", "combo": "", "mode": "stacked",
        "source": "default", "compression_combo": "default-caveman", "original": 1000, "compressed": 600, "duration_us": 2000,
        "usd_saved": 0.5, "fallback": False, "terse": False, "prompt": 700, "output": 50, "cache_read": 10, "cache_write": 5,
        "receipt": True, "engines": {"rtk": 300, "caveman": 100},
    }  # fmt: skip
    return CompressionRow(**{**plain, **fields})


async def test_sums_by_everything(store: Store, clock: HeldClock) -> None:
    log, now = store.compression, clock.now
    log.add(row(now))
    log.add(row(now - _HOUR_MS, key_id="k2", key_name="two\x00", mode="lite", engines={"lite": 10}, compressed=990, usd_saved=None))
    log.add(row(now - 3 * _DAY_MS, compression_combo="", receipt=False, fallback=True, engines={}, compressed=1000, usd_saved=float("nan")))
    total = await log.totals(0)
    assert {name: total[name] for name in ("count", "shorter", "original", "compressed", "fallbacks", "receipts", "prompt")} == {
        "count": 3, "shorter": 2, "original": 3000, "compressed": 2590, "fallbacks": 1, "receipts": 2, "prompt": 1400,
    }  # fmt: skip
    assert total["usd_saved"] == 0.5  # what nobody knows adds nothing
    assert (await log.totals(now - _DAY_MS))["count"] == 2
    assert (await log.totals(0, combo="default-caveman"))["count"] == 2
    by_mode = await log.grouped("mode", 0)
    assert [(one["key"], one["count"]) for one in by_mode] == [("stacked", 2), ("lite", 1)]
    assert [(one["key"], one["key_name"]) for one in await log.grouped("key_id", 0)] == [("k1", "one"), ("k2", "two\ufffd")]
    days = await log.grouped("day", 0)
    assert [one["count"] for one in days] == [1, 2]
    assert days[1]["key"] == now // _DAY_MS
    assert len(await log.grouped("hour", 0)) == 3
    assert [(one["engine"], one["count"], int(one["saved"])) for one in await log.engines(0)] == [
        ("rtk", 1, 300),
        ("caveman", 1, 100),
        ("lite", 1, 10),
    ]
    assert await log.engines(0, combo="none") == []
    none = await log.totals(now + 1)
    assert (none["count"], none["original"], none["usd_saved"]) == (0, 0, None)


async def test_outputs_are_bounded_and_end(store: Store, clock: HeldClock) -> None:
    log = store.compression
    log.keep("a" * 24, "k1", "sealed", hours=24)
    assert await log.output("a" * 24) == ("k1", "sealed")
    for number in range(MOST_OUTPUTS + 5):
        clock.now += 1
        log.keep(f"{number:024}", "k1", "x", hours=24)
    log.keep("b" * 24, "k2", "y", hours=24)
    assert await log.output("b" * 24) == ("k2", "y")
    assert await log.output("a" * 24) is None  # the oldest of its key made room
    assert await log.output(f"{5:024}") is not None
    clock.now += 25 * _HOUR_MS
    assert await log.output("b" * 24) is None


async def test_retention_takes_them_along(store: Store, clock: HeldClock) -> None:
    log = store.compression
    log.add(row(clock.now - 100 * _DAY_MS))
    log.add(row(clock.now))
    log.keep("a" * 24, "k1", "sealed", hours=1)
    await store.flush()
    clock.now += 2 * _HOUR_MS
    gone = await Retention(store, clock, Kept).sweep()
    assert (gone["compression_runs"], gone["compression_engines"], gone["compression_outputs"]) == (1, 2, 1)
    assert (await log.totals(0))["count"] == 1
