"""Answers of the hub's own models to servers that ask for one, on the account of the key whose call it was."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from hub.errors import HubError
from hub.upstream import pinning
from hub.upstream.asking import Declined

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hub.context import Context

#: Looked up by name in the registry: the hub's one way to a routed completion for tools.
_SKILL = "smart-routing"
_MOST_TOKENS = 4096
_INVALID_PARAMS = -32602


async def answered(params: Mapping[str, Any], server: str, ctx: Context) -> dict[str, Any]:
    """A model's answer as the result of ``sampling/createMessage``.

    The call is the caller's own: it needs the scope for completions, counts against the key's limits and is held against its
    budgets. Raises Declined, also where the hub refuses the call or no model answers.
    """
    ask = _ask(params)
    made = ctx.hub.find(_SKILL)
    # A call of its own under the same request: the limits count it, though the tool's call was not counted.
    inner = replace(ctx, asker=None, answers=None, report=None, skill="", counted=False)
    try:
        reply = await ctx.hub.call(made, ask, inner)
    except HubError as error:
        raise Declined(f"the hub's models did not answer for {server}: {error.code}", -32000) from None
    content = {"type": "text", "text": reply.response.content}
    return {"role": "assistant", "content": content, "model": reply.response.model}


def _ask(params: Mapping[str, Any]) -> dict[str, Any]:
    messages: Any = params.get("messages")
    system, limit = params.get("systemPrompt"), params.get("maxTokens")
    turns = [{"role": "system", "content": system}] if isinstance(system, str) else []
    turns += [_turn(message) for message in cast("list[Any]", messages if isinstance(messages, list) else [])]
    most = min(limit, _MOST_TOKENS) if isinstance(limit, int) and limit > 0 else _MOST_TOKENS
    ask: dict[str, Any] = {"messages": turns, "max_tokens": most}
    if isinstance(params.get("temperature"), (int, float)):
        ask["temperature"] = params["temperature"]
    return ask


def _turn(message: object) -> dict[str, str]:
    """A message. Raises Declined for one that is not text."""
    whole = pinning.fields(message)
    content: Any = whole.get("content")
    blocks = [pinning.fields(block) for block in cast("list[Any]", content if isinstance(content, list) else [content])]
    if any(block.get("type") != "text" or not isinstance(block.get("text"), str) for block in blocks):
        raise Declined("the hub's models are given texts only", _INVALID_PARAMS)
    return {"role": str(whole.get("role")), "content": "\n".join(block["text"] for block in blocks)}
