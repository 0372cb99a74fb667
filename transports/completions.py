"""``/v1/completions``, OpenAI's older way of having a text go on, for programs and editors that still use it.

One prompt passes as it came to providers that have completions. Several prompts are calls of their own, answered as one.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import orjson
from msgspec.structs import replace

from hub.engine.ask import ChatAsk
from hub.errors import HubError
from hub.splice import edit
from transports import openai
from transports._chat_door import Dialect, asked, reply_headers, seconds, serve, stream_headers
from transports._completions import StreamEncoder, decode, encode, envelope, raw_chat
from transports._http import Exchange, Route

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from hub.call import Hub
    from hub.chat import ChatResponse
    from hub.engine.ask import ChatReply, StreamHead
    from transports._completions import Envelope

_PATH = "/v1/completions"
#: So many prompts of one request are on the way at once.
_TOGETHER = 4


def routes(hub: Hub) -> list[Route]:
    """The door's routes; it is OpenAI's own."""
    return [Route(_PATH, completions, openai.DOOR, methods=("POST",))]


async def completions(exchange: Exchange) -> None:
    """``POST /v1/completions``, streaming or not."""
    await answered(exchange, await exchange.body())


async def answered(exchange: Exchange, body: bytes) -> None:
    """Answer a body as if it had come to this door. Raises HubError before the answer has begun."""
    exchange.hub.allow(exchange.hub.find("chat"), exchange.ctx)
    found = envelope(body)
    if len(found.prompts) == 1:
        await serve(exchange, _DIALECT, raw_chat(body if isinstance(found.prompt, str) else _with(body, found.prompts[0]), found))
        return
    exchange.cancel_when_gone()
    await (_stream_each if found.stream else _answer_each)(exchange, body, found)


def _with(body: bytes, prompt: str) -> bytes:
    return edit(body, {"prompt": orjson.dumps(prompt)})


def _asks(exchange: Exchange, body: bytes, found: Envelope) -> list[ChatAsk]:
    """A chat for each prompt: what passes as bytes could not be put together. An idempotency key is of the whole, not of each."""
    made: list[ChatAsk] = []
    for prompt in found.prompts:
        ask = asked(exchange, _DIALECT, raw_chat(body, found), decode)
        hints = replace(ask.hints, idempotency_key="", repeat_key="")
        made.append(ChatAsk(request=decode(_with(body, prompt)), connection=ask.connection, hints=hints))
    return made


async def _answer_each(exchange: Exchange, body: bytes, found: Envelope) -> None:
    hub, room = exchange.hub, asyncio.Semaphore(_TOGETHER)

    async def one(ask: ChatAsk) -> ChatReply:
        async with room:
            return await hub.call(
                hub.find("chat"),
                ask,
                hub.context(exchange.caller, exchange.ctx.door, session=exchange.ctx.session, address=exchange.ctx.address),
            )

    asks = _asks(exchange, body, found)
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(ask)) for ask in asks]
    except* HubError as errors:
        raise errors.exceptions[0] from None
    replies = [task.result() for task in tasks]
    said = [reply.response for reply in replies if reply.response is not None]
    echoed = [prompt if found.echo is True else "" for prompt in found.prompts]
    data = encode(said, echoed, id=f"cmpl-{exchange.request_id}", created=seconds(exchange))
    await exchange.answer(200, data, reply_headers(asks[0], replies[0]))


async def _stream_each(exchange: Exchange, body: bytes, found: Envelope) -> None:
    """One stream after the other, the choices counted on. Raises HubError before the first has begun."""
    joined = _Joined(exchange, include_usage=raw_chat(body, found).include_usage)
    try:
        for ask, prompt in zip(_asks(exchange, body, found), found.prompts, strict=True):
            if not joined.failed:
                await joined.add(ask, prompt if found.echo is True else "")
    except HubError as error:
        if joined.encoder is None:
            raise
        await exchange.finish(joined.encoder.error(error))
        return
    await exchange.finish(joined.encoder.end() if joined.encoder is not None else b"")


class _Joined:
    """Several streams sent as one."""

    def __init__(self, exchange: Exchange, *, include_usage: bool) -> None:
        self.encoder: StreamEncoder | None = None
        self._exchange = exchange
        self._include_usage = include_usage

    @property
    def failed(self) -> bool:
        """Whether a stream broke, and what was sent ends there."""
        return self.encoder is not None and self.encoder.failed

    async def add(self, ask: ChatAsk, echo: str) -> None:
        """Send the next one. Raises HubError."""
        exchange, hub = self._exchange, self._exchange.hub
        ctx = hub.context(exchange.caller, exchange.ctx.door, session=exchange.ctx.session, address=exchange.ctx.address)
        items: AsyncGenerator[Any] = hub.stream(hub.find("chat-stream"), ask, ctx)
        async with aclosing(items):
            head: StreamHead = await anext(items)
            if self.encoder is None:
                await exchange.start(200, stream_headers(_DIALECT, ask, head))
                self.encoder = _made(exchange, head, echo, include_usage=self._include_usage)
            else:
                self.encoder.turn(echo)
            async for item in items:
                data = self.encoder.feed(item) if isinstance(item, list) else b""  # pyright: ignore[reportUnknownArgumentType] - events
                if data:
                    await exchange.chunk(data)


def _made(exchange: Exchange, head: StreamHead, echo: str, *, include_usage: bool) -> StreamEncoder:
    name = f"cmpl-{exchange.request_id}"
    return StreamEncoder(id=name, model=head.model, created=seconds(exchange), include_usage=include_usage, echo=echo)


def _echo(ask: ChatAsk) -> str:
    """What goes before the text: the prompt, where it is to be said again."""
    body = ask.raw.body if ask.raw is not None else b""
    if b'"echo"' not in body:
        return ""
    found = envelope(body)
    return found.prompts[0] if found.echo is True else ""


def _encoded(response: ChatResponse, exchange: Exchange, ask: ChatAsk) -> bytes:
    return encode([response], [_echo(ask)], id=response.id or f"cmpl-{exchange.request_id}", created=seconds(exchange))


def _encoder(exchange: Exchange, ask: ChatAsk, head: StreamHead) -> StreamEncoder:
    return _made(exchange, head, _echo(ask), include_usage=ask.raw is not None and ask.raw.include_usage)


_DIALECT = Dialect(_PATH, decode=decode, encode=_encoded, encoder=_encoder)
