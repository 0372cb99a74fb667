"""Anthropic's Message Batches: all requests in one body, results as JSON lines.

They have no place for a marker of ours but the names of their requests, which only results show. Source: Anthropic API reference,
"Message Batches".
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from hub.batches.service import Outcome, State, Unsure
from hub.providers._anthropic_answer import usage_of
from hub.providers._request import build
from hub.providers.batches._reading import decoded
from hub.splice import replace_model

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hub.chat import Usage
    from hub.media.order import Line
    from hub.outbound.base import Outgoing
    from hub.providers.base import Target
    from hub.uploads import Upload

_PATH = "/messages/batches"
_ENDED = "ended"
_PAGE = 100
#: How much of results is looked at for a name, in bytes.
_GLANCE = 2**33
_NO_MESSAGE = msgspec.Raw(b"null")


class _Request(msgspec.Struct):
    custom_id: str
    params: msgspec.Raw


class _Batch(msgspec.Struct):
    id: str
    processing_status: str
    created_at: datetime


class _List(msgspec.Struct):
    data: list[_Batch]
    has_more: bool = False


class _Error(msgspec.Struct):
    type: str = "api_error"
    message: str = "the provider gave no answer"


class _Wrapped(msgspec.Struct):
    error: _Error = msgspec.field(default_factory=_Error)


class _Result(msgspec.Struct):
    type: str
    message: msgspec.Raw = _NO_MESSAGE
    error: _Wrapped = msgspec.field(default_factory=_Wrapped)


class _Line(msgspec.Struct):
    custom_id: str
    result: _Result


class AnthropicBatches:
    """Batches at ``/messages/batches``."""

    name = "anthropic"
    endpoints: Mapping[str, str] = {"/v1/messages": "claude"}
    frame = (b'{"requests":[', b",", b"]}")
    most = 256_000_000
    most_lines = 100_000

    def request(self, name: str, endpoint: str, body: bytes, model: str) -> bytes:
        """One of the requests of a batch."""
        return msgspec.json.encode(_Request(name, msgspec.Raw(replace_model(body, model))))

    async def submit(self, line: Line, endpoint: str, upload: Upload, marker: str) -> str:
        """``POST /messages/batches``; the names in the upload begin with the marker."""
        return decoded(await line.call(build(line.target, _PATH, upload)), _Batch).id

    async def find(self, line: Line, marker: str, since: int) -> str:
        """Look into the results of what was made since. Raises Unsure while one of those still runs."""
        running = False
        for one in await self._made(line, since):
            if one.processing_status != _ENDED:
                running = True
            elif (await self._first_name(line, one.id)).startswith(f"{marker}-"):
                return one.id
        if running:
            raise Unsure("a batch at Anthropic may be ours, which its results will show")
        return ""

    async def _made(self, line: Line, since: int) -> list[_Batch]:
        """What was made since, the newest first: ``GET /messages/batches``."""
        made, after = list[_Batch](), ""
        while True:
            query = {"limit": str(_PAGE)} | ({"after_id": after} if after else {})
            page = decoded(await line.call(build(line.target, _PATH, query=query, method="GET")), _List)
            # A minute for a vendor's clock that is behind ours.
            recent = [one for one in page.data if one.created_at.timestamp() * 1000 >= since - 60_000]
            made += recent
            if not page.has_more or len(recent) < len(page.data) or not recent:
                return made
            after = recent[-1].id

    async def _first_name(self, line: Line, batch_id: str) -> str:
        """The name of a request of a batch that has ended; empty where it has no results."""
        head = bytearray()
        incoming = await line.open(self.read(line.target, batch_id), most=_GLANCE)
        try:
            async for piece in incoming:
                head += piece
                if b"\n" in piece:
                    break
        finally:
            await incoming.close()
        text = bytes(head).partition(b"\n")[0]
        return decoded(text, _Line).custom_id if text.strip() else ""

    async def state(self, line: Line, batch_id: str) -> State:
        """``GET /messages/batches/{id}``."""
        found = decoded(await line.call(build(line.target, f"{_PATH}/{batch_id}", method="GET")), _Batch)
        return State(found.processing_status == _ENDED, (batch_id,))

    async def cancel(self, line: Line, batch_id: str) -> None:
        """``POST /messages/batches/{id}/cancel``."""
        await line.call(build(line.target, f"{_PATH}/{batch_id}/cancel"))

    def read(self, target: Target, place: str) -> Outgoing:
        """``GET /messages/batches/{id}/results``."""
        return build(target, f"{_PATH}/{place}/results", method="GET")

    def outcome(self, text: bytes) -> Outcome | None:
        """A line of the results."""
        found = decoded(text, _Line)
        match found.result.type:
            case "succeeded":
                return Outcome(found.custom_id, 200, bytes(found.result.message))
            case "canceled":
                return None
            case "expired":
                return Outcome(found.custom_id, code="batch_expired", message="the provider did not answer this request in time")
            case _:
                error = found.result.error.error
                return Outcome(found.custom_id, code=error.type, message=error.message)

    def usage(self, endpoint: str, body: bytes) -> Usage | None:
        """``usage`` of a message."""
        return usage_of(body)


ANTHROPIC = AnthropicBatches()
