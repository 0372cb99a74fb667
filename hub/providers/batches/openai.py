"""OpenAI's Batch API: an uploaded file of requests, one endpoint, answers in an output and an error file.

Source: OpenAI API reference, "Batch" and "Files".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from hub.batches.service import Outcome, State
from hub.chat import Usage
from hub.outbound.multipart import Multipart
from hub.providers._openai_response import usage_of
from hub.providers._request import build
from hub.providers.batches._reading import decoded
from hub.splice import replace_model

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hub.media.order import Line
    from hub.outbound.base import Outgoing
    from hub.providers.base import Target
    from hub.uploads import Upload

_OVER = frozenset({"completed", "failed", "expired", "cancelled"})
_PAGE = 100
_NO_BODY = msgspec.Raw(b"null")


class _Request(msgspec.Struct):
    custom_id: str
    url: str
    body: msgspec.Raw
    method: str = "POST"


class _Made(msgspec.Struct):
    id: str


class _Batch(msgspec.Struct):
    id: str
    status: str
    created_at: int = 0
    output_file_id: str | None = None
    error_file_id: str | None = None
    metadata: dict[str, Any] | None = None


class _List(msgspec.Struct):
    data: list[_Batch]
    has_more: bool = False


class _Response(msgspec.Struct):
    status_code: int
    request_id: str | None = None
    body: msgspec.Raw = _NO_BODY


class _Error(msgspec.Struct):
    code: str | None = None
    message: str | None = None


class _Result(msgspec.Struct):
    custom_id: str
    response: _Response | None = None
    error: _Error | None = None


class _Usage(msgspec.Struct):
    usage: Any = None


class OpenAiBatches:
    """Batches at ``/batches``. A marker is kept in their metadata."""

    name = "openai"
    endpoints: Mapping[str, str] = {
        "/v1/chat/completions": "openai",
        "/v1/responses": "openai-responses",
        "/v1/embeddings": "",
        "/v1/moderations": "",
    }
    frame = (b"", b"\n", b"\n")
    most = 200_000_000
    most_lines = 50_000
    _marker: ClassVar[str] = "hubroute_batch"

    def request(self, name: str, endpoint: str, body: bytes, model: str) -> bytes:
        """A line of the input file."""
        flat = msgspec.json.format(replace_model(body, model), indent=-1)
        return msgspec.json.encode(_Request(name, endpoint, msgspec.Raw(flat)))

    async def submit(self, line: Line, endpoint: str, upload: Upload, marker: str) -> str:
        """``POST /files``, then ``POST /batches``."""
        form = Multipart([("purpose", "batch")], [("file", f"{marker}.jsonl", "application/jsonl", upload)])
        outgoing = build(line.target, "/files", form)
        outgoing.headers = [*(one for one in outgoing.headers if one[0] != b"content-type"), (b"content-type", form.content_type.encode())]
        file = decoded(await line.call(outgoing), _Made)
        asked = {"input_file_id": file.id, "endpoint": endpoint, "completion_window": "24h", "metadata": {self._marker: marker}}
        made = await line.call(build(line.target, "/batches", msgspec.json.encode(asked)))
        return decoded(made, _Made).id

    async def find(self, line: Line, marker: str, since: int) -> str:
        """``GET /batches``, the newest first, until they are older than the attempt."""
        after = ""
        while True:
            query = {"limit": str(_PAGE)} | ({"after": after} if after else {})
            page = decoded(await line.call(build(line.target, "/batches", query=query, method="GET")), _List)
            found = next((one.id for one in page.data if (one.metadata or {}).get(self._marker) == marker), "")
            # A minute for a vendor's clock that is behind ours.
            if found or not page.has_more or not page.data or page.data[-1].created_at * 1000 < since - 60_000:
                return found
            after = page.data[-1].id

    async def state(self, line: Line, batch_id: str) -> State:
        """``GET /batches/{id}``."""
        found = decoded(await line.call(build(line.target, f"/batches/{batch_id}", method="GET")), _Batch)
        return State(found.status in _OVER, tuple(filter(None, (found.output_file_id, found.error_file_id))))

    async def cancel(self, line: Line, batch_id: str) -> None:
        """``POST /batches/{id}/cancel``."""
        await line.call(build(line.target, f"/batches/{batch_id}/cancel"))

    def read(self, target: Target, place: str) -> Outgoing:
        """``GET /files/{id}/content``."""
        return build(target, f"/files/{place}/content", method="GET")

    def outcome(self, text: bytes) -> Outcome | None:
        """A line of the output or error file."""
        found = decoded(text, _Result)
        if found.response is not None:
            given = found.response
            return Outcome(found.custom_id, given.status_code, bytes(given.body), given.request_id or "")
        error = found.error or _Error()
        if error.code == "batch_cancelled":
            return None
        return Outcome(found.custom_id, code=error.code or "batch_failed", message=error.message or "the provider gave no answer")

    def usage(self, endpoint: str, body: bytes) -> Usage | None:
        """``usage`` of an answer; moderations have none."""
        return usage_of(decoded(body, _Usage).usage) or (Usage() if endpoint == "/v1/moderations" else None)


OPENAI = OpenAiBatches()
