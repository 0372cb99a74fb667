"""What an agent says and does in a turn, and how that looks from outside."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, cast

if TYPE_CHECKING:
    from hub.chat import JsonObject


@dataclass(frozen=True, slots=True)
class Said:
    """A piece of the agent's answer."""

    text: str


@dataclass(frozen=True, slots=True)
class Thought:
    """A piece of its reasoning."""

    text: str


@dataclass(frozen=True, slots=True)
class Did:
    """A tool that it uses. ``kind`` is ACP's (read, edit, delete, move, search, execute, think, fetch, other), as the agent states it."""

    id: str
    title: str
    kind: str
    status: str


@dataclass(frozen=True, slots=True)
class Planned:
    """Its plan, whole, as lines."""

    steps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Permission:
    """It asked whether it may use a tool, and what it was told. ``reason`` says why not."""

    title: str
    kind: str
    allowed: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Ended:
    """The turn is over: end_turn, max_tokens, max_turn_requests, refusal or cancelled. Token counts are 0 where it stated none."""

    stop_reason: str
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0


Event: TypeAlias = Said | Thought | Did | Planned | Permission | Ended

_TEXT = 4096


@dataclass(slots=True)
class Reader:
    """Reads ``session/update`` notifications. Keeps the titles of tools, which later updates leave out."""

    _tools: dict[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])

    def event(self, update: JsonObject) -> Event | None:
        """The event of an update, None for one that says nothing to us."""
        kind = update.get("sessionUpdate")
        if kind in ("agent_message_chunk", "agent_thought_chunk"):
            text = text_of(update.get("content"))
            if not text:
                return None
            return Said(text) if kind == "agent_message_chunk" else Thought(text)
        if kind in ("tool_call", "tool_call_update"):
            return self._tool(update)
        if kind == "plan":
            return _plan(update.get("entries"))
        return None

    def _tool(self, update: JsonObject) -> Did:
        number = str(update.get("toolCallId", ""))[:200]
        title, kind = self._tools.get(number, ("", "other"))
        title, kind = short(update.get("title")) or title, short(update.get("kind")) or kind
        if len(self._tools) < 1000:
            self._tools[number] = (title, kind)
        return Did(number, title or number, kind, short(update.get("status")) or "pending")


def text_of(content: object) -> str:
    """The text of a content block; what is no text is nothing."""
    block = cast("JsonObject", content) if isinstance(content, dict) else {}
    if block.get("type") == "text" and isinstance(block.get("text"), str):
        return block["text"]
    return ""


def ended(result: object) -> Ended:
    """The end of a turn from the answer to ``session/prompt``."""
    fields = cast("JsonObject", result) if isinstance(result, dict) else {}
    usage: Any = fields.get("usage")
    counts = cast("JsonObject", usage) if isinstance(usage, dict) else {}
    return Ended(
        short(fields.get("stopReason")) or "end_turn",
        _count(counts.get("inputTokens")),
        _count(counts.get("outputTokens")),
        _count(counts.get("cachedReadTokens")),
    )


def short(value: object) -> str:
    """A text of the agent's for people, cut to what is reasonable."""
    return value[:_TEXT] if isinstance(value, str) else ""


def _count(value: object) -> int:
    return min(value, 2**40) if isinstance(value, int) and value > 0 else 0


def _plan(entries: object) -> Planned | None:
    if not isinstance(entries, list):
        return None
    steps = [cast("JsonObject", one) for one in cast("list[Any]", entries)[:200] if isinstance(one, dict)]
    return Planned(tuple(f"[{short(step.get('status')) or 'pending'}] {short(step.get('content'))}" for step in steps))
