"""The demo provider: answers by itself, offline and always the same, so that every door can be tried in the first minute (D3)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import orjson

from hub.outbound.base import Headers, Origin, Outgoing
from hub.providers._demo_reply import Reply, pieces_of, reply_to
from hub.providers.openai import OpenAiAdapter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hub.chat import JsonObject
    from hub.outbound.base import Incoming
    from hub.providers.base import Target

SLOW = "demo-slow"
_PAUSE = 0.02  # seconds between words of the slow model
_CREATED = 1_767_225_600  # 2026-01-01: a fixed date, as everything here is fixed
_MOST_CHOICES = 8
_HERE = Origin("demo", "demo", 0)


class DemoAdapter(OpenAiAdapter):
    """Speaks the OpenAI format with itself. Calls the first offered tool once, then says what the tool answered.

    Models: ``demo``; ``demo-echo`` repeats the last user message; ``demo-slow`` takes 20 ms a word.
    """

    name = "demo"

    def request(self, target: Target, body: bytes, *, stream: bool) -> Outgoing:
        """A request that never leaves the process."""
        return Outgoing(_HERE, "POST", "/chat/completions", [], body)

    def models_request(self, target: Target) -> Outgoing | None:
        """There is nothing to ask: the catalogue lists all models."""
        return None

    async def answer(self, outgoing: Outgoing) -> Incoming:
        """Play the upstream's part."""
        request: JsonObject = orjson.loads(outgoing.whole)
        reply = reply_to(outgoing.whole)
        pause = _PAUSE if request.get("model") == SLOW else 0.0
        return _Answer(request, reply, pause)


class _Answer:
    """An answer whose bytes are made as they are read."""

    def __init__(self, request: JsonObject, reply: Reply, pause: float) -> None:
        self._stream = request.get("stream") is True
        self.status = 200
        self.headers: Headers = [(b"content-type", b"text/event-stream" if self._stream else b"application/json")]
        self._request = request
        self._reply = reply
        self._pause = pause
        asked = request.get("n")
        self._choices = min(max(1, asked), _MOST_CHOICES) if isinstance(asked, int) else 1
        self._closed = False

    async def read(self) -> bytes:
        """The whole body."""
        if self._stream:
            return b"".join([piece async for piece in self])
        await asyncio.sleep(self._pause * len(self._reply.pieces))
        return self._whole()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if not self._stream:
            yield await self.read()
            return
        for chunk in self._chunks():
            if self._closed:
                return
            yield chunk
            if self._pause:
                await asyncio.sleep(self._pause)

    async def close(self) -> None:
        """Nothing is held; the stream just stops."""
        self._closed = True

    def _head(self, kind: str) -> JsonObject:
        model = self._request.get("model")
        return {"id": f"chatcmpl-demo-{self._reply.mark}", "object": kind, "created": _CREATED, "model": model}

    def _usage(self) -> JsonObject:
        prompt, output = self._reply.prompt, self._reply.output * self._choices
        return {"prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt + output}

    def _calls(self) -> list[JsonObject]:
        return [
            {"id": f"call_{self._reply.mark}_{number}", "type": "function", "function": {"name": name, "arguments": arguments}}
            for number, (name, arguments) in enumerate(self._reply.calls)
        ]

    def _whole(self) -> bytes:
        message: JsonObject = {"role": "assistant", "content": "".join(self._reply.pieces) or None}
        if self._reply.calls:
            message["tool_calls"] = self._calls()
        elif message["content"] is None:
            message["content"] = ""
        choices = [
            {"index": index, "message": message, "logprobs": None, "finish_reason": self._reply.finish} for index in range(self._choices)
        ]
        return orjson.dumps({**self._head("chat.completion"), "choices": choices, "usage": self._usage()})

    def _chunks(self) -> list[bytes]:
        chunks = [self._delta({"role": "assistant", "content": "" if not self._reply.calls else None})]
        chunks += [self._delta({"content": piece}) for piece in self._reply.pieces]
        for number, call in enumerate(self._calls()):
            function = call["function"]
            opening = {**call, "index": number, "function": {"name": function["name"], "arguments": ""}}
            chunks.append(self._delta({"tool_calls": [opening]}))
            chunks += [
                self._delta({"tool_calls": [{"index": number, "function": {"arguments": piece}}]})
                for piece in pieces_of(function["arguments"])
            ]
        chunks.append(self._delta({}, self._reply.finish))
        options = self._request.get("stream_options")
        if isinstance(options, dict) and options.get("include_usage"):  # pyright: ignore[reportUnknownMemberType] - client JSON
            chunks.append(self._event({**self._head("chat.completion.chunk"), "choices": [], "usage": self._usage()}))
        return [*chunks, b"data: [DONE]\n\n"]

    def _delta(self, delta: JsonObject, finish: str | None = None) -> bytes:
        """One chunk for each choice."""
        head = self._head("chat.completion.chunk")
        choices = [{"index": index, "delta": delta, "logprobs": None, "finish_reason": finish} for index in range(self._choices)]
        return b"".join(self._event({**head, "choices": [choice]}) for choice in choices)

    @staticmethod
    def _event(value: JsonObject) -> bytes:
        return b"data: " + orjson.dumps(value) + b"\n\n"


DEMO = DemoAdapter()
