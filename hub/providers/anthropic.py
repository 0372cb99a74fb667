"""The adapter for the Messages API: Anthropic and the many that speak its format."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import msgspec

from hub.providers import _anthropic_answer as answer
from hub.providers._anthropic_foreign import without_foreign
from hub.providers._anthropic_request import betas, encode
from hub.providers._request import build
from hub.providers._wire import Reading, WireFormat
from hub.providers.base import Adapter, Prepared, RawChat, Target
from hub.splice import replace_model

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hub.chat import ChatRequest
    from hub.outbound.base import Outgoing

#: The version of the format this file is written for; a row's own header wins.
VERSION = "2023-06-01"


class _Listed(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Listed]


def _version(target: Target) -> list[tuple[str, str]]:
    named = any(name.lower() == "anthropic-version" for name in target.provider.extra_headers)
    return [] if named else [("anthropic-version", VERSION)]


def _models(body: bytes) -> list[str]:
    return [model.id for model in msgspec.json.decode(body, type=_Models).data]


class Anthropic(WireFormat):
    """Encodes to, decodes from and passes through the Messages API."""

    name = "claude"
    dialect = "anthropic"
    reading = Reading(answer.parse, answer.usage_of, _models, answer.AnthropicDecoder, answer.AnthropicWatcher)
    models_query: ClassVar[Mapping[str, str]] = {"limit": "1000"}

    def headers(self, target: Target) -> list[tuple[str, str]]:
        """The version of the API."""
        return _version(target)

    def prepare(self, request: ChatRequest, target: Target) -> Prepared:
        """Encode the internal model. Raises BadRequest for what the format cannot express at all."""
        body, dropped = encode(request, target)
        return Prepared(self._send(target, body, beta=betas(request)), dropped)

    def splice(self, raw: RawChat, target: Target) -> Prepared:
        """The client's own bytes with the model's name replaced, without other vendors' thinking, and the beta features it asked for."""
        beta = ",".join(value for name, value in raw.headers if name == "anthropic-beta")
        body, dropped = without_foreign(raw.body, self.dialect)
        return Prepared(self._send(target, replace_model(body, target.model), beta=beta), dropped)

    def _send(self, target: Target, body: bytes, *, beta: str) -> Outgoing:
        row = target.provider
        headers = _version(target)
        if beta:
            headers.append(("anthropic-beta", beta))
        return build(target, row.chat_path or "/messages", body, query=row.chat_query, headers=headers)


adapter: Adapter = Anthropic()
