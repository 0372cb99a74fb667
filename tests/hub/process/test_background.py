"""Work that is done again and again."""

from __future__ import annotations

import asyncio

import pytest

from hub.errors import Unavailable
from hub.process.background import Regularly

pytestmark = pytest.mark.anyio


async def test_the_loop_outlives_what_fails_and_ends_once() -> None:
    """A fault of the hub's own, of the disk, and of nobody's making: each is logged, and the work goes on."""
    faults = [Unavailable("gone"), OSError("full"), RuntimeError("odd")]
    again, calls = asyncio.Event(), 0

    async def work() -> None:
        nonlocal calls
        calls += 1
        if calls > len(faults):
            again.set()
            await asyncio.Event().wait()
        raise faults[calls - 1]

    loop = Regularly("the work", work, every=0.0)
    assert await loop.close() is False
    assert loop.start() is True
    assert loop.start() is False
    await asyncio.wait_for(again.wait(), 5)
    assert await loop.close() is True
    assert await loop.close() is False
    assert calls == len(faults) + 1


async def test_the_first_time_has_a_pause_of_its_own() -> None:
    done = asyncio.Event()

    async def work() -> None:
        done.set()

    loop = Regularly("the work", work, every=60.0, first=0.0)
    loop.start()
    await asyncio.wait_for(done.wait(), 5)
    await loop.close()
