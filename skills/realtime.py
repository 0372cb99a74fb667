"""Realtime: spoken conversations over a socket, with whichever provider has them. Their record are usage rows."""

from __future__ import annotations

from hub.context import Context
from hub.media.realtime import Session, opened
from hub.media.talk import RealtimeAsk
from hub.skill import Audit, CostClass, Rest, skill


@skill("realtime", scopes=["chat"], cost=CostClass.METERED, rest=[Rest("GET", "/v1/realtime", door="realtime")], audit=Audit.NONE)
async def realtime(ctx: Context, ask: RealtimeAsk) -> Session:
    """Open a spoken conversation with the model that routing chooses."""
    return await opened(ask, ctx)
