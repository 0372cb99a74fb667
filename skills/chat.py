"""Chat: the model API behind every client dialect. Its record is the usage row, so the audit log does not repeat it."""

from __future__ import annotations

from collections.abc import AsyncIterator

from hub.context import Context
from hub.engine.ask import ChatAsk, ChatReply, StreamItem
from hub.engine.counting import Counted
from hub.skill import Audit, CostClass, Rest, skill

#: Every address at which a chat can be asked for, each in its own dialect.
_ADDRESSES = (
    "/v1/chat/completions", "/v1/completions", "/v1/messages", "/v1/responses",
    "/v1/providers/{provider}/chat/completions", "/v1/providers/{provider}/completions",
    "/v1beta/models/{model:path}", "/v1beta/tunedModels/{model:path}", "/v1beta/{model:path}", "/v1/models/{model:path}",
    "/api/chat", "/api/generate", "/v1/api/chat", "/v1/api/generate",
)  # fmt: skip


@skill(
    "chat",
    scopes=["chat"],
    cost=CostClass.METERED,
    rest=[*(Rest("POST", path) for path in _ADDRESSES), Rest("GET", "/v1/ws", door="ws")],
    audit=Audit.NONE,
)
async def chat(ctx: Context, ask: ChatAsk) -> ChatReply:
    """Complete a chat with the model that routing chooses."""
    return await ctx.hub.chat.complete(ask, ctx)


@skill("chat-stream", scopes=["chat"], cost=CostClass.METERED, twin="chat", audit=Audit.NONE)
def chat_stream(ctx: Context, ask: ChatAsk) -> AsyncIterator[StreamItem]:
    """Stream a chat with the model that routing chooses: a StreamHead, then bytes or lists of events, then a StreamTail."""
    return ctx.hub.chat.stream(ask, ctx)


@skill(
    "count-tokens",
    scopes=["chat"],
    cost=CostClass.FREE,
    rest=[Rest("POST", "/v1/messages/count_tokens"), Rest("POST", "/v1/responses/input_tokens")],
    read_only=True,
    audit=Audit.NONE,
)
async def count_tokens(ctx: Context, ask: ChatAsk) -> Counted:
    """Count the tokens of a prompt: as its provider counts them where that can say, else an estimate."""
    return await ctx.hub.counting.count(ask, ctx)
