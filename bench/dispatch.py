"""What the registry itself costs: ``hub.call`` on a skill that does nothing, in this process."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import Field

from hub.call import Hub
from hub.context import Context
from hub.records import Caller
from hub.registry import Skills
from hub.settings import Settings
from hub.skill import CostClass, skill
from hub.wire import Wire

CALLS = 5000


class Ask(Wire):
    """A small input."""

    name: str = Field(description="Any text.")
    count: int = Field(default=1, description="Any number.")


class Answer(Wire):
    """A small output."""

    text: str


@skill("bench-nothing", scopes=["read:health"], cost=CostClass.FREE, read_only=True)
async def nothing(ctx: Context, ask: Ask) -> Answer:
    """Answer at once."""
    return Answer(text=ask.name)


async def _microseconds(rounds: int) -> tuple[float, float]:
    with TemporaryDirectory() as folder:
        hub = Hub(Settings(data_dir=Path(folder)), skills=Skills({nothing.name: nothing}))
        await hub.open()
        caller = Caller.owner()
        try:
            bare = min([await _round(hub, caller, direct=True) for _ in range(rounds)])
            return min([await _round(hub, caller, direct=False) for _ in range(rounds)]), bare
        finally:
            await hub.close()


async def _round(hub: Hub, caller: Caller, *, direct: bool) -> float:
    began = time.thread_time_ns()
    for _ in range(CALLS):
        ctx = hub.context(caller, "bench")
        if direct:
            await nothing.run(ctx, Ask(name="x", count=2))
        else:
            await hub.call(nothing, {"name": "x", "count": 2}, ctx)
    taken = time.thread_time_ns() - began
    await hub.store.flush()
    return taken / CALLS / 1000


def dispatch(rounds: int = 3) -> tuple[float, float]:
    """CPU microseconds of one call through the registry (validation and audit row included), and of the bare function."""
    return asyncio.run(_microseconds(rounds))


if __name__ == "__main__":
    through, bare = dispatch()
    print(f"{through:.1f} us through the registry, {bare:.1f} us bare")
