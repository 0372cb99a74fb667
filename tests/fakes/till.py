"""A hub's budgets without the hub around them, and calls that cost what a provider would bill."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hub.clock import Clock
from hub.errors import BudgetSpent
from hub.events import Events
from hub.money.budgets import Budgets
from hub.preferences import PreferenceStore
from hub.store import Store

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator

    from hub.settings import Settings


@dataclass
class Till:
    """Budgets over a store of their own."""

    store: Store
    budgets: Budgets
    events: Events
    preferences: PreferenceStore

    def heard(self, kind: str) -> list[dict[str, object]]:
        """The data of every event of a kind so far."""
        return [event.data for event in self.events.recent if event.kind == kind]


@asynccontextmanager
async def till(settings: Settings, clock: Clock | None = None) -> AsyncIterator[Till]:
    """An open till; closed in order at the end."""
    clock = clock or Clock()
    store = Store(settings, clock)
    events, preferences = Events(clock), PreferenceStore(store.values)
    budgets = Budgets(store, clock, events, lambda: preferences.current)
    await store.open()
    try:
        preferences.refresh()
        store.on_change(preferences.refresh)
        await budgets.open()
        yield Till(store, budgets, events, preferences)
    finally:
        await budgets.close()
        await store.close()


@dataclass
class Billed:
    """What providers truly billed for the calls of one key, and how calls ended."""

    spent: float = 0.0
    ok: int = 0
    failed: int = 0
    cancelled: int = 0
    refused: int = 0
    seen: list[float] = field(default_factory=list[float])


async def call(budgets: Budgets, key: str, group: str, billed: Billed, chance: random.Random, *, bound: float, over: float) -> None:
    """One call as the engine makes it: hold, cut to what is granted, spend, settle.

    One in ten fails at no cost, one in ten is cancelled half way; what it costs is up to ``over`` times the estimate.
    """
    fate = chance.random()
    try:
        hold = await budgets.hold(key, bound, group=group, least=bound / 10)
    except BudgetSpent:
        billed.refused += 1
        return
    await asyncio.sleep(0 if fate < 0.5 else 0.0005)
    cost = hold.granted * over * chance.uniform(0.8, 1.0)
    if fate < 0.1:
        billed.failed += 1
        budgets.release(hold)
    elif fate < 0.2:
        billed.cancelled += 1
        billed.spent += cost / 2
        budgets.settle(hold, cost / 2, complete=False)
    else:
        billed.ok += 1
        billed.spent += cost
        budgets.settle(hold, cost)
