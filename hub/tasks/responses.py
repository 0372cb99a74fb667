"""Answers that outlive their request: kept for their caller, and, in the background, worked on after the client has left.

What a client sees of an answer is its dialect's business (:mod:`transports.responses`); here it is an object with an id and a status.
Each belongs to the key that asked for it; no other finds it.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any

import msgspec

from hub.errors import BadRequest, HubError, NotFound, RateLimited
from hub.log import logger
from hub.store.model_responses import MOST_TURNS, ModelResponse

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

    from hub.chat import JsonObject
    from hub.clock import Clock
    from hub.context import Context
    from hub.store import Store

log = logger("hub.responses")

#: Larger answers with their input are not kept, in bytes; nor are conversations put together beyond the second.
LARGEST = 8 * 1024 * 1024
LARGEST_CHAIN = 64 * 1024 * 1024
_DAY_MS = 86_400_000
#: Whoever works on an answer says so this often; one that was silent for so long is gone, and its answer with it.
_BEAT_SECONDS = 5.0
_SILENT_MS = 60_000
#: Answers that are worked on at once for one key and in all, and those whose events are remembered after their end.
_MOST_RUNNING, _MOST_IN_ALL, _MOST_ENDED = 32, 512, 64
#: Bytes of events that are remembered of one answer.
_MOST_EVENTS = 4 * LARGEST
OPEN = frozenset({"queued", "in_progress"})


class ResponseId(msgspec.Struct, frozen=True):
    """Names a kept answer, for the door that can also stream it."""

    value: str


class Live:
    """The events of an answer in the background, for those who follow it."""

    def __init__(self, row: ModelResponse) -> None:
        self.row = row
        self.over = False
        self.task: asyncio.Task[None] | None = None
        self._events: list[bytes] = []
        self._size = 0
        self._more = asyncio.Event()

    def add(self, event: bytes) -> None:
        """An event was told. Raises BadRequest beyond what is remembered."""
        self._size += len(event)
        if self._size > _MOST_EVENTS:
            raise BadRequest("the answer is larger than a response in the background may be")
        self._events.append(event)
        self._wake()

    def end(self) -> None:
        """No more events come."""
        self.over = True
        self._wake()

    async def follow(self, after: int) -> AsyncIterator[bytes]:
        """The events with a sequence number above ``after`` (they count from 0), as they come."""
        at = after + 1
        while True:
            while at < len(self._events):
                yield self._events[at]
                at += 1
            if self.over:
                return
            more = self._more
            await more.wait()

    def _wake(self) -> None:
        self._more.set()
        self._more = asyncio.Event()


class Responses:
    """The kept answers of one process. ``days`` gives how long they are kept."""

    def __init__(self, store: Store, clock: Clock, days: Callable[[], int]) -> None:
        self._rows = store.model_responses
        self._clock = clock
        self._days = days
        self._live: OrderedDict[str, Live] = OrderedDict()

    def row(self, body: JsonObject, given: list[Any], ctx: Context) -> ModelResponse:
        """An answer as it is kept."""
        now = self._clock.now_ms()
        return ModelResponse(
            id=body["id"],
            key_id=ctx.caller.key_id,
            previous_id=body.get("previous_response_id") or "",
            status=body["status"],
            body=msgspec.json.encode(body).decode(),
            input=msgspec.json.encode(given).decode(),
            created_at=now,
            alive_at=now,
            expires_at=now + self._days() * _DAY_MS,
        )

    async def keep(self, row: ModelResponse) -> None:
        """Keep an answer that is complete. One that is too large is not kept, which the log says."""
        if len(row.body) + len(row.input) > LARGEST:
            log.warning("a response is too large to keep", response=row.id, bytes=len(row.body) + len(row.input))
            return
        await self._rows.put(row)

    async def before(self, response_id: str, ctx: Context) -> list[Any]:
        """The items of a conversation up to and with an answer: of each turn what went in, then what came out.

        Raises BadRequest for an answer that is not there, not complete, or whose conversation is too long.
        """
        rows = await self._rows.chain(response_id, ctx.caller.key_id)
        field = "previous_response_id"
        if not rows or (len(rows) < MOST_TURNS and rows[0].previous_id):
            words = (
                f"{field}: no response {response_id[:80]!r} is kept for this key, or one before it is gone; send the whole input instead"
            )
            raise BadRequest(words, field=field, code="previous_response_not_found")
        if rows[-1].status in OPEN:
            raise BadRequest(f"{field}: {response_id} is still under way; wait for its end", field=field, code="response_not_complete")
        if rows[0].previous_id or sum(len(row.body) + len(row.input) for row in rows) > LARGEST_CHAIN:
            raise BadRequest(f"{field}: the conversation is too long to go on from; send its input anew", field=field)
        items: list[Any] = []
        for row in rows:
            items += msgspec.json.decode(row.input)
            items += msgspec.json.decode(row.body).get("output", [])
        return items

    async def items(self, response_ids: list[str], ctx: Context) -> list[Any]:
        """The items of single answers, of each what went in and what came out. What is not kept for this key is left out.

        Raises BadRequest for more answers, or larger ones, than a conversation may have.
        """
        rows = await self._rows.several(response_ids, ctx.caller.key_id) if len(response_ids) <= MOST_TURNS else []
        if len(response_ids) > MOST_TURNS or sum(len(row.body) + len(row.input) for row in rows) > LARGEST_CHAIN:
            raise BadRequest("input: refers to items of too many earlier responses; send the items themselves", field="input")
        return [item for row in rows for item in (*msgspec.json.decode(row.input), *msgspec.json.decode(row.body).get("output", []))]

    async def get(self, response_id: str, ctx: Context) -> ModelResponse:
        """A kept answer. One that nobody works on any more is failed. Raises NotFound."""
        row = await self._rows.find(response_id, ctx.caller.key_id)
        if row is None:
            raise NotFound(f"no response {response_id[:80]!r} is kept for this key", field="response_id")
        if row.status in OPEN and row.id not in self._live and self._clock.now_ms() - row.alive_at > _SILENT_MS:
            return await self._ended(row, "failed", {"code": "server_error", "message": "the hub stopped while it worked on this response"})
        return row

    async def delete(self, response_id: str, ctx: Context) -> None:
        """Delete an answer; work on it ends. Raises NotFound."""
        if not await self._rows.delete(response_id, ctx.caller.key_id):
            raise NotFound(f"no response {response_id[:80]!r} is kept for this key", field="response_id")
        await self._stop(response_id)

    async def cancel(self, response_id: str, ctx: Context) -> ModelResponse:
        """End the work on an answer in the background; one that is over stays as it is. Raises NotFound, BadRequest."""
        row = await self.get(response_id, ctx)
        if not msgspec.json.decode(row.body).get("background"):
            raise BadRequest(f"{response_id} is not in the background, and only such a response can be cancelled", field="response_id")
        if row.status not in OPEN:
            return row
        row = await self._ended(row, "cancelled", None)
        await self._stop(response_id)
        return row

    async def start(self, row: ModelResponse, flow: Callable[[Live], AsyncGenerator[bytes]]) -> Live:
        """Work on an answer in the background: ``flow`` tells its events and ends it with :meth:`finish`. Stored when this returns.

        Raises RateLimited when too many are worked on, BadRequest for one that is too large to keep.
        """
        if len(row.input) > LARGEST:
            raise BadRequest("the input is larger than that of a response in the background may be", field="input")
        running = [live for live in self._live.values() if not live.over]
        if len(running) >= _MOST_IN_ALL or sum(live.row.key_id == row.key_id for live in running) >= _MOST_RUNNING:
            raise RateLimited(f"{_MOST_RUNNING} responses of this key are in the background; wait for one to end", retry_after=5)
        await self._rows.put(row)
        live = self._live[row.id] = Live(row)
        live.task = asyncio.get_running_loop().create_task(self._run(live, flow(live)))
        return live

    def live(self, response_id: str, ctx: Context) -> Live | None:
        """The events of an answer in the background, where this process still has them."""
        live = self._live.get(response_id)
        return live if live is not None and live.row.key_id == ctx.caller.key_id else None

    async def finish(self, row: ModelResponse, body: JsonObject) -> bool:
        """An answer in the background is complete; False where it was cancelled or deleted meanwhile."""
        row.status, row.body = body["status"], msgspec.json.encode(body).decode()
        if len(row.body) > LARGEST:
            row.status = "failed"
            row.body = msgspec.json.encode(_failed(body, {"code": "server_error", "message": "the answer is too large to keep"})).decode()
        return await self._rows.end(row.id, row.key_id, row.status, row.body)

    async def close(self) -> None:
        """End the work in the background; what is not complete is failed."""
        for response_id, live in list(self._live.items()):
            if not live.over:
                await self._stop(response_id)
                with suppress(HubError):
                    await self._ended(live.row, "failed", {"code": "server_error", "message": "the hub stopped; send the request again"})

    async def _run(self, live: Live, flow: AsyncGenerator[bytes]) -> None:
        beating = asyncio.get_running_loop().create_task(self._beat(live))
        try:
            async with aclosing(flow):
                async for event in flow:
                    live.add(event)
        except Exception as error:
            log.error("a response in the background failed", response=live.row.id, exc_info=error)
            shown = error.message if isinstance(error, HubError) else "the hub failed; the log has the cause"
            with suppress(HubError):
                await self._ended(live.row, "failed", {"code": "server_error", "message": shown})
        finally:
            beating.cancel()
            live.end()
            self._forget()

    async def _beat(self, live: Live) -> None:
        """Say that the work goes on, and end it when another process says that nobody wants it."""
        while True:
            await asyncio.sleep(_BEAT_SECONDS)
            with suppress(HubError):
                if not await self._rows.alive(live.row.id) and live.task is not None:
                    live.task.cancel()
                    return

    async def _ended(self, row: ModelResponse, status: str, error: JsonObject | None) -> ModelResponse:
        body = _failed(msgspec.json.decode(row.body), error)
        body["status"] = status
        await self._rows.end(row.id, row.key_id, status, msgspec.json.encode(body).decode())
        return await self._rows.find(row.id, row.key_id) or row

    async def _stop(self, response_id: str) -> None:
        live = self._live.get(response_id)
        if live is not None and live.task is not None and not live.over:
            live.task.cancel()
            await asyncio.gather(live.task, return_exceptions=True)

    def _forget(self) -> None:
        """Let go of the events of answers that ended long ago."""
        ended = [response_id for response_id, live in self._live.items() if live.over]
        for response_id in ended[:-_MOST_ENDED]:
            del self._live[response_id]


def _failed(body: JsonObject, error: JsonObject | None) -> JsonObject:
    return {**body, "status": "failed", "error": error}
