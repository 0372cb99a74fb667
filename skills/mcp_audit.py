"""What happened at the MCP door: status, the tools that there are, the record of calls (agents.md, section 1)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hub.context import Context
from hub.records import AuditRow
from hub.skill import CostClass, Rest, skill
from hub.wire import Body, Nothing, Wire, iso

_DAY_MS = 86_400_000
_TOP = 10


class ToolCount(Wire):
    """How often a tool was called."""

    tool: str
    count: int


class Totals(Wire):
    """The last 24 hours; ``success_rate`` is 0 to 1."""

    total_calls: int
    success_rate: float
    avg_duration_ms: int
    top_tools: list[ToolCount]


class Activity(Wire):
    """The last 24 hours, and the newest call."""

    total_calls24h: int = Field(alias="totalCalls24h")
    success_rate: float
    avg_duration_ms: int
    top_tools: list[ToolCount]
    last_call_at: str | None
    last_call_tool: str | None


class HttpTransport(Wire):
    """The HTTP transports, which are up as long as the hub is. ``started_at`` in epoch milliseconds."""

    online: bool
    transport: str | None
    started_at: int | None
    uptime: str | None


class Status(Wire):
    """State of the MCP door. ``heartbeat`` is null and its path empty: stdio clients speak to the running hub, there is no file."""

    status: Literal["online", "offline"]
    online: bool
    enabled: bool
    transport: str
    heartbeat_path: str = ""
    heartbeat: None = None
    http_transport: HttpTransport
    activity: Activity


class ToolEntry(Wire):
    """A tool of the registry. ``phase`` is 1 for those of the core profile, 2 for others."""

    name: str
    description: str
    scopes: list[str]
    phase: int
    audit_level: str
    source_endpoints: list[str]


class ToolCatalog(Wire):
    """All tools; ``mapped_total`` counts those with a scope, which is every one."""

    total: int
    mapped_total: int
    tools: list[ToolEntry]


class AuditAsk(Body):
    """Which calls to show, newest first."""

    limit: int = Field(default=50, ge=1, le=500, description="How many.")
    offset: int = Field(default=0, ge=0, le=1_000_000, description="How many to pass over.")
    tool: str | None = Field(default=None, max_length=200, description="Only calls of this tool.")
    success: Literal["true", "false", "1", "0"] | None = Field(default=None, description="Only calls that went well, or did not.")
    api_key_id: str | None = Field(default=None, max_length=200, description="Only calls with this key.")


class Entry(Wire):
    """One call. ``input_hash`` is SHA-256 of the input; contents are not kept but for inputs of level full, masked."""

    id: int
    tool_name: str
    input_hash: str
    output_summary: str
    duration_ms: int
    api_key_id: str | None
    api_key_name: str
    success: bool
    error_code: str | None
    created_at: str | None


class AuditPage(Wire):
    """A page of calls."""

    entries: list[Entry]
    total: int
    limit: int
    offset: int


@skill("mcp-status", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("GET", "/api/mcp/status")], read_only=True)
async def status(ctx: Context, ask: Nothing) -> Status:
    """Show whether the MCP door is open, over which transports, and what was called in the last 24 hours."""
    hub, now = ctx.hub, ctx.hub.clock.now_ms()
    wanted = hub.preferences.current
    totals = await _totals(ctx)
    rows, _ = await hub.store.audit.page(1, door="mcp")
    http = wanted.mcp_enabled and wanted.mcp_transport != "stdio"
    seconds = (now - hub.started_ms) // 1000
    return Status(
        status="online" if wanted.mcp_enabled else "offline",
        online=wanted.mcp_enabled,
        enabled=wanted.mcp_enabled,
        transport=wanted.mcp_transport,
        http_transport=HttpTransport(
            online=http,
            transport=wanted.mcp_transport if http else None,
            started_at=hub.started_ms if http else None,
            uptime=f"{seconds}s" if http else None,
        ),
        activity=Activity(
            totalCalls24h=totals.total_calls,
            success_rate=totals.success_rate,
            avg_duration_ms=totals.avg_duration_ms,
            top_tools=totals.top_tools,
            last_call_at=iso(rows[0].at) if rows else None,
            last_call_tool=_tool(ctx, rows[0]) if rows else None,
        ),
    )


@skill("mcp-tools", scopes=["read:models"], cost=CostClass.FREE, rest=[Rest("GET", "/api/mcp/tools")], read_only=True)
async def catalog(ctx: Context, ask: Nothing) -> ToolCatalog:
    """List every MCP tool of the hub that this key may call, with its scopes and how its calls are recorded."""
    made = [(name, one) for name, one in sorted(ctx.hub.skills.by_tool.items()) if one.scopes <= ctx.caller.scopes]
    tools = [
        ToolEntry(
            name=name,
            description=one.description,
            scopes=sorted(one.scopes),
            phase=1 if one.mcp and "core" in one.mcp.profiles else 2,
            audit_level=one.audit.value,
            source_endpoints=[f"{address.method} {address.path}" for address in one.rest],
        )
        for name, one in made
    ]
    return ToolCatalog(total=len(tools), mapped_total=len(tools), tools=tools)


@skill("mcp-audit", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("GET", "/api/mcp/audit")], read_only=True)
async def audit(ctx: Context, ask: AuditAsk) -> AuditPage:
    """Show the calls that came through the MCP door."""
    made = ctx.hub.skills.by_tool.get(ask.tool) if ask.tool else None
    name = made.name if made else ask.tool
    success = None if ask.success is None else ask.success in ("true", "1")
    rows, total = await ctx.hub.store.audit.page(ask.limit, ask.offset, skill=name, key_id=ask.api_key_id, door="mcp", success=success)
    entries = [
        Entry(
            id=row.seq,
            tool_name=_tool(ctx, row),
            input_hash=row.digest,
            output_summary=row.outcome,
            duration_ms=round(row.duration_us / 1000),
            api_key_id=row.key_id or None,
            api_key_name=row.caller,
            success=row.outcome == "ok",
            error_code=row.error_code or None,
            created_at=iso(row.at),
        )
        for row in rows
    ]
    return AuditPage(entries=entries, total=total, limit=ask.limit, offset=ask.offset)


@skill("mcp-audit-stats", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("GET", "/api/mcp/audit/stats")], read_only=True)
async def audit_stats(ctx: Context, ask: Nothing) -> Totals:
    """Sum up the calls of the last 24 hours at the MCP door."""
    return await _totals(ctx)


async def _totals(ctx: Context) -> Totals:
    found = await ctx.hub.store.audit.stats(ctx.hub.clock.now_ms() - _DAY_MS, door="mcp")
    calls = found["calls"]
    return Totals(
        total_calls=calls,
        success_rate=1 - (found["errors"] + found["denied"]) / calls if calls else 0.0,
        avg_duration_ms=round((found["avg_duration_us"] or 0) / 1000),
        top_tools=[ToolCount(tool=_named(ctx, one["skill"]), count=one["calls"]) for one in found["top"][:_TOP]],
    )


def _tool(ctx: Context, row: AuditRow) -> str:
    return _named(ctx, row.skill) or row.target


def _named(ctx: Context, name: str) -> str:
    """The tool of a skill; the skill's own name where it has none any more."""
    made = ctx.hub.skills.by_name.get(name)
    return made.mcp.tool if made is not None and made.mcp else name
