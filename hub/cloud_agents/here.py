"""Tasks for agents of this machine, driven over ACP: the same life as a cloud agent's, and a person may be asked before tools are used."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

from hub.acp.events import Did, Ended, Permission, Planned, Said
from hub.cloud_agents.records import Activity, Snapshot, Status
from hub.errors import BadRequest, Conflict, HubError, Internal
from hub.log import logger, masked

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.acp.events import Event
    from hub.acp.local import LocalAgents
    from hub.clock import Clock
    from hub.cloud_agents.records import Access, CloudTask

log = logger("hub.cloud_agents")

_TEXT = 8000
_MESSAGES = 20
_TYPES = {"execute": "command", "edit": "code_change", "delete": "code_change", "move": "code_change"}
_STOPPED = "the hub stopped while it worked on this"


class _Run:
    """One task at work."""

    def __init__(self, task: CloudTask, agents: LocalAgents, clock: Clock, changed: Callable[[], None]) -> None:
        self.status = Status.RUNNING
        self.activities: list[Activity] = []
        self.error = ""
        self.summary = ""
        self.waiting: asyncio.Future[bool] | None = None
        self.messages = [task.prompt]
        self.begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # A failure that nobody awaits any more is the task's own.
        self.begun.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._task = task
        self._agents = agents
        self._clock = clock
        self._changed = changed
        self._count = 0
        self.work = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        """The boundary of the work: whatever happens becomes the task's state."""
        try:
            await self._drive()
            self.status = Status.COMPLETED
            self.note("completion", self.summary or "(no words)")
        except asyncio.CancelledError:
            # The asyncio task is ours alone, and cancelling it is how the work is stopped: the state tells of it.
            self.status = Status.CANCELLED
        except HubError as error:
            self._failed(error)
        except Exception as error:  # the task boundary
            log.error("a task of an agent here failed", task=self._task.id, exc_info=error)
            self._failed(Internal("the hub failed on this task; the log has the cause under the task's id"))
        if not self.begun.done():
            self.begun.set_result(None)
        self._changed()

    def _failed(self, error: HubError) -> None:
        self.status, self.error = Status.FAILED, error.message
        if not self.begun.done():
            self.begun.set_exception(error)

    async def _drive(self) -> None:
        source, ask = self._task.source, bool(self._task.options.get("planApprovalRequired"))
        model = str(source.get("model") or "")
        session = self._agents.session(
            str(source.get("agent") or ""), folder=str(source.get("folder") or ""), model=model, decide=self.decide if ask else None
        )
        async with session as agent:
            self.begun.set_result(None)
            while self.messages:
                words: list[str] = []
                text = self.messages.pop(0)
                async with aclosing(agent.prompt(text, seconds=self._agents.seconds)) as events:
                    async for event in events:
                        self._learn(event, words)

    def _learn(self, event: Event, words: list[str]) -> None:
        match event:
            case Said():
                words.append(event.text)
            case Did(status="completed" | "failed"):
                self.note(_TYPES.get(event.kind, "message"), f"{event.title} ({event.status})", identity=f"tool:{event.id}:{event.status}")
            case Planned():
                self.note("plan", "\n".join(event.steps))
            case Permission():
                answer = "allowed" if event.allowed else f"refused: {event.reason}"
                self.note("command", f"asked to use {event.title}: {answer}")
            case Ended():
                self.summary = masked("".join(words).strip()[-_TEXT:])
                if self.messages:
                    self.note("message", self.summary)
                self._stopped(event)
            case _:
                return

    def _stopped(self, event: Ended) -> None:
        if event.stop_reason in ("refusal", "max_turn_requests"):
            self.note("error", f"the agent stopped: {event.stop_reason}")

    def note(self, kind: str, content: str, *, identity: str = "") -> None:
        """Something was done."""
        self._count += 1
        name = identity or f"{kind}:{self._count}"
        self.activities.append(Activity(id=name[:200], type=kind, content=masked(content[:_TEXT]), at=self._clock.now_ms()))
        self._changed()

    async def decide(self, permission: Permission) -> bool:
        """Wait until a person approves or says something else."""
        self.waiting = asyncio.get_running_loop().create_future()
        self.status = Status.AWAITING_APPROVAL
        self.note("plan", f"waits for approval to use {permission.title} ({permission.kind})")
        try:
            return await self.waiting
        finally:
            self.waiting, self.status = None, Status.RUNNING

    def answer(self, approved: bool) -> bool:
        """Answer what it waits for; whether it waits for anything."""
        if self.waiting is None or self.waiting.done():
            return False
        self.waiting.set_result(approved)
        self.status = Status.RUNNING
        return True


class HereAgent:
    """The agents of this machine."""

    id = "acp"
    name = "Agent on this machine"
    verified = "tested"
    note = (
        "source.agent is one of /api/acp/agents, source.folder one of HUBROUTE_ACP_FOLDERS; planApprovalRequired asks before tools are used"
    )
    can = frozenset({"message", "approve", "cancel"})
    keyed = False
    here = True

    def __init__(self, agents: LocalAgents, clock: Clock, changed: Callable[[str], None]) -> None:
        self._agents = agents
        self._clock = clock
        self._changed = changed
        self._runs: dict[str, _Run] = {}

    def check(self, task: CloudTask) -> None:
        """It needs the name of an agent."""
        if not task.source.get("agent"):
            raise BadRequest("source.agent must name an agent of this machine; GET /api/acp/agents lists them", field="source.agent")

    async def create(self, task: CloudTask, access: Access) -> Snapshot:
        """Start the agent; raises what keeps it from starting."""
        run = self._runs[task.id] = _Run(task, self._agents, self._clock, lambda: self._changed(task.id))
        try:
            await asyncio.shield(run.begun)
        except BaseException:
            self._runs.pop(task.id, None)
            run.work.cancel()
            raise
        return Snapshot(status=run.status, external_id=task.id)

    async def read(self, task: CloudTask, access: Access) -> Snapshot:
        """How far it is."""
        run = self._runs.get(task.id)
        if run is None:
            return Snapshot(status=Status.FAILED, error=_STOPPED)
        if run.work.done():
            self._runs.pop(task.id)
        new, run.activities = run.activities, []
        result = {"summary": run.summary} if run.summary else None
        return Snapshot(status=run.status, external_id=task.id, activities=tuple(new), result=result, error=run.error)

    async def message(self, task: CloudTask, text: str, access: Access) -> None:
        """Tell it something: it is asked when its turn ends, or instead of what it waits for."""
        run = self._running(task)
        if len(run.messages) >= _MESSAGES:
            raise Conflict("so many messages wait for this agent already")
        run.messages.append(text)
        run.answer(False)

    async def approve(self, task: CloudTask, access: Access) -> None:
        """Let it use the tool that it asked for."""
        if not self._running(task).answer(True):
            raise Conflict("the agent waits for no approval")

    async def cancel(self, task: CloudTask, access: Access) -> None:
        """End its turn and its process."""
        run = self._running(task)
        run.work.cancel()
        await asyncio.wait([run.work])

    def holds(self, task: CloudTask) -> bool:
        """Whether it works in this process."""
        return task.id in self._runs

    async def close(self) -> None:
        """The hub stops: what is at work fails."""
        runs = [run for run in self._runs.values() if not run.work.done()]
        for run in runs:
            run.work.cancel()
        if runs:
            await asyncio.wait([run.work for run in runs])
        for run in runs:
            run.status, run.error = Status.FAILED, _STOPPED
        for task_id in self._runs:
            self._changed(task_id)

    def _running(self, task: CloudTask) -> _Run:
        run = self._runs.get(task.id)
        if run is None or run.work.done():
            raise Conflict("the agent is not at work on this task any more, or another process of this hub drives it")
        return run
