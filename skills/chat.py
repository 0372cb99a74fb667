"""Chat: the model API behind every client dialect."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

from hub.context import Context
from hub.engine import ChatAsk, ChatReply, StreamItem
from hub.skill import Audit, CostClass, Rest, skill


@skill("chat", scopes=["chat"], cost=CostClass.METERED, rest=[Rest("POST", "/v1/chat/completions")], audit=Audit.NONE)
async def chat(ctx: Context, ask: ChatAsk) -> AsyncIterator[ChatReply | StreamItem]:
    """Complete a chat with the model that routing chooses.

    Yields one ChatReply, or for a streaming request a StreamHead and then the provider's bytes or
    decoded events. Its record is the usage row, so the audit log does not repeat it.
    """
    if not ask.stream:
        yield await ctx.hub.chat.complete(ask, ctx)
        return
    async with aclosing(ctx.hub.chat.stream(ask, ctx)) as items:
        async for item in items:
            yield item
