"""A model really asked: does it answer, how fast, does it stream, call tools, see pictures, keep to a schema."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Literal

import msgspec
import orjson

from hub.chat import ChatRequest, Image, Message, OutputFormat, Role, Text, Tool
from hub.errors import Forbidden, HubError, UpstreamTimeout
from hub.media.masks import one_colour

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hub.evals.asking import Asking, Said
    from hub.records import Caller

DOOR = "assess"
Depth = Literal["quick", "standard", "deep"]
Status = Literal["working", "rate_limited", "auth_error", "timeout", "broken"]
#: Plain questions of each depth; the capabilities are tried in all but quick.
_PLAIN: dict[str, int] = {"quick": 1, "standard": 2, "deep": 5}
_QUICK_TOKENS, _TOKENS = 3, 100
_SECONDS = 30.0
#: Statuses by which a provider says that a model cannot do what was asked, and not that something went wrong.
_CANNOT = frozenset({400, 404, 406, 415, 422})
_SCHEMA = {"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"], "additionalProperties": False}
_TOOL = Tool(
    name="get_weather",
    description="The weather in a city now.",
    schema={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)


class Found(msgspec.Struct, kw_only=True):
    """What probes of a model found. Capabilities are None where they were not tried or nothing can be said; cost in dollars.

    ``ours`` says that the hub itself refused the caller, which tells nothing of the model.
    """

    status: Status = "working"
    latencies: list[int] = []
    calls: int = 0
    answered: int = 0
    error: str = ""
    ours: bool = False
    streaming: bool | None = None
    tools: bool | None = None
    structured: bool | None = None
    vision: bool | None = None
    cost: float = 0.0


class Prober:
    """Probes models for a caller. ``pace`` is awaited before each call."""

    def __init__(self, asking: Asking, caller: Caller, pace: Callable[[], Awaitable[None]]) -> None:
        self._asking = asking
        self._caller = caller
        self._pace = pace

    async def probe(self, model: str, depth: Depth) -> Found:
        """Probe a model. Raises Spent; what else goes wrong is what was found."""
        found = Found()
        tokens = _QUICK_TOKENS if depth == "quick" else _TOKENS
        for _ in range(_PLAIN[depth]):
            if not await self._plain(model, tokens, found):
                return found
        if depth == "quick":
            return found
        found.streaming = await self._able(found, lambda: self._streams(model, found))
        found.tools = await self._able(found, lambda: self._calls_tools(model, found))
        found.structured = await self._able(found, lambda: self._keeps_schema(model, found))
        found.vision = await self._able(found, lambda: self._sees(model, found))
        return found

    async def _plain(self, model: str, tokens: int, found: Found) -> bool:
        """One plain question; whether it was answered. An error says how the model stands, unless it has answered before."""
        try:
            said = await self._ask(found, request(model, "Reply with the single word OK.", tokens))
        except HubError as error:
            found.error = error.message[:500]
            if not found.answered:
                found.status, found.ours = status_of(error), isinstance(error, Forbidden)
            return bool(found.answered)
        found.latencies.append(said.latency_ms)
        return True

    async def _able(self, found: Found, trial: Callable[[], Awaitable[bool]]) -> bool | None:
        """What a trial shows: None where something else than the model's ability went wrong."""
        try:
            return await trial()
        except HubError as error:
            if error.status in _CANNOT:
                found.answered += 1
                return False
            found.error = error.message[:500]
            return None

    async def _streams(self, model: str, found: Found) -> bool:
        await self._pace()
        found.calls += 1
        asked = request(model, "Count from one to five in words.", _TOKENS)
        asked.stream = True
        said, pieces = await self._asking.stream(self._caller, DOOR, asked, seconds=_SECONDS, direct=True)
        self._paid(found, said)
        return pieces > 0

    async def _calls_tools(self, model: str, found: Found) -> bool:
        asked = request(model, "What is the weather in Paris now? Use the tool.", _TOKENS)
        asked.tools = [_TOOL]
        said = await self._ask(found, asked)
        return any(call.name == _TOOL.name for call in said.calls)

    async def _keeps_schema(self, model: str, found: Found) -> bool:
        asked = request(model, "Give the sum of 2 and 3 as JSON with the field sum.", _TOKENS)
        asked.format = OutputFormat(kind="schema", name="sum", schema=dict(_SCHEMA), strict=True)
        said = await self._ask(found, asked)
        try:
            value = orjson.loads(said.text)
        except orjson.JSONDecodeError:
            return False
        return isinstance(value, dict) and type(value.get("sum")) is int  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType] - JSON edge

    async def _sees(self, model: str, found: Found) -> bool:
        asked = request(model, "Which colour is this picture? Answer with one word.", _TOKENS)
        picture = base64.b64encode(one_colour(32, 230, 20, 20)).decode()
        asked.messages[0].parts.append(Image(data=picture, media_type="image/png"))
        return "red" in (await self._ask(found, asked)).text.lower()

    async def _ask(self, found: Found, asked: ChatRequest) -> Said:
        await self._pace()
        found.calls += 1
        said = await self._asking.chat(self._caller, DOOR, asked, seconds=_SECONDS, direct=True)
        self._paid(found, said)
        return said

    def _paid(self, found: Found, said: Said) -> None:
        found.answered += 1
        found.cost += said.cost or 0.0


def request(model: str, words: str, tokens: int) -> ChatRequest:
    """A plain question."""
    return ChatRequest(model=model, messages=[Message(Role.USER, [Text(words)])], max_tokens=tokens)


def status_of(error: HubError) -> Status:
    """How a model stands that answered with an error."""
    status = getattr(error, "upstream_status", None) or error.status
    if status in (401, 403):
        return "auth_error"
    if status == 429:
        return "rate_limited"
    return "timeout" if isinstance(error, UpstreamTimeout) or status == 504 else "broken"
