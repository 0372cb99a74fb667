"""Agent tasks as the operator sees them: the state of the agent door, the tasks of all keys, and a way to stop one."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from hub.context import Context
from hub.skill import Audit, CostClass, Rest, skill
from hub.tasks.agent_view import AGENT_DESCRIPTION, AGENT_NAME, STATES, introductions, record, state_of
from hub.version import VERSION
from hub.wire import Nothing, Wire, iso


class TaskId(Wire):
    """Names one task."""

    id: str = Field(min_length=1, max_length=200, description="Id of the task.")


class TaskPage(Wire):
    """Which tasks to list."""

    state: Literal["submitted", "working", "completed", "failed", "cancelled", "canceled"] | None = Field(
        default=None, description="Only tasks in this state."
    )
    skill: str | None = Field(default=None, max_length=100, description="Only tasks of this agent skill.")
    limit: int = Field(default=50, ge=1, le=200, description="Most tasks to return.")
    offset: int = Field(default=0, ge=0, description="Tasks to skip.")


class TaskView(Wire):
    """A task whole: what was asked, what was made, and each state it was in."""

    id: str
    skill: str
    state: str
    input: dict[str, Any]
    artifacts: list[dict[str, Any]]
    events: list[dict[str, Any]]
    metadata: dict[str, Any]
    created_at: str | None
    updated_at: str | None
    expires_at: str | None


class OneTask(Wire):
    """A task."""

    task: TaskView


class TaskList(Wire):
    """Tasks, the latest changed first; ``total`` counts all that match."""

    tasks: list[TaskView]
    total: int
    limit: int
    offset: int


class TaskState(Wire):
    """Id and state of a task."""

    id: str
    state: str


class Stopped(Wire):
    """A task that was cancelled."""

    task: TaskState


class TaskCounts(Wire):
    """How many tasks there are. ``active_streams`` is of this process."""

    counts: dict[str, int]
    total: int
    active_streams: int
    last_task_at: str | None


class AgentView(Wire):
    """The agent as its card shows it."""

    name: str
    description: str
    version: str
    url: str


class AgentSkill(Wire):
    """A skill on the card."""

    id: str
    name: str
    description: str
    tags: list[str]
    examples: list[str]


class AgentStatus(Wire):
    """The state of the agent door."""

    status: str = "ok"
    online: bool = True
    enabled: bool = True
    tasks: TaskCounts
    agent: AgentView
    capabilities: dict[str, bool]
    skills: list[AgentSkill]


@skill("a2a-status", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("GET", "/api/a2a/status")], read_only=True, audit=Audit.NONE)
async def a2a_status(ctx: Context, ask: Nothing) -> AgentStatus:
    """Show the agent door: its tasks by state, open streams, and the skills it offers."""
    stored = await ctx.hub.store.tasks.counts()
    counts = {name: sum(stored.get(state, 0) for state in states) for name, states in STATES.items()}
    latest, _ = await ctx.hub.tasks.page(None, limit=1)
    enabled = ctx.hub.preferences.current.a2a_enabled
    return AgentStatus(
        status="ok" if enabled else "disabled",
        online=enabled,
        enabled=enabled,
        tasks=TaskCounts(
            counts=counts,
            total=sum(counts.values()),
            active_streams=ctx.hub.tasks.streams,
            last_task_at=iso(latest[0].updated_at) if latest else None,
        ),
        agent=AgentView(name=AGENT_NAME, description=AGENT_DESCRIPTION, version=VERSION, url=f"{ctx.hub.base_url}/a2a"),
        capabilities={"streaming": True, "pushNotifications": False},
        skills=[AgentSkill(**one) for one in introductions(ctx.hub.skills)],
    )


@skill("a2a-tasks-list", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("GET", "/api/a2a/tasks")], read_only=True, audit=Audit.NONE)
async def a2a_tasks_list(ctx: Context, ask: TaskPage) -> TaskList:
    """List agent tasks of all keys, the latest changed first."""
    state = "cancelled" if ask.state == "canceled" else ask.state
    rows, total = await ctx.hub.tasks.page(
        None, state=STATES[state] if state else None, skill=ask.skill, limit=ask.limit, offset=ask.offset
    )
    return TaskList(tasks=[TaskView(**record(row)) for row in rows], total=total, limit=ask.limit, offset=ask.offset)


@skill("a2a-task-get", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("GET", "/api/a2a/tasks/{id}")], read_only=True, audit=Audit.NONE)
async def a2a_task_get(ctx: Context, ask: TaskId) -> OneTask:
    """Show one agent task: what was asked, what was made, and each state it was in."""
    live = await ctx.hub.tasks.find(ask.id, None)
    return OneTask(task=TaskView(**record(live.snapshot())))


@skill(
    "a2a-task-cancel",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("POST", "/api/a2a/tasks/{id}/cancel")],
    destructive=True,
)
async def a2a_task_cancel(ctx: Context, ask: TaskId) -> Stopped:
    """Cancel an agent task and wait until its work has stopped. A task that has ended cannot be cancelled."""
    row = await ctx.hub.tasks.cancel(await ctx.hub.tasks.find(ask.id, None))
    return Stopped(task=TaskState(id=row.id, state=state_of(row)))
