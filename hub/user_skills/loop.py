"""Chats with installed skills: the tools that a chat is given, and the rounds in which the model calls them (docs/skills.md, "In a chat").

Stands between what is known already and the engine. Every call of the model is an ordinary call of the engine with rows and holds of its
own. What skills answer goes to the model alone, never into what the client reads.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

import msgspec
import orjson

from hub.chat import ChatResponse, Choice, Message, Reasoning, Role, Text, Tool, ToolCall, ToolChoice, ToolMode, ToolResult, Usage, Used
from hub.engine.ask import ChatReply, StreamTail
from hub.errors import BadRequest, BudgetExceeded, HubError, Internal
from hub.user_skills.choosing import Said, chosen, instructions
from hub.user_skills.model import body_of
from hub.user_skills.sieve import Shown, Sieve, ending, finish_of, summed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

    from hub.chat import ChatRequest, Part
    from hub.context import Context
    from hub.engine.ask import ChatAsk, StreamItem
    from hub.engine.engine import ChatEngine
    from hub.preferences import Preferences
    from hub.records import UsageRow
    from hub.skill import Skill
    from hub.user_skills.aside import Aside
    from hub.user_skills.installed import Installed, Library

SCOPE = "execute:skills"
#: What a client asked for at a model's door. Nothing else gets skills: not the hub's own questions, not what a skill asks.
_DOORS = frozenset({"chat", "chat-stream"})
#: Calls of one turn that run at once, and that run at all.
_AT_ONCE, _MOST_CALLS = 4, 16
#: Characters of one result that the model is given.
_MOST_RESULT = 60_000


class SkillLoop:
    """Gives chats their skills. One for a hub; :attr:`hub.engine.chats.Chats.skills` while there is anything to give."""

    def __init__(
        self, engine: ChatEngine, library: Library, aside: Aside, preferences: Callable[[], Preferences], made: Callable[[str, Any], Skill]
    ) -> None:
        self._engine = engine
        self._library = library
        self._aside = aside
        self._preferences = preferences
        self._made = made

    def turn(self, ask: ChatAsk, ctx: Context) -> Turn | None:
        """The rounds of a chat that is given tools. None for one that is not; words of instruction skills are put into ``ask`` then."""
        usable = self._usable(ask, ctx)
        if not usable:
            return None
        try:
            request = ask.request()
        except BadRequest:
            return None  # what our decoder does not take passes as it is
        picked = chosen(usable, Said(request, ask.model))
        self._instruct(ask, [one for one in picked if one.body.kind == "instruction"])
        tools = self._tools(picked, ask.request(), ctx) if SCOPE in ctx.caller.scopes else {}
        if not tools:
            return None
        ask.changes += tuple(f"the installed skill {name} was offered to the model" for name in tools)
        # What tools answer is another thing each time.
        ask.cacheable = False
        return Turn(self._engine, self._aside, ask, ctx, tools, self._preferences().skills_max_rounds)

    def _usable(self, ask: ChatAsk, ctx: Context) -> list[Installed]:
        """What a chat may be given; nothing for what no client asked for itself."""
        key_id = ctx.caller.key_id
        if ask.bare or ask.direct or ctx.skill not in _DOORS or not key_id:
            return []
        return [one for one in self._library.usable(key_id) if one.body.mode != "off"]

    @staticmethod
    def _instruct(ask: ChatAsk, words: Sequence[Installed]) -> None:
        if words:
            ask.lead(instructions(words, {one.id: body_of(one.body.text) for one in words}))
            ask.changes += tuple(f"instructions of the installed skill {one.body.full_name}" for one in words)

    def _tools(self, picked: Sequence[Any], request: ChatRequest, ctx: Context) -> dict[str, Skill]:
        """The tools that a chat is given by name. None where the client has made its own choice of tools, or wants several answers."""
        choice = request.tool_choice
        if (request.n or 1) > 1 or (choice is not None and choice.mode is not ToolMode.AUTO):
            return {}
        names = {one.id: name for name, one in self._library.tools(ctx.caller.key_id).items()}
        own = {tool.name for tool in request.tools}
        found = {names[one.id]: one for one in picked if one.id in names and names[one.id] not in own}
        return {name: self._made(name, found[name]) for name in sorted(found)}


@dataclass(slots=True)
class Turn:
    """One chat with tools of ours: the rounds until the model answers without calling them."""

    engine: ChatEngine
    aside: Aside
    ask: ChatAsk
    ctx: Context
    tools: Mapping[str, Skill]
    most: int
    number: int = 0
    spent: float = 0.0
    usage: Usage = field(default_factory=Usage)
    cost: float | None = 0.0
    #: What the model has seen since the client's last message and the client has not.
    hidden: list[Message] = field(default_factory=list[Message])
    _calls: int = 0

    async def complete(self) -> ChatReply:
        """The answer as a whole."""
        request: ChatRequest | None = self._first()
        parts: list[Part] = []
        while True:
            reply = await self.engine.complete(*self._round(request))
            response = reply.response
            if response is None:
                raise Internal("a request in the internal model was answered in bytes")
            self._count(reply.usage, reply.row)
            choice = response.choices[0] if response.choices else Choice([])
            parts += self._visible(choice.parts, parts)
            request = await self._went(request, choice.parts)
            if request is None:
                return self._reply(reply, response, choice, parts)

    async def stream(self) -> AsyncGenerator[StreamItem]:
        """The answer as a stream of events: what is said passes as it comes, calls of ours are held back."""
        request: ChatRequest | None = self._first()
        shown = Shown()
        while request is not None:
            sieve = Sieve(self.tools, shown)
            async with aclosing(self.engine.stream(*self._round(request))) as items:
                async for item in items:
                    if (seen := sieve.take(item)) is not None:
                        yield seen
            if sieve.tail is None:
                return
            self._count(sieve.tail.row.usage, sieve.tail.row)
            request = None if sieve.failed else await self._went(request, sieve.parts())
            if request is None:
                if not sieve.failed:
                    yield [ending(sieve.end, theirs=shown.calls > 0), Used(self.usage)]
                yield StreamTail(self._row(sieve.tail.row))

    async def _went(self, request: ChatRequest, parts: list[Part]) -> ChatRequest | None:
        """What follows a round: the request of the next one, once calls of ours were run; None where the answer is the client's to have.

        Where it calls the client's tools, what the client does not see of the turn is put aside.
        """
        ours, theirs = self._sorted(parts)
        results = await self._results(ours) if self.number < self.most else []
        if results and not theirs:
            turn = [Message(Role.ASSISTANT, parts), Message(Role.TOOL, [*results])]
            self.hidden += turn
            return msgspec.structs.replace(request, messages=[*request.messages, *turn])
        if theirs and (results or self.hidden):
            self._put_aside(parts if results else [part for part in parts if part not in ours], theirs, results)
        return None

    def _put_aside(self, parts: list[Part], theirs: list[ToolCall], results: list[ToolResult]) -> None:
        """Keep what the client does not see of the turn, without calls of ours that were not run: each would need a result."""
        turns = [*self.hidden, Message(Role.ASSISTANT, parts)]
        after = [Message(Role.TOOL, [*results])] if results else []
        self.aside.keep(self.ctx.caller.key_id, self.ask.request().messages, theirs, turns, after)

    def _sorted(self, parts: Sequence[Part]) -> tuple[list[ToolCall], list[ToolCall]]:
        """Calls of ours, and those of the client's own tools."""
        calls = [part for part in parts if isinstance(part, ToolCall)]
        return [one for one in calls if one.name in self.tools], [one for one in calls if one.name not in self.tools]

    def _first(self) -> ChatRequest:
        """The client's request with hidden turns put back and our tools behind its own."""
        request = self.aside.restored(self.ask.request(), self.ctx.caller.key_id)
        ours = [Tool(name=name, description=skill.description, schema=skill.input_schema()) for name, skill in self.tools.items()]
        return msgspec.structs.replace(request, tools=[*request.tools, *ours])

    def _round(self, request: ChatRequest) -> tuple[ChatAsk, Context]:
        """The next call of the model. Raises BudgetExceeded where the limit of the whole request is used up."""
        self.number += 1
        if self.number >= self.most and self.number > 1:
            request = self._closing(request)
        made = self.ask.reshaped(request)
        if self.ask.budget is not None:
            made.budget = self.ask.budget - self.spent
            if made.budget <= 0:
                raise BudgetExceeded(f"the limit of the request is used up after {self.number - 1} calls of the model")
        if self.number == 1:
            return made, self.ctx
        if made.tape is not None:
            # Each round has a row of its own, and with it what is stored of it.
            made.tape = made.tape.inner(made)
        return made, replace(self.ctx, request_id=f"{self.ctx.request_id}.round{self.number}")

    def _closing(self, request: ChatRequest) -> ChatRequest:
        """The request of the last round, in which our tools can be called no more. Vendors want definitions of what was called before, so
        that they stay where there are no others."""
        theirs = [tool for tool in request.tools if tool.name not in self.tools]
        if theirs:
            return msgspec.structs.replace(request, tools=theirs)
        return msgspec.structs.replace(request, tool_choice=ToolChoice(ToolMode.NONE))

    def _visible(self, parts: Sequence[Part], before: Sequence[Part]) -> list[Part]:
        """What the client of a whole answer gets of a round's parts, after those of the rounds before."""
        kept: list[Part] = [part for part in parts if not (isinstance(part, ToolCall) and part.name in self.tools)]
        if self.number == 1:
            return kept
        kept[:] = [part for part in kept if not isinstance(part, Reasoning)]
        first = next((place for place, part in enumerate(kept) if _says(part)), None)
        if first is not None and any(map(_says, before)):
            kept.insert(first, Text("\n\n"))
        return kept

    async def _results(self, calls: Sequence[ToolCall]) -> list[ToolResult]:
        """Run calls, a few at once; what goes wrong is told to the model. Cancelling it cancels all of them."""
        slots = asyncio.Semaphore(_AT_ONCE)

        async def one(number: int, call: ToolCall) -> ToolResult:
            if number >= _MOST_CALLS:
                return _failure(call, f"at most {_MOST_CALLS} skills are called in one turn")
            async with slots:
                return await self._result(call)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(number, call)) for number, call in enumerate(calls)]
        return [task.result() for task in tasks]

    async def _result(self, call: ToolCall) -> ToolResult:
        skill, hub = self.tools[call.name], self.ctx.hub
        self._calls += 1
        # Under its own name: what it asks in turn is no chat of the client's.
        ctx = replace(self.ctx, request_id=f"{self.ctx.request_id}.skill{self._calls}", skill=skill.name, report=None)
        try:
            given: object = orjson.loads(call.arguments or "{}")
        except orjson.JSONDecodeError:
            return _failure(call, "the arguments are no JSON")
        if not isinstance(given, dict):
            return _failure(call, "the arguments must be an object")
        try:
            output = await hub.call(skill, cast("dict[str, Any]", given), ctx)
        except HubError as error:
            return _failure(call, error.message)
        text = output if isinstance(output, str) else orjson.dumps(output, default=str).decode()
        shown = text if len(text) <= _MOST_RESULT else f"{text[:_MOST_RESULT]}\n[cut: the result has {len(text)} characters]"
        return ToolResult(call.id, [Text(shown)], name=call.name)

    def _count(self, usage: Usage, row: UsageRow) -> None:
        self.usage = summed(self.usage, usage)
        self.cost = None if self.cost is None or row.cost is None else self.cost + row.cost
        self.spent += row.cost or 0.0

    def _row(self, row: UsageRow) -> UsageRow:
        """The last round's row with what all rounds used, for the client; each round's own row is stored."""
        return msgspec.structs.replace(row, usage=self.usage, cost=self.cost)

    def _reply(self, reply: ChatReply, response: ChatResponse, choice: Choice, parts: list[Part]) -> ChatReply:
        """The answer that the client gets."""
        theirs = any(isinstance(part, ToolCall) for part in parts)
        shown = msgspec.structs.replace(choice, parts=parts, finish=finish_of(choice.finish, theirs=theirs))
        return ChatReply(
            body=None,
            response=msgspec.structs.replace(response, choices=[shown], usage=self.usage),
            usage=self.usage,
            row=self._row(reply.row),
            dropped=reply.dropped,
            notice=reply.notice,
            compression=reply.compression,
            told=reply.told,
        )


def _failure(call: ToolCall, words: str) -> ToolResult:
    """What a model is told of a call that came to nothing."""
    return ToolResult(call.id, [Text(f"Error: {words}")], name=call.name, is_error=True)


def _says(part: Part) -> bool:
    return isinstance(part, Text) and bool(part.text)
