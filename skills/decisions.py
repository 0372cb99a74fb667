"""The latest decisions: which requests there were, so that one can be explained."""

from __future__ import annotations

from pydantic import Field

from hub.context import Context
from hub.skill import Audit, CostClass, Names, skill
from hub.wire import Body, Wire


class RecentAsk(Body):
    """Which decisions."""

    failed: bool = Field(default=False, description="Only requests that ended with an error.")
    limit: int = Field(default=100, ge=1, le=500, description="Most decisions to return.")


class Decided(Wire):
    """A request in a line; ``at`` in epoch milliseconds, ``outcome`` is ok, error or cancelled."""

    request_id: str
    at: int
    provider: str
    model: str
    outcome: str


class Recent(Wire):
    """Decisions, newest first."""

    decisions: list[Decided]


def _ids(recent: Recent) -> list[str]:
    return [one.request_id for one in recent.decisions]


@skill(
    "decisions-list",
    scopes=["read:health", "read:usage"],
    cost=CostClass.FREE,
    names=Names("decision", _ids),
    read_only=True,
    audit=Audit.NONE,
)
async def recent(ctx: Context, ask: RecentAsk) -> Recent:
    """List the latest requests and how they ended; explain-route tells more of each.

    A key sees its own requests; one with manage sees all.
    """
    key = "" if "manage" in ctx.caller.scopes else ctx.caller.key_id
    rows = await ctx.hub.store.decisions.recent(key_id=key, outcome="error" if ask.failed else "", limit=ask.limit)
    return Recent(decisions=[Decided(**{name: getattr(row, name) for name in Decided.model_fields}) for row in rows])
