"""The Responses door: ``/v1/responses`` and what it keeps, as OpenAI's SDKs and agents expect it.

A target that speaks the dialect itself gets the client's bytes and its own are passed on; every other is reached through the internal
model. What clients ask to be kept is :mod:`hub.tasks.responses`', either way.
"""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
import orjson

from hub.chat import Choice, Image, JsonObject
from hub.engine.answers import events_of
from hub.engine.ask import StreamHead, StreamTail
from hub.errors import BadRequest, HubError
from hub.tasks.responses import ResponseId
from transports import openai
from transports._chat_door import Address, asked, reply_headers, seconds, stream_headers
from transports._http import Exchange, Route
from transports._kept_files import inlined
from transports._responses_decode import Asked, decode, kept_items, read, references, resolved, shell
from transports._responses_pass import Passing, body_for
from transports._responses_tools import offered
from transports._responses_write import Writer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from hub.call import Hub
    from hub.chat import ChatResponse
    from hub.engine.ask import ChatReply
    from hub.engine.counting import Counted
    from hub.tasks.responses import Live

_PATH = "/v1/responses"
_ADDRESS = Address(_PATH)
#: Events that an answer in the background begins with, before anybody worked on it.
_BEGUN = 2


def routes(hub: Hub) -> list[Route]:
    """The door's routes; those that need no dialect are skills' own."""
    return [
        Route(_PATH, create, openai.DOOR, methods=("POST",)),
        Route(f"{_PATH}/input_tokens", input_tokens, openai.DOOR, methods=("POST",)),
        Route(f"{_PATH}/{{response_id}}", retrieve, openai.DOOR),
    ]


class _Turn:
    """One request with all that its answer is made from."""

    def __init__(self, exchange: Exchange, request: Asked, before: list[Any]) -> None:
        self.hub = exchange.hub
        self.ctx = exchange.ctx
        self.request = request
        self.id = f"resp_{exchange.request_id.removeprefix('req_')}"
        raw = replace(request.raw, body=body_for(request, before))
        self.ask = asked(exchange, _ADDRESS, raw, lambda _: decode(request, before))
        self.writer: Writer | Passing = Writer(shell(request, self.id, seconds(exchange)), offered(request.fields))
        self.given = kept_items(request, self.id)

    @property
    def now(self) -> int:
        """Seconds since the epoch."""
        return self.hub.clock.now_ms() // 1000

    async def keep(self) -> None:
        """Keep the answer where its client wants that and its key allows it."""
        if self.request.store:
            await self.hub.responses.keep(self.hub.responses.row(self.writer.body, self.given, self.ctx))

    def passing(self, *, begun: int = 0) -> Passing:
        """The answer comes in the client's own dialect."""
        self.writer = Passing(self.writer.body, begun=begun)
        return self.writer

    async def events(self) -> AsyncGenerator[StreamHead | list[bytes]]:
        """Where the answer comes from, then its events up to the last, which the caller tells once the answer is kept.

        Raises HubError before the first.
        """
        hub = self.hub
        async with aclosing(hub.stream(hub.find("chat-stream"), self.ask, self.ctx)) as items:
            head = await anext(items)
            if isinstance(head, StreamHead) and head.lossless:
                self.passing(begun=_BEGUN if self.request.background else 0)
            yield head
            writer: Any = self.writer
            try:
                async for item in items:
                    if not isinstance(item, StreamTail):
                        yield writer.feed(item)
            except HubError as error:
                yield writer.fail(error)
                return
        yield writer.end(self.now)


async def _turn(exchange: Exchange, request: Asked) -> _Turn:
    """The request with what it goes on from or refers to. Raises BadRequest for what is not kept."""
    responses, ctx = exchange.hub.responses, exchange.ctx
    before = await responses.before(request.previous, ctx) if request.previous else []
    named = references(request, before)
    if named:
        request = resolved(request, before, await responses.items(named, ctx))
    return _Turn(exchange, request, before)


async def create(exchange: Exchange) -> None:
    """``POST /v1/responses``: whole, streaming or in the background."""
    hub, ctx = exchange.hub, exchange.ctx
    body = await exchange.body()
    hub.allow(hub.find("chat"), ctx)
    request = read(await inlined(exchange, body))
    if ctx.caller.no_log and request.store:
        if request.background:
            raise BadRequest("background: this key keeps nothing, so its responses cannot be asked for later", field="background")
        request = msgspec.structs.replace(request, store=False)
    turn = await _turn(exchange, request)
    if request.background:
        await _background(exchange, turn)
    elif request.stream:
        exchange.cancel_when_gone()
        await _stream(exchange, turn)
    else:
        exchange.cancel_when_gone()
        await _whole(exchange, turn)


async def input_tokens(exchange: Exchange) -> None:
    """``POST /v1/responses/input_tokens``: how many the input would be; a header says whether the provider said so or it is an estimate."""
    hub, ctx = exchange.hub, exchange.ctx
    body = await exchange.body()
    hub.allow(hub.find("count-tokens"), ctx)
    request = read(body)
    turn = await _turn(exchange, request)
    counted: Counted = await hub.call(hub.find("count-tokens"), turn.ask, ctx)
    source = b"estimated" if counted.estimated else b"provider"
    told = {"object": "response.input_tokens", "input_tokens": counted.tokens}
    await exchange.answer_json(told, headers=[(b"x-hubroute-source", source)])


async def retrieve(exchange: Exchange) -> None:
    """``GET /v1/responses/{id}``; with ``stream=true`` its events after ``starting_after``, for one in the background."""
    hub, ctx, query = exchange.hub, exchange.ctx, exchange.query
    response_id = exchange.params["response_id"]
    kept: JsonObject = await hub.call(hub.find("response-get"), ResponseId(response_id), ctx)
    if query.get("stream", "").lower() not in ("true", "1"):
        await exchange.answer_json(kept)
        return
    after = query.get("starting_after", "")
    if after and not after.isdigit():
        raise BadRequest("starting_after: must be the sequence_number of an event", field="starting_after")
    live = hub.responses.live(response_id, ctx)
    if live is not None:
        await _follow(exchange, live, int(after) if after else -1)
        return
    if kept["status"] == "in_progress":
        raise BadRequest("another process works on this response; ask for it without stream", field="stream")
    kind = f"response.{kept['status']}"
    last = {"type": kind, "sequence_number": int(after or -1) + 1, "response": kept}
    await exchange.start(200, _ADDRESS.stream_headers)
    await exchange.finish(b"event: " + kind.encode() + b"\ndata: " + orjson.dumps(last) + b"\n\n")


async def _whole(exchange: Exchange, turn: _Turn) -> None:
    hub = turn.hub
    reply: ChatReply = await hub.call(hub.find("chat"), turn.ask, turn.ctx)
    writer = turn.writer
    if reply.response is None or isinstance(writer, Passing):
        body = turn.passing().whole(reply.body or b"{}")
    else:
        _tell(writer, reply.response, reply, turn.now)
        body = msgspec.json.encode({**writer.body, "output_text": reply.response.text})
    await turn.keep()
    await exchange.answer(200, body, reply_headers(turn.ask, reply))


def _tell(writer: Writer, response: ChatResponse, reply: ChatReply, now: int) -> None:
    """Write a whole answer."""
    for events in events_of(response, reply.usage, response.id):
        writer.feed(events)
    choice = response.choices[0] if response.choices else Choice([])
    for part in choice.parts:
        if isinstance(part, Image) and part.data:
            writer.picture(part.data)
    writer.end(now)
    said: list[JsonObject] = [item["content"][0] for item in writer.body["output"] if item["type"] == "message"]
    if isinstance(choice.logprobs, dict) and said:
        said[0]["logprobs"] = choice.logprobs.get("content") or []  # pyright: ignore[reportUnknownMemberType] - JSON


async def _stream(exchange: Exchange, turn: _Turn) -> None:
    """Send a stream. The last event comes once the answer is kept, so that the client can go on from it at once."""
    async with aclosing(turn.events()) as batches:
        head = await anext(batches)
        if isinstance(head, StreamHead):
            await exchange.start(200, stream_headers(_ADDRESS, turn.ask, head))
        begun = b"".join(turn.writer.begin())
        if begun:
            await exchange.chunk(begun)
        async for batch in batches:
            if isinstance(batch, list) and batch:
                if turn.writer.over:
                    await turn.keep()
                await exchange.chunk(b"".join(batch))
    await exchange.finish()


async def _background(exchange: Exchange, turn: _Turn) -> None:
    """Work on the answer goes on whether the client stays or not."""
    responses = turn.hub.responses
    row = responses.row(turn.writer.body, turn.given, turn.ctx)
    live = await responses.start(row, lambda live: _worked(turn, live))
    if turn.request.stream:
        await _follow(exchange, live, -1)
        return
    queued = {**msgspec.json.decode(row.body), "status": "queued"}
    await exchange.answer_json(queued)


async def _worked(turn: _Turn, live: Live) -> AsyncGenerator[bytes]:
    """The events of an answer in the background; the last once its end is stored."""
    for event in turn.writer.begin():
        yield event
    try:
        async with aclosing(turn.events()) as batches:
            async for batch in batches:
                if isinstance(batch, StreamHead):
                    turn.writer.body["model"] = batch.model
                    continue
                if turn.writer.over and batch:
                    await turn.hub.responses.finish(live.row, turn.writer.body)
                for event in batch:
                    yield event
    except HubError as error:
        last = turn.writer.fail(error)
        await turn.hub.responses.finish(live.row, turn.writer.body)
        for event in last:
            yield event


async def _follow(exchange: Exchange, live: Live, after: int) -> None:
    exchange.cancel_when_gone()
    await exchange.start(200, _ADDRESS.stream_headers)
    async for event in live.follow(after):
        await exchange.chunk(event)
    await exchange.finish()
