"""Carries batches through vendors' own batch services: sends them, waits for their end, brings the answers home.

What a step needs after a kill is on the disk before the step: that something may have been sent, then the vendor's id. So the next
process looks for what was made instead of making it again. Whatever the vendor does not answer is worked off by the hub itself.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from hub.batches.placing import Unfit
from hub.batches.service import Unsure
from hub.batches.settling import Settling
from hub.engine.flow import Refused
from hub.errors import BudgetExceeded, BudgetSpent, HubError, NotFound
from hub.log import logger
from hub.media.line import Wire
from hub.outbound.base import Timeouts
from hub.store.batches import OPEN

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.batches.placing import Placing
    from hub.batches.service import Service, State
    from hub.clock import Clock
    from hub.money.budgets import Budgets
    from hub.money.spending import Hold
    from hub.outbound.client import Outbound
    from hub.planning.targets import Targets
    from hub.providers.base import Target
    from hub.records import Caller
    from hub.resilience.quota import Quotas
    from hub.store import Store
    from hub.store.batches import Batch, Vendored

log = logger("hub.batches")

#: Seconds between looks at a vendor's batch: the first, and how they grow.
_FIRST_LOOK, _LONGEST_LOOK, _GROWTH = 1.0, 60.0, 1.5
#: Seconds after a fault until the next try; so many tries to send a batch, and so many to see the end of one that is to end.
_FIRST_PAUSE, _LONGEST_PAUSE, _TRIES = 1.0, 300.0, 4
#: Statuses below 500 that pass.
_PASSING = frozenset({401, 403, 408, 409, 425, 429})


class _Watch:
    """A batch that is with a vendor. ``ending`` is how it is to end early, empty while it goes on."""

    __slots__ = ("batch", "ending", "task", "wake")

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.ending = ""
        self.wake = asyncio.Event()
        self.task: asyncio.Task[None] | None = None


class Vendors:
    """One per process. ``poke`` is called when a batch comes home."""

    def __init__(
        self, store: Store, clock: Clock, *, placing: Placing, targets: Targets, budgets: Budgets, outbound: Outbound, quotas: Quotas
    ) -> None:
        settings = store.settings
        self._rows = store.batches
        self._connections = store.connections
        self._targets = targets
        self._clock = clock
        self._placing = placing
        self._settling = Settling(store, clock, placing)
        self._budgets = budgets
        self._outbound = outbound
        self._quotas = quotas
        self._timeouts = Timeouts(settings.connect_timeout, settings.first_byte_timeout, settings.idle_timeout)
        self.poke: Callable[[], None] = lambda: None
        self._watched: dict[str, _Watch] = {}
        #: Batch -> what budgets hold for it, in this process; and how often a step of it failed in a row.
        self._holds: dict[str, Hold] = {}
        self._faults: dict[str, int] = {}
        self._stopping = False

    @property
    def busy(self) -> bool:
        """Whether this process has batches with vendors."""
        return bool(self._watched)

    async def offer(self, batch: Batch, caller: Caller) -> Vendored | None:
        """Where a batch may be worked off by a vendor; None where the hub works it off."""
        return None if self._stopping else await self._placing.offer(batch, caller)

    def see(self, batch: Batch, ending: str) -> None:
        """A batch is with a vendor: go on with it, or end it early."""
        watch = self._watched.get(batch.id)
        if watch is None:
            if self._stopping:
                return
            watch = self._watched[batch.id] = _Watch(batch)
            watch.task = asyncio.get_running_loop().create_task(self._run(watch))
        if ending not in ("", "completed", watch.ending):
            watch.ending = ending
            watch.wake.set()

    def stop(self) -> None:
        """The hub stops: nothing new begins, and nobody waits for a vendor any more."""
        self._stopping = True
        for watch in self._watched.values():
            watch.wake.set()

    async def close(self) -> None:
        """Let go of the batches; the vendors go on, and the next process looks for the answers."""
        self.stop()
        tasks = [watch.task for watch in self._watched.values() if watch.task is not None]
        if tasks:
            _, slow = await asyncio.wait(tasks, timeout=1.0)
            for task in slow:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for batch_id in list(self._holds):
            # Unnoted, a hold that is given back would be taken for one that a kill left.
            with suppress(HubError):
                await self._noted(batch_id, held=False)
                self._budgets.release(self._holds.pop(batch_id))

    async def _run(self, watch: _Watch) -> None:
        """One way through a batch, as far as it comes; what fails is taken up again with a later look."""
        batch_id = watch.batch.id
        try:
            if await self._carried(watch):
                self._faults.pop(batch_id, None)
        except (Refused, Unsure, HubError) as error:
            reason = error.failure.message if isinstance(error, Refused) else str(error)
            log.warning("a vendor's batch does not go on; tried again", batch=batch_id, reason=reason)
            await self._rest(watch)
        except Exception as error:  # the background loop
            log.error("a vendor's batch failed; tried again", batch=batch_id, exc_info=error)
            await self._rest(watch)
        finally:
            self._watched.pop(batch_id, None)
            self.poke()

    async def _rest(self, watch: _Watch) -> None:
        number = self._faults[watch.batch.id] = self._faults.get(watch.batch.id, 0) + 1
        await self._wait(watch, min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(number - 1, 10)))

    async def _wait(self, watch: _Watch, seconds: float) -> None:
        """Wait, unless the batch is to end or the hub stops."""
        if not self._stopping:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await watch.wake.wait()
        watch.wake.clear()

    async def _carried(self, watch: _Watch) -> bool:
        """Bring a batch to its end at the vendor and home; False where the hub stops, or another process does it."""
        if not await self._rows.lease(watch.batch):
            await self._wait(watch, _FIRST_PAUSE)
            return False
        batch = await self._rows.find(watch.batch.id, watch.batch.key_id)
        vendored = batch.facts.vendor if batch is not None and batch.status in OPEN else None
        if batch is None or vendored is None or vendored.over:
            return True  # the look that led here was older
        watch.batch = batch
        try:
            target = self._target(vendored)
        except HubError as error:
            await self._home(batch.id, f"its connection is gone: {error.message}")
            return True
        service = self._placing.service(target)
        if service is None or self._given_up(watch):
            await self._home(batch.id, "its provider's batch service cannot be reached")
            return True
        return await self._through(watch, vendored, service, self._line(target))

    def _given_up(self, watch: _Watch) -> bool:
        """Whether a batch that is to end cannot be ended at the vendor."""
        return bool(watch.ending) and self._faults.get(watch.batch.id, 0) >= _TRIES

    async def _through(self, watch: _Watch, vendored: Vendored, service: Service, line: Wire) -> bool:
        batch = watch.batch
        if not vendored.id:
            try:
                vendored = await self._sent(watch, vendored, service, line)
            except (Unfit, BudgetSpent, BudgetExceeded) as error:
                await self._home(batch.id, str(error))
                return True
        vendored = await self._held_again(batch, vendored, line.target)
        try:
            state = await self._ended(watch, vendored.id, service, line)
        except Refused as refused:
            if refused.failure.status != 404:
                raise
            await self._home(batch.id, "the vendor does not know it any more")
            return True
        if state is None:
            return False
        cost = await self._settling.store(batch, service, line, state.places)
        self._pay(batch, vendored, cost)
        await self._home(batch.id)
        return True

    async def _sent(self, watch: _Watch, vendored: Vendored, service: Service, line: Wire) -> Vendored:
        """The batch with the vendor's id. Raises Unfit where the hub is to work it off, and what budgets and the vendor raise."""
        batch = watch.batch
        # What an earlier attempt made counts, whether its answer came or not.
        found = await service.find(line, batch.id, vendored.began_at) if vendored.began_at else ""
        if not found:
            if watch.ending:
                raise Unfit("it is to end before it was sent")
            if self._faults.get(batch.id, 0) >= _TRIES:
                raise Unfit("the vendor does not take it")
            found = await self._submitted(batch, vendored, service, line)
        return await self._noted(batch.id, id=found)

    async def _submitted(self, batch: Batch, vendored: Vendored, service: Service, line: Wire) -> str:
        ready = await self._placing.write(batch, line.target, service)
        try:
            if not vendored.began_at:
                held = await self._held(batch.id, batch.key_id, line.target, ready.bound)
                await self._noted(batch.id, began_at=self._clock.now_ms(), bound=ready.bound, held=held)
            return await service.submit(line, batch.facts.endpoint, ready.upload, batch.id)
        except Refused as refused:
            status = refused.failure.status
            if not 400 <= status < 500 or status in _PASSING:
                raise
            raise Unfit(f"the vendor refuses it: {refused.failure.message}") from None
        finally:
            ready.upload.remove()

    async def _held(self, batch_id: str, key_id: str, target: Target, bound: float) -> bool:
        """Hold what a batch may cost, where there is a budget. Raises BudgetSpent, BudgetExceeded."""
        if batch_id not in self._holds and self._budgets.limited(key_id):
            group = f"{target.provider.id}/{target.model} batch"
            self._holds[batch_id] = await self._budgets.hold(key_id, bound, group=group, least=bound)
        return batch_id in self._holds

    async def _held_again(self, batch: Batch, vendored: Vendored, target: Target) -> Vendored:
        """Hold it anew after a stop that gave it back. Where the money is gone meanwhile, it is charged in the end: it is owed."""
        if vendored.held:
            return vendored
        try:
            held = await self._held(batch.id, batch.key_id, target, vendored.bound)
        except (BudgetSpent, BudgetExceeded) as error:
            log.warning("the budget does not cover a batch that is with its vendor", batch=batch.id, reason=error.message)
            return vendored
        return await self._noted(batch.id, held=True) if held else vendored

    async def _ended(self, watch: _Watch, vendor_id: str, service: Service, line: Wire) -> State | None:
        """The last state of a vendor's batch; None where the hub stops before."""
        pause, cancelled = _FIRST_LOOK, False
        while not self._stopping:
            if watch.ending and not cancelled:
                await self._cancelled(vendor_id, service, line)
                pause, cancelled = _FIRST_LOOK, True
            state = await service.state(line, vendor_id)
            self._faults.pop(watch.batch.id, None)
            if state.over:
                return state
            await self._wait(watch, pause)
            pause = min(_LONGEST_LOOK, pause * _GROWTH)
        return None

    async def _cancelled(self, vendor_id: str, service: Service, line: Wire) -> None:
        """Have a vendor's batch end. One that is over already refuses that."""
        try:
            await service.cancel(line, vendor_id)
        except Refused as refused:
            if not 400 <= refused.failure.status < 500:
                raise

    def _pay(self, batch: Batch, vendored: Vendored, cost: float | None) -> None:
        """Settle what was held. What a kill left held has been counted as spent by the budgets already."""
        hold = self._holds.pop(batch.id, None)
        if hold is not None:
            self._budgets.settle(hold, cost, complete=False)
        elif not vendored.held:
            self._budgets.charge(batch.key_id, cost)

    async def _home(self, batch_id: str, why: str = "") -> None:
        """From here on a batch is the hub's own; what nothing came of is worked off by it."""
        if why:
            log.warning("a batch is worked off by the hub itself", batch=batch_id, reason=why)
        hold = self._holds.pop(batch_id, None)
        if hold is not None:
            self._budgets.release(hold)
        self._faults.pop(batch_id, None)
        await self._noted(batch_id, over=True)

    async def _noted(self, batch_id: str, **changes: Any) -> Vendored:
        """Write down how far a batch is with its vendor, on the disk when this returns. Raises NotFound for one that is over."""
        noted: list[Vendored] = []

        def edit(one: Batch) -> None:
            if one.facts.vendor is not None:
                for name, value in changes.items():
                    setattr(one.facts.vendor, name, value)
                noted.append(one.facts.vendor)

        await self._rows.change(batch_id, OPEN, edit)
        if not noted:
            raise NotFound(f"{batch_id} is over", field="id")
        return noted[-1]

    def _target(self, vendored: Vendored) -> Target:
        """Where a batch is. Raises NotFound, BadRequest for a connection that lacks something now."""
        return self._targets.get(self._connections.get(vendored.connection), vendored.model)

    def _line(self, target: Target) -> Wire:
        monotonic = self._clock.monotonic
        return Wire(
            target,
            outbound=self._outbound,
            quotas=self._quotas,
            now_ms=self._clock.now_ms,
            timeouts=self._timeouts,
            taken=lambda usage, units: None,
            monotonic=monotonic,
            until=float("inf"),
        )
