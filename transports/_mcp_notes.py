"""Log messages to the client about the call that it made: how it was routed, and what it fell back from.

In a session they come from the level that ``logging/setLevel`` asked for (warning before it did), on
2026-07-28 only to requests that ask for a level. The hub's own log never goes to clients.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, get_args

import mcp_types as types
from mcp.server.connection import allowed_log_levels
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from transports._mcp import connection_of

if TYPE_CHECKING:
    from mcp.server.context import ServerRequestContext

    Ctx = ServerRequestContext[Any, Any]

_LEVELS: tuple[types.LoggingLevel, ...] = get_args(types.LoggingLevel)
_STATE = "hubroute.level"
_DEFAULT: types.LoggingLevel = "warning"


async def set_level(ctx: Ctx, params: types.SetLevelRequestParams) -> types.EmptyResult:
    """``logging/setLevel``: from which level on the session's calls tell."""
    connection_of(ctx).state[_STATE] = params.level
    return types.EmptyResult()


def notes_of(ctx: Ctx) -> Notes | None:
    """What passes on the messages of one call, None where the client wants none."""
    if ctx.protocol_version in MODERN_PROTOCOL_VERSIONS:
        wanted = allowed_log_levels(ctx.protocol_version, ctx.meta)
        return Notes(ctx, min(map(_LEVELS.index, wanted))) if wanted else None
    return Notes(ctx, _LEVELS.index(connection_of(ctx).state.get(_STATE, _DEFAULT)))


class Notes:
    """Messages of one call, sent in their order while it runs. :meth:`flush` before its result."""

    __slots__ = ("_ctx", "_least", "_task", "_waiting")

    def __init__(self, ctx: Ctx, least: int) -> None:
        self._ctx = ctx
        self._least = least
        self._waiting: list[tuple[types.LoggingLevel, dict[str, Any]]] = []
        self._task: asyncio.Task[None] | None = None

    def note(self, level: types.LoggingLevel, words: str, data: dict[str, Any]) -> None:
        """Take a message; ``data`` are plain JSON values beside it."""
        if _LEVELS.index(level) < self._least:
            return
        self._waiting.append((level, {"message": words, **data}))
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._send())

    async def flush(self) -> None:
        """Wait until all is sent."""
        if self._task is not None:
            await self._task

    def stop(self) -> None:
        """The caller left: nothing more is sent."""
        if self._task is not None:
            self._task.cancel()

    async def _send(self) -> None:
        try:
            while self._waiting:
                level, data = self._waiting.pop(0)
                # The words of another server's tool say so.
                logger = "upstream" if "server" in data else "routing"
                params = types.LoggingMessageNotificationParams(level=level, logger=logger, data=data)
                await self._ctx.session.send_notification(
                    types.LoggingMessageNotification(params=params), related_request_id=self._ctx.request_id
                )
        finally:
            self._task = None
