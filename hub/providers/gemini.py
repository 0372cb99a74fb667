"""The adapter for Google's generateContent API, as Gemini and Vertex serve it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import msgspec

from hub.providers import _gemini_answer as answer
from hub.providers._gemini_foreign import without_foreign_thoughts
from hub.providers._gemini_request import encode
from hub.providers._request import build
from hub.providers._signature import WRAPPED
from hub.providers._wire import Reading, WireFormat, counted_in
from hub.providers.base import Adapter, Prepared, RawChat, Target

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hub.chat import ChatRequest
    from hub.engine.ask import ChatAsk
    from hub.outbound.base import Outgoing

_PATH = "/models/{model}:generateContent"
_COUNT_PATH = "/models/{model}:countTokens"
_STREAM_PATH = "/models/{model}:streamGenerateContent?alt=sse"


class _Listed(msgspec.Struct):
    name: str


class _Models(msgspec.Struct):
    models: list[_Listed] = []


class _Count(msgspec.Struct):
    totalTokens: int


def _models(body: bytes) -> list[str]:
    return [model.name.removeprefix("models/") for model in msgspec.json.decode(body, type=_Models).models]


class Gemini(WireFormat):
    """Encodes to, decodes from and passes through generateContent. The model is part of the address, not of the body."""

    name = "gemini"
    dialect = "gemini"
    reading = Reading(answer.parse, answer.usage_of, _models, answer.GeminiDecoder, answer.GeminiWatcher)
    models_query: ClassVar[Mapping[str, str]] = {"pageSize": "1000"}

    def prepare(self, request: ChatRequest, target: Target) -> Prepared:
        """Encode the internal model. Raises BadRequest for what the format cannot express at all."""
        body, dropped = encode(request, target)
        return Prepared(self._send(target, body, stream=request.stream), dropped)

    def splice(self, raw: RawChat, target: Target) -> Prepared:
        """The client's own bytes, sent to the target's address; without thoughts of other vendors, whose signatures it would refuse."""
        body, dropped = without_foreign_thoughts(raw.body) if WRAPPED in raw.body else (raw.body, [])
        return Prepared(self._send(target, body, stream=raw.stream), dropped)

    def count(self, ask: ChatAsk, target: Target) -> Outgoing | None:
        """``:countTokens``. A base URL made of a project and a region counts in another way."""
        if target.provider.base_url_template:
            return None
        raw = ask.verbatim
        whole = raw.body if raw is not None and raw.dialect == self.dialect else encode(ask.request(), target)[0]
        tree = {**msgspec.json.decode(whole, type=dict[str, msgspec.Raw]), "model": f"models/{target.model}"}
        return build(target, _COUNT_PATH, msgspec.json.encode({"generateContentRequest": tree}))

    def parse_count(self, body: bytes) -> int:
        """The number of tokens. Raises UpstreamFailed when the body does not say one."""
        return counted_in(body, _Count).totalTokens

    def _send(self, target: Target, body: bytes, *, stream: bool) -> Outgoing:
        row = target.provider
        path = (row.stream_path or _STREAM_PATH) if stream else (row.chat_path or _PATH)
        return build(target, path, body, query=row.chat_query)

    def models_request(self, target: Target) -> Outgoing | None:
        """The list of models. A base URL made of a project and a region has none beneath it."""
        row = target.provider
        if row.base_url_template and not (row.models_path or row.models_url):
            return None
        return super().models_request(target)


adapter: Adapter = Gemini()
