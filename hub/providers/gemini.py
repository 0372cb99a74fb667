"""The adapter for Google's generateContent API, as Gemini and Vertex serve it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from hub.errors import UpstreamFailed
from hub.providers import _gemini_answer as answer
from hub.providers._failure import classify
from hub.providers._gemini_request import encode
from hub.providers._request import build, build_url
from hub.providers.base import Adapter, Decoder, Failure, Prepared, RawChat, Target, Watcher

if TYPE_CHECKING:
    from hub.chat import ChatRequest, ChatResponse, Usage
    from hub.outbound.base import Headers, Outgoing

_PATH = "/models/{model}:generateContent"
_STREAM_PATH = "/models/{model}:streamGenerateContent?alt=sse"


class _Listed(msgspec.Struct):
    name: str


class _Models(msgspec.Struct):
    models: list[_Listed] = []


class Gemini:
    """Encodes to, decodes from and passes through generateContent. The model is part of the address, not of the body."""

    name = "gemini"
    dialect = "gemini"

    def prepare(self, request: ChatRequest, target: Target) -> Prepared:
        """Encode the internal model. Raises BadRequest for what the format cannot express at all."""
        body, dropped = encode(request, target)
        return Prepared(self._send(target, body, stream=request.stream), dropped)

    def splice(self, raw: RawChat, target: Target) -> Prepared:
        """The client's own bytes, sent to the target's address."""
        return Prepared(self._send(target, raw.body, stream=raw.stream))

    def _send(self, target: Target, body: bytes, *, stream: bool) -> Outgoing:
        row = target.provider
        path = (row.stream_path or _STREAM_PATH) if stream else (row.chat_path or _PATH)
        return build(target, path, body, query=row.chat_query)

    def parse(self, body: bytes, target: Target) -> ChatResponse:
        """Decode a whole answer. Raises UpstreamFailed when it is not one."""
        response = answer.parse(body)
        response.model = response.model or target.model
        return response

    def decoder(self, target: Target) -> Decoder:
        """A decoder for one stream."""
        return answer.GeminiDecoder()

    def usage_of(self, body: bytes) -> Usage | None:
        """The usage of a whole answer that is passed through."""
        return answer.usage_of(body)

    def watcher(self, raw: RawChat) -> Watcher:
        """A watcher for one stream."""
        return answer.GeminiWatcher()

    def classify(self, status: int, headers: Headers, body: bytes) -> Failure:
        """What an error answer means."""
        return classify(status, headers, body)

    def models_request(self, target: Target) -> Outgoing | None:
        """The list of models. A base URL made of a project and a region has none beneath it."""
        row = target.provider
        if row.models_url:
            return build_url(target, row.models_url)
        if row.base_url_template and not row.models_path:
            return None
        return build(target, row.models_path or "/models", query={"pageSize": "1000"}, method="GET")

    def parse_models(self, body: bytes) -> list[str]:
        """The model ids. Raises UpstreamFailed when the body is not such a list."""
        try:
            return [model.name.removeprefix("models/") for model in msgspec.json.decode(body, type=_Models).models]
        except msgspec.DecodeError as error:
            raise UpstreamFailed("the provider's list of models cannot be read", code="malformed_answer") from error


adapter: Adapter = Gemini()
