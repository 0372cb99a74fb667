"""The adapter for the Responses API: models that speak nothing else, and the lossless lane for clients of the same dialect."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from hub.providers import _responses_answer as answer
from hub.providers._request import build
from hub.providers._responses_foreign import without_foreign
from hub.providers._responses_request import DIALECT, encode
from hub.providers._responses_stream import ResponsesDecoder, ResponsesWatcher
from hub.providers._wire import Reading, WireFormat, counted_in
from hub.providers.base import Adapter, Prepared
from hub.splice import edit, members

if TYPE_CHECKING:
    from hub.chat import ChatRequest
    from hub.engine.ask import ChatAsk
    from hub.outbound.base import Outgoing
    from hub.providers.base import RawChat, Target

_PATH = "/responses"
#: The members of a request that its prompt is made of.
_COUNTED = frozenset(
    {"model", "input", "instructions", "tools", "tool_choice", "parallel_tool_calls", "reasoning", "text", "truncation", "conversation"}
)
_TREE = msgspec.json.Decoder(dict[str, msgspec.Raw])


class _Listed(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Listed]


class _Count(msgspec.Struct):
    input_tokens: int


def _models(body: bytes) -> list[str]:
    return [model.id for model in msgspec.json.decode(body, type=_Models).data]


class Responses(WireFormat):
    """Encodes to, decodes from and passes through the Responses API."""

    name = DIALECT
    dialect = DIALECT
    reading = Reading(answer.parse, answer.usage_in, _models, ResponsesDecoder, ResponsesWatcher)

    def prepare(self, request: ChatRequest, target: Target) -> Prepared:
        """Encode the internal model. Raises BadRequest for what the format cannot express at all."""
        body, dropped = encode(request, target)
        return Prepared(self._send(target, body, stream=request.stream), dropped)

    def splice(self, raw: RawChat, target: Target) -> Prepared:
        """The client's own bytes with the model's name replaced, without other vendors' reasoning and what this provider refuses."""
        body, dropped = without_foreign(raw.body)
        body = edit(body, {"model": msgspec.json.encode(target.model)})
        refused = [name for name in target.provider.refuses if b'"' + name.encode() + b'"' in body]
        if refused:
            body, gone = _without(body, refused)
            dropped += gone
        return Prepared(self._send(target, body, stream=raw.stream), dropped)

    def count(self, ask: ChatAsk, target: Target) -> Outgoing | None:
        """``/responses/input_tokens``, which takes of a request what makes its prompt and refuses the rest."""
        raw = ask.raw if ask.raw is not None and ask.raw.dialect == self.dialect else None
        sent = self.splice(raw, target) if raw is not None else self.prepare(ask.request(), target)
        tree = _TREE.decode(sent.outgoing.whole)
        body = msgspec.json.encode({name: value for name, value in tree.items() if name in _COUNTED})
        return self._send(target, body, more="/input_tokens")

    def parse_count(self, body: bytes) -> int:
        """The number of tokens. Raises UpstreamFailed when the body does not say one."""
        return counted_in(body, _Count).input_tokens

    def _send(self, target: Target, body: bytes, *, stream: bool = False, more: str = "") -> Outgoing:
        accept = "text/event-stream" if stream else "application/json"
        path = (target.provider.path(self.name, stream=stream) or _PATH) + more
        return build(target, path, body, query=target.provider.chat_query, headers=(("accept", accept),))


def _without(body: bytes, names: list[str]) -> tuple[bytes, list[str]]:
    """The body without these members, and those of them that it had."""
    found = members(body)
    gone = [name for name in names if found is None or name in found[0]]
    if not gone:
        return body, []
    tree = _TREE.decode(body)
    for name in gone:
        tree.pop(name, None)
    return msgspec.json.encode(tree), gone


adapter: Adapter = Responses()
