"""All cloud agent tasks: begun, looked after in the background, acted on. A task that nobody looks at gets on all the same."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakValueDictionary

import msgspec

from hub.cloud_agents.credentials import Credentials
from hub.cloud_agents.here import HereAgent
from hub.cloud_agents.records import OVER, Activity, CloudTask, Snapshot, Status
from hub.cloud_agents.remote import A2aAgent
from hub.cloud_agents.vendors import VendorAgent, vendor_rows
from hub.errors import BadRequest, Conflict, HubError, NotFound, UpstreamRejected
from hub.log import logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.acp.local import LocalAgents
    from hub.clock import Clock
    from hub.cloud_agents.base import CloudAgent
    from hub.cloud_agents.records import Access, StoredCredential
    from hub.events import Events
    from hub.outbound.client import Outbound
    from hub.remote_agents.client import AgentClient
    from hub.store import Store
    from hub.store.documents import Document

log = logger("hub.cloud_agents")

#: Milliseconds between two looks at a task: at first, at most, and how they grow while nothing changes.
FIRST_MS, MOST_MS, GROWTH = 5_000, 120_000, 1.5
#: Most between two looks at a task that runs in this process: another process believes that one lost which is so much later.
HERE_MS, LOST_MS = 20_000, 90_000
#: How long a look may take before another process may look.
_LEASE_MS = 120_000
#: So many looks that fail one after another end a task: half a day at the longest pause.
_FAILURES = 360
_AT_ONCE = 4
_BATCH = 50
_IDLE_SECONDS = 60.0
_LEAST_SECONDS = 0.05
#: A read of a task that was looked at just now looks no further.
_FRESH_MS = 1_000
_KEEP_MS = 90 * 86_400_000
_SWEEP_SECONDS = 3600.0


class CloudTasks:
    """Made by the hub, opened and closed with it. Used on the event loop only."""

    def __init__(
        self, *, store: Store, outbound: Outbound, agents: LocalAgents, clock: Clock, events: Events, known: Callable[[str], AgentClient]
    ) -> None:
        self.credentials = Credentials(store)
        kinds: list[CloudAgent] = [
            *(VendorAgent(row, outbound, clock) for row in vendor_rows()),
            A2aAgent(outbound, clock, known),
            HereAgent(agents, clock, self._poke),
        ]
        self.agents = {kind.id: kind for kind in kinds}
        self._store = store
        self._clock = clock
        self._events = events
        self._wake = asyncio.Event()
        self._poked: set[str] = set()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._loop: asyncio.Task[None] | None = None
        self._places = asyncio.Semaphore(_AT_ONCE)

    async def open(self) -> None:
        """Begin to look after tasks. Alone with the database, those that a stopped hub left are looked at at once."""
        if not self._store.postgres:
            await self._store.cloud_tasks.hurry(self._clock.now_ms())
        self._loop = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Stop looking; what runs in this process fails with the reason."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.wait([self._loop])
            self._loop = None
        for kind in self.agents.values():
            await kind.close()
        for task_id in list(self._poked):
            with contextlib.suppress(HubError):
                await self._look(task_id)

    # ------------------------------------------------------------------ what callers do

    async def create(
        self,
        provider: str,
        prompt: str,
        source: dict[str, Any],
        options: dict[str, Any],
        *,
        credential_id: str = "",
        idempotency: str | None = None,
    ) -> CloudTask:
        """Begin a task. With an ``idempotency`` key that was used before: that task.

        Raises BadRequest naming what is missing, and what the agent raises; the task is kept then, as failed.
        """
        agent = self.agent(provider)
        now = self._clock.now_ms()
        credential = self._credential(agent.id, source, credential_id)
        task = CloudTask(
            id=f"task_{now}_{self._clock.new_id('')}",
            provider_id=agent.id,
            status=Status.QUEUED,
            prompt=prompt,
            source=source,
            options=options,
            created_at=now,
            updated_at=now,
            credential_id=credential.id if credential is not None else "",
            idempotency=idempotency,
            # Should the hub die before the agent answers, the task is found again then and fails: nobody knows its id there.
            next_poll_at=now + _LEASE_MS,
            wait_ms=FIRST_MS,
        )
        if agent.keyed and credential is None:
            words = f"there is no active credential for {agent.id}; store one with POST /api/v1/agents/credentials"
            raise BadRequest(words, field="providerId", code="no_credentials")
        agent.check(task)
        # What an environment holds may be secret: the agent gets it, the record does not.
        shown = _without_values(options)
        stored = await self._store.cloud_tasks.create(msgspec.structs.replace(task, options=shown))
        if stored.id != task.id:
            return stored
        async with self._lock(task.id):
            try:
                snapshot = await agent.create(task, self.credentials.access(task))
            except BaseException as error:
                words = error.message if isinstance(error, HubError) else "the caller went away before the agent had begun"
                await self._take(task, Snapshot(status=Status.FAILED, error=words))
                raise
            task.options = shown
            await self._take(task, snapshot)
        self._wake.set()
        return task

    def _credential(self, agent: str, source: dict[str, Any], credential_id: str) -> Document[StoredCredential] | None:
        """The credential of a new task; none for an agent that the hub knows by name, which has what it needs."""
        url = str(source.get("agentUrl") or "")
        if source.get("agent") and not url and not credential_id:
            return None
        return self.credentials.choose(agent, credential_id=credential_id, url=url)

    async def get(self, task_id: str, *, look: bool = True) -> CloudTask:
        """A task as it stands; ``look`` asks the agent first, unless it was asked just now. Raises NotFound."""
        task = await self._store.cloud_tasks.get(task_id)
        if task is None:
            raise NotFound(f"there is no task {task_id[:100]!r}", field="id", wire={"error": "Task not found"})
        due_in = (task.next_poll_at or 0) - self._clock.now_ms()
        if look and not task.over and task.wait_ms - due_in >= _FRESH_MS and task.external_id:
            await self._look(task_id, hurry=True)
            task = await self._store.cloud_tasks.get(task_id) or task
        return task

    async def message(self, task_id: str, text: str) -> CloudTask:
        """Tell the agent something. Raises Conflict when the task is over or the agent takes none."""
        return await self._act(task_id, "message", text)

    async def approve(self, task_id: str) -> CloudTask:
        """Approve what the agent waits for. Raises Conflict when the task is over or the agent knows no approval."""
        return await self._act(task_id, "approve")

    async def cancel(self, task_id: str) -> tuple[CloudTask, bool]:
        """Cancel a task; the second is True where the agent cannot be told, so that only this hub stops following it."""
        async with self._lock(task_id):
            task = await self._open_task(task_id)
            agent = self.agent(task.provider_id)
            told = "cancel" in agent.can
            done: tuple[Activity, ...] = ()
            if told:
                access = self.credentials.access(task)
                await agent.cancel(task, access)
                done = (await agent.read(task, access)).activities if agent.here else ()
            words = "cancelled" if told else f"no longer followed; {agent.name} cannot be told to stop, its own run goes on"
            note = Activity(id="hub:cancel", type="message", content=words, at=self._clock.now_ms())
            await self._take(task, Snapshot(status=Status.CANCELLED, activities=(*done, note)))
        return task, not told

    async def delete(self, task_id: str) -> None:
        """Delete a task here; one that runs in this process is stopped, others go on where they run. Raises NotFound."""
        async with self._lock(task_id):
            task = await self.get(task_id, look=False)
            agent = self.agents.get(task.provider_id)
            if agent is not None and agent.here and agent.holds(task):
                with contextlib.suppress(Conflict):
                    await agent.cancel(task, self.credentials.access(task))
                await agent.read(task, self.credentials.access(task))
            await self._store.cloud_tasks.delete(task_id)

    def agent(self, provider: str) -> CloudAgent:
        """The agent of an id. Raises BadRequest naming those that exist."""
        found = self.agents.get(provider)
        if found is None:
            raise BadRequest(f"providerId must be one of {', '.join(sorted(self.agents))}", field="providerId")
        return found

    async def _act(self, task_id: str, action: str, *words: str) -> CloudTask:
        async with self._lock(task_id):
            task = await self._open_task(task_id)
            agent = self.agent(task.provider_id)
            if action not in agent.can:
                raise Conflict(f"{agent.name} has no way to {action} through its interface", code=f"{action}_unsupported")
            access = self.credentials.access(task)
            await (agent.message(task, words[0], access) if action == "message" else agent.approve(task, access))
            if words:
                note = Activity(
                    id=self._clock.new_id("hub:"), type="message", content=words[0], at=self._clock.now_ms(), metadata={"from": "user"}
                )
                await self._store.cloud_tasks.save(task, [note])
            await self._read(task, agent, access)
        return task

    async def _open_task(self, task_id: str) -> CloudTask:
        task = await self.get(task_id, look=False)
        if task.over:
            raise Conflict(f"the task has ended: {task.status.value}", code="task_over")
        return task

    # ------------------------------------------------------------------ looking after them

    def _poke(self, task_id: str) -> None:
        """Something happened in a task that runs here."""
        self._poked.add(task_id)
        self._wake.set()

    def _lock(self, task_id: str) -> asyncio.Lock:
        found = self._locks.get(task_id)
        if found is None:
            found = self._locks[task_id] = asyncio.Lock()
        return found

    async def _run(self) -> None:
        """The background loop; it outlives whatever goes wrong with one task."""
        sweep = self._clock.monotonic() + _SWEEP_SECONDS
        while True:
            pause = _IDLE_SECONDS
            try:
                pause = await self._round()
                if self._clock.monotonic() >= sweep:
                    sweep = self._clock.monotonic() + _SWEEP_SECONDS
                    await self._store.cloud_tasks.prune(self._clock.now_ms() - _KEEP_MS)
            except HubError as error:
                log.warning("tasks of cloud agents cannot be looked after", reason=error.message)
            except Exception as error:  # the background loop must outlive a fault
                log.error("looking after tasks of cloud agents failed", exc_info=error)
            # What was poked meanwhile is collected for a moment: an agent here may do much in a second.
            await asyncio.sleep(_LEAST_SECONDS)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(_LEAST_SECONDS, pause)):
                    await self._wake.wait()

    async def _round(self) -> float:
        """Look at every task that is due; seconds until the next one is."""
        self._wake.clear()
        poked, self._poked = self._poked, set()
        now = self._clock.now_ms()
        due = {task.id for task in await self._store.cloud_tasks.due(now, limit=_BATCH) if self._ours(task, now)}
        await asyncio.gather(*(self._guarded(task_id, hurry=task_id in poked) for task_id in due | poked))
        soonest = await self._store.cloud_tasks.next()
        if soonest is None:
            return _IDLE_SECONDS
        return min(_IDLE_SECONDS, max(1.0, (soonest - self._clock.now_ms()) / 1000))

    def _ours(self, task: CloudTask, now: int) -> bool:
        """Whether to look at a due task: one that runs inside a process is that process's, unless it is gone."""
        agent = self.agents.get(task.provider_id)
        if agent is None or not agent.here or agent.holds(task) or not self._store.postgres:
            return True
        return (task.next_poll_at or 0) < now - LOST_MS

    async def _guarded(self, task_id: str, *, hurry: bool) -> None:
        async with self._places:
            try:
                await self._look(task_id, hurry=hurry)
            except HubError as error:
                log.warning("a task of a cloud agent cannot be looked after", task=task_id, reason=error.message)

    async def _look(self, task_id: str, *, hurry: bool = True) -> None:
        """Ask the agent of a task how it stands, unless another process does so now."""
        async with self._lock(task_id):
            task = await self._store.cloud_tasks.get(task_id)
            now = self._clock.now_ms()
            if task is None or task.over or task.next_poll_at is None or not (hurry or task.next_poll_at <= now):
                return
            if not await self._store.cloud_tasks.claim(task, now + _LEASE_MS):
                return
            agent = self.agents.get(task.provider_id)
            if agent is None:
                await self._take(task, Snapshot(status=Status.FAILED, error="this version of the hub does not know the agent"))
                return
            if not task.external_id:
                await self._take(task, Snapshot(status=Status.FAILED, error="the hub stopped before the agent had confirmed the task"))
                return
            try:
                await self._read(task, agent, self.credentials.access(task))
            except HubError as error:
                await self._missed(task, error)

    async def _read(self, task: CloudTask, agent: CloudAgent, access: Access) -> None:
        await self._take(task, await agent.read(task, access))

    async def _take(self, task: CloudTask, snapshot: Snapshot) -> None:
        """Take over what an agent says. A task that is over stays as it is."""
        if task.over:
            return
        before = (task.status, task.result, task.error, task.external_id)
        now = self._clock.now_ms()
        task.status, task.failures = snapshot.status, 0
        task.external_id = snapshot.external_id or task.external_id
        task.result = {**(task.result or {}), **snapshot.result} if snapshot.result else task.result
        task.error = snapshot.error
        changed = before != (task.status, task.result, task.error, task.external_id)
        self._schedule(task, now, changed=changed)
        if await self._store.cloud_tasks.save(task, snapshot.activities) and not changed:
            self._schedule(task, now, changed=True)
            await self._store.cloud_tasks.save(task)
        if before[0] is not task.status:
            self._events.emit("agent_task.status", task=task.id, provider=task.provider_id, status=task.status.value)

    def _schedule(self, task: CloudTask, now: int, *, changed: bool) -> None:
        """When to look next: soon after a change, then ever more rarely; never at what is over."""
        if changed:
            task.updated_at = now
            task.wait_ms = FIRST_MS
        else:
            agent = self.agents.get(task.provider_id)
            most = HERE_MS if agent is not None and agent.here else MOST_MS
            task.wait_ms = min(round(task.wait_ms * GROWTH), most)
        task.next_poll_at = now + task.wait_ms
        if task.status in OVER:
            task.completed_at, task.next_poll_at = now, None

    async def _missed(self, task: CloudTask, error: HubError) -> None:
        """A look failed: look again later, unless the agent no longer knows the task or too many failed."""
        task.failures += 1
        gone = isinstance(error, NotFound) or (isinstance(error, UpstreamRejected) and error.status == 404)
        if gone or task.failures >= _FAILURES:
            await self._take(task, Snapshot(status=Status.FAILED, error=f"it cannot be followed any more: {error.message}"))
            return
        now = self._clock.now_ms()
        task.error = f"it could not be looked at: {error.message}"
        task.wait_ms = min(round(max(task.wait_ms, FIRST_MS, (error.retry_after or 0) * 1000) * GROWTH), MOST_MS)
        task.next_poll_at = now + task.wait_ms
        await self._store.cloud_tasks.save(task)


def _without_values(options: dict[str, Any]) -> dict[str, Any]:
    environment: Any = options.get("environment")
    if not isinstance(environment, dict):
        return options
    return {**options, "environment": dict.fromkeys(cast("dict[str, Any]", environment), "…")}
