"""How much models are to think, as the owner sets it for every chat (routing.md 4.6).

Pure: from a request, the target that it goes to and the setting to the request as it is sent. Where nothing is changed the
request itself comes back, so that a client's own bytes can still pass.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

from msgspec.structs import replace

from hub.chat import Role, Text, Thinking

if TYPE_CHECKING:
    from hub.chat import ChatRequest
    from hub.preferences import ThinkingBudget
    from hub.providers.base import Target

PASSTHROUGH = "passthrough"
#: Tokens that a ``thinkingLevel`` stands for, where a model takes no names.
LEVELS = {"low": 4096, "medium": 8192, "high": 24_576, "max": 131_072}
#: Tokens that adaptive thinking begins with.
EFFORTS = {"none": 0, "low": 1024, "medium": 10_240, "high": 131_072}
MOST = 131_072

#: Fields by which clients of any dialect name a level, and all that asks for thinking in words which only some providers know.
_LEVEL_FIELDS = ("thinkingLevel", "thinking_level")
_FIELDS = frozenset({*_LEVEL_FIELDS, "thinking", "reasoning", "reasoning_effort"})
#: The dialect whose words of effort are levels, and those in which a model thinks only when it is told to.
_LEVELLED = "gemini"
_TOLD = frozenset({"anthropic", "gemini"})
_SUFFIX = "-thinking"


def rethought(request: ChatRequest, target: Target, setting: ThinkingBudget, dialect: str) -> tuple[ChatRequest, list[str], str]:
    """The request as the setting wants it, the client's fields that this dropped or replaced, and in words what was done.

    ``dialect`` is that in which it is sent.
    """
    if setting.mode == PASSTHROUGH:
        made = _named(request, target, dialect)
        return made, [], "" if made is request else f"thinking set to {_said(made.thinking)} for this model"
    asked = request.thinking is not None or not _FIELDS.isdisjoint(request.extra)
    why = "thinkingBudget: auto" if setting.mode == "auto" else "this model does not think" if _never_thinks(target) else ""
    if why:
        return (_with(request, None), ["thinking"], f"thinking removed ({why})") if asked else (request, [], "")
    made = _with(request, _thinking(_budget(request, setting), target))
    if made == request:
        return request, [], ""
    return made, ["thinking:replaced"] if asked else [], f"thinking set to {_said(made.thinking)} (thinkingBudget: {setting.mode})"


def cap(target: Target) -> int:
    """The most tokens of thinking that a model takes, as far as the catalogue knows."""
    row = target.model_row
    return (row and (row.max_thinking or row.max_output)) or MOST


def word(budget: int) -> str:
    """The word of effort that a budget stands for."""
    return next((name for name in ("none", "low", "medium") if budget <= EFFORTS[name]), "high")


def _named(request: ChatRequest, target: Target, dialect: str) -> ChatRequest:
    """A level that is named is resolved; a model that is called so thinks, unless it is told otherwise."""
    named = _level_in(request)
    if named and not _never_thinks(target):
        return _with(request, _level(named, target))
    thinking = request.thinking
    if thinking is None:
        told = dialect in _TOLD and target.model.endswith(_SUFFIX)
        return replace(request, thinking=_thinking(EFFORTS["medium"], target)) if told else request
    if request.dialect == _LEVELLED and thinking.budget is None and thinking.effort in LEVELS:
        return request if _takes_levels(target) else replace(request, thinking=replace(thinking, budget=LEVELS[thinking.effort]))
    return request


def _level_in(request: ChatRequest) -> str:
    """The level that a client names in a field which its dialect has not; empty for none."""
    found = (request.extra.get(name) for name in _LEVEL_FIELDS)
    return next((level.lower() for level in found if isinstance(level, str) and level.lower() in LEVELS), "")


def _budget(request: ChatRequest, setting: ThinkingBudget) -> int:
    """The setting's budget for a request; with ``adaptive`` more for a long conversation, many tools, a long question."""
    if setting.mode == "custom":
        return setting.custom_budget
    last = next((message for message in reversed(request.messages) if message.role is Role.USER), None)
    words = sum(len(part.text) for part in last.parts if isinstance(part, Text)) if last else 0
    more = 0.5 * (len(request.messages) > 10) + 0.5 * (len(request.tools) > 3) + 0.3 * (words > 2000)
    return ceil((setting.base_budget or EFFORTS[setting.effort_level]) * (1 + setting.complexity_multiplier * more))


def _thinking(budget: int, target: Target) -> Thinking:
    """So much thinking, in a name where the model takes names."""
    budget = min(budget, cap(target))
    effort = word(budget)
    return Thinking(effort, None if budget and _takes_levels(target) else budget, enabled=budget > 0)


def _level(name: str, target: Target) -> Thinking:
    """A level, and what it stands for where the model takes no names."""
    return Thinking(name, None if _takes_levels(target) else min(LEVELS[name], cap(target)))


def _with(request: ChatRequest, thinking: Thinking | None) -> ChatRequest:
    extra = request.extra
    if not _FIELDS.isdisjoint(extra):
        extra = {name: value for name, value in extra.items() if name not in _FIELDS}
    return replace(request, thinking=thinking, extra=extra)


def _never_thinks(target: Target) -> bool:
    row = target.model_row
    return row is not None and bool(row.caps) and "reasoning" not in row.caps


def _takes_levels(target: Target) -> bool:
    return target.model_row is not None and "thinking_level" in target.model_row.caps


def _said(thinking: Thinking | None) -> str:
    """A wish to think in words."""
    if thinking is None or not thinking.enabled:
        return "none"
    return f"{thinking.budget} tokens" if thinking.budget is not None else thinking.effort
