"""How much a Messages API model is to think, and what that rules out (routing.md 4.2, "effort")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hub.chat import Thinking, ToolMode
from hub.providers._encoding import Encoding, wants

if TYPE_CHECKING:
    from hub.chat import JsonObject

#: Tokens of thinking for a word of effort.
BUDGETS = {"minimal": 1024, "low": 1024, "medium": 10_240, "high": 32_768, "xhigh": 65_536, "max": 131_072}
#: What the answer itself gets beside a budget that would leave it nothing.
ROOM = 8192
#: The least budget the API takes.
LEAST = 1024

_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max"}


def apply(encoding: Encoding, body: JsonObject) -> None:
    """Write ``thinking`` and effort into a body that has its turns, tools and limits, and take out what they exclude."""
    asked = encoding.request.thinking or _default(encoding)
    if asked is None:
        return
    able, wanted = not encoding.lacks("reasoning"), wants(asked)
    if wanted and able and not _forced(encoding):
        _enable(encoding, body, asked)
    elif wanted:
        encoding.drop("thinking")
    elif able:
        body["thinking"] = {"type": "disabled"}


def _enable(encoding: Encoding, body: JsonObject, asked: Thinking) -> None:
    extra = encoding.kept(asked.extra)
    if extra.get("type") == "unset":  # its own clients may say how hard to try without asking for thinking
        _effort(body, asked.effort)
    elif extra.get("type") not in (None, "enabled", "disabled"):
        body["thinking"] = {key: value for key, value in extra.items() if key != "effort"}
        _effort(body, asked.effort)
    elif encoding.has("adaptive_thinking"):
        body["thinking"] = {**extra, "type": "adaptive"}
        _effort(body, asked.effort or _word(asked.budget))
    else:
        _budget(encoding, body, asked, extra)
    if "thinking" in body:
        _sampling(encoding, body)


def _default(encoding: Encoding) -> Thinking | None:
    budget: Any = encoding.target.provider.request_defaults.get("thinkingBudgetTokens")
    return Thinking(budget=budget) if budget and not _forced(encoding) else None


def _forced(encoding: Encoding) -> bool:
    """Thinking goes only with tools that the model may leave alone; a forced tool is the stronger wish."""
    choice = encoding.request.tool_choice
    return bool(encoding.request.tools) and choice is not None and choice.mode in (ToolMode.REQUIRED, ToolMode.ONE)


def _effort(body: JsonObject, effort: str) -> None:
    if effort in _EFFORTS:
        body["output_config"] = {**body.get("output_config", {}), "effort": _EFFORTS[effort]}


def _word(budget: int | None) -> str:
    """The word of effort that a budget stands for; empty leaves it to the model."""
    if budget is None or budget < 0:
        return ""
    return next((word for word in ("low", "medium") if budget <= BUDGETS[word]), "high" if budget < BUDGETS["max"] else "xhigh")


def _budget(encoding: Encoding, body: JsonObject, asked: Thinking, extra: JsonObject) -> None:
    if _unsigned_loop(body["messages"]):
        encoding.drop("thinking")
        return
    budget = asked.budget if asked.budget is not None and asked.budget > 0 else BUDGETS.get(asked.effort, BUDGETS["medium"])
    budget = max(budget, LEAST)
    tokens = body["max_tokens"]
    if tokens <= budget:
        tokens = budget + ROOM
    if encoding.limit is not None and tokens > encoding.limit:
        tokens = encoding.limit
        budget = min(budget, tokens - min(ROOM, tokens // 2))
    if budget < LEAST:
        encoding.drop("thinking")
        return
    body["max_tokens"] = tokens
    body["thinking"] = {**extra, "type": "enabled", "budget_tokens": budget}


def _unsigned_loop(turns: list[JsonObject]) -> bool:
    """Whether the model is in the middle of calling tools without signed thinking to go on from, as after another vendor.

    The API refuses a budget then, and a signature cannot be made up.
    """
    first: JsonObject | None = None
    for turn in reversed(turns):
        if turn["role"] == "assistant":
            first = turn
        elif turn["content"][0]["type"] != "tool_result":
            break
    return first is not None and turns[-1]["role"] == "user" and first["content"][0]["type"] not in ("thinking", "redacted_thinking")


def _sampling(encoding: Encoding, body: JsonObject) -> None:
    """Thinking excludes sampling parameters other than their defaults."""
    if body.pop("temperature", 1) != 1 and encoding.request.temperature is not None:
        encoding.drop("temperature")
    if body.pop("top_k", None) is not None:
        encoding.drop("top_k")
    if "top_p" in body and body["top_p"] < 0.95:
        del body["top_p"]
        encoding.drop("top_p")
