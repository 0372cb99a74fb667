"""One agent task: its states, its events, and what any number of streams see of it.

A row's ``task`` holds the protocol object in A2A 1.0's JSON (messages, parts and artifacts as they go
over the wire) with ``status.state`` as a short word, and beside it what only the hub needs: ``events``,
``input``, ``messageIds``,
``answers`` (message id -> fields that it answered in plain words), ``kept`` (what its skill gets back), ``expiresAt``,
``error``. Doors translate; nothing here knows a dialect.
"""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from hub.errors import BadRequest, Conflict, HubError
from hub.records import TaskRow
from hub.wire import iso

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from hub.clock import Clock

#: A stream that has nothing to tell is given a sign of life this often.
HEARTBEAT_SECONDS = 15.0
#: An open task that nobody touches for a day fails; an ended one is kept for thirty.
OPEN_MS = 86_400_000
KEEP_MS = 30 * 86_400_000


class State(StrEnum):
    """Where a task is. The values are stored."""

    SUBMITTED = "submitted"
    WORKING = "working"
    INPUT_REQUIRED = "input-required"
    AUTH_REQUIRED = "auth-required"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"
    REJECTED = "rejected"


RUNNING = frozenset({State.SUBMITTED, State.WORKING})
#: States in which the task waits for its caller.
PAUSED = frozenset({State.INPUT_REQUIRED, State.AUTH_REQUIRED})
#: States that nothing leaves (REL-19).
ENDED = frozenset({State.COMPLETED, State.FAILED, State.CANCELED, State.REJECTED})


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a turn of work ended: an ended or paused state, words for people, metadata for programs, and the error if it was one."""

    state: State
    text: str = ""
    metadata: dict[str, Any] = field(default_factory=dict[str, Any])
    error: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class StatusEvent:
    """A task changed its state, or has something to say about its progress."""

    state: State
    status: dict[str, Any]
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ArtifactEvent:
    """A task made an artifact, or a piece of one (``append``); ``last`` marks its end."""

    artifact: dict[str, Any]
    append: bool
    last: bool


Event: TypeAlias = StatusEvent | ArtifactEvent
#: What a stream of a task is made of: the task as it was, then events; None is a sign of life.
Item: TypeAlias = TaskRow | StatusEvent | ArtifactEvent | None
Work: TypeAlias = "Callable[[LiveTask], Awaitable[Outcome]]"


def failure(error: HubError) -> Outcome:
    """The outcome of work that raised. ``kind`` says whose fault it was: input or ours; ``field`` what part of the input, if one."""
    kind = "input" if isinstance(error, BadRequest) else "fault"
    told = {**error.data, "code": error.code, "message": error.message, "kind": kind}
    return Outcome(State.FAILED, error.message, error={**told, "field": error.field} if error.field else told)


def new_row(task_id: str, owner: str, skill: str, *, context_id: str, asked: dict[str, Any], now: int) -> TaskRow:
    """A task as it begins; ``asked`` is the seed's record of its input."""
    status = {"timestamp": iso(now), "state": State.SUBMITTED.value}
    task: dict[str, Any] = {
        "status": status,
        "history": [],
        "artifacts": [],
        "metadata": {},
        "events": [status],
        "input": asked,
        "messageIds": [],
        "expiresAt": now + OPEN_MS,
    }
    state = State.SUBMITTED.value
    return TaskRow(id=task_id, owner=owner, context_id=context_id, skill=skill, state=state, created_at=now, updated_at=now, task=task)


class LiveTask:
    """A task in the memory of this process.

    ``row`` changes only between two awaits, together with the event that tells of it, so a snapshot and
    the events after it have neither gap nor duplicate (REL-19).
    """

    def __init__(self, row: TaskRow, clock: Clock) -> None:
        self.row = row
        self.work: asyncio.Task[Any] | None = None
        #: Whether the work goes on when nobody waits for it any more.
        self.detached = False
        #: How many wait for it now.
        self.attended = 0
        #: Decides the outcome of work that was stopped from outside.
        self.verdict: Outcome | None = None
        self._clock = clock
        self._log: list[Event] = []
        self._changed = asyncio.Event()
        self._pieces: dict[str, list[str]] = {}
        self._over = False

    @property
    def state(self) -> State:
        """The state now."""
        return State(self.row.state)

    @property
    def busy(self) -> bool:
        """Whether work is under way in this process, or its outcome is being stored."""
        return self.work is not None and not self.work.done()

    def stop(self, verdict: Outcome) -> None:
        """Cancel the work, unless it is over and only being stored. Its state becomes the verdict's."""
        if self.work is not None and self.busy and self.state in RUNNING:
            self.verdict = verdict
            self.work.cancel()

    def take(self, message: dict[str, Any]) -> None:
        """Put a message of the caller into the history."""
        task = self.row.task
        asked = task["status"].get("message")
        if asked is not None:
            task["history"].append(asked)
        task["history"].append({**message, "taskId": self.row.id, "contextId": self.row.context_id})
        task["messageIds"].append(message["messageId"])
        task.pop("error", None)

    def move(self, state: State, text: str = "", *, metadata: dict[str, Any] | None = None) -> StatusEvent:
        """Change the state without telling anybody yet. Raises Conflict when the task has ended."""
        if self.state in ENDED:
            raise Conflict(f"the task has ended: {self.state}", code="task_ended")
        now = self._clock.now_ms()
        task, status = self.row.task, {"timestamp": iso(now), "state": state.value}
        task["events"].append({**status, "message": text} if text else status)
        task["status"] = {**status, "message": self._words(text)} if text else status
        task["expiresAt"] = now + (KEEP_MS if state in ENDED else OPEN_MS)
        if metadata:
            task["metadata"] = {**task["metadata"], **metadata}
        self.row.state, self.row.updated_at = state.value, now
        return StatusEvent(state, task["status"], metadata or {})

    def _words(self, text: str) -> dict[str, Any]:
        """A message of the agent about this task."""
        here = {"contextId": self.row.context_id, "taskId": self.row.id}
        return {"messageId": str(uuid.uuid4()), **here, "role": "ROLE_AGENT", "parts": [{"text": text}]}

    def tell(self, event: Event) -> None:
        """Show an event to every stream."""
        self._log.append(event)
        self._wake()

    @property
    def told(self) -> int:
        """How many events were told in this process."""
        return len(self._log)

    @property
    def last(self) -> Event:
        """The event that was told last; there is one."""
        return self._log[-1]

    async def event(self, number: int) -> Event | None:
        """An event by its number, from 0; waits for one that is still to come, None after 15 s without it."""
        if number == len(self._log):
            await _happened(self._changed)
        return self._log[number] if number < len(self._log) else None

    def end_streams(self) -> None:
        """Let every stream end after what it has been told."""
        self._over = True
        self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def progress(self, text: str = "") -> None:
        """Say that, or how, the work goes on."""
        self.tell(self.move(State.WORKING, text))

    def add(self, artifact: dict[str, Any], *, append: bool = False, last: bool = True) -> None:
        """Add an artifact or replace the one with its id, or with ``append`` add parts to that. Text is appended to text."""
        made: list[dict[str, Any]] = self.row.task["artifacts"]
        if append:
            self._extend(next(one for one in made if one["artifactId"] == artifact["artifactId"]), artifact["parts"])
        else:
            self._pieces.pop(artifact["artifactId"], None)
            fresh = {**artifact, "parts": [dict(part) for part in artifact["parts"]]}
            at = next((at for at, one in enumerate(made) if one["artifactId"] == artifact["artifactId"]), len(made))
            made[at : at + 1] = [fresh]
        self.tell(ArtifactEvent(artifact, append, last))

    def _extend(self, whole: dict[str, Any], parts: list[dict[str, Any]]) -> None:
        for part in parts:
            if "text" in part and whole["parts"] and "text" in whole["parts"][-1]:
                # Joined when somebody looks: a long stream would copy its whole text once for each piece.
                self._pieces.setdefault(whole["artifactId"], []).append(part["text"])
            else:
                self._join()
                whole["parts"].append(dict(part))

    def _join(self) -> None:
        for artifact in self.row.task["artifacts"] if self._pieces else ():
            if pieces := self._pieces.pop(artifact["artifactId"], None):
                artifact["parts"][-1]["text"] += "".join(pieces)

    def snapshot(self) -> TaskRow:
        """The task as it is now; later changes do not show in it."""
        self._join()
        task = self.row.task
        lists = {name: list(task[name]) for name in ("history", "events", "messageIds")}
        artifacts = [{**one, "parts": [dict(part) for part in one["parts"]]} for one in task["artifacts"]]
        return msgspec.structs.replace(self.row, task={**task, **lists, "artifacts": artifacts})

    async def watch(self, *, patient: bool) -> AsyncGenerator[Item]:
        """The task as it is now, then its events until it ends or pauses; None every 15 s without one.

        ``patient`` also waits for what follows a pause in which it finds the task. Every stream sees the
        same events in the same order; closing one touches neither the others nor the work.
        """
        at, over = len(self._log), self.state in ENDED or (self.state in PAUSED and not patient)
        yield self.snapshot()
        while not over:
            while at < len(self._log):
                event = self._log[at]
                at += 1
                yield event
                if isinstance(event, StatusEvent) and event.state not in RUNNING:
                    return
            if self._over:
                return
            changed = self._changed
            if at == len(self._log) and not await _happened(changed):
                yield None


async def _happened(changed: asyncio.Event) -> bool:
    try:
        async with asyncio.timeout(HEARTBEAT_SECONDS):
            await changed.wait()
    except TimeoutError:
        return False
    return True
