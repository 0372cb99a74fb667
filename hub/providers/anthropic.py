"""The adapter for the Messages API: Anthropic and the many that speak its format."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import msgspec

from hub.providers import _anthropic_answer as answer
from hub.providers._anthropic_foreign import without_foreign
from hub.providers._anthropic_request import betas, encode
from hub.providers._request import build
from hub.providers._wire import Reading, WireFormat, counted_in
from hub.providers.base import Adapter, Prepared, RawChat, Target
from hub.splice import replace_model

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hub.chat import ChatRequest
    from hub.engine.ask import ChatAsk
    from hub.outbound.base import Outgoing

#: The version of the format this file is written for; a row's own header wins.
VERSION = "2023-06-01"


_PATH = "/messages"
#: The members of a request that its prompt is made of.
_COUNTED = frozenset(
    {
        "model",
        "messages",
        "system",
        "tools",
        "tool_choice",
        "thinking",
        "output_config",
        "mcp_servers",
        "context_management",
        "cache_control",
    }
)
_TREE = msgspec.json.Decoder(dict[str, msgspec.Raw])


class _Listed(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Listed]


class _Count(msgspec.Struct):
    input_tokens: int


def raw_betas(raw: RawChat) -> str:
    """The beta features that a client of this dialect asked for in headers."""
    return ",".join(value for name, value in raw.headers if name == "anthropic-beta")


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
        beta = raw_betas(raw)
        body, dropped = without_foreign(raw.body, self.dialect)
        return Prepared(self._send(target, replace_model(body, target.model), beta=beta), dropped)

    def count(self, ask: ChatAsk, target: Target) -> Outgoing | None:
        """``/messages/count_tokens``, which takes of a request what makes its prompt and refuses the rest."""
        raw = ask.verbatim if ask.verbatim is not None and ask.verbatim.dialect == self.dialect else None
        sent = self.splice(raw, target) if raw is not None else self.prepare(ask.request(), target)
        tree = _TREE.decode(sent.outgoing.whole)
        body = msgspec.json.encode({name: value for name, value in tree.items() if name in _COUNTED})
        path = (target.provider.path(self.name) or _PATH) + "/count_tokens"
        beta = raw_betas(raw) if raw is not None else betas(ask.request())
        return self._send(target, body, beta=beta, path=path)

    def parse_count(self, body: bytes) -> int:
        """The number of tokens. Raises UpstreamFailed when the body does not say one."""
        return counted_in(body, _Count).input_tokens

    def _send(self, target: Target, body: bytes, *, beta: str, path: str = "") -> Outgoing:
        row = target.provider
        headers = _version(target)
        if beta:
            headers.append(("anthropic-beta", beta))
        return build(target, path or row.path(self.name) or _PATH, body, query=row.chat_query, headers=headers)


adapter: Adapter = Anthropic()
