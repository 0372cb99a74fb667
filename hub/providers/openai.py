"""The OpenAI chat format as a provider adapter; most providers of the catalogue are rows that speak it."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import TYPE_CHECKING, ClassVar, cast

import msgspec
import orjson

from hub.outbound.base import Outgoing
from hub.providers._openai_request import encode_request
from hub.providers._openai_response import finished_in, parse_answer, usage_in
from hub.providers._openai_stream import OpenAiDecoder
from hub.providers._openai_watch import OpenAiWatcher
from hub.providers._request import build
from hub.providers._wire import Reading, WireFormat
from hub.providers.base import Prepared
from hub.splice import Change, edit, edit_text, with_usage

if TYPE_CHECKING:
    from hub.chat import ChatRequest
    from hub.providers.base import RawChat, Target, Watcher


def _models(body: bytes) -> list[str]:
    """The ids in a list of models: ``data[].id``, or the shapes of servers that name it otherwise."""
    tree = msgspec.json.decode(body)
    fields = _fields(tree)
    items = next((fields[name] for name in ("data", "models", "result") if fields.get(name)), tree)
    found = [_id_of(item) for item in cast("list[object]", items)] if isinstance(items, list) else []
    return [name for name in found if name]


def _fields(value: object) -> dict[str, object]:
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def _id_of(item: object) -> str:
    if isinstance(item, str):
        return item
    fields = _fields(item)
    return next((value for name in ("id", "name", "model") if isinstance(value := fields.get(name), str)), "")


class OpenAiAdapter(WireFormat):
    """OpenAI chat completions, both ways, and the lossless lane for clients that speak the same."""

    name = "openai"
    dialect = "openai"
    reading = Reading(parse_answer, usage_in, _models, OpenAiDecoder, partial(OpenAiWatcher, cut_usage=True), finished_in)
    #: Under which names a target keeps what its requests have in common, whole and streamed.
    _places: ClassVar[tuple[str, str]] = ("chat", "chat stream")

    def prepare(self, request: ChatRequest, target: Target) -> Prepared:
        """Encode the internal model. Raises BadRequest for a document that only has an address."""
        body, dropped = encode_request(request, target)
        return Prepared(self.request(target, body, stream=request.stream), dropped)

    def splice(self, raw: RawChat, target: Target) -> Prepared:
        """The client's bytes with the model replaced; a stream is made to end with usage, which the watcher cuts again."""
        model = _as_json(target.model)
        if not raw.stream and not target.provider.request_defaults:
            body = edit_text(raw.body, b"model", raw.model, model)
            if body is not None:
                return Prepared(self.request(target, body, stream=False))
        changes: dict[str, Change] = {"model": model}
        for name, value in target.provider.request_defaults.items():
            changes[name] = _default(orjson.dumps(value))
        if raw.stream and not _refuses(target, "stream_options"):
            changes["stream_options"] = with_usage
        return Prepared(self.request(target, edit(raw.body, changes), stream=raw.stream))

    def request(self, target: Target, body: bytes, *, stream: bool) -> Outgoing:
        """The HTTP request that carries ``body`` to the target's chat address."""
        place = self._places[stream]
        kept = target.memo.get(place)
        if kept is None:
            kept = target.memo[place] = self._template(target, stream=stream)
        return Outgoing(
            kept.origin,
            kept.method,
            kept.target,
            kept.headers,
            body,
            private=kept.private,
            proxy=kept.proxy,
            sign=kept.sign,
            access=kept.access,
        )

    def _template(self, target: Target, *, stream: bool) -> Outgoing:
        accept = "text/event-stream" if stream else "application/json"
        path = self.path(target, stream=stream)
        made = build(target, path, query=target.provider.chat_query, headers=(("accept", accept),))
        made.headers = tuple(made.headers)
        return made

    def path(self, target: Target, *, stream: bool) -> str:
        """The chat address under the base URL."""
        return target.provider.path(self.name, stream=stream) or "/chat/completions"

    def watcher(self, raw: RawChat) -> Watcher:
        """A watcher for one stream; it cuts the usage chunk that the client did not ask for."""
        return OpenAiWatcher(cut_usage=not raw.include_usage)


@lru_cache(maxsize=1024)
def _as_json(text: str) -> bytes:
    return orjson.dumps(text)


def _default(value: bytes) -> Change:
    """A change that sets a member only where the client left it out."""
    return lambda old: value if old is None else old


def _refuses(target: Target, name: str) -> bool:
    return target.model_row is not None and name in target.model_row.drop_params


OPENAI = OpenAiAdapter()
