"""Tools about tools: find one in the hub's registry by words, and call one by its name (D9)."""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import TYPE_CHECKING, Any, cast

from pydantic import Field

from hub.context import Context
from hub.errors import BadRequest, UnknownSkill
from hub.skill import Audit, CostClass, Mcp, skill
from hub.upstream.outcome import Outcome
from hub.wire import Body, Wire

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hub.skill import Skill

_NAME, _CALL = "omniroute_tool_search", "omniroute_tool_call"
_WORD = re.compile(r"[a-z0-9]+")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
#: What a word counts in the parts of a tool.
_IN_NAME, _IN_SUMMARY, _IN_TEXT, _IN_FIELDS = 4.0, 2.0, 1.0, 0.5
_ENDINGS = ("ies", "ing", "es", "ed", "s")
_LONGEST_LINE = 200
#: Words that say nothing about a tool.
_EMPTY = frozenset((
    "a", "an", "and", "are", "at", "be", "by", "can", "did", "do", "does", "for", "from", "get", "how", "i", "if", "in", "is", "it", "me",
    "my", "of", "on", "or", "so", "that", "the", "this", "to", "was", "what", "when", "which", "who", "why", "will", "with", "you",
))  # fmt: skip


class SearchAsk(Body):
    """What to look for."""

    query: str = Field(min_length=1, max_length=500, description="Words of what you want to do, or part of a tool's name.")
    limit: int = Field(default=8, ge=1, le=50, description="How many tools at most.")


class FoundTool(Wire):
    """One tool. ``signature`` names its arguments and their types; a ``?`` marks those that may be left out."""

    name: str
    description: str
    scopes: list[str]
    signature: str


class Found(Wire):
    """The tools that fit best, best first. ``total`` counts all that this key may call."""

    query: str
    count: int
    total: int
    tools: list[FoundTool]


class CallAsk(Body):
    """One call."""

    name: str = Field(min_length=1, max_length=64, description="The tool's name, as tool search gives it.")
    arguments: dict[str, Any] = Field(default_factory=dict[str, Any], description="Its arguments, as its signature names them.")
    confirm: bool = Field(default=False, description="True once the user has agreed to a tool that cannot be undone.")


#: Any JSON value, in words: clients that are strict about schemas refuse one that says nothing.
_JSON = ("object", "array", "string", "number", "boolean", "null")


class Called(Wire):
    """What the tool answered. ``untrusted`` says that another server wrote it."""

    name: str
    result: Any = Field(json_schema_extra={"anyOf": [{"type": name} for name in _JSON]})
    is_error: bool = False
    untrusted: bool = False


@skill("tool-search", scopes=["mcp:connect"], cost=CostClass.FREE, mcp=Mcp(_NAME), read_only=True, audit=Audit.NONE)
async def search(ctx: Context, ask: SearchAsk) -> Found:
    """Find tools of this hub by words, also those that tools/list does not show; only tools that this key may call are found.

    Call what it finds by name, directly or with omniroute_tool_call.
    """
    there = {name: made for name, made in ctx.hub.skills.by_tool.items() if made.scopes <= ctx.caller.scopes and name not in (_NAME, _CALL)}
    ranked = _ranked(ask.query, there)[: ask.limit]
    tools = [
        FoundTool(name=name, description=made.summary[:_LONGEST_LINE], scopes=sorted(made.scopes), signature=_signature(name, made))
        for name, made in ranked
    ]
    return Found(query=ask.query, count=len(tools), total=len(there), tools=tools)


@skill("tool-call", scopes=["mcp:connect"], cost=CostClass.FREE, mcp=Mcp(_CALL), audit=Audit.NONE)
async def call(ctx: Context, ask: CallAsk) -> Called:
    """Call a tool of this hub by name, for clients that can only call what tools/list showed them.

    The call is checked, limited and recorded as if it were made directly.
    """
    made = _callable(ctx, ask)
    if made.streams:
        items = [item async for item in ctx.hub.stream(made, ask.arguments, ctx)]
        return Called(name=ask.name, result=items)
    output = await ctx.hub.call(made, ask.arguments, ctx)
    if isinstance(output, Outcome):
        result = output.structured if output.structured is not None else output.content
        return Called(name=ask.name, result=result, is_error=output.failed, untrusted=True)
    view = made.mcp.view if made.mcp else None
    return Called(name=ask.name, result=view(output) if view else output)


def _callable(ctx: Context, ask: CallAsk) -> Skill:
    """The tool to call. Raises UnknownSkill for one that is not there for this key, BadRequest for one that must not run like this."""
    made = ctx.hub.skills.by_tool.get(ask.name)
    if made is None or not made.scopes <= ctx.caller.scopes:
        raise UnknownSkill(f"no tool {ask.name!r}; {_NAME} finds those there are", field="name")
    if ask.name == _CALL:
        raise BadRequest(f"{_CALL} does not call itself", field="name")
    if made.destructive and not ask.confirm:
        raise BadRequest(f"{ask.name} cannot be undone; ask the user, then send confirm: true", code="unconfirmed", field="confirm")
    return made


def _ranked(query: str, tools: Mapping[str, Skill]) -> list[tuple[str, Skill]]:
    """Tools that hold a word of the query, by how many, where, and how rare the words are."""
    wanted = {_stem(word) for word in _WORD.findall(query.lower()) if word not in _EMPTY}
    weights = {name: _weights(name, made) for name, made in tools.items()}
    spread = Counter(word for found in weights.values() for word in wanted & found.keys())
    scores: dict[str, float] = {}
    for name, found in weights.items():
        score = sum(found[word] * math.log(1 + len(tools) / spread[word]) for word in wanted & found.keys())
        if query.lower().replace(" ", "_") in name.lower():
            score += 20
        if score:
            scores[name] = score
    return [(name, tools[name]) for name in sorted(scores, key=lambda name: (-scores[name], name))]


def _weights(name: str, made: Skill) -> dict[str, float]:
    parts = (
        (_IN_FIELDS, " ".join(_properties(made))),
        (_IN_TEXT, made.description[:4000]),
        (_IN_SUMMARY, made.summary),
        (_IN_NAME, name.removeprefix("omniroute_")),
    )
    # The best place of a word counts; later parts weigh more.
    return {word: weight for weight, text in parts for word in _words(text)}


def _words(text: str) -> list[str]:
    return [_stem(word) for word in _WORD.findall(_CAMEL.sub(" ", text).lower())]


def _stem(word: str) -> str:
    """A word without its English ending, so that ``combos`` finds ``combo`` and ``pricing`` finds ``prices``."""
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)].removesuffix("e")
    return word.removesuffix("e") if len(word) > 4 else word


def _properties(made: Skill) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", made.input_schema().get("properties") or {})


def _signature(name: str, made: Skill) -> str:
    """``name(field: type, other?: type)``."""
    required = cast("list[str]", made.input_schema().get("required") or [])
    fields = [f"{field}{'' if field in required else '?'}: {_kind(schema)}" for field, schema in list(_properties(made).items())[:20]]
    return f"{name}({', '.join(fields)})"


def _kind(schema: Any) -> str:
    """One word for a schema."""
    facts: Mapping[str, Any] = cast("Mapping[str, Any]", schema) if isinstance(schema, dict) else {}
    if "enum" in facts:
        return "|".join(str(one) for one in facts["enum"][:8])
    if "anyOf" in facts:
        kinds = [_kind(one) for one in facts["anyOf"] if one != {"type": "null"}]
        return "|".join(dict.fromkeys(kinds))
    if facts.get("type") == "array":
        return f"{_kind(facts.get('items'))}[]"
    return str(facts.get("type", "object" if "$ref" in facts else "any"))
