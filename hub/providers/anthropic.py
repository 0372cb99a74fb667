"""The adapter for the Messages API: Anthropic and the many that speak its format."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from hub.errors import UpstreamFailed
from hub.providers import _anthropic_answer as answer
from hub.providers._anthropic_request import betas, encode
from hub.providers._failure import classify
from hub.providers._request import build, build_url
from hub.providers.base import Adapter, Decoder, Failure, Prepared, RawChat, Target, Watcher
from hub.splice import replace_model

if TYPE_CHECKING:
    from hub.chat import ChatRequest, ChatResponse, Usage
    from hub.outbound.base import Headers, Outgoing

#: The version of the format this file is written for; a row's own header wins.
VERSION = "2023-06-01"


class _Listed(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Listed]


def _version(target: Target) -> list[tuple[str, str]]:
    named = any(name.lower() == "anthropic-version" for name in target.provider.extra_headers)
    return [] if named else [("anthropic-version", VERSION)]


class Anthropic:
    """Encodes to, decodes from and passes through the Messages API."""

    name = "claude"
    dialect = "anthropic"

    def prepare(self, request: ChatRequest, target: Target) -> Prepared:
        """Encode the internal model. Raises BadRequest for what the format cannot express at all."""
        body, dropped = encode(request, target)
        return Prepared(self._send(target, body, beta=betas(request)), dropped)

    def splice(self, raw: RawChat, target: Target) -> Prepared:
        """The client's own bytes with the model's name replaced, and the beta features it asked for."""
        beta = ",".join(value for name, value in raw.headers if name == "anthropic-beta")
        return Prepared(self._send(target, replace_model(raw.body, target.model), beta=beta))

    def _send(self, target: Target, body: bytes, *, beta: str) -> Outgoing:
        row = target.provider
        headers = _version(target)
        if beta:
            headers.append(("anthropic-beta", beta))
        return build(target, row.chat_path or "/messages", body, query=row.chat_query, headers=headers)

    def parse(self, body: bytes, target: Target) -> ChatResponse:
        """Decode a whole answer. Raises UpstreamFailed when it is not one."""
        response = answer.parse(body)
        response.model = response.model or target.model
        return response

    def decoder(self, target: Target) -> Decoder:
        """A decoder for one stream."""
        return answer.AnthropicDecoder()

    def usage_of(self, body: bytes) -> Usage | None:
        """The usage of a whole answer that is passed through."""
        return answer.usage_of(body)

    def watcher(self, raw: RawChat) -> Watcher:
        """A watcher for one stream."""
        return answer.AnthropicWatcher()

    def classify(self, status: int, headers: Headers, body: bytes) -> Failure:
        """What an error answer means."""
        return classify(status, headers, body)

    def models_request(self, target: Target) -> Outgoing | None:
        """The list of models; its path is the row's, else the one Anthropic has."""
        row = target.provider
        if row.models_url:
            return build_url(target, row.models_url)
        return build(target, row.models_path or "/models", query={"limit": "1000"}, headers=_version(target), method="GET")

    def parse_models(self, body: bytes) -> list[str]:
        """The model ids. Raises UpstreamFailed when the body is not such a list."""
        try:
            return [model.id for model in msgspec.json.decode(body, type=_Models).data]
        except msgspec.DecodeError as error:
            raise UpstreamFailed("the provider's list of models cannot be read", code="malformed_answer") from error


adapter: Adapter = Anthropic()
