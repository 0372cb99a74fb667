"""Coding agents on this machine: which are installed, agents of the owner's own, and prompts to them over the Agent Client Protocol."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any, Literal

from pydantic import Field

from hub.acp.events import Did, Ended, Event, Permission, Planned, Said, Thought
from hub.acp.local import Standing
from hub.acp.rows import AgentRow
from hub.context import Context
from hub.errors import BadRequest
from hub.skill import A2a, A2aAnswer, A2aAsk, Audit, CostClass, Mcp, Rest, skill
from hub.wire import Nothing, Wire

_MOST_TEXT = 200_000


class AcpStartView(Wire):
    """Whether an agent can be driven over ACP: with which command, or why not. ``verified``: documented, unverified or owner."""

    runnable: bool
    command: list[str]
    reason: str
    verified: str


class AgentView(Wire):
    """One agent: the seed's fields, then where it is, why it cannot be run, and how it is driven."""

    id: str
    name: str
    binary: str
    version_command: str
    provider_alias: str
    spawn_args: list[str]
    protocol: str
    version: str | None
    installed: bool
    is_custom: bool
    path: str | None
    reason: str | None
    acp: AcpStartView


class AgentSummary(Wire):
    """How many there are."""

    total: int
    installed: int
    not_found: int
    built_in: int
    custom: int


class AgentsView(Wire):
    """All agents."""

    agents: list[AgentView]
    summary: AgentSummary


class AddedAgent(Wire):
    """An agent as it was added."""

    id: str
    name: str
    binary: str
    version_command: str
    provider_alias: str
    spawn_args: list[str]
    protocol: str


class AgentsChanged(Wire):
    """All agents after a change."""

    agents: list[AgentView]
    added: AddedAgent | None = None
    refreshed: bool | None = None
    removed: str | None = None


class AgentChange(Wire):
    """A new agent, or ``refresh``."""

    action: Literal["", "add", "refresh"] = Field(default="", description="'refresh' looks again instead of adding one.")
    id: str = Field(default="", max_length=100, description="Its id; made lower-case, '-' for what is no letter or digit.")
    name: str = Field(default="", max_length=100, description="Its name for people.")
    binary: str = Field(default="", max_length=500, description="Program: a name in PATH or an absolute path.")
    version_command: str = Field(default="", max_length=500, description="The program with --version, -v, -V or version.")
    provider_alias: str = Field(default="", max_length=100, description="Provider that it stands for; its id when left out.")
    spawn_args: list[str] = Field(default=[], max_length=50, description="Arguments with which it speaks ACP on its stdio.")
    protocol: Literal["stdio", "http"] = Field(default="stdio", description="How it is spoken to; only stdio can be driven.")


class AgentChoice(Wire):
    """Names one agent."""

    id: str = Field(default="", max_length=100, description="Id of the agent.")


def _view(one: Standing) -> AgentView:
    row = one.row
    start = AcpStartView(
        runnable=bool(one.start), command=list(one.start), reason=one.start_reason, verified=row.acp.verified if row.acp else "none"
    )
    return AgentView(
        **_fields(row),
        version=one.version,
        installed=one.installed,
        is_custom=row.custom,
        path=one.path or None,
        reason=one.reason or None,
        acp=start,
    )


def _fields(row: AgentRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "name": row.name,
        "binary": row.binary,
        "version_command": row.version_command,
        "provider_alias": row.alias,
        "spawn_args": list(row.spawn_args),
        "protocol": row.protocol,
    }


def _changed(change: AgentsChanged) -> dict[str, Any]:
    """The seed's shape: only what was done is named."""
    return change.model_dump(
        mode="json", by_alias=True, exclude={name for name in ("added", "refreshed", "removed") if getattr(change, name) is None}
    )


async def _views(ctx: Context, *, refresh: bool = False) -> list[AgentView]:
    return [_view(one) for one in await ctx.hub.agents.look(refresh=refresh)]


@skill("acp-agents-list", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("GET", "/api/acp/agents")], read_only=True)
async def list_agents(ctx: Context, ask: Nothing) -> AgentsView:
    """List the coding agents that are known and how it stands with each on this machine: path, version, why it cannot be run."""
    agents = await _views(ctx)
    installed, custom = sum(one.installed for one in agents), sum(one.is_custom for one in agents)
    total = len(agents)
    summary = AgentSummary(total=total, installed=installed, not_found=total - installed, built_in=total - custom, custom=custom)
    return AgentsView(agents=agents, summary=summary)


@skill(
    "acp-agents-add",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("POST", "/api/acp/agents", view=_changed)],
    audit=Audit.FULL,
)
async def add_agent(ctx: Context, ask: AgentChange) -> AgentsChanged:
    """Add an agent of your own, or look again at all of them with action 'refresh'.

    Refused unless HUBROUTE_ACP_CUSTOM_AGENTS is on. The program is allowed by its path and digest: once it changes it must be added anew.
    """
    if ask.action == "refresh":
        return AgentsChanged(agents=await _views(ctx, refresh=True), refreshed=True)
    missing = [name for name in ("id", "name", "binary", "version_command") if not getattr(ask, name).strip()]
    if missing:
        words = "id, name, binary and versionCommand are needed"
        raise BadRequest(words, field=AgentChange.model_fields[missing[0]].alias or missing[0], wire={"error": words})
    row = await ctx.hub.agents.add(
        ask.id,
        name=ask.name.strip(),
        binary=ask.binary,
        version_command=ask.version_command,
        alias=ask.provider_alias.strip() or ask.id,
        spawn_args=ask.spawn_args,
        protocol=ask.protocol,
    )
    return AgentsChanged(agents=await _views(ctx), added=AddedAgent(**_fields(row)))


@skill(
    "acp-agents-remove",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("DELETE", "/api/acp/agents", view=_changed)],
    destructive=True,
    idempotent=True,
    audit=Audit.FULL,
)
async def remove_agent(ctx: Context, ask: AgentChoice) -> AgentsChanged:
    """Remove an agent of your own; built-in ones stay."""
    if not ask.id:
        raise BadRequest("id is needed", field="id", wire={"error": "id is needed"})
    await ctx.hub.agents.remove(ask.id)
    return AgentsChanged(agents=await _views(ctx), removed=ask.id)


class PromptAsk(Wire):
    """What to ask of which agent."""

    agent: str = Field(
        default="", max_length=100, description="Id of the agent, as acp-agents-list shows it; the first that can be driven when left out."
    )
    prompt: str = Field(min_length=1, max_length=_MOST_TEXT, description="What it shall do.")
    folder: str = Field(
        default="", max_length=4000, description="Work folder, one of HUBROUTE_ACP_FOLDERS or inside one; without it an empty folder."
    )
    model: str = Field(default="", max_length=200, description="Model that the agent shall use, where it offers a choice.")
    seconds: float | None = Field(default=None, gt=0, le=86_400, description="Longest time it may take; at most HUBROUTE_ACP_SECONDS.")


class ToolUse(Wire):
    """A tool that the agent used, as it says."""

    title: str
    kind: str
    status: str


class Asked(Wire):
    """A permission that the agent asked for, and what it was told."""

    title: str
    kind: str
    allowed: bool
    reason: str


class AgentTokens(Wire):
    """What the turn used, as the agent states it; null where it does not."""

    input: int
    output: int


class AgentPiece(Wire):
    """A piece of a turn: text, thought, a tool, a plan or a permission; the last one says why it ended."""

    text: str = ""
    thought: str = ""
    tool: ToolUse | None = None
    plan: list[str] | None = None
    permission: Asked | None = None
    stop_reason: str | None = None
    tokens: AgentTokens | None = None


class AgentReport(Wire):
    """What the agent answered. ``refused`` are permissions that it asked for and did not get."""

    agent: str
    text: str
    stop_reason: str
    tools: list[ToolUse]
    refused: list[Asked]
    tokens: AgentTokens | None = None


def _piece(event: Event) -> AgentPiece:
    match event:
        case Said():
            return AgentPiece(text=event.text)
        case Thought():
            return AgentPiece(thought=event.text)
        case Did():
            return AgentPiece(tool=ToolUse(title=event.title, kind=event.kind, status=event.status))
        case Planned():
            return AgentPiece(plan=list(event.steps))
        case Permission():
            return AgentPiece(permission=Asked(title=event.title, kind=event.kind, allowed=event.allowed, reason=event.reason))
        case Ended():
            return AgentPiece(stop_reason=event.stop_reason, tokens=_tokens(event))


def _tokens(event: Ended) -> AgentTokens | None:
    known = event.input_tokens or event.output_tokens
    return AgentTokens(input=event.input_tokens, output=event.output_tokens) if known else None


async def _agent(ctx: Context, ask: PromptAsk) -> str:
    """The agent that is asked; resolved once, so that the report can name it."""
    ask.agent = ask.agent or await ctx.hub.agents.first()
    return ask.agent


async def _turn(ctx: Context, ask: PromptAsk) -> AsyncGenerator[Event]:
    most = ctx.hub.settings.acp_seconds
    async with (
        ctx.hub.agents.session(await _agent(ctx, ask), folder=ask.folder, model=ask.model) as session,
        aclosing(session.prompt(ask.prompt, seconds=min(ask.seconds or most, most))) as events,
    ):
        async for event in events:
            yield event


def _message_ask(ask: A2aAsk) -> dict[str, Any]:
    """An A2A message: its text is the prompt, its metadata or data names the agent, folder and model."""
    chosen = {name: ask.metadata[name] for name in ("agent", "folder", "model") if ask.metadata.get(name) is not None}
    return {"prompt": ask.text, **chosen, **ask.data}


def _message_answer(report: AgentReport) -> A2aAnswer:
    return A2aAnswer(report.text or f"({report.stop_reason})", report.model_dump(mode="json", by_alias=True), {"agent": report.agent})


def _message_piece(piece: AgentPiece) -> str | A2aAnswer:
    if piece.stop_reason is None:
        return piece.text
    return A2aAnswer("", piece.model_dump(mode="json", by_alias=True, include={"stop_reason", "tokens"}))


@skill(
    "acp-prompt",
    scopes=["process"],
    cost=CostClass.METERED,
    rest=[Rest("POST", "/api/acp/prompt")],
    mcp=Mcp("hubroute_agent_prompt", profiles=("all",)),
    a2a=A2a(
        "local-agent",
        tags=("agent", "coding", "acp"),
        examples=("Explain what this repository does", "Find the cause of the failing test"),
        ask=_message_ask,
        view=_message_answer,
        stream="acp-prompt-stream",
        chunk=_message_piece,
    ),
    destructive=True,
    audit=Audit.BASIC,
)
async def prompt(ctx: Context, ask: PromptAsk) -> AgentReport:
    """Ask a coding agent that is installed on this machine and wait for its answer.

    Off until HUBROUTE_ACP_ENABLED is set. It is asked in a new session each time; what it may do is the owner's to say
    (HUBROUTE_ACP_PERMISSIONS, HUBROUTE_ACP_FOLDERS). Leaving the call cancels its turn and ends its process.
    """
    words: list[str] = []
    tools: dict[str, ToolUse] = {}
    refused: list[Asked] = []
    end = Ended("cancelled")
    async with aclosing(_turn(ctx, ask)) as events:
        async for event in events:
            match event:
                case Said():
                    words.append(event.text)
                case Did():
                    tools[event.id] = ToolUse(title=event.title, kind=event.kind, status=event.status)
                    await ctx.progress(len(tools), None, event.title)
                case Permission(allowed=False):
                    refused.append(Asked(title=event.title, kind=event.kind, allowed=False, reason=event.reason))
                case Ended():
                    end = event
                case _:
                    pass
    return AgentReport(
        agent=ask.agent, text="".join(words), stop_reason=end.stop_reason, tools=list(tools.values()), refused=refused, tokens=_tokens(end)
    )


@skill("acp-prompt-stream", scopes=["process"], cost=CostClass.METERED, rest=[Rest("POST", "/api/acp/prompt/stream")], destructive=True)
async def prompt_stream(ctx: Context, ask: PromptAsk) -> AsyncIterator[AgentPiece]:
    """Ask a coding agent on this machine and stream what it says and does; leaving the stream cancels its turn."""
    async with aclosing(_turn(ctx, ask)) as events:
        async for event in events:
            yield _piece(event)
