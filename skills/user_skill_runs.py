"""Runs of installed skills: begin one, and the log of them. A key sees its own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
from pydantic import Field

from hub.context import Context
from hub.errors import NotFound
from hub.records import Caller
from hub.skill import Audit, CostClass, Mcp, Rest, skill
from hub.store.skill_runs import Execution
from hub.wire import Body, Wire, iso
from skills.user_skills import own_key


class ExecutionView(Wire):
    """One run. ``status`` is pending, running, success, error or timeout. Input and output are null where nothing is kept of the key."""

    id: str
    skill_id: str
    skill_name: str
    api_key_id: str
    session_id: str
    input: Any
    output: Any
    status: str
    error_message: str | None
    duration_ms: int
    tries: int
    created_at: str | None


class ExecutionAnswer(Wire):
    """One run."""

    execution: ExecutionView


class ExecutionsAsk(Body):
    """Which runs to list, the newest first."""

    api_key_id: str = Field(default="", max_length=100, description="Only those of this key; others' only with manage.")
    skill_id: str = Field(default="", max_length=100, description="Only those of this skill.")
    status: str = Field(default="", pattern="^(pending|running|success|error|timeout)?$", description="Only those in this state.")
    page: int = Field(default=1, ge=1, le=10_000, description="Which page.")
    limit: int = Field(default=50, ge=1, le=200, description="Runs a page.")


class ExecutionPage(Wire):
    """A page of runs. ``data`` and ``executions`` are the same."""

    data: list[ExecutionView]
    total: int
    page: int
    limit: int
    total_pages: int
    executions: list[ExecutionView]


class AgentRun(Wire):
    """A run as agents see it."""

    id: str
    skill_id: str
    status: str
    duration: int
    error: str | None
    created_at: str | None


class AgentRuns(Wire):
    """Runs as agents see them."""

    executions: list[AgentRun]
    count: int


class AgentResult(AgentRun):
    """A run with its output, as agents see it."""

    output: Any


class RunAsk(Body):
    """What to run."""

    skill_name: str = Field(min_length=1, max_length=250, description="name@version, a name (its newest version), or an id.")
    api_key_id: str = Field(
        default="", max_length=100, description="Whose workspace and scopes it has: the caller's own; others' with manage."
    )
    input: dict[str, Any] = Field(default_factory=dict[str, Any], description="Its input.")
    session_id: str = Field(default="", max_length=200, description="The caller's own name for what it belongs to.")


class RunId(Body):
    """Names a run."""

    id: str = Field(max_length=100, description="Its id, sx_….")


def _view(run: Execution) -> ExecutionView:
    return ExecutionView(
        id=run.id,
        skill_id=run.skill_id,
        skill_name=run.skill,
        api_key_id=run.key_id,
        session_id=run.session_id,
        input=orjson.loads(run.input) if run.input else None,
        output=orjson.loads(run.output) if run.output else None,
        status=run.status,
        error_message=run.error or None,
        duration_ms=run.duration_ms,
        tries=run.tries,
        created_at=iso(run.created_at),
    )


def _agent_facts(one: ExecutionView) -> dict[str, Any]:
    return {
        "id": one.id,
        "skill_id": one.skill_id,
        "status": one.status,
        "duration": one.duration_ms,
        "error": one.error_message,
        "created_at": one.created_at,
    }


def _agent_page(page: ExecutionPage) -> AgentRuns:
    """The seed's shape of the tool's answer."""
    return AgentRuns(executions=[AgentRun(**_agent_facts(one)) for one in page.executions], count=page.total)


def _agent_result(answer: ExecutionAnswer) -> AgentResult:
    """The seed's shape of the tool's answer."""
    return AgentResult(**_agent_facts(answer.execution), output=answer.execution.output)


@skill(
    "user-skills-executions",
    scopes=["read:skills"],
    cost=CostClass.FREE,
    rest=[Rest("GET", "/api/skills/executions")],
    mcp=Mcp("omniroute_skills_executions", view=_agent_page),
    read_only=True,
    audit=Audit.NONE,
)
async def executions(ctx: Context, ask: ExecutionsAsk) -> ExecutionPage:
    """List runs of installed skills with their inputs, outputs and durations: a key's own, or all for management."""
    key_id = own_key(ctx, ask.api_key_id) or ("" if "manage" in ctx.caller.scopes else ctx.caller.key_id or "-")
    found, total = await ctx.hub.store.skill_runs.page(
        key_id=key_id, skill_id=ask.skill_id, status=ask.status, limit=ask.limit, offset=(ask.page - 1) * ask.limit
    )
    shown = [_view(one) for one in found]
    return ExecutionPage(data=shown, total=total, page=ask.page, limit=ask.limit, total_pages=-(-total // ask.limit), executions=shown)


@skill(
    "user-skills-execution",
    scopes=["read:skills"],
    cost=CostClass.FREE,
    rest=[Rest("GET", "/api/skills/executions/{id}")],
    read_only=True,
    audit=Audit.NONE,
)
async def execution(ctx: Context, ask: RunId) -> ExecutionAnswer:
    """Show one run of an installed skill."""
    found = await ctx.hub.store.skill_runs.get(ask.id)
    if found is None or (found.key_id != ctx.caller.key_id and "manage" not in ctx.caller.scopes):
        raise NotFound(f"there is no run {ask.id!r}", field="id")
    return ExecutionAnswer(execution=_view(found))


@skill(
    "user-skills-execute",
    scopes=["execute:skills"],
    cost=CostClass.NETWORK,
    rest=[Rest("POST", "/api/skills/executions")],
    mcp=Mcp("omniroute_skills_execute", view=_agent_result),
    audit=Audit.FULL,
)
async def execute(ctx: Context, ask: RunAsk) -> ExecutionAnswer:
    """Run an installed skill and show its record. What goes wrong in the run is in the record; what cannot be run at all is an error."""
    user_skills = ctx.hub.user_skills
    user_skills.require()
    ctx = _for(ctx, own_key(ctx, ask.api_key_id))
    found = user_skills.library.named(ask.skill_name, ctx.caller)
    user_skills.library.require_usable(found)
    record, output = await user_skills.runner.run(found, ask.input, ctx, session=ask.session_id)
    shown = _view(record)
    # The caller gets what came of it, also of a key of which nothing is kept.
    return ExecutionAnswer(execution=shown.model_copy(update={"output": output, "input": ask.input}))


def _for(ctx: Context, key_id: str) -> Context:
    """The context in which another key's run is made by management: with that key's scopes and workspace."""
    if not key_id or key_id == ctx.caller.key_id:
        return ctx
    key = ctx.hub.store.keys.valid(key_id)
    if key is None:
        raise NotFound(f"there is no key {key_id!r} that is valid", field="apiKeyId")
    return replace(ctx, caller=Caller.of(key))
