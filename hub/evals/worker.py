"""The background work of evals and assessments: each run is worked on by one process, and by the next one when that dies.

The pieces of a run are done several at once; each result is stored when it is there. A process that takes a run over does the pieces
that have none: only what was under way when the other died is done again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from hub.errors import HubError
from hub.log import logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence

    from hub.clock import Clock
    from hub.events import Events
    from hub.store import Store
    from hub.store.runs import Assessed, Run

log = logger("hub.evals")
T = TypeVar("T")

_LEASE_MS, _BEAT_SECONDS = 12_000, 3.0
#: Seconds between two looks at runs, with and without one that is not over, where other processes may change them.
_BUSY_SECONDS, _IDLE_SECONDS = 0.5, 5.0
#: How often a result is offered to a database that is away, and seconds between two events of a run.
_STORE_TRIES, _TELL_SECONDS = 12, 2.0
#: Runs that one process works on at once.
MOST_AT_ONCE = 4


class Stop(Exception):
    """Ends a run early: its reason is kept with what was found so far."""


class Pieces(Protocol):
    """What is left of a run. Made by the :class:`Kind` for one process that works on it."""

    at_once: int

    async def piece(self, seq: int) -> tuple[str, Assessed | None]:
        """Do one piece and give its result as JSON. Raises Stop; what else it raises fails the run."""
        ...


class Kind(Protocol):
    """A kind of run."""

    async def begin(self, run: Run, work: str, results: list[tuple[int, str]]) -> Pieces:
        """Make ready to work on a run that has these results already. Raises HubError or Stop where it cannot be."""
        ...

    def sums(self, run: Run, results: list[tuple[int, str]], error: str) -> str:
        """What a run that is over found, as JSON."""
        ...


class Worker:
    """Works runs off. Used on the event loop only."""

    def __init__(self, store: Store, clock: Clock, events: Events, kinds: Mapping[str, Kind]) -> None:
        self._rows = store.runs
        self._alone = not store.postgres
        self._clock = clock
        self._events = events
        self._kinds = kinds
        self._wake = asyncio.Event()
        self._moved = asyncio.Event()
        self._loops: list[asyncio.Task[None]] = []
        self._running: dict[str, asyncio.Task[None]] = {}
        self._told: dict[str, float] = {}
        self._stopping = False

    async def open(self) -> None:
        """Begin to work. Alone with the database, what a stopped process left is free at once."""
        if self._alone:
            await self._rows.free()
        loop = asyncio.get_running_loop()
        self._loops = [loop.create_task(self._work()), loop.create_task(self._beat())]

    def poke(self) -> None:
        """Something changed: look at once."""
        self._wake.set()

    def stop(self) -> None:
        """The hub stops: nothing new begins."""
        self._stopping = True

    async def close(self) -> None:
        """End the work and give the runs back; another process, or the next start, goes on with them."""
        self.stop()
        tasks = [*self._loops, *self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._loops = []
        with suppress(HubError):
            await self._rows.leave()

    async def over(self, run_ids: Sequence[str], seconds: float, tell: Callable[[int], Awaitable[None]] | None = None) -> bool:
        """Wait until runs are over, so long at most; whether they are. ``tell`` hears now and then how many pieces are left."""
        deadline = self._clock.monotonic() + seconds
        while True:
            self._moved.clear()
            left = [one for one in await self._rows.open() if one.id in run_ids]
            if tell is not None:
                await tell(sum(one.total - one.done for one in left))
            wait = deadline - self._clock.monotonic()
            if not left or wait <= 0:
                return not left
            with suppress(TimeoutError):
                async with asyncio.timeout(min(wait, _BUSY_SECONDS)):
                    await self._moved.wait()

    async def _work(self) -> None:
        wait: float | None = 0.0
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._wake.wait()
            self._wake.clear()
            wait = _IDLE_SECONDS
            try:
                wait = await self._round()
            except HubError as error:
                log.warning("runs cannot be looked at; tried again", reason=error.message)
            except Exception as error:  # the background loop
                log.error("looking at runs failed", exc_info=error)

    async def _beat(self) -> None:
        """Say that this process works on its runs."""
        while True:
            await asyncio.sleep(_BEAT_SECONDS)
            if self._running:
                with suppress(HubError):
                    await self._rows.renew(self._clock.now_ms() + _LEASE_MS)

    async def _round(self) -> float | None:
        """Look at every open run once; seconds until the next look, None where only this process could make one."""
        runs = await self._rows.open()
        for run in runs:
            mine = self._running.get(run.id)
            if mine is not None:
                if run.status == "cancelling" and not mine.cancelling():
                    mine.cancel()
            elif len(self._running) < MOST_AT_ONCE and not self._stopping:
                await self._take(run)
        if self._alone:
            return None
        return _BUSY_SECONDS if runs else _IDLE_SECONDS

    async def _take(self, run: Run) -> None:
        if await self._rows.lease(run.id, self._clock.now_ms() + _LEASE_MS):
            task = asyncio.get_running_loop().create_task(self._drive(run))
            self._running[run.id] = task
            task.add_done_callback(lambda _: self._left(run.id))

    def _left(self, run_id: str) -> None:
        self._running.pop(run_id, None)
        self._told.pop(run_id, None)
        self._moved.set()
        self.poke()

    async def _drive(self, run: Run) -> None:
        """Work on a run to its end. A cancelled run ends here, a process that stops leaves it open."""
        kind = self._kinds[run.kind]
        status, error = "completed", ""
        try:
            if run.status == "cancelling":
                status = "cancelled"
            else:
                await self._pieces(run, kind)
        except asyncio.CancelledError:
            if self._stopping:
                raise
            status = "cancelled"
        except Stop as stop:
            status, error = "stopped", str(stop)
        except HubError as fault:
            status, error = "failed", fault.message
        except Exception as fault:
            log.error("a run failed", run=run.id, exc_info=fault)
            status, error = "failed", f"the hub failed; its log has the cause under {run.id}"
        try:
            results = await self._rows.results(run.id)
            await self._rows.end(run.id, status, kind.sums(run, results, error))
        except HubError as fault:
            log.warning("a run cannot be ended; tried again", run=run.id, reason=fault.message)
            await asyncio.sleep(_IDLE_SECONDS)
            return
        self._events.emit(f"{run.kind}.ended", run=run.id, status=status, total=run.total, done=len(results))

    async def _pieces(self, run: Run, kind: Kind) -> None:
        results = await self._rows.results(run.id)
        done = {seq for seq, _ in results}
        waiting = deque(seq for seq in range(run.total) if seq not in done)
        if not waiting:
            return
        work = await kind.begin(run, await self._rows.work(run.id), results)

        async def lane() -> None:
            while waiting:
                seq = waiting.popleft()
                result, assessed = await work.piece(seq)
                await self._keep(run, seq, result, assessed)

        await together([lane() for _ in range(min(work.at_once, len(waiting)))])

    async def _keep(self, run: Run, seq: int, result: str, assessed: Assessed | None) -> None:
        """Store a result that was paid for, also when the database is away for a moment. Raises its HubError in the end."""
        for tried in range(1, _STORE_TRIES + 1):
            try:
                await self._rows.add(run.id, seq, result, assessed)
                break
            except HubError as error:
                if tried == _STORE_TRIES:
                    raise
                log.warning("a result cannot be stored; tried again", run=run.id, reason=error.message)
                await asyncio.sleep(_IDLE_SECONDS)
        now = self._clock.monotonic()
        if now - self._told.get(run.id, 0.0) >= _TELL_SECONDS:
            self._told[run.id] = now
            self._events.emit(f"{run.kind}.progress", run=run.id, total=run.total)


async def together(work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Do all of these at once; the first error ends the others and is raised once they have ended."""
    tasks = [asyncio.get_running_loop().create_task(one) for one in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
