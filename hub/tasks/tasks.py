"""All agent tasks of this process, over the store: found, worked on, watched, cancelled, and cleared away.

Tasks belong to the key that made them; for others they do not exist (SEC-04).
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from hub.errors import BadRequest, HubError, Internal, NotFound, Unavailable
from hub.log import logger
from hub.tasks.task import ENDED, KEEP_MS, OPEN_MS, PAUSED, RUNNING, LiveTask, Outcome, State, failure, new_row

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from hub.clock import Clock
    from hub.records import PushConfig, TaskRow
    from hub.store import Store
    from hub.tasks.push import Pushes
    from hub.tasks.task import Item, StatusEvent, Work

log = logger("hub.tasks")

#: A working task is stored again this often; one that was not for three times as long has lost its process.
_TOUCH_SECONDS = 30.0
_LOST_MS = 90_000
_SWEEP_SECONDS = 3600.0
_FIRST_SWEEP_SECONDS = 60.0


class LiveTasks:
    """Made by the hub, opened and closed with it. Used on the event loop only."""

    def __init__(self, store: Store, clock: Clock, pushes: Pushes | None = None) -> None:
        self._store = store
        self._pushes = pushes
        self._clock = clock
        # Weak: a task stays in memory while it works, is watched, or a request holds it; then the store has it.
        self._live: WeakValueDictionary[str, LiveTask] = WeakValueDictionary()
        self._working: set[asyncio.Task[Any]] = set()
        self._keeper: asyncio.Task[None] | None = None
        #: How many streams are open.
        self.streams = 0
        #: Told of a task that was cancelled while it waited for its caller.
        self.on_left: list[Callable[[LiveTask], Awaitable[None]]] = []
        #: Told of every task that begins, pauses or ends, once that is stored.
        self.on_moved: list[Callable[[LiveTask], None]] = []

    async def open(self) -> None:
        """Fail what a crash left working. On PostgreSQL only what no process keeps up: others may share the database."""
        now = self._clock.now_ms()
        left = [state.value for state in RUNNING]
        for row in await self._store.tasks.unchanged(left, now - _LOST_MS if self._store.postgres else now + 1):
            await self._fail(LiveTask(row, self._clock), "the hub stopped while it worked on this")
        self._keeper = asyncio.get_running_loop().create_task(self._keep())

    def end_streams(self) -> None:
        """End the streams of tasks that nobody works on: they would keep a server from stopping."""
        for live in list(self._live.values()):
            if not live.busy:
                live.end_streams()

    async def close(self) -> None:
        """Stop all work; its tasks fail with the reason."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
            self._keeper = None
        for live in list(self._live.values()):
            live.stop(Outcome(State.FAILED, "the hub was stopped while it worked on this", error={"code": "stopped", "kind": "fault"}))
        if self._working:
            await asyncio.wait(list(self._working))

    def make(self, task_id: str, owner: str, skill: str, *, context_id: str, asked: dict[str, Any]) -> LiveTask:
        """A new task, not yet stored; ``asked`` is the seed's record of its input. :meth:`begin` it next."""
        row = new_row(task_id, owner, skill, context_id=context_id, asked=asked, now=self._clock.now_ms())
        live = self._live[task_id] = LiveTask(row, self._clock)
        return live

    def unknown(self, task_id: str) -> bool:
        """Whether there is certainly no such task, answered from memory; False says nothing."""
        return self._store.tasks.alone and task_id not in self._live and self._store.tasks.fresh(task_id)

    async def run_briefly(self, live: LiveTask, message: dict[str, Any], work: Work) -> None:
        """Take a message into a new task and do work that is done at once, in the task of its caller, who waits for it.

        The task is stored with the rows that wait, once it has ended. A ``kill`` before that leaves no trace of it, and its caller no
        answer: the message can be sent again. When the caller leaves, the task ends, whoever else waits for it. Only while :attr:`brief`.
        """
        caller = asyncio.current_task()
        if caller is None:
            raise RuntimeError("work is done outside of a task")
        live.take(message)
        event = live.move(State.WORKING)
        live.work = caller
        live.attended += 1
        self._working.add(caller)
        self._tell(live, event)
        try:
            await self._done_briefly(live, work, caller)
        finally:
            live.attended -= 1
            live.work = None
            self._working.discard(caller)

    async def _done_briefly(self, live: LiveTask, work: Work, caller: asyncio.Task[Any]) -> None:
        try:
            outcome = await self._outcome(live, work)
        except asyncio.CancelledError:
            if live.verdict is None:
                await self._settle(live, Outcome(State.CANCELED, "the caller went away"), brief=True)
                raise
            caller.uncancel()  # the work was to stop, not the request that waits for it
            outcome = live.verdict
        verdict, live.verdict = live.verdict, None
        await self._settle(live, verdict or outcome, brief=True)

    async def begin(self, live: LiveTask, message: dict[str, Any], work: Work, *, push: PushConfig | None = None) -> None:
        """Take a message into a task and start the work on it; stored when this returns.

        ``push`` is a checked config that is told of all that happens from here on.
        """
        again = bool(live.row.task["messageIds"])
        live.take(message)
        event = live.move(State.WORKING)
        stored = asyncio.Event()
        live.work = asyncio.get_running_loop().create_task(self._run(live, work, stored))
        self._working.add(live.work)
        live.work.add_done_callback(self._working.discard)
        try:
            await self._store.tasks.save(live.snapshot())
            if self._pushes and again:
                await self._pushes.attend(live)
            if self._pushes and push:
                await self._pushes.set(live, push)
        except BaseException:
            live.stop(Outcome(State.FAILED, "the task could not be stored", error={"code": "not_stored", "kind": "fault"}))
            raise
        stored.set()
        self._tell(live, event)

    @property
    def brief(self) -> bool:
        """Whether :meth:`run_briefly` may be used."""
        return self._store.tasks.alone

    async def _run(self, live: LiveTask, work: Work, stored: asyncio.Event) -> None:
        """The boundary of a task's work: whatever happens becomes its state."""
        try:
            await stored.wait()
            outcome = await self._outcome(live, work)
        except asyncio.CancelledError:
            # The asyncio task is ours alone, and cancelling it is how work is stopped: the state tells of it.
            outcome = Outcome(State.CANCELED, "canceled")
        verdict, live.verdict = live.verdict, None
        await self._settle(live, verdict or outcome)

    async def _outcome(self, live: LiveTask, work: Work) -> Outcome:
        """How work ended, where it was not cancelled."""
        try:
            return await work(live)
        except HubError as error:
            return failure(error)
        except Exception as error:  # the task boundary
            log.error("task failed", task=live.row.id, skill=live.row.skill, exc_info=error)
            return failure(Internal("the hub failed on this task; the log has the cause under the task's id"))

    async def _settle(self, live: LiveTask, outcome: Outcome, *, brief: bool = False) -> None:
        """Store a state, then tell it: what a client has seen survives a crash. That of brief work is stored within the queue's window."""
        if outcome.error is not None:
            live.row.task["error"] = outcome.error
        event = live.move(outcome.state, outcome.text, metadata=outcome.metadata)
        if brief and live.state in ENDED:
            self._store.tasks.later(live.snapshot())
            self._tell(live, event)
            return
        try:
            await self._store.tasks.save(live.snapshot())
            if self._pushes and not live.busy:
                await self._pushes.attend(live)
        except HubError as error:
            log.error("task could not be stored", task=live.row.id, reason=error.message)
        finally:
            self._tell(live, event)

    def _tell(self, live: LiveTask, event: StatusEvent) -> None:
        live.tell(event)
        for listener in self.on_moved:
            listener(live)

    async def find(self, task_id: str, owner: str | None) -> LiveTask:
        """A task. ``owner`` None sees all. Raises NotFound."""
        live = self._live.get(task_id)
        if live is None:
            row = await self._store.tasks.get(task_id, owner)
            live = self._live.get(task_id)  # another request may have been first
            if live is None and row is not None:
                live = self._live[task_id] = LiveTask(row, self._clock)
        if live is None or owner not in (None, live.row.owner):
            words = f"task not found: there is no {task_id[:200]!r}, or it is another key's"
            raise NotFound(words, code="task_not_found", data={"taskId": task_id[:200]})
        if live.state in RUNNING and not live.busy and live.row.updated_at < self._clock.now_ms() - _LOST_MS:
            await self._fail(live, "the process that worked on this is gone")
        return live

    async def page(self, owner: str | None, **choice: Any) -> tuple[list[TaskRow], int]:
        """Tasks, the latest changed first, and how many there are; ``choice`` as in the store's ``list``."""
        rows, total = await self._store.tasks.list(owner, **choice)
        return [self._live[row.id].snapshot() if row.id in self._live else row for row in rows], total

    @asynccontextmanager
    async def attending(self, live: LiveTask) -> AsyncGenerator[None]:
        """Be somebody who waits for a task. When the last one leaves work that is not detached, it is cancelled (REL-06)."""
        live.attended += 1
        try:
            yield
        finally:
            live.attended -= 1
            if not live.attended and not live.detached:
                live.stop(Outcome(State.CANCELED, "the caller went away"))

    @asynccontextmanager
    async def following(self, live: LiveTask, *, patient: bool) -> AsyncGenerator[AsyncGenerator[Item]]:
        """Watch a task as one of its streams, see :meth:`LiveTask.watch`. Raises Unavailable when another process works on it."""
        if live.state in RUNNING and not live.busy:
            raise Unavailable("another process of this hub works on the task; ask for it instead of watching it", retry_after=1)
        self.streams += 1
        try:
            async with self.attending(live), aclosing(live.watch(patient=patient)) as items:
                yield items
        finally:
            self.streams -= 1

    async def settled(self, live: LiveTask) -> TaskRow:
        """Wait until the work on a task pauses or ends. Leaving the wait may cancel the work."""
        async with self.attending(live):
            if live.work is not None:
                await asyncio.wait([live.work])
        return live.snapshot()

    async def cancel(self, live: LiveTask) -> TaskRow:
        """Stop a task and wait until its work has stopped. Raises BadRequest (``task_not_cancelable``) when it has ended."""
        verdict = Outcome(State.CANCELED, "canceled by its caller")
        if live.state in RUNNING and not live.busy:
            raise Unavailable("another process of this hub works on the task; it cannot be cancelled from here", retry_after=1)
        if live.state in RUNNING:
            live.stop(verdict)
        elif live.state in ENDED:
            raise _not_cancelable(live)
        if live.work is not None:
            await asyncio.wait([live.work])
        if live.state in PAUSED:
            await self._settle(live, verdict)
            for listener in self.on_left:
                await listener(live)
        if live.state is not State.CANCELED:
            raise _not_cancelable(live)
        return live.snapshot()

    async def _keep(self) -> None:
        """The background loop: shows that work is alive, and clears away what is over."""
        next_sweep = self._clock.monotonic() + _FIRST_SWEEP_SECONDS
        while True:
            await asyncio.sleep(_TOUCH_SECONDS)
            try:
                await self._touch()
                if self._clock.monotonic() >= next_sweep:
                    next_sweep = self._clock.monotonic() + _SWEEP_SECONDS
                    await self._sweep()
            except HubError as error:
                log.warning("tasks cannot be kept up to date", reason=error.message)
            except Exception as error:  # the background loop must outlive a fault
                log.error("keeping tasks up to date failed", exc_info=error)

    async def _touch(self) -> None:
        for live in list(self._live.values()):
            if live.busy and live.state in RUNNING:
                live.row.updated_at = self._clock.now_ms()
                await self._store.tasks.save(live.snapshot())

    async def _sweep(self) -> None:
        now = self._clock.now_ms()
        for row in await self._store.tasks.unchanged([state.value for state in PAUSED], now - OPEN_MS):
            if row.id not in self._live:
                await self._fail(LiveTask(row, self._clock), "Task expired")
        await self._store.tasks.delete_finished(now - KEEP_MS)
        if self._pushes:
            await self._pushes.prune()

    async def _fail(self, live: LiveTask, why: str) -> None:
        await self._settle(live, Outcome(State.FAILED, why, error={"code": "lost", "message": why, "kind": "fault"}))


def _not_cancelable(live: LiveTask) -> BadRequest:
    return BadRequest(f"the task has already ended: {live.state}", code="task_not_cancelable", data={"taskId": live.row.id})
