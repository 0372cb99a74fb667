"""What the hub offers a caller: the skills that its scopes reach, and where each is found."""

from __future__ import annotations

from hub.context import Context
from hub.skill import Audit, CostClass, Resource, Skill, skill
from hub.wire import Nothing, Wire


class Capability(Wire):
    """One skill. ``tool``, ``a2a``, ``rest`` and ``resources`` are its addresses; ``cost`` is free, network or metered."""

    name: str
    summary: str
    cost: str
    scopes: list[str]
    read_only: bool
    destructive: bool
    tool: str | None
    a2a: str | None
    rest: list[str]
    resources: list[str]


class Capabilities(Wire):
    """The skills by name. ``hidden`` counts those that need scopes the caller does not hold."""

    skills: list[Capability]
    hidden: int


def _capability(one: Skill) -> Capability:
    return Capability(
        name=one.name,
        summary=one.summary,
        cost=one.cost.value,
        scopes=sorted(one.scopes),
        read_only=one.read_only,
        destructive=one.destructive,
        tool=one.mcp.tool if one.mcp else None,
        a2a=one.a2a.id if one.a2a else None,
        rest=[f"{address.method} {address.path}" for address in one.rest],
        resources=[shown.uri for shown in one.resources],
    )


@skill(
    "capabilities-list",
    scopes=["mcp:connect"],
    cost=CostClass.FREE,
    resources=[Resource("hub://skills", "What this key may do here, and where.")],
    read_only=True,
    audit=Audit.NONE,
)
async def capabilities(ctx: Context, ask: Nothing) -> Capabilities:
    """List what the caller may do, with the tool, the agent skill, the routes and the resources of each."""
    skills = list(ctx.hub.skills)
    reached = [one for one in skills if one.scopes <= ctx.caller.scopes]
    return Capabilities(skills=[_capability(one) for one in reached], hidden=len(skills) - len(reached))
