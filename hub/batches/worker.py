"""Works batches off: takes items under a lease, asks the door for each, so many of a provider at once, and ends what is done.

Every process with doors works; on PostgreSQL they share a batch. A process that dies leaves leases that run out, and its items are
taken by another, or by itself when it is back.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio.to_thread
import orjson

from hub.batches import held, output
from hub.batches.door import Reply
from hub.batches.lines import body_of
from hub.batches.results import Results
from hub.errors import BudgetSpent, HubError, NotConfigured, NotFound, openai_body
from hub.log import logger
from hub.records import Caller
from hub.store.batches import OPEN, Back, Result

if TYPE_CHECKING:
    from pathlib import Path

    from hub.batches.door import Door
    from hub.batches.vendors import Vendors
    from hub.clock import Clock
    from hub.events import Events
    from hub.files import Files
    from hub.records import UsageRow
    from hub.store import Store
    from hub.store.batches import Batch, Item
    from hub.uploads import Spool

log = logger("hub.batches")

#: How often a lease is renewed while it lasts.
_BEATS = 4
#: Looks at the batches: while some are open, and while none is (another process may have made one).
_BUSY_SECONDS, _IDLE_SECONDS = 0.5, 3.0
#: So many times as many items as run at once are taken, so that none waits for the database.
_AHEAD = 4
#: Lines up to this size are read when they are taken, in bytes; larger ones when it is their turn.
_SMALL = 64 * 1024
#: A budget that is whole again within so many seconds is waited for.
_SOON = 60.0
_LONGEST_PAUSE = 300.0
#: A provider that fails is tried so often; one that is busy, until the batch's time is over.
_TRIES = 4
_TELL_SECONDS = 5.0


class _Taken:
    """An item with what is needed to run it."""

    __slots__ = ("batch", "category", "item", "text")

    def __init__(self, batch: Batch, category: str, item: Item, text: bytes) -> None:
        self.batch = batch
        self.category = category
        self.item = item
        self.text = text


class Worker:
    """One per process. ``most`` is how many items of a provider run at once."""

    def __init__(
        self, store: Store, files: Files, spool: Spool, clock: Clock, events: Events, *, most: int, patience: float, vendors: Vendors
    ) -> None:
        self._rows = store.batches
        self._keys = store.keys
        self._usage = store.usage
        self._alone = not store.postgres
        self._files = files
        self._spool = spool
        self._clock = clock
        self._events = events
        self._most = most
        self._patience = patience
        self._vendors = vendors
        vendors.poke = self.poke
        self._results = Results(self._rows)
        #: Answers the items; without it nothing is worked off.
        self.door: Door | None = None
        self._wake = asyncio.Event()
        self._loops: list[asyncio.Task[None]] = []
        self._ready: dict[str, deque[_Taken]] = {}
        self._running: dict[asyncio.Task[None], _Taken] = {}
        self._busy: Counter[str] = Counter()
        self._ending: dict[str, asyncio.Task[None]] = {}
        self._told: dict[str, float] = {}
        self._stopping = False

    async def open(self) -> None:
        """Begin to work, once there are doors. Alone with the database, what a stopped process left is free at once."""
        if self._alone:
            await self._rows.free()
        loop = asyncio.get_running_loop()
        self._loops = [loop.create_task(self._work()), loop.create_task(self._beat())]

    def poke(self) -> None:
        """Something changed: look at once."""
        self._wake.set()

    def stop(self) -> None:
        """The hub stops: what runs may end, nothing new begins."""
        self._stopping = True
        self._vendors.stop()

    async def close(self) -> None:
        """Let what runs end, within the time that a stop may take; give back what is left."""
        self.stop()
        if under_way := [*self._running, *self._ending.values()]:
            await asyncio.wait(under_way, timeout=self._patience)
        for task in [*self._running, *self._ending.values(), *self._loops]:
            task.cancel()
        await asyncio.gather(*self._running, *self._ending.values(), *self._loops, return_exceptions=True)
        for taken in [one for queue in self._ready.values() for one in queue]:
            self._back(taken, 0.0, taken.item.tries)
        await self._results.close()
        await self._vendors.close()
        if self._loops:
            # Another process need not wait for the leases of one that has stopped in order.
            with suppress(HubError):
                await self._rows.free(self._rows.owner)

    def drop(self, batch_id: str) -> list[asyncio.Task[None]]:
        """End what runs of a batch and give back what waits; the tasks that end."""
        for category, queue in self._ready.items():
            for taken in [one for one in queue if one.batch.id == batch_id]:
                self._back(taken, 0.0, taken.item.tries)
            self._ready[category] = deque(one for one in queue if one.batch.id != batch_id)
        tasks = [task for task, taken in self._running.items() if taken.batch.id == batch_id]
        for task in tasks:
            task.cancel()
        return tasks

    async def _work(self) -> None:
        wait: float | None = 0.0
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._wake.wait()
            self._wake.clear()
            wait = _IDLE_SECONDS
            try:
                if self.door is not None:
                    wait = await self._round()
            except HubError as error:
                log.warning("batches cannot be looked at; tried again", reason=error.message)
            except Exception as error:  # the background loop
                log.error("looking at batches failed", exc_info=error)

    async def _beat(self) -> None:
        """Say that this process works on what it took."""
        while True:
            await asyncio.sleep(self._rows.lease_seconds / _BEATS)
            if self._running or self._ending or self._vendors.busy or any(self._ready.values()):
                with suppress(HubError):
                    await self._rows.renew()

    async def _round(self) -> float | None:
        """Look at every open batch once; seconds until the next look, None where only this process could make one."""
        batches = await self._rows.worked_on()
        going: list[Batch] = []
        for batch in batches:
            found = await self._moved(batch) if batch.id not in self._ending else None
            if found is not None:
                going.append(found)
        await self._fill_all(going)
        if batches:
            return _BUSY_SECONDS
        return None if self._alone else _IDLE_SECONDS

    async def _fill_all(self, batches: list[Batch]) -> None:
        for category in {category for batch in batches for category in batch.facts.categories}:
            if not self._stopping:
                await self._fill(category, [batch for batch in batches if category in batch.facts.categories])

    async def _moved(self, batch: Batch) -> Batch | None:
        """Bring a batch to its next state; itself while there are items to work on."""
        if batch.status == "validating":
            return await self._begun(batch)
        ending = self._ending_of(batch)
        if batch.facts.vendor is not None and not batch.facts.vendor.over:
            self._vendors.see(batch, ending)
            self._tell(batch)
            return None
        if not ending:
            self._tell(batch)
            return batch
        self._ending[batch.id] = asyncio.get_running_loop().create_task(self._end(batch, ending))
        return None

    async def _begun(self, batch: Batch) -> Batch | None:
        """Begin a batch: its items are worked on here, or given to a vendor (then None)."""
        caller = self._caller(batch.key_id)
        vendored = await self._vendors.offer(batch, caller) if caller is not None else None

        def begin(one: Batch) -> None:
            self._states(one, "in_progress")
            one.facts.vendor = vendored

        moved = await self._rows.change(batch.id, ["validating"], begin)
        self._tell(moved or batch, at_once=True)
        return moved if vendored is None else None

    def _ending_of(self, batch: Batch) -> str:
        """How a batch ends, empty while it goes on."""
        if batch.status == "cancelling":
            return "cancelled"
        if batch.completed + batch.failed >= batch.total:
            return "completed"
        if self._caller(batch.key_id) is None:
            return "failed"
        return "expired" if self._clock.now_ms() >= batch.expires_at else ""

    def _states(self, batch: Batch, status: str) -> None:
        batch.status = status
        batch.facts.times[f"{status}_at"] = self._clock.now_ms()

    def _caller(self, key_id: str) -> Caller | None:
        """Who a batch is worked off for, as the key is now; None when it was revoked, expired or deleted."""
        owner = Caller.owner()
        if key_id == owner.key_id:
            return owner
        key = self._keys.valid(key_id)
        return None if key is None else Caller.of(key)

    async def _end(self, batch: Batch, ending: str) -> None:
        """End a batch, once nobody works on it any more. What fails is tried again with the next look."""
        try:
            dropped = self.drop(batch.id)
            if dropped:
                await asyncio.wait(dropped)
            await self._results.settle()
            if ending != "completed" and await self._rows.elsewhere(batch.id):
                await asyncio.sleep(_BUSY_SECONDS)
                return
            if await self._rows.lease(batch):
                await self._finish(batch, ending)
            else:
                await asyncio.sleep(_BUSY_SECONDS)
        except HubError as error:
            log.warning("a batch cannot be ended; tried again", batch=batch.id, reason=error.message)
            await asyncio.sleep(_IDLE_SECONDS)
        except Exception as error:
            log.error("ending a batch failed; tried again", batch=batch.id, exc_info=error)
            await asyncio.sleep(_IDLE_SECONDS)
        finally:
            self._ending.pop(batch.id, None)
            self.poke()

    async def _finish(self, batch: Batch, ending: str) -> None:
        if batch.status == "in_progress" and ending == "completed":
            await self._rows.change(batch.id, ["in_progress"], lambda one: self._states(one, "finalizing"))
        good, bad = await output.write(batch, ending, rows=self._rows, files=self._files, spool=self._spool)

        def over(one: Batch) -> None:
            self._states(one, ending)
            one.facts.output_file_id = good.id if good is not None else None
            one.facts.error_file_id = bad.id if bad is not None else None
            if ending == "failed":
                words = "the API key of this batch is not valid any more"
                one.facts.errors = [{"code": "invalid_api_key", "line": None, "message": words, "param": None}]

        ended = await self._rows.change(batch.id, OPEN, over, [row for row in (good, bad) if row is not None])
        self._told.pop(batch.id, None)
        if ended is not None:
            self._tell(ended, at_once=True)
            await self._rows.forget(batch.id)

    async def _fill(self, category: str, batches: list[Batch]) -> None:
        """Take more items of a kind when few are at hand, from each batch alike."""
        queue = self._ready.setdefault(category, deque())
        room = self._most * _AHEAD - len(queue)
        if room >= self._most:
            for at, batch in enumerate(batches):
                taken = await self._claimed(batch, category, max(1, room // (len(batches) - at)))
                queue.extend(taken)
                room -= len(taken)
        self._start(category)

    async def _claimed(self, batch: Batch, category: str, limit: int) -> list[_Taken]:
        """Items taken from a batch; none once it ends."""
        items = await self._rows.claim(batch.id, category, limit=limit)
        texts: dict[int, bytes] = {}
        if items:
            small = [item for item in items if item.size <= _SMALL]
            texts = await anyio.to_thread.run_sync(_read, self._files.path(batch.input_file_id), small)
        taken = [_Taken(batch, category, item, texts.get(item.line, b"")) for item in items]
        if batch.id not in self._ending and not self._stopping:
            return taken
        for one in taken:
            self._back(one, 0.0, one.item.tries)
        return []

    def _start(self, category: str) -> None:
        """Run as many as may run."""
        queue = self._ready[category]
        while queue and self._busy[category] < self._most and not self._stopping:
            taken = queue.popleft()
            self._busy[category] += 1
            task = asyncio.get_running_loop().create_task(self._run(taken))
            self._running[task] = taken
            task.add_done_callback(self._ran)

    def _ran(self, task: asyncio.Task[None]) -> None:
        category = self._running.pop(task).category
        self._busy[category] -= 1
        self._start(category)
        if len(self._ready[category]) < self._most:
            self.poke()

    async def _run(self, taken: _Taken) -> None:
        """Answer one item. What was spent on one that goes back is recorded all the same."""
        rows = held.begin()
        batch, item = taken.batch, taken.item
        reply = None
        try:
            reply = await self._answered(taken)
            pause = _pause(reply, item.tries) if reply is not None else _BUSY_SECONDS
        except Exception as error:
            log.error("a request of a batch failed", batch=batch.id, line=item.line, exc_info=error)
            pause = _IDLE_SECONDS
        except BaseException:
            self._again(taken, 0.0, item.tries, rows)
            raise
        if reply is None or pause is not None:
            self._again(taken, pause or 0.0, item.tries + 1, rows)
            return
        text = output.answered(output.line_id(batch.id, item.line), item.custom_id, reply)
        self._results.add(Result(batch.id, item.line, reply.status < 400, text, rows))

    def _again(self, taken: _Taken, pause: float, tries: int, rows: list[UsageRow]) -> None:
        self._back(taken, pause, tries)
        for row in rows:
            if row.cost or row.usage.total:
                self._usage.add(row)

    async def _answered(self, taken: _Taken) -> Reply | None:
        """What the door says to an item; None where nobody may ask for it any more, which ends its batch."""
        batch, item = taken.batch, taken.item
        caller = self._caller(batch.key_id)
        if caller is None or self.door is None:
            return None
        line = taken.text
        if not line:
            read = await anyio.to_thread.run_sync(_read, self._files.path(batch.input_file_id), [item])
            line = read.get(item.line, b"")
        if not line:
            return Reply(404, orjson.dumps(openai_body(NotFound("the input file of the batch is gone"))), "")
        return await self.door.answer(caller, batch.facts.endpoint, body_of(line))

    def _back(self, taken: _Taken, pause: float, tries: int) -> None:
        """An item goes back to those that wait, for some seconds."""
        self._results.add(Back(taken.batch.id, taken.item.line, self._clock.now_ms() + round(pause * 1000), tries))

    def _tell(self, batch: Batch, *, at_once: bool = False) -> None:
        """An event for those who watch: each change of state, and how far it is every few seconds."""
        now = self._clock.monotonic()
        if at_once or now - self._told.get(batch.id, 0.0) >= _TELL_SECONDS:
            self._told[batch.id] = now
            counts = {"total": batch.total, "completed": batch.completed, "failed": batch.failed}
            self._events.emit("batch.progress", batch=batch.id, status=batch.status, changed=at_once, **counts)


def _pause(reply: Reply, tries: int) -> float | None:
    """Seconds until an item is tried again; None where the answer stands.

    Who is busy is asked until the batch's time is over, who fails a few times. A spent budget stands, unless it is whole again soon.
    """
    error, status = reply.error, reply.status
    asked = error.retry_after if error is not None and error.retry_after else 0.0
    if isinstance(error, BudgetSpent):
        return asked if 0 < asked <= _SOON else None
    if isinstance(error, NotConfigured):
        return None
    if status == 429 or (status in (502, 503, 504, 529) and tries < _TRIES):
        return min(_LONGEST_PAUSE, max(asked, 0.5 * 2 ** min(tries, 10)))
    return None


def _read(path: Path, items: list[Item]) -> dict[int, bytes]:
    """Lines of a file by their numbers; none where it is gone. Call it in a thread."""
    found: dict[int, bytes] = {}
    with suppress(FileNotFoundError), path.open("rb") as file:
        for item in items:
            file.seek(item.start)
            found[item.line] = file.read(item.size)
    return found
