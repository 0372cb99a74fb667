"""Sessions: the conversations under way, and which connection serves each."""

from __future__ import annotations

from pydantic import Field

from hub.context import Context
from hub.skill import CostClass, Rest, skill
from hub.wire import Body, Wire


class SessionPage(Body):
    """How many sessions to list."""

    limit: int = Field(default=500, ge=1, le=10_000, description="Most sessions to return, the latest first.")


class SessionView(Wire):
    """A session under way. Times are epoch milliseconds; ``connection_id`` is empty until one has answered."""

    session_id: str
    created_at: int
    last_active: int
    request_count: int
    connection_id: str
    age_ms: int


class SessionList(Wire):
    """The sessions of this process: how many there are, the latest of them, and how many each key has, by the key's id."""

    count: int
    sessions: list[SessionView]
    by_api_key: dict[str, int]


@skill("sessions-list", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("GET", "/api/sessions")], read_only=True)
async def list_sessions(ctx: Context, ask: SessionPage) -> SessionList:
    """List the sessions under way: conversations that had a request within the last half hour."""
    now = ctx.hub.clock.now_ms()
    live = ctx.hub.sessions.live()
    return SessionList(
        count=len(live),
        sessions=[
            SessionView(
                session_id=one.id,
                created_at=one.created_at,
                last_active=one.last_active,
                request_count=one.requests,
                connection_id=one.connection_id,
                age_ms=now - one.created_at,
            )
            for one in live[: ask.limit]
        ],
        by_api_key=ctx.hub.sessions.by_key(),
    )
