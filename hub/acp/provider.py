"""Agents of this machine as a chat provider: a request of the model API becomes one turn of an agent, without a network (D5).

Each request is a new session in an empty folder, in which every permission is refused: whoever may chat gets words, no actions.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, aclosing
from typing import TYPE_CHECKING, Any, cast

import orjson

from hub.acp.events import Ended, Said, Thought
from hub.engine.flow import Refused
from hub.errors import BadRequest, HubError, NotConfigured, UpstreamFailed
from hub.outbound.base import Headers, Origin, Outgoing
from hub.providers.base import Failure, FailureKind, Prepared
from hub.providers.openai import OpenAiAdapter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hub.acp.local import LocalAgents
    from hub.acp.session import Session
    from hub.chat import ChatRequest, JsonObject
    from hub.clock import Clock
    from hub.outbound.base import Incoming
    from hub.providers.base import Target

NAME = "acp"
#: What of a request an agent is told; all else is reported as dropped (D20).
_TOLD = frozenset({"model", "messages", "stream", "stream_options"})
_FINISH = {"max_tokens": "length", "max_turn_requests": "length", "refusal": "content_filter"}
_WHO = {"system": "Instructions", "developer": "Instructions", "user": "User", "assistant": "Assistant", "tool": "Tool result"}


class AgentAdapter(OpenAiAdapter):
    """Answers in OpenAI's format by driving the agent that the provider's base URL (``acp://agent``) names.

    Not found by folder like the others: it needs the hub's agents, so the hub makes it.
    """

    name = NAME
    dialect = NAME

    def __init__(self, agents: LocalAgents, clock: Clock, *, allowed: bool) -> None:
        self._agents = agents
        self._clock = clock
        self._allowed = allowed

    def prepare(self, request: ChatRequest, target: Target) -> Prepared:
        """The conversation as one text."""
        made = super().prepare(request, target)
        body: JsonObject = orjson.loads(made.outgoing.whole)
        text, more = prompt_of(body["messages"])
        dropped = dict.fromkeys([*made.dropped, *(name for name in body if name not in _TOLD), *more])
        told = {"model": target.model, "prompt": text, "stream": request.stream}
        made.outgoing.body = orjson.dumps(told)
        return Prepared(made.outgoing, list(dropped))

    def request(self, target: Target, body: bytes, *, stream: bool) -> Outgoing:
        """A request that never leaves the machine."""
        # The row names the agent; an address that a connection gives does not change that.
        return Outgoing(Origin(NAME, target.provider.base_url.removeprefix(f"{NAME}://"), 0), "POST", "/", [], body)

    def models_request(self, target: Target) -> Outgoing | None:
        """There is nothing to ask without starting the agent."""
        return None

    async def answer(self, outgoing: Outgoing) -> Incoming:
        """Start the agent. Raises Refused when it cannot be started, so that another connection may answer."""
        if not self._allowed:
            words = "answering chats by agents of this machine is off; set HUBROUTE_ACP_CHAT=true to allow it"
            raise _refused(NotConfigured(words, code="acp_chat_disabled"))
        told: JsonObject = orjson.loads(outgoing.whole)
        stack = AsyncExitStack()
        try:
            session = await stack.enter_async_context(self._agents.session(outgoing.origin.host, model=told["model"], mode="refuse"))
        except UpstreamFailed:
            raise
        except HubError as error:
            raise _refused(error) from error
        return _Answer(stack, session, told, self._agents.seconds, self._clock)


class _Answer:
    """An answer whose bytes come as the agent speaks; closing it ends the agent."""

    def __init__(self, stack: AsyncExitStack, session: Session, told: JsonObject, seconds: float, clock: Clock) -> None:
        self.status = 200
        self.headers: Headers = [(b"content-type", b"text/event-stream" if told["stream"] else b"application/json")]
        self._stack = stack
        self._session = session
        self._told = told
        self._seconds = seconds
        self._head = {"id": clock.new_id("chatcmpl-"), "created": clock.now_ms() // 1000, "model": told["model"]}

    async def read(self) -> bytes:
        """The whole answer; the agent is ended."""
        words: list[str] = []
        thoughts: list[str] = []
        end = Ended("end_turn")
        try:
            async with aclosing(self._session.prompt(self._told["prompt"], seconds=self._seconds)) as events:
                async for event in events:
                    if isinstance(event, Said):
                        words.append(event.text)
                    elif isinstance(event, Thought):
                        thoughts.append(event.text)
                    elif isinstance(event, Ended):
                        end = event
        finally:
            await self.close()
        message: JsonObject = {"role": "assistant", "content": "".join(words)}
        if thoughts:
            message["reasoning_content"] = "".join(thoughts)
        choice = {"index": 0, "message": message, "finish_reason": _FINISH.get(end.stop_reason, "stop")}
        return orjson.dumps({**self._head, "object": "chat.completion", "choices": [choice], **_usage(end)})

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if not self._told["stream"]:
            yield await self.read()
            return
        async with aclosing(self._session.prompt(self._told["prompt"], seconds=self._seconds)) as events:
            async for event in events:
                if isinstance(event, Said):
                    yield self._chunk({"role": "assistant", "content": event.text})
                elif isinstance(event, Thought):
                    yield self._chunk({"role": "assistant", "reasoning_content": event.text})
                elif isinstance(event, Ended):
                    yield self._chunk({}, _FINISH.get(event.stop_reason, "stop"), _usage(event))
        yield b"data: [DONE]\n\n"

    async def close(self) -> None:
        """End the agent."""
        await self._stack.aclose()

    def _chunk(self, delta: JsonObject, finish: str | None = None, more: JsonObject | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return b"data: " + orjson.dumps({**self._head, "object": "chat.completion.chunk", "choices": [choice], **(more or {})}) + b"\n\n"


def prompt_of(messages: list[JsonObject]) -> tuple[str, list[str]]:
    """A conversation as one text for an agent, and what of it is left out: pictures, files, calls of tools."""
    dropped: list[str] = []
    turns: list[tuple[str, str]] = []
    for message in messages:
        text = _words(message.get("content"), dropped)
        if message.get("tool_calls"):
            dropped.append("messages.tool_calls")
        if text:
            turns.append((_WHO.get(str(message.get("role")), "User"), text))
    if len(turns) == 1:
        return turns[0][1], dropped
    return "\n\n".join(f"{who}:\n{text}" for who, text in turns), dropped


def _words(content: Any, dropped: list[str]) -> str:
    if isinstance(content, str):
        return content
    found: list[str] = []
    for part in cast("list[JsonObject]", content) if isinstance(content, list) else []:
        if isinstance(part.get("text"), str):
            found.append(part["text"])
        else:
            dropped.append(f"messages.{part.get('type', 'part')}")
    return "\n".join(found)


def _usage(end: Ended) -> JsonObject:
    """Usage where the agent states it."""
    prompt, output = end.input_tokens, end.output_tokens
    if not prompt and not output:
        return {}
    details = {"prompt_tokens_details": {"cached_tokens": min(end.cached_tokens, prompt)}} if end.cached_tokens else {}
    return {"usage": {"prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt + output, **details}}


def _refused(error: HubError) -> Refused:
    """Why an agent was not started, as routing takes it: another target may do better."""
    kind = FailureKind.MODEL if isinstance(error, BadRequest) else FailureKind.CONFIG
    return Refused(Failure(kind, error.status, error.message, code=error.code), error)
