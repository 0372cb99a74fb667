"""The Gemini door: models, ``generateContent`` and its kin under ``/v1beta``, as Google's own clients call them.

A model's name may hold slashes and colons (``openai/gpt-5``, ``ollama/llama3.2:3b``): all up to the last colon is its name.
Source: Gemini API reference, "models" and its methods.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from hub.errors import BadRequest, NotFound
from transports._chat_door import Dialect, asked, serve
from transports._fields import object_of, tree_of
from transports._gemini_chat import ArrayEncoder, StreamEncoder, encode, envelope
from transports._gemini_decode import DIALECT, decode
from transports._gemini_embed import embed_input
from transports._gemini_errors import gemini_body
from transports._http import Door, Exchange, Route
from transports._vectors import vectors_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hub.call import Hub
    from hub.chat import ChatResponse, JsonObject
    from hub.engine.ask import ChatAsk, StreamHead
    from hub.engine.counting import Counted
    from transports._http import Scope

DOOR = Door("gemini", error=gemini_body, token_headers=(b"x-goog-api-key", b"x-api-key"), query_field="key", route_class=b"CLIENT_API")

_PATH = "/v1beta/models/{model}:generateContent"
_PAGE = 50
_MOST = 1000


def routes(hub: Hub) -> list[Route]:
    """The door's routes. ``/v1/models`` is OpenAI's list, and Google's for those who show a key in Google's manner."""
    return [
        Route("/v1beta/models", models, DOOR),
        Route("/v1beta/models/{model:path}", model, DOOR),
        Route("/v1/models", models, DOOR, when=_googles),
        Route("/v1/models/{model:path}", model, DOOR, when=_googles),
        # A model with a slash in its name is a resource name to the AI SDK of Vercel, which puts no models/ before it.
        *(
            Route(f"/{place}/{{model:path}}", method, DOOR, methods=("POST",))
            for place in ("v1beta/models", "v1beta/tunedModels", "v1beta", "v1/models")
        ),
    ]


def _googles(scope: Scope) -> bool:
    """Whether a client of Google's makes a request; its newest SDK calls the first version of the API."""
    return any(name == b"x-goog-api-key" for name, _ in scope["headers"]) or b"key=" in scope["query_string"]


async def method(exchange: Exchange) -> None:
    """``POST /v1beta/models/{model}:{method}``."""
    exchange.hub.allow(exchange.hub.find("chat"), exchange.ctx)
    name, _, word = exchange.params["model"].rpartition(":")
    serving = _METHODS.get(word)
    if serving is None or not name:
        raise NotFound(f"a model has no method {word[:80]!r} here; call it as models/{{model}}:generateContent")
    await serving(exchange, _named(name))


def _named(name: str) -> str:
    """A model's name as the hub knows it."""
    return name.removeprefix("models/")


async def generate(exchange: Exchange, model: str) -> None:
    """``:generateContent``."""
    raw = envelope(await exchange.body(), model=model, stream=False)
    await serve(exchange, _EVENTS, raw, partial(decode, model=model))


async def stream(exchange: Exchange, model: str) -> None:
    """``:streamGenerateContent``: events with ``alt=sse``, else one JSON array that grows."""
    raw = envelope(await exchange.body(), model=model, stream=True)
    query = exchange.query
    dialect = _EVENTS if "sse" in (query.get("alt"), query.get("$alt")) else _ARRAY
    await serve(exchange, dialect, raw, partial(decode, model=model, stream=True))


def _encoded(response: ChatResponse, exchange: Exchange, ask: ChatAsk) -> bytes:
    return encode(response, request_id=exchange.request_id)


def _encoder(kind: type[StreamEncoder], exchange: Exchange, ask: ChatAsk, head: StreamHead) -> StreamEncoder:
    return kind(model=head.model, request_id=exchange.request_id)


_EVENTS = Dialect(_PATH, decode=partial(decode, model=""), encode=_encoded, encoder=partial(_encoder, StreamEncoder))
_ARRAY = Dialect(
    _PATH, decode=partial(decode, model=""), encode=_encoded, encoder=partial(_encoder, ArrayEncoder), content_type=b"application/json"
)


async def models(exchange: Exchange) -> None:
    """``GET /v1beta/models``, by pages."""
    listed = await exchange.hub.call(exchange.hub.find("openai-models"), {}, exchange.ctx)
    query = exchange.query
    size, start = _whole(query, "pageSize") or _PAGE, _whole(query, "pageToken")
    size = min(size, _MOST)
    body: JsonObject = {"models": [_shown(one) for one in listed.data[start : start + size]]}
    if start + size < len(listed.data):
        body["nextPageToken"] = str(start + size)
    await exchange.answer_json(body)


def _whole(query: dict[str, str], name: str) -> int:
    text = query.get(name, "")
    if text and not (text.isdecimal() and text.isascii() and len(text) < 10):
        raise BadRequest(f"{name}: must be a whole number, as the list gave it", field=name)
    return int(text or 0)


async def model(exchange: Exchange) -> None:
    """``GET /v1beta/models/{model}``."""
    found = await exchange.hub.call(exchange.hub.find("openai-model"), {"model": _named(exchange.params["model"])}, exchange.ctx)
    await exchange.answer_json(_shown(found))


_DOES = {"chat": ["generateContent", "streamGenerateContent", "countTokens"], "embedding": ["embedContent", "batchEmbedContents"]}


def _shown(found: Any) -> JsonObject:
    """A model in Google's shape. A limit that nobody knows is null."""
    return {
        "name": f"models/{found.id}",
        "baseModelId": found.root,
        "version": "",
        "displayName": found.id,
        "description": f"{found.root} of {found.owned_by}",
        "inputTokenLimit": found.context_length,
        "outputTokenLimit": found.max_output_tokens,
        "supportedGenerationMethods": _DOES.get(found.type, []),
        "thinking": found.capabilities.get("reasoning", False),
    }


async def count(exchange: Exchange, model: str) -> None:
    """``:countTokens``, of bare contents or of a whole request; an estimate where the model's provider cannot say."""
    body = await exchange.body()
    fields = tree_of(body)
    whole = fields.get("generateContentRequest", fields.get("generate_content_request"))
    if whole is not None:
        body = msgspec.json.encode(object_of(whole, "generateContentRequest"))
    ask = asked(exchange, _EVENTS, envelope(body, model=model, stream=False), partial(decode, model=model))
    exchange.cancel_when_gone()
    counted: Counted = await exchange.hub.call(exchange.hub.find("count-tokens"), ask, exchange.ctx)
    source = b"estimated" if counted.estimated else b"provider"
    await exchange.answer_json({"totalTokens": counted.tokens}, headers=[(b"x-hubroute-source", source)])


async def embed(exchange: Exchange, model: str) -> None:
    """``:embedContent``."""
    made = await vectors_of(exchange, embed_input(await exchange.body(), model, batch=False), DIALECT)
    body = {"embedding": {"values": made.vectors[0]}, "usageMetadata": {"promptTokenCount": made.usage.prompt}}
    await exchange.answer_json(body, headers=made.headers)


async def embed_batch(exchange: Exchange, model: str) -> None:
    """``:batchEmbedContents``."""
    made = await vectors_of(exchange, embed_input(await exchange.body(), model, batch=True), DIALECT)
    body = {"embeddings": [{"values": one} for one in made.vectors], "usageMetadata": {"promptTokenCount": made.usage.prompt}}
    await exchange.answer_json(body, headers=made.headers)


_METHODS: dict[str, Callable[[Exchange, str], Awaitable[None]]] = {
    "generateContent": generate,
    "streamGenerateContent": stream,
    "countTokens": count,
    "embedContent": embed,
    "batchEmbedContents": embed_batch,
}
